//! How far a leader commits when its peers, and its own disk, come forward in any order and by any number of entries at once.

use quoring_core::wire::{AppendAnswer, Envelope, Message};
use quoring_core::{LogIndex, NodeId, Term};
use quoring_ring::DEFAULT_CRC32C;
use quoring_tests::cluster::{CLUSTER, Cluster};
use quoring_tests::random::Random;
use quoring_tests::script::Player;

const LEADER: u8 = 1;
/// Entries of clients, behind the no-op.
const ENTRIES: u64 = 12;

fn node(id: u8) -> NodeId {
    NodeId::new(id).expect("0..=31")
}

/// A leader whose log, but for the no-op, is on no disk, not even on its own.
fn leader_of(voters: u8) -> Player {
    let mut player = Player::default();
    let cluster = format!("cluster 1..{voters}");
    for line in [&*cluster, "start", "elect 1", "settle", "hold disk 1"] {
        drop(player.play(line));
    }
    for _ in 0..ENTRIES {
        player.cluster().propose(node(LEADER), b"x").expect("it leads");
    }
    player
}

/// The peer says that it holds entries up to `matched`.
fn answer(cluster: &mut Cluster, from: u8, matched: u64) {
    let session = cluster.pipelines[&(node(LEADER), node(from))].1;
    let (matched, now) = (LogIndex(matched), cluster.clock(node(LEADER)));
    let answer = Message::AppendAnswer(AppendAnswer { matched, received: matched, session, room: u32::MAX });
    let mut frame = [0; 128];
    let envelope = Envelope { cluster: CLUSTER, node: node(from), crc: DEFAULT_CRC32C };
    let len = envelope.seal(node(LEADER), Term(1), &answer, &mut frame).expect("it fits");
    // Not through the network: the peers hold nothing, and the oracles would say so.
    let running = cluster.node(node(LEADER)).running.as_mut().expect("it runs");
    let _ = running.raft.handle_message(now, &frame[..len]).expect("it is whole");
    running.raft.assert_invariants();
}

/// Whoever comes forward, and however far, and whatever the others hold: committed is what a quorum holds, no more and no less.
/// covers: L5, P6
#[test]
fn a_leader_commits_at_once_what_a_quorum_holds_and_nothing_more() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let voters = 2 + (seed % 6) as u8;
        let mut player = leader_of(voters);
        let cluster = player.cluster();
        // The leader's own disk is the first.
        let mut held = vec![1_u64; usize::from(voters)];
        for step in 0..40 {
            let place = random.below(voters.into()) as usize;
            let more = 1 + random.below(1 + ENTRIES - (held[place] - 1));
            let before = held[place];
            held[place] = (before + more).min(1 + ENTRIES);
            if place == 0 {
                let now = cluster.clock(node(LEADER));
                let written = cluster.node(node(LEADER)).flush(now, (held[0] - before) as usize);
                assert_eq!(written as u64, held[0] - before);
            } else {
                answer(cluster, LEADER + place as u8, held[place]);
            }
            let mut descending = held.clone();
            descending.sort_unstable_by(|a, b| b.cmp(a));
            let quorum = usize::from(voters) / 2 + 1;
            let committed = cluster.nodes[&node(LEADER)].status().expect("it runs").committed;
            assert_eq!(committed, LogIndex(descending[quorum - 1]), "seed {seed}, step {step}: {held:?}");
        }
    }
}
