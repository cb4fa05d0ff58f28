//! Reads that see all that was committed before them: by rounds, by leases, on followers, and after restarts. The oracle looks at every one that ends.

use quoring_core::wire::{Envelope, Message, ReadAnswer};
use quoring_core::{Duration, LogIndex, NodeId, NodeSet, ReadError};
use quoring_ring::DEFAULT_CRC32C;
use quoring_tests::cluster::{CLUSTER, Cluster, Settings};

/// Parts per million that clocks may drift: nine in a hundred, so that the heartbeat interval, which leases leave out too, does not hide it.
const LEASES: u32 = 90_000;

fn node(id: u8) -> NodeId {
    NodeId::new(id).expect("0..=31")
}

fn three() -> Settings {
    Settings::new(NodeSet::first(3))
}

fn settle(cluster: &mut Cluster) {
    cluster.settle(cluster.settings.voters);
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The first waits for one round, all others share the next.
/// covers: C12
#[test]
fn a_thousand_readers_cost_two_rounds_wherever_they_are() {
    for id in [0, 1].map(node) {
        let mut cluster = Cluster::led(three());
        for _ in 0..1000 {
            cluster.read(id).expect("a leader");
        }
        settle(&mut cluster);
        assert_eq!((cluster.clients.done, cluster.clients.waiting(id)), (1000, 0));
        // A leader asks both peers; a follower asks its leader, which asks both.
        assert_eq!(cluster.count_sent("confirm"), 4, "reads at {id}");
        assert_eq!(cluster.count_sent("read"), if id == node(0) { 0 } else { 2 });
    }
}

/// covers: C12
#[test]
fn a_single_node_reads_at_once() {
    let mut cluster = Cluster::led(Settings::new(NodeSet::first(1)));
    cluster.read(node(0)).expect("a leader");
    assert_eq!((cluster.clients.done, cluster.sent.len()), (1, 0));
}

/// Raft section 8. What an earlier leader has committed, its successor knows only when an entry of its own is.
/// covers: C12
#[test]
fn no_read_is_answered_before_the_leader_has_committed_an_entry_of_its_own() {
    let mut cluster = Cluster::led(three());
    cluster.propose(node(0), b"x").expect("a leader");
    // Node 1 has the entry, and not the news that it is committed.
    for name in cluster.of_kind("append") {
        cluster.deliver(name).expect("on its way");
    }
    for name in cluster.of_kind("answer") {
        cluster.deliver(name).expect("on its way");
    }
    cluster.network.frames.clear();
    assert_eq!(cluster.oracle.committed(), LogIndex(2));
    cluster.set_isolated(node(0), true);
    cluster.now = cluster.now + ms(3000);
    cluster.elect(node(1), NodeSet::EMPTY.with(node(1)).with(node(2))).expect("a deadline");
    assert!(cluster.nodes[&node(1)].leads());
    let status = cluster.nodes[&node(1)].status().expect("power");
    assert_eq!(status.committed, LogIndex(1), "it does not know");
    cluster.read(node(1)).expect("it leads");
    cluster.forget();
    cluster.time_out(node(1)).expect("a tick");
    assert_eq!((cluster.clients.done, cluster.count_sent("confirm")), (0, 0), "no round begins");
    // Now the no-op is committed; and the oracle sees that the read is not stale.
    settle(&mut cluster);
    assert_eq!(cluster.clients.done, 1);
}

/// covers: C12, R15
#[test]
fn answers_to_an_earlier_round_or_boot_complete_nothing() {
    let mut cluster = Cluster::led(three());
    let asks = |cluster: &mut Cluster| {
        cluster.read(node(1)).expect("a leader");
        assert_eq!(cluster.of_kind("read").len(), 1);
    };
    let answer = |cluster: &mut Cluster| {
        while cluster.of_kind("read-answer").is_empty() {
            let name = cluster.network.frames.first().expect("something on its way").name;
            cluster.deliver(name);
        }
        let name = cluster.of_kind("read-answer")[0];
        cluster.network.duplicate(name).expect("on its way").clone()
    };
    asks(&mut cluster);
    let first = answer(&mut cluster);
    settle(&mut cluster);
    assert_eq!(cluster.clients.done, 1);

    // The same answer again, to the next round.
    asks(&mut cluster);
    let refused = |cluster: &Cluster| cluster.nodes[&node(1)].refusals().expect("power").stale_answer;
    let before = refused(&cluster);
    cluster.hand_in(node(1), &first.bytes);
    assert_eq!((cluster.clients.done, refused(&cluster)), (1, before + 1));

    // To the same round of the next boot: the follower lost its power, and counts its rounds from the beginning.
    cluster.network.frames.clear();
    cluster.crash(node(1), 0, 0);
    cluster.start(node(1));
    cluster.run(ms(300));
    asks(&mut cluster);
    let (boot, before) = (cluster.nodes[&node(1)].disk.boot(), refused(&cluster));
    assert_eq!(boot, 2);
    cluster.hand_in(node(1), &first.bytes);
    assert_eq!((cluster.clients.done, refused(&cluster)), (1, before + 1));
    settle(&mut cluster);
    assert_eq!(cluster.clients.done, 2, "its own answer completes it");
}

/// Bug: the peers confirm a leader, the leader is deposed, and their late confirmations end a round that began after that.
/// covers: C12, R15
#[test]
fn confirmations_of_an_earlier_round_end_no_later_one() {
    let mut cluster = Cluster::led(three());
    cluster.read(node(0)).expect("it leads");
    for name in cluster.of_kind("confirm") {
        cluster.deliver(name).expect("on its way");
    }
    let late: Vec<_> =
        cluster.network.frames.iter().filter(|frame| frame.kind(CLUSTER) == "confirmed").cloned().collect();
    assert_eq!(late.len(), 2);
    settle(&mut cluster);
    assert_eq!(cluster.clients.done, 1);
    // Deposed, it does not know: both peers have gone on without it.
    cluster.set_isolated(node(0), true);
    cluster.now = cluster.now + ms(900);
    let pair = NodeSet::EMPTY.with(node(1)).with(node(2));
    while !cluster.nodes[&node(1)].leads() {
        cluster.elect(node(1), pair).expect("a deadline");
    }
    cluster.propose(node(1), b"x").expect("it leads");
    settle(&mut cluster);
    assert!(cluster.nodes[&node(0)].leads() && cluster.oracle.committed() > LogIndex(1));
    cluster.read(node(0)).expect("it does not know");
    let before = cluster.nodes[&node(0)].refusals().expect("power").stale_answer;
    late.iter().for_each(|frame| cluster.hand_in(node(0), &frame.bytes));
    assert_eq!(cluster.clients.done, 1);
    assert_eq!(cluster.nodes[&node(0)].refusals().expect("power").stale_answer, before + 2);
}

/// An old question that arrives late is not answered, so that nobody takes the answer for one to the newest.
/// covers: C12, R15
#[test]
fn late_questions_of_earlier_rounds_and_boots_are_not_answered() {
    let mut cluster = Cluster::led(three());
    cluster.read(node(1)).expect("a leader");
    let late = cluster.network.frames.iter().find(|frame| frame.kind(CLUSTER) == "read").cloned().expect("it asks");
    settle(&mut cluster);
    for restarts in [false, true] {
        if restarts {
            cluster.crash(node(1), 0, 0);
            cluster.start(node(1));
            cluster.run(ms(300));
        }
        cluster.read(node(1)).expect("a leader");
        settle(&mut cluster);
        cluster.forget();
        let before = cluster.nodes[&node(0)].refusals().expect("power").stale_answer;
        cluster.hand_in(node(0), &late.bytes);
        settle(&mut cluster);
        assert_eq!((cluster.count_sent("confirm"), cluster.count_sent("read-answer")), (0, 0));
        assert_eq!(cluster.nodes[&node(0)].refusals().expect("power").stale_answer, before + 1);
    }
}

/// covers: C12
#[test]
fn whatever_frame_of_a_round_is_lost_the_round_ends() {
    for kind in ["confirm", "confirmed", "read", "read-answer"] {
        for id in [0, 1].map(node) {
            let mut cluster = Cluster::led(three());
            cluster.read(id).expect("a leader");
            // The first three of this kind are lost.
            let (begun, mut lost) = (cluster.now, 0);
            while lost < 3 && cluster.clients.done == 0 {
                match cluster.network.frames.first().map(|frame| (frame.name, frame.kind(CLUSTER))) {
                    Some((name, lost_kind)) if lost_kind == kind => {
                        cluster.network.take(name);
                        lost += 1;
                    }
                    Some((name, _)) => cluster.deliver(name).expect("on its way"),
                    None => {
                        let all = cluster.settings.voters;
                        let next = all.iter().min_by_key(|&id| cluster.deadline(id)).expect("nodes");
                        assert!(
                            cluster.deadline(next).is_some_and(|at| at - begun < ms(5000)),
                            "{kind} is not sent again"
                        );
                        cluster.time_out(next).expect("a deadline");
                    }
                }
            }
            cluster.run(ms(300));
            assert_eq!(cluster.clients.done, 1, "{kind} is lost {lost} times, a client of {id} waits");
            assert!(cluster.nodes[&node(0)].leads());
        }
    }
}

/// covers: C12
#[test]
fn whoever_waits_when_the_leader_is_lost_learns_so() {
    for id in [0, 1].map(node) {
        let mut cluster = Cluster::led(three());
        cluster.set_isolated(node(0), true);
        cluster.read(id).expect("it does not know yet");
        cluster.read(id).expect("it does not know yet");
        cluster.run(ms(5000));
        assert_eq!((cluster.clients.done, cluster.clients.lost, cluster.clients.waiting(id)), (0, 2, 0));
        // Who asks after that is not taken for one of them.
        cluster.set_isolated(node(0), false);
        cluster.run(ms(1000));
        cluster.read(id).expect("a leader");
        cluster.run(ms(1000));
        assert_eq!((cluster.clients.done, cluster.clients.lost), (1, 2));
    }
    let mut cluster = Cluster::started(three());
    assert_eq!(cluster.read(node(0)), Err(ReadError::NoLeader));
    cluster.halt(node(0));
    assert_eq!(cluster.read(node(0)), Err(ReadError::Halted));
}

/// covers: C12
#[test]
fn whoever_waits_when_the_node_halts_learns_so() {
    let mut cluster = Cluster::led(three());
    cluster.read(node(1)).expect("a leader");
    cluster.halt(node(1));
    assert_eq!((cluster.clients.lost, cluster.clients.waiting(node(1))), (1, 0));
    assert!(cluster.lines.iter().any(|line| line.contains("lost: Halted")), "{:?}", cluster.lines);
}

/// covers: C12
#[test]
fn with_a_lease_the_leader_asks_nobody_and_a_follower_the_leader_only() {
    let mut cluster = Cluster::led(Settings { lease_drift: Some(LEASES), ..three() });
    cluster.run(ms(500));
    settle(&mut cluster);
    cluster.forget();
    cluster.read(node(0)).expect("it leads");
    assert_eq!((cluster.clients.done, cluster.sent.len()), (1, 0));
    cluster.read(node(1)).expect("a leader");
    settle(&mut cluster);
    assert_eq!((cluster.clients.done, cluster.count_sent("confirm"), cluster.count_sent("read")), (2, 0, 1));
}

/// Bug: a lease counted from when the answers came, not from when the question left.
/// covers: C12
#[test]
fn a_lease_begins_when_its_round_does() {
    let mut cluster = Cluster::led(Settings { lease_drift: Some(LEASES), ..three() });
    cluster.run(ms(500));
    settle(&mut cluster);
    cluster.time_out(node(0)).expect("a tick");
    let begun = cluster.now;
    cluster.now = begun + ms(600);
    settle(&mut cluster);
    cluster.forget();
    for (after, done) in [(700, 1), (1000, 1)] {
        cluster.now = begun + ms(after);
        cluster.read(node(0)).expect("it leads");
        assert_eq!(cluster.clients.done, done, "{after} ms after the round began");
    }
    assert_eq!(cluster.count_sent("confirm"), 2, "the second needs a round");
}

/// A follower without leases confirms, and promises nothing: no lease stands on it.
/// covers: C9, C12
#[test]
fn a_lease_stands_on_promises_only() {
    let unleased = NodeSet::EMPTY.with(node(1)).with(node(2));
    let mut cluster = Cluster::led(Settings { lease_drift: Some(LEASES), unleased, ..three() });
    cluster.run(ms(500));
    settle(&mut cluster);
    cluster.forget();
    cluster.read(node(0)).expect("it leads");
    assert_eq!((cluster.clients.done, cluster.count_sent("confirm")), (0, 2), "a round is needed");
}

/// How long after a leader is cut off and stalls, by `step`, another is elected, and whether a read at the old one is then stale. All clocks of the others
/// run by `drift` faster than time, that of the leader by as much slower.
fn is_stale(drift: i64, seed: u64) -> bool {
    let mut cluster = Cluster::new(Settings { lease_drift: Some(LEASES), seed, ..three() });
    cluster.drift = [(node(0), -drift), (node(1), drift), (node(2), drift)].into();
    (0..3).for_each(|id| cluster.start(node(id)));
    cluster.elect(node(0), cluster.settings.voters).expect("a deadline");
    settle(&mut cluster);
    cluster.run(ms(1000));
    cluster.set_isolated(node(0), true);
    let end = cluster.now + ms(3000);
    while cluster.now < end {
        cluster.now = cluster.now + ms(5);
        for id in [1, 2].map(node) {
            if cluster.deadline(id).is_some_and(|at| at <= cluster.now) {
                cluster.time_out(id).expect("a deadline");
            }
        }
        settle(&mut cluster);
        // Past the oracle, which would end the test.
        let now = cluster.clock(node(0));
        let read = cluster.node(node(0)).ask(|raft| raft.read(now).map(|round| raft.poll_read(round)));
        if let Some(Ok(Some(Ok(index)))) = read
            && index < cluster.oracle.committed()
        {
            return true;
        }
    }
    assert!(cluster.nodes[&node(1)].leads() || cluster.nodes[&node(2)].leads(), "another is elected");
    false
}

/// Scenario 51. The bound is what the configuration says; far beyond it a stale read is possible, and seen.
/// covers: C12
#[test]
fn a_lease_outlives_no_promise_if_clocks_drift_less_than_is_said() {
    let drift = i64::from(LEASES);
    for seed in 0..100 {
        assert!((-2..=2).all(|half| !is_stale(drift * half / 2, seed)), "seed {seed}");
    }
    let stale = (0..100).filter(|&seed| is_stale(3 * drift, seed)).count();
    println!("{stale} of 100 are stale when clocks drift by three times as much");
    assert!(stale > 0, "the test cannot see a stale read");
}

/// Scenario 65. A voter confirms the leader, loses its power and is back at once; a candidate that has not heard the leader for long asks it for its vote.
/// What it promised it does not remember, and keeps.
/// covers: C12, R15
#[test]
fn a_voter_that_restarts_keeps_the_promise_that_it_does_not_remember() {
    // Leases may also have been switched off there meanwhile.
    for unleased in [NodeSet::EMPTY, NodeSet::EMPTY.with(node(1))] {
        let pair = NodeSet::EMPTY.with(node(0)).with(node(1));
        let mut cluster = Cluster::led(Settings { lease_drift: Some(LEASES), ..three() });
        cluster.set_isolated(node(2), true);
        let start = cluster.now;
        while cluster.now < start + ms(3000) {
            cluster.now = cluster.now + ms(1);
            for id in
                pair.iter().filter(|&id| cluster.deadline(id).is_some_and(|at| at <= cluster.now)).collect::<Vec<_>>()
            {
                cluster.time_out(id).expect("a deadline");
            }
            cluster.settle(pair);
        }
        cluster.read(node(0)).expect("it leads");
        assert_eq!(cluster.clients.done, 1, "it has a lease");
        cluster.crash(node(1), 0, 0);
        cluster.settings.unleased = unleased;
        cluster.start(node(1));
        let restarted = cluster.now;
        cluster.set_isolated(node(2), false);
        cluster.set_isolated(node(0), true);
        cluster.forget();
        while !cluster.nodes[&node(2)].leads() && !cluster.nodes[&node(1)].leads() {
            cluster.now = cluster.now + ms(5);
            for id in [2, 1].map(node) {
                if cluster.deadline(id).is_some_and(|at| at <= cluster.now) {
                    cluster.time_out(id).expect("a deadline");
                }
            }
            settle(&mut cluster);
            // The old leader's clients never see less than is committed, says the oracle.
            let _ = cluster.read(node(0));
        }
        assert!(cluster.count_sent("pre-denial") > 0, "the candidate asked in vain first");
        assert!(cluster.now >= restarted + ms(1000), "elected within an election timeout of the restart");
    }
}

/// What a leader said of a round to a follower that leads by now is for nobody.
///
/// covers: R15
#[test]
fn an_answer_to_a_node_that_did_not_ask_is_refused() {
    let mut cluster = Cluster::led(three());
    let read = quoring_core::wire::Read { boot: 0, round: 0 };
    let message = Message::ReadAnswer(ReadAnswer { read, index: LogIndex(9) });
    let term = cluster.nodes[&node(0)].status().expect("power").term;
    let mut bytes = [0; 64];
    let envelope = Envelope { cluster: CLUSTER, node: node(0), crc: DEFAULT_CRC32C };
    let len = envelope.seal(node(1), term, &message, &mut bytes).expect("it fits");
    cluster.hand_in(node(1), &bytes[..len]);
    assert_eq!(cluster.nodes[&node(1)].refusals().expect("power").stale_answer, 1);
    cluster.read(node(1)).expect("a leader");
    assert_eq!(cluster.clients.done, 0, "it changes nothing for who asks next");
}

/// On threads the clock is read before the core is locked: a step may come with an earlier moment than the one before it. A lease that has ended for one client must not
/// come back for another, and end the round that the first one waits for.
/// covers: C12
#[test]
fn a_lease_that_has_ended_does_not_come_back_for_a_client_that_stalled() {
    let mut cluster = Cluster::led(Settings { lease_drift: Some(LEASES), ..three() });
    cluster.run(ms(1000));
    let stalled = cluster.now;
    cluster.set_isolated(node(0), true);
    while !cluster.nodes[&node(1)].leads() && !cluster.nodes[&node(2)].leads() {
        cluster.now = cluster.now + ms(5);
        for id in [1, 2].map(node) {
            if cluster.deadline(id).is_some_and(|at| at <= cluster.now) {
                cluster.time_out(id).expect("a deadline");
            }
        }
        settle(&mut cluster);
    }
    // The old leader has not looked at its clock yet.
    assert!(cluster.nodes[&node(0)].leads());
    let (now, committed) = (cluster.clock(node(0)), cluster.oracle.committed());
    let first = cluster.node(node(0)).ask(|raft| raft.read(now)).expect("power").expect("it does not know");
    let outcome = |cluster: &mut Cluster| cluster.node(node(0)).ask(|raft| raft.poll_read(first)).expect("power");
    assert_eq!(outcome(&mut cluster), None, "its lease has ended");
    let _ = cluster.node(node(0)).ask(|raft| raft.read(stalled));
    let told = outcome(&mut cluster);
    assert_eq!(told, None, "nobody has confirmed anything, and {committed} is committed");
}
