//! How much clients, and leaders, may fill of rings and stores: the rest is for what must not be refused (P10, P12).

use quoring_core::{LogIndex, NodeId, NodeSet, ProposeError, Space};
use quoring_tests::cluster::Cluster;
use quoring_tests::node::Running;
use quoring_tests::script::Player;

/// A record of 32 bytes.
const COMMAND: [u8; 16] = [7; 16];

fn node(id: u8) -> NodeId {
    NodeId::new(id).expect("0..=31")
}

fn running(cluster: &mut Cluster, id: u8) -> &mut Running {
    cluster.node(node(id)).running.as_mut().expect("it runs")
}

fn last(cluster: &Cluster, id: u8) -> LogIndex {
    cluster.nodes[&node(id)].status().expect("it runs").last
}

/// How many commands are taken before the node is busy.
fn taken(cluster: &mut Cluster, command: &[u8]) -> usize {
    let busy = (0..1000).position(|_| cluster.propose(node(1), command) == Err(ProposeError::Busy));
    busy.expect("it is busy in the end")
}

/// Half of a ring of 512 bytes is for what clients have not durable; a record of another kind that goes in behind it makes no room.
/// covers: P10, P12
#[test]
fn room_that_is_used_up_is_none_when_something_else_lies_behind_it() {
    let mut player = Player::played(&["cluster 1..1 ring 64x16", "start", "elect 1", "settle", "hold disk 1"]);
    let cluster = player.cluster();
    assert_eq!(taken(cluster, &COMMAND), 8);
    // The record of a boot number goes where clients may not.
    let before = running(cluster, 1).raft.accepted();
    running(cluster, 1).raft.new_client();
    assert_eq!(running(cluster, 1).raft.accepted().since(before), 2);
    assert_eq!(taken(cluster, &COMMAND), 0);
}

/// However small the entries are, a quarter of the slots stays free.
/// covers: P10
#[test]
fn clients_leave_a_quarter_of_the_slots_to_others_while_the_application_is_behind() {
    let mut player = Player::played(&["cluster 1..1 ring 256x64", "start", "elect 1", "settle", "hold application 1"]);
    let cluster = player.cluster();
    assert_eq!(taken(cluster, &[]), 48);
    drop(player.play("release application 1"));
    drop(player.play("hold application 1"));
    assert_eq!(taken(player.cluster(), &[]), 48, "again");
}

/// A write takes more of a store than its records, and others may take of it as well.
/// covers: P10, P12
#[test]
fn clients_wait_as_soon_as_the_store_has_less_room_than_they_were_promised() {
    let mut player = Player::played(&["cluster 1..1 ring 1024x256", "start", "elect 1", "settle", "hold disk 1"]);
    let cluster = player.cluster();
    let space = Space { capacity: 1 << 20, free: 1 << 20, start: LogIndex::ZERO };
    running(cluster, 1).raft.handle_space(&space);
    assert!(cluster.propose(node(1), &COMMAND).is_ok());
    running(cluster, 1).raft.handle_space(&Space { free: 1 << 10, ..space });
    assert_eq!(taken(cluster, &COMMAND), 0);
    running(cluster, 1).raft.handle_space(&space);
    assert!(cluster.propose(node(1), &COMMAND).is_ok());
}

/// A follower whose store is full takes none of the leader's commands, and takes them all as soon as there is room.
/// covers: P11, P12
#[test]
fn a_follower_takes_no_more_than_its_store_does() {
    let mut player = Player::played(&["cluster 1..3 ring 1024x256", "start", "elect 1", "settle"]);
    let cluster = player.cluster();
    let all = NodeSet::from_bits(0b1110);
    // 4 headers for votes, 8 for no-ops, and one.
    cluster.node(node(2)).disk.tells = Some((1 << 20, 13 * 16));
    let space = cluster.nodes[&node(2)].disk.space();
    running(cluster, 2).raft.handle_space(&space);
    for _ in 0..20 {
        cluster.propose(node(1), &COMMAND).expect("it leads");
        cluster.settle(all);
    }
    assert_eq!((last(cluster, 1), last(cluster, 2), last(cluster, 3)), (LogIndex(21), LogIndex(1), LogIndex(21)));
    let refused = running(cluster, 2).raft.refusals().ring_full;
    assert_eq!(refused, 1, "then the leader goes by the room that it is told of");
    cluster.node(node(2)).disk.tells = None;
    let space = cluster.nodes[&node(2)].disk.space();
    running(cluster, 2).raft.handle_space(&space);
    cluster.run(quoring_core::Duration::from_millis(2000));
    assert_eq!(last(cluster, 2), LogIndex(21));
}
