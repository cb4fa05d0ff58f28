//! Replication rules that a script cannot say: over many wraps, many terms, and by the clock.

use quoring_core::wire::{Append, Envelope, Message};
use quoring_core::{Duration, Instant, LogIndex, NodeId, NodeSet, Term};
use quoring_ring::DEFAULT_CRC32C;
use quoring_tests::cluster::{CLUSTER, Cluster, Settings};
use quoring_tests::replicator::Made;
use quoring_tests::script::Player;

fn node(id: u8) -> NodeId {
    NodeId::new(id).expect("0..=31")
}

/// Lets time go on from deadline to deadline, and tells when node 1 sent entries to node 3.
fn appends_to_3(cluster: &mut Cluster, until: Instant) -> Vec<Instant> {
    let mut sent = Vec::new();
    while cluster.now < until {
        cluster.sent.clear();
        cluster.run(Duration::from_millis(50));
        let now = cluster.now;
        let appends = cluster
            .sent
            .iter()
            .filter(|frame| (frame.from, frame.to, frame.kind(CLUSTER)) == (node(1), node(3), "append"));
        sent.extend(appends.map(|_| now));
    }
    sent
}

/// Entries for a peer that is not there are repeated less and less often, heartbeats are not; when it is back, it is served at once.
/// covers: L13, L14
#[test]
fn backoff_towards_an_absent_peer_grows_and_ends_with_its_first_answer() {
    let mut player = Player::played(&["cluster 1..3", "start", "crash 3", "elect 1", "settle 1 2"]);
    let cluster = player.cluster();
    cluster.shows_all = false;
    cluster.propose(node(1), b"x").expect("node 1 leads");
    let start = cluster.now;
    let sent = appends_to_3(cluster, start + Duration::from_millis(20_000));
    let pauses: Vec<u64> = sent.windows(2).map(|pair| (pair[1] - pair[0]).0 / 1000).collect();
    assert!(sent.len() < 30, "{} times in 20 s: {pauses:?}", sent.len());
    assert!(pauses.last() >= Some(&900), "in the end about once an election timeout: {pauses:?}");
    assert!(pauses.first() < Some(&400), "at first after a heartbeat or two: {pauses:?}");
    cluster.start(node(3));
    cluster.run(Duration::from_millis(1500));
    assert_eq!(cluster.nodes[&node(3)].status().map(|status| status.applied), Some(LogIndex(2)));
    // Once it has answered, what it misses is sent without any pause.
    cluster.propose(node(1), b"y").expect("node 1 leads");
    cluster.settle(NodeSet::from_bits(0b1110));
    assert_eq!(cluster.nodes[&node(3)].status().map(|status| status.last), Some(LogIndex(3)));
}

/// An append without entries in a pipeline of node 1, which leads term 1, to node 2.
fn heartbeat(session: u32) -> Vec<u8> {
    let prev = LogIndex(1);
    let append = Append { prev, prev_term: Term(1), commit: prev, session, respond: true, bytes: 0, records: &[] };
    let mut bytes = vec![0; 128];
    let envelope = Envelope { cluster: CLUSTER, node: node(1), crc: DEFAULT_CRC32C };
    let len = envelope.seal(node(2), Term(1), &Message::Append(append), &mut bytes).expect("it fits");
    bytes.truncate(len);
    bytes
}

/// Scenario 30, session numbers. The follower keeps to the newest pipeline across the wrap.
/// covers: L8, L15
#[test]
fn a_pipeline_is_newer_than_another_across_the_wrap_of_its_number() {
    let mut player = Player::played(&["cluster 1..3", "start", "elect 1", "settle", "crash 2", "start 2"]);
    let cluster = player.cluster();
    for (session, is_news) in
        [(u32::MAX - 1, true), (u32::MAX, true), (0, true), (u32::MAX, false), (1, true), (0, false)]
    {
        cluster.sent.clear();
        cluster.hand_in(node(2), &heartbeat(session));
        let answers =
            cluster.sent.iter().filter_map(|frame| frame.decode(CLUSTER)).filter_map(|frame| match frame.message {
                Message::AppendAnswer(answer) => Some(answer.session),
                _ => None,
            });
        assert_eq!(answers.collect::<Vec<_>>(), if is_news { vec![session] } else { vec![] }, "session {session}");
    }
}

/// The term of an entry far below is forgotten, and the entry has left the ring. A late append from there matches, as what is committed does; it
/// is not taken for a conflict with "term 0", nor refused.
/// covers: L2, L11, P12
#[test]
fn a_forgotten_term_below_the_commit_index_matches() {
    let terms: Vec<String> = (1..=40).map(|term: u32| term.to_string()).collect();
    let log = |id: u8| format!("log {id}: {}", terms.join(" "));
    let (one, two, three) = (log(1), log(2), log(3));
    let mut player =
        Player::played(&["cluster 1..3 ring 32x8 frame 96", &one, &two, &three, "start", "elect 1", "settle"]);
    let cluster = player.cluster();
    let before = cluster.nodes[&node(2)].status().expect("it runs");
    assert_eq!(before.committed, LogIndex(41));
    for prev in 1..=41_u64 {
        let disk = &cluster.nodes[&node(1)].disk;
        let records: Vec<u8> =
            (prev + 1..=(prev + 3).min(41)).filter_map(|index| disk.read(LogIndex(index))).flatten().copied().collect();
        let session = cluster.pipelines[&(node(1), node(2))].1;
        let (prev_term, bytes) = (disk.term_of(LogIndex(prev)).expect("it is there"), records.len() as u16);
        let append = Append {
            prev: LogIndex(prev),
            prev_term,
            commit: before.committed,
            session,
            respond: true,
            bytes,
            records: &records,
        };
        let mut frame = vec![0; 128];
        let envelope = Envelope { cluster: CLUSTER, node: node(1), crc: DEFAULT_CRC32C };
        let len = envelope.seal(node(2), before.term, &Message::Append(append), &mut frame).expect("it fits");
        frame.truncate(len);
        frame.extend(&records);
        cluster.sent.clear();
        cluster.hand_in(node(2), &frame);
        let kinds: Vec<_> = cluster
            .sent
            .iter()
            .map(|frame| frame.describe(CLUSTER))
            .filter(|line| !line.contains("t41 answer 41"))
            .collect();
        assert!(kinds.is_empty(), "after {prev}: {kinds:?}");
    }
    let after = cluster.nodes[&node(2)].status().expect("it runs");
    assert_eq!(
        (after.last, after.committed, after.accepted),
        (before.last, before.committed, before.accepted),
        "nothing was written"
    );
    assert_eq!(
        cluster.nodes[&node(2)].refusals().map(|refusals| refusals.impossible),
        Some(0),
        "no correct message is called impossible"
    );
}

/// Logs of forty terms each, of which the followers share only the first few: the search for where they meet needs terms that are forgotten.
/// covers: L7, L11, P8
#[test]
fn logs_of_more_terms_than_are_remembered_converge() {
    for shared in [0, 1, 5, 20, 39] {
        let odd = |term: u32| if term <= shared { term } else { 2 * term };
        let even = |term: u32| if term <= shared { term } else { 2 * term + 1 };
        let log = |id: u8, terms: Vec<u32>| {
            format!("log {id}: {}", terms.iter().map(u32::to_string).collect::<Vec<_>>().join(" "))
        };
        let (one, two) = (log(1, (1..=40).map(odd).collect()), log(2, (1..=40).map(even).collect()));
        let three = log(3, (1..=40).map(even).take(30).collect());
        let mut player = Player::played(&["cluster 1..3 ring 32x8 frame 96", &one, &two, &three, "start", "run 20000"]);
        let all: Vec<_> =
            player.cluster().nodes.values().filter_map(|node| node.status()).map(|status| status.applied).collect();
        assert!(all.iter().all(|&applied| applied == LogIndex(41)), "{shared} shared terms: {all:?}");
    }
}

/// Bug: entries are read from the store only when the window has room for the largest record there could be, which a small window, or a
/// follower's small ring, never has.
/// covers: L1, P8, P11, R6
#[test]
fn what_fits_a_small_window_or_ring_is_served_from_the_store() {
    let log = "log 1: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1";
    for (cluster, start) in [("cluster 1..3 window-bytes 64", "start"), ("cluster 1..3", "start 2 3 ring 64x8")] {
        let mut player = Player::played(&[cluster, log, start]);
        if player.cluster().nodes[&node(1)].running.is_none() {
            player.play("start 1");
        }
        ["elect 1", "settle", "run 5000"].iter().for_each(|line| drop(player.play(line)));
        let applied =
            player.cluster().nodes.values().filter_map(|node| node.status()).map(|status| status.applied).min();
        assert_eq!(applied, Some(LogIndex(21)), "{cluster}, {start}");
    }
}

/// A plan that a replicator gives up delays its entries, and loses none.
/// covers: P9
#[test]
fn a_plan_that_is_never_finished_delays_and_loses_nothing() {
    let mut cluster = Cluster::started(Settings::new(NodeSet::first(3)));
    cluster.elect(node(0), NodeSet::first(3)).expect("a deadline");
    cluster.settle(NodeSet::first(3));
    cluster.slow_replicators.insert((node(0), node(1)));
    for command in [b"a", b"b", b"c"] {
        cluster.propose(node(0), command).expect("node 0 leads");
        // Planned, and given up.
        cluster.plan(node(0), node(1));
    }
    cluster.slow_replicators.clear();
    cluster.run(Duration::from_millis(2000));
    assert_eq!(cluster.nodes[&node(1)].status().map(|status| status.applied), Some(LogIndex(4)));
}

/// Entries that leave the ring between plan and copy are planned anew at once, and then come from the store: the replicator need not wait for a heartbeat.
/// covers: P8, P9
#[test]
fn a_plan_whose_entries_have_left_the_ring_is_made_anew_at_once() {
    let mut player = Player::played(&["cluster 1..3 ring 32x8 frame 96", "start", "elect 1", "settle"]);
    let cluster = player.cluster();
    let (leader, slow) = (node(1), node(3));
    cluster.slow_replicators.insert((leader, slow));
    let mut planned = false;
    for _ in 0..40 {
        cluster.propose(leader, b"x").expect("node 1 leads");
        planned = planned || cluster.plan(leader, slow);
        cluster.settle(NodeSet::from_bits(0b1110));
    }
    cluster.node(leader).running.as_mut().expect("it runs").owed.remove(slow);
    assert!(planned && cluster.finish(leader, slow) == Some(Made::Gone));
    let running = cluster.node(leader).running.as_mut().expect("it runs");
    assert!(running.owed.contains(slow) || running.raft.take_ready().contains(slow));
    assert!(cluster.plan(leader, slow), "from the store");
    assert!(matches!(cluster.finish(leader, slow), Some(Made::Frame(_))));
}
