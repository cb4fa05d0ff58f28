//! A leader hands over its office: to whom, when, and what becomes of it if the successor does not come (Raft thesis 3.10).

use quoring_core::{Duration, NodeId, NodeSet, ProposeError, Role, TransferError};
use quoring_tests::cluster::{Cluster, Settings};

fn node(id: u8) -> NodeId {
    NodeId::new(id).expect("0..=31")
}

fn three() -> Settings {
    Settings::new(NodeSet::first(3))
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn leader(cluster: &Cluster) -> Option<NodeId> {
    cluster
        .nodes
        .values()
        .filter(|node| node.leads())
        .max_by_key(|node| node.status().map(|s| s.term))
        .map(|node| node.id)
}

/// Everything happens, and no time passes.
fn settle(cluster: &mut Cluster) {
    cluster.settle(cluster.settings.voters);
}

/// covers: E10
#[test]
fn a_peer_that_is_up_to_date_takes_over_before_any_time_passes() {
    for to in [1, 2].map(node) {
        let mut cluster = Cluster::led(three());
        let now = cluster.now;
        assert_eq!(cluster.transfer(node(0), Some(to)), Ok(to));
        settle(&mut cluster);
        assert_eq!((leader(&cluster), cluster.now), (Some(to), now));
        assert_eq!(cluster.nodes[&node(0)].status().and_then(|status| status.leader), Some(to));
        assert_eq!((cluster.count_sent("vote-by-leave"), cluster.count_sent("pre-vote")), (2, 0));
        cluster.propose(to, b"x").expect("it takes commands");
    }
}

/// covers: E10
#[test]
fn left_to_itself_the_leader_chooses_who_has_most_of_its_log() {
    let mut cluster = Cluster::led(three());
    cluster.network.set_cut(node(0), node(1), true);
    cluster.propose(node(0), b"x").expect("it leads");
    settle(&mut cluster);
    cluster.network.set_cut(node(0), node(1), false);
    assert_eq!(cluster.transfer(node(0), None), Ok(node(2)));
    settle(&mut cluster);
    assert_eq!(leader(&cluster), Some(node(2)));
}

/// covers: E10
#[test]
fn a_successor_is_told_to_campaign_only_once_it_has_all_entries_durably() {
    let mut cluster = Cluster::led(three());
    cluster.slow_disks.insert(node(1));
    for _ in 0..3 {
        cluster.propose(node(0), b"x").expect("it leads");
        settle(&mut cluster);
    }
    cluster.forget();
    cluster.transfer(node(0), Some(node(1))).expect("it answers");
    cluster.time_out(node(0)).expect("a tick");
    settle(&mut cluster);
    assert_eq!((cluster.count_sent("campaign-now"), leader(&cluster)), (0, Some(node(0))));
    assert_eq!(cluster.propose(node(0), b"y"), Err(ProposeError::Busy), "nothing new comes meanwhile");
    cluster.flush(node(1), 2);
    settle(&mut cluster);
    assert_eq!(cluster.count_sent("campaign-now"), 0, "one entry is missing");
    cluster.slow_disks.remove(node(1));
    cluster.flush(node(1), usize::MAX);
    settle(&mut cluster);
    assert_eq!((cluster.count_sent("campaign-now"), leader(&cluster)), (1, Some(node(1))));
}

/// covers: E10
#[test]
fn a_successor_that_needs_a_snapshot_takes_over_when_it_has_it() {
    let mut cluster = Cluster::led(three());
    cluster.set_isolated(node(1), true);
    for _ in 0..20 {
        cluster.propose(node(0), b"x").expect("it leads");
        settle(&mut cluster);
    }
    cluster.save(node(0), 2000, 0).expect("something new");
    assert!(cluster.purge(node(0), usize::MAX).0 > 10);
    cluster.propose(node(0), b"y").expect("it leads");
    settle(&mut cluster);
    cluster.slow_chunks.insert(node(1));
    cluster.set_isolated(node(1), false);
    cluster.forget();
    // The pieces of the snapshot come one by one; meanwhile it is not told.
    let mut pieces = 0;
    while leader(&cluster) == Some(node(0)) {
        settle(&mut cluster);
        match cluster.store_chunk(node(1)) {
            Some(_) => {
                pieces += 1;
                cluster.tell_stored(node(1)).expect("it was stored");
            }
            None if cluster.nodes[&node(0)].leads() => {
                cluster.time_out(node(0)).expect("a tick");
                // Again and again: each attempt has its own time.
                cluster.transfer(node(0), Some(node(1))).ok();
            }
            None => {}
        }
        assert!(pieces < 100, "no end");
    }
    settle(&mut cluster);
    assert!(pieces > 3, "of several pieces: {pieces}");
    assert_eq!(leader(&cluster), Some(node(1)));
    let status = cluster.nodes[&node(1)].status().expect("power");
    assert!(status.snapshot.0 > 10 && status.last > status.snapshot, "{status:?}");
}

/// covers: E10
#[test]
fn a_leader_whose_successor_does_not_come_leads_on() {
    let mut cluster = Cluster::led(three());
    cluster.set_isolated(node(1), true);
    let begun = cluster.now;
    cluster.transfer(node(0), Some(node(1))).expect("it was heard just now");
    assert_eq!(cluster.propose(node(0), b"x"), Err(ProposeError::Busy));
    let transfers = |cluster: &Cluster| {
        let running = cluster.nodes[&node(0)].running.as_ref();
        running.map(|running| (running.raft.transfers_to(), running.client_news))
    };
    let (to, news) = transfers(&cluster).expect("power");
    assert_eq!(to, Some(node(1)));
    let mut gave_up = None;
    while gave_up.is_none() {
        cluster.run(ms(10));
        assert!(cluster.now - begun < ms(5000), "it waits for ever");
        gave_up = cluster.propose(node(0), b"x").ok().map(|_| cluster.now);
    }
    let waited = gave_up.expect("it did") - begun;
    assert!(ms(1000) <= waited && waited <= ms(1200), "{waited:?}");
    let after = transfers(&cluster).expect("power");
    assert!(after.0.is_none() && after.1 != news, "whoever waits is told");
    assert!(cluster.nodes[&node(0)].leads() && cluster.nodes[&node(0)].status().expect("power").term.0 == 1);
}

/// covers: E10
#[test]
fn only_a_leader_hands_over_and_only_to_a_peer_that_answers() {
    let mut cluster = Cluster::led(three());
    assert_eq!(cluster.transfer(node(1), None), Err(TransferError::NotLeader(Some(node(0)))));
    for stranger in [0, 9].map(node) {
        assert_eq!(cluster.transfer(node(0), Some(stranger)), Err(TransferError::NoPeer));
    }
    cluster.set_isolated(node(1), true);
    cluster.run(ms(3000));
    assert_eq!(cluster.transfer(node(0), Some(node(1))), Err(TransferError::NoPeer), "it was not heard for long");
    assert_eq!(cluster.transfer(node(0), None), Ok(node(2)));
    cluster.halt(node(2));
    assert_eq!(cluster.transfer(node(2), None), Err(TransferError::Halted));
    let mut alone = Cluster::led(Settings::new(NodeSet::first(1)));
    assert_eq!(alone.transfer(node(0), None), Err(TransferError::NoPeer));
}

/// The promise that a lease stands on does not hold against whom the leader has told to campaign.
/// covers: C12, E10
#[test]
fn who_hands_over_has_no_lease_in_its_term_any_more() {
    let mut cluster = Cluster::led(Settings { lease_drift: Some(1000), ..three() });
    cluster.run(ms(500));
    cluster.read(node(0)).expect("it leads");
    assert_eq!(cluster.clients.done, 1, "it has one");
    cluster.transfer(node(0), Some(node(1))).expect("it answers");
    // The leave is on its way; so is all that would tell the leader that it is deposed.
    cluster.forget();
    cluster.network.set_cut(node(1), node(0), true);
    cluster.network.set_cut(node(2), node(0), true);
    settle(&mut cluster);
    assert!(cluster.nodes[&node(1)].leads() && cluster.nodes[&node(0)].leads());
    assert!(cluster.oracle.committed() > cluster.nodes[&node(0)].status().expect("power").committed);
    cluster.read(node(0)).expect("it does not know");
    assert_eq!(cluster.clients.done, 1, "not by a lease");

    // A transfer that fails gives it up all the same: the leave may still arrive.
    let mut cluster = Cluster::led(Settings { lease_drift: Some(1000), ..three() });
    cluster.run(ms(500));
    cluster.transfer(node(0), Some(node(1))).expect("it answers");
    for name in cluster.of_kind("campaign-now") {
        cluster.network.take(name);
    }
    cluster.slow_replicators.insert((node(0), node(1)));
    cluster.run(ms(1500));
    assert!(cluster.propose(node(0), b"x").is_ok(), "it leads on");
    cluster.slow_replicators.clear();
    cluster.run(ms(500));
    cluster.forget();
    let done = cluster.clients.done;
    cluster.read(node(0)).expect("it leads");
    assert_eq!((cluster.clients.done, cluster.count_sent("confirm")), (done, 2), "a round is needed");
}

/// Scenario 61. Whoever is told to campaign late, twice, or without being up to date disturbs nobody.
/// covers: E10
#[test]
fn late_and_repeated_leaves_change_nothing() {
    let mut cluster = Cluster::led(three());
    cluster.transfer(node(0), Some(node(1))).expect("it answers");
    let name = cluster.of_kind("campaign-now")[0];
    let leave = cluster.network.duplicate(name).expect("on its way").clone();
    cluster.network.duplicate(name).expect("on its way");
    settle(&mut cluster);
    // Both copies have arrived: one campaign.
    assert_eq!((leader(&cluster), cluster.count_sent("vote-by-leave")), (Some(node(1)), 2));
    let terms =
        |cluster: &Cluster| cluster.nodes.values().filter_map(|node| node.status()).map(|status| status.term.0).max();
    assert_eq!(terms(&cluster), Some(2));
    // Late, to the leader it made; and after that leader has fallen, to a follower of the next one.
    cluster.hand_in(node(1), &leave.bytes);
    assert_eq!((leader(&cluster), terms(&cluster)), (Some(node(1)), Some(2)));
    cluster.transfer(node(1), Some(node(2))).expect("it answers");
    settle(&mut cluster);
    cluster.hand_in(node(1), &leave.bytes);
    settle(&mut cluster);
    assert_eq!((leader(&cluster), terms(&cluster)), (Some(node(2)), Some(3)));

    // In its own term, to who has lost entries meanwhile: it cannot have, unless the leave is of before they came.
    let mut cluster = Cluster::led(three());
    cluster.network.set_cut(node(0), node(1), true);
    cluster.propose(node(0), b"x").expect("it leads");
    settle(&mut cluster);
    cluster.network.set_cut(node(0), node(1), false);
    cluster.transfer(node(0), Some(node(2))).expect("it answers");
    let name = cluster.of_kind("campaign-now")[0];
    let leave = cluster.network.take(name).expect("on its way");
    // As if it had been for node 1, which lacks the last entry.
    let mut bytes = leave.bytes;
    bytes[7] = 1;
    let checksum = quoring_ring::DEFAULT_CRC32C(0, &bytes[4..]);
    bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    cluster.hand_in(node(1), &bytes);
    assert_eq!(cluster.nodes[&node(1)].status().map(|status| status.role), Some(Role::Follower));
}

/// A candidate by leave that is not heard waits, and asks for pre-votes as any other: the leave is for one campaign.
/// covers: E10
#[test]
fn a_leave_is_for_one_campaign() {
    let mut cluster = Cluster::led(Settings { lease_drift: Some(1000), ..three() });
    cluster.run(ms(300));
    cluster.transfer(node(0), Some(node(1))).expect("it answers");
    let name = cluster.of_kind("campaign-now")[0];
    cluster.network.frames.retain(|frame| frame.name == name);
    cluster.set_isolated(node(1), true);
    cluster.deliver(name).expect("on its way");
    assert_eq!(cluster.nodes[&node(1)].status().map(|status| status.role), Some(Role::Candidate));
    cluster.forget();
    cluster.run(ms(5000));
    let asked: Vec<_> = cluster.sent.iter().filter(|frame| frame.from == node(1)).collect();
    let kinds: Vec<_> = asked.iter().map(|frame| frame.kind(quoring_tests::cluster::CLUSTER)).collect();
    let first = kinds.iter().position(|&kind| kind == "pre-vote").expect("its patience ends");
    assert!(kinds[..first].iter().all(|&kind| kind == "vote-by-leave"), "{kinds:?}");
    assert!(!kinds[first..].contains(&"vote-by-leave"), "{kinds:?}");
    // Nobody hears a leader any more, and its next campaign is as any other's.
    cluster.set_isolated(node(1), false);
    cluster.network.frames.clear();
    cluster.now = cluster.now + ms(5000);
    cluster.forget();
    for _ in 0..10 {
        cluster.elect(node(1), cluster.settings.voters).expect("a deadline");
    }
    assert!(cluster.count_sent("vote") > 0 && cluster.count_sent("vote-by-leave") == 0);
}
