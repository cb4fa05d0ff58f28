//! A leader whose own clients take all the room there is keeps some for what other nodes forward, in turn, and never for long in vain.

use quoring_core::{Duration, NodeId, NodeSet, ProposeError, RequestId};
use quoring_ring::record_size;
use quoring_tests::cluster::{Cluster, Settings};
use quoring_tests::memory::RingSize;

/// Clients of a leader may have this many entries that are not applied: three quarters of its slots. If these are empty, bytes do not matter.
const ROOM: u32 = 12;

/// Of this many or fewer each batch is.
const ITEMS: [&[u8]; 5] = [b""; 5];

fn node(id: u8) -> NodeId {
    NodeId::new(id).expect("0..=31")
}

/// Node 0 leads, the windows of all others are open, and applications go on when a test says so.
fn opened(nodes: u32) -> Cluster {
    let voters = NodeSet::first(nodes);
    let mut cluster = Cluster::led(Settings { ring: RingSize { units: 64, slots: 16 }, ..Settings::new(voters) });
    for peer in voters.without(node(0)).iter() {
        cluster.open(peer).expect("a leader");
    }
    settle(&mut cluster);
    cluster.slow_applications = voters;
    cluster
}

/// Everything happens but that applications go on, and no time passes.
fn settle(cluster: &mut Cluster) {
    cluster.settle(cluster.settings.voters);
}

/// The leader's own clients take all the room they get; how many entries that were.
fn fill(cluster: &mut Cluster, command: &[u8]) -> u32 {
    (0..).find(|_| cluster.propose(node(0), command) == Err(ProposeError::Busy)).expect("some day it is full")
}

/// Applications go on, and the leader's own clients are the first to know. How many entries they appended.
fn go_on(cluster: &mut Cluster, command: &[u8]) -> u32 {
    cluster.settings.voters.iter().for_each(|id| cluster.apply(id));
    let own = fill(cluster, command);
    settle(cluster);
    own + fill(cluster, command)
}

/// How many items of the node's window are in the leader's log.
fn accepted(cluster: &mut Cluster, id: u8) -> u32 {
    cluster.ask(node(id), |raft, _| raft.window().accepted).expect("power")
}

fn client_news(cluster: &Cluster) -> u32 {
    cluster.nodes[&node(0)].running.as_ref().expect("power").client_news
}

fn unapplied(cluster: &Cluster) -> u32 {
    let status = cluster.nodes[&node(0)].status().expect("power");
    (status.last.0 - status.applied.0) as u32
}

/// Bug: what comes from other nodes finds no room, is told that there is some, and finds none again, for ever.
/// covers: P10, C4
#[test]
fn a_batch_gets_the_next_room_there_is_however_greedy_the_leaders_own_clients_are() {
    let mut cluster = opened(3);
    assert_eq!(fill(&mut cluster, b""), ROOM);
    for batch in 1..20 {
        cluster.forward(node(1), &ITEMS[..3]).expect("room in the window");
        settle(&mut cluster);
        assert_eq!(fill(&mut cluster, b""), 0, "there was no room");
        // Own clients have what the batch leaves, also while that is on its way.
        assert_eq!(go_on(&mut cluster, b""), ROOM - 3);
        assert_eq!((accepted(&mut cluster, 1), unapplied(&cluster)), (3 * batch, ROOM));
        // As much is anybody's before the next one has its turn.
        assert_eq!(go_on(&mut cluster, b""), ROOM);
    }
}

/// Windows that are always full, of unequal batches, and own clients that take what they get: nobody starves, whoever's batches are the larger ones.
/// covers: P10
#[test]
fn peers_that_wait_have_their_turns_one_after_the_other_and_own_clients_have_as_much() {
    let batches = [&ITEMS[..1], &ITEMS[..5], &ITEMS[..2], &ITEMS[..4]];
    // Of the small ones slots are scarce, of the large ones bytes.
    for command in [&[][..], &[0; 20]] {
        let mut cluster = opened(5);
        let mut own = fill(&mut cluster, command);
        for _ in 0..50 {
            for (id, batch) in (1..).map(node).zip(batches) {
                while cluster.forward(id, batch).is_ok() {}
            }
            settle(&mut cluster);
            own += go_on(&mut cluster, command);
        }
        let accepted: Vec<u32> = (1..5).map(|id| accepted(&mut cluster, id)).collect();
        let taken: Vec<u32> = accepted.iter().zip(batches).map(|(items, batch)| items / batch.len() as u32).collect();
        assert!(taken.iter().all(|batches| *batches >= 10), "each has its turn: {taken:?}");
        let bytes = |count: u32, command: usize| count as usize * record_size(command);
        let forwarded = bytes(accepted.iter().sum(), RequestId::SIZE);
        assert!(bytes(own, command.len()) >= forwarded, "{own} own entries beside {taken:?}");
    }
}

/// covers: P10
#[test]
fn a_peer_that_was_called_and_does_not_come_keeps_room_for_three_ticks() {
    let mut cluster = opened(3);
    fill(&mut cluster, b"");
    cluster.forward(node(1), &ITEMS[..4]).expect("room in the window");
    settle(&mut cluster);
    cluster.set_isolated(node(1), true);
    cluster.network.frames.clear();
    assert_eq!(go_on(&mut cluster, b""), ROOM - 4, "room is kept for node 1");
    assert!(cluster.sent.iter().any(|frame| frame.to == node(1)), "it is called");
    for _ in 0..2 {
        cluster.time_out(node(0)).expect("a tick");
        assert_eq!(fill(&mut cluster, b""), 0, "and may still come");
    }
    let told = client_news(&cluster);
    cluster.time_out(node(0)).expect("a tick");
    assert!(client_news(&cluster) > told, "who waits for room is told");
    assert_eq!(fill(&mut cluster, b""), 4);
    settle(&mut cluster);
    assert_eq!(go_on(&mut cluster, b""), ROOM, "nothing is kept any more");
    for batch in 1..4 {
        cluster.forward(node(2), &ITEMS[..1]).expect("room in the window");
        settle(&mut cluster);
        assert_eq!(go_on(&mut cluster, b""), ROOM - 1, "also while others wait");
        assert_eq!(accepted(&mut cluster, 2), batch);
    }
    // It comes back, and waits, and gets room.
    cluster.set_isolated(node(1), false);
    cluster.run(Duration::from_millis(200));
    for _ in 0..2 {
        go_on(&mut cluster, b"");
    }
    assert_eq!(accepted(&mut cluster, 1), 4);
}

/// covers: P10
#[test]
fn room_that_does_not_come_together_is_not_kept_for_long() {
    let mut cluster = opened(3);
    fill(&mut cluster, b"");
    settle(&mut cluster);
    cluster.settings.voters.iter().for_each(|id| cluster.apply(id));
    (0..ROOM - 2).for_each(|_| _ = cluster.propose(node(0), b"").expect("room for it"));
    settle(&mut cluster);
    cluster.forward(node(1), &ITEMS[..5]).expect("room in the window");
    settle(&mut cluster);
    assert_eq!(fill(&mut cluster, b""), 0, "there is room for two, and five wait");
    let told = client_news(&cluster);
    (0..3).for_each(|_| cluster.time_out(node(0)).expect("a tick"));
    assert!(client_news(&cluster) > told, "who waits for room is told");
    assert_eq!(fill(&mut cluster, b""), 2, "no application goes on");
    settle(&mut cluster);
    // It still waits, and has its turn when as much has been appended as it would have been.
    assert_eq!(go_on(&mut cluster, b"") + go_on(&mut cluster, b""), 2 * ROOM - 5);
    assert_eq!(accepted(&mut cluster, 1), 5);
}

/// covers: P10
#[test]
fn room_is_kept_for_as_long_as_it_comes_together() {
    let mut cluster = opened(3);
    cluster.slow_disks.insert(node(0));
    fill(&mut cluster, b"");
    settle(&mut cluster);
    cluster.forward(node(1), &ITEMS[..4]).expect("room in the window");
    settle(&mut cluster);
    for _ in 0..4 {
        assert_eq!(accepted(&mut cluster, 1), 0);
        cluster.time_out(node(0)).expect("a tick");
        cluster.flush(node(0), 1);
        settle(&mut cluster);
        assert_eq!(go_on(&mut cluster, b""), 0, "one entry is durable, and applied");
    }
    assert_eq!(accepted(&mut cluster, 1), 4);
}

/// covers: P10, C4
#[test]
fn nothing_is_kept_for_a_window_that_is_opened_anew_or_led_to_another_leader() {
    for loses_office in [false, true] {
        let mut cluster = opened(3);
        fill(&mut cluster, b"");
        cluster.forward(node(1), &ITEMS[..4]).expect("room in the window");
        settle(&mut cluster);
        if loses_office {
            cluster.set_isolated(node(0), true);
            let rest = NodeSet::first(3).without(node(0));
            cluster.elect(node(2), rest).expect("a deadline");
            cluster.settle(rest);
            cluster.set_isolated(node(0), false);
            cluster.run(Duration::from_millis(500));
            cluster.elect(node(0), NodeSet::first(3)).expect("a deadline");
            settle(&mut cluster);
            assert!(cluster.nodes[&node(0)].leads());
        } else {
            let told = client_news(&cluster);
            cluster.open(node(1)).expect("a leader");
            let name = cluster.of_kind("forward")[0];
            cluster.deliver(name).expect("on its way");
            assert_eq!(client_news(&cluster), told + 1, "who waits for room is told");
            settle(&mut cluster);
        }
        cluster.settings.voters.iter().for_each(|id| cluster.apply(id));
        assert_eq!(fill(&mut cluster, b""), ROOM);
    }
}
