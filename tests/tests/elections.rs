//! Elections that a script cannot say: by the thousand, and by bad clocks.

use quoring_core::{Duration, Instant, LogIndex, NodeId, NodeSet, Role, Term};
use quoring_tests::cluster::{Cluster, Settings};
use quoring_tests::memory::RingSize;
use quoring_tests::node::Node;
use quoring_tests::script::{Player, status_line};

/// Scenario 23. Bug: with equal seeds and clocks that tick together and seldom, all nodes time out at the same tick, again and again.
/// covers: E1, E6
#[test]
fn equal_timers_on_clocks_that_tick_twice_a_timeout_still_elect() {
    for (millis, seed) in [100, 333, 500].into_iter().flat_map(|millis| (0..200).map(move |seed| (millis, seed))) {
        let mut cluster = Cluster::started(Settings { seed, ..Settings::new(NodeSet::first(5)) });
        while !cluster.nodes.values().any(|node| node.leads()) {
            cluster.now = cluster.now + Duration::from_millis(millis);
            assert!(
                cluster.now < Instant(60_000_000),
                "seed {seed}: nobody is elected in a minute of ticks of {millis} ms"
            );
            tick(&mut cluster);
        }
    }
}

/// All clocks tick at once; whoever is due acts on it before any frame arrives.
fn tick(cluster: &mut Cluster) {
    let due = |node: &Node| {
        node.running.as_ref().and_then(|node| node.raft.poll_timeout()).is_some_and(|at| at <= cluster.now)
    };
    let due: Vec<_> = cluster.nodes.values().filter(|node| due(node)).map(|node| node.id).collect();
    for id in due {
        cluster.time_out(id);
    }
    cluster.settle(cluster.settings.voters);
}

/// The first deadlines of nodes with the same seed differ, and those of one node from wait to wait.
/// covers: E1, F3
#[test]
fn deadlines_differ_between_nodes_and_lie_within_one_to_two_timeouts() {
    let mut cluster = Cluster::started(Settings::new(NodeSet::first(5)));
    let deadlines = |cluster: &Cluster| -> Vec<Instant> {
        cluster.nodes.values().filter_map(|node| node.running.as_ref()?.raft.poll_timeout()).collect()
    };
    let (start, first) = (cluster.now, deadlines(&cluster));
    let spans: std::collections::BTreeSet<_> = first.iter().map(|&at| at - start).collect();
    assert_eq!(spans.len(), 5);
    assert!(
        spans.iter().all(|&span| Duration::from_millis(1000) <= span && span < Duration::from_millis(2000)),
        "{spans:?}"
    );
    // Before the deadline, nothing happens.
    let id = NodeId::new(0).expect("0..=31");
    cluster.node(id).time_out(start);
    assert_eq!(deadlines(&cluster), first);
}

/// Scenario 27. Bug: every election writes a vote and a no-op, and a ring full of what is not committed takes no more. Nodes 0 and 1 lead in
/// turn by the vote of node 2, and no append ever arrives.
/// covers: P12, R6
#[test]
fn a_thousand_elections_without_a_commit_leave_a_full_ring_able() {
    let (ring, frame) = (RingSize { units: 16, slots: 8 }, 128);
    let mut cluster = Cluster::started(Settings { ring, frame, ..Settings::new(NodeSet::first(3)) });
    let voter = NodeId::new(2).expect("0..=31");
    for round in 0..1000 {
        let id = NodeId::new(round as u8 % 2).expect("0..=31");
        let term = (0..10).find_map(|_| {
            cluster.now = cluster.now + Duration::from_millis(2000);
            cluster.elect(id, NodeSet::EMPTY.with(id).with(voter)).expect("a deadline");
            cluster.network.frames.clear();
            cluster.nodes[&id].status().filter(|_| cluster.nodes[&id].leads()).map(|status| status.term)
        });
        assert!(term.is_some(), "round {round}: {}", status_line(&cluster.nodes[&id]));
        while cluster.propose(id, b"full").is_ok() {}
        cluster.network.frames.clear();
    }
    assert_eq!((cluster.oracle.committed(), cluster.oracle.leaders().count()), (LogIndex::ZERO, 1000));
    cluster.run(Duration::from_millis(20_000));
    let applied = cluster.nodes.values().filter_map(|node| node.status()).map(|status| status.applied.0).min();
    assert!(applied >= Some(500), "left alone, the cluster commits and applies all of a leader's log: {applied:?}");
}

/// covers: E7
#[test]
fn an_election_that_the_last_term_forbids_is_counted() {
    let mut player = Player::default();
    let logs = [1, 2, 3].map(|id| format!("log {id}: 1, term {}", u32::MAX));
    let lines = ["cluster 1..3", &logs[0], &logs[1], &logs[2], "start", "timeout 1"];
    lines.iter().for_each(|line| drop(player.play(line)));
    let node = &player.cluster().nodes[&NodeId::new(1).expect("0..=31")];
    assert_eq!(node.status().map(|status| (status.role, status.term)), Some((Role::Follower, Term::CEILING)));
    assert_eq!(node.refusals().map(|refusals| refusals.unable), Some(1));
}

/// What a script shows depends on nothing but the script.
#[test]
fn scripts_play_twice_the_same() {
    let script = include_str!("../scenarios/figure-7.txt");
    let play = || {
        let mut player = Player::default();
        script
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with(['#', ' ']))
            .map(|line| player.play(line))
            .collect::<Vec<_>>()
    };
    assert_eq!(play(), play());
}
