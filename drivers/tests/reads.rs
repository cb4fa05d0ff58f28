//! Linearizable reads on every node of a cluster in one process, in virtual time.

#[allow(dead_code, unused_imports)] // Other tests use the rest of it.
mod rig;

use std::cell::Cell;
use std::rc::Rc;

use embassy_futures::poll_once;
use embassy_futures::select::select;
use quoring::{Config, Duration, LogIndex, ReadError, Role};
use quoring_core::wire::Message;
use rig::{Client, Cluster, Fault, Usual, answer, commands, node_id, usual};

type Read = Client<Result<LogIndex, ReadError>>;

fn read(cluster: &Usual, node: usize) -> Read {
    let node = cluster.node(node);
    cluster.client(async move { node.read().await })
}

fn with_lease(config: &mut Config) {
    config.lease_drift = Some(1000);
}

/// covers: C12
#[test]
fn a_read_on_any_node_sees_what_was_committed_before_it_in_no_time() {
    let cluster = usual();
    cluster.run(async {
        let (leader, followers) = cluster.roles().await;
        assert_eq!(cluster.node(leader).propose(b"one").await, Ok(answer(1)));
        let (before, committed) = (cluster.now(), cluster.node(leader).status().committed);
        for node in [leader, followers[0], followers[1]] {
            assert_eq!(cluster.node(node).read().await, Ok(committed));
            assert_eq!(cluster.applied(node), commands(&["one"]));
        }
        assert_eq!(cluster.now(), before);
    });
}

/// A follower that waits for its leader repeats its question after a heartbeat, although it would wait much longer for the leader itself.
///
/// covers: C12, F3
#[test]
fn a_lost_question_is_repeated_after_a_heartbeat() {
    let cluster = usual();
    cluster.run(async {
        let (_, followers) = cluster.roles().await;
        let (losses, lost) = (Rc::new(Cell::new(0)), Cell::new(0));
        let due = Rc::clone(&losses);
        cluster.links().filter(move |_, _, message| {
            let loses = matches!(message, Message::Read(_)) && lost.get() < due.get();
            lost.set(lost.get() + i32::from(loses));
            !loses
        });
        // At any distance from the deadline that the ticker waits for else.
        for _ in 0..20 {
            cluster.sleep(Duration::from_millis(330)).await;
            losses.set(losses.get() + 1);
            let before = cluster.now();
            assert!(cluster.node(followers[0]).read().await.is_ok());
            let waited = cluster.now() - before;
            assert!(waited > Duration::ZERO && waited <= Duration::from_millis(200), "{waited:?}");
        }
    });
}

/// A round and an entry are due to the peers at once, and leave in two frames.
///
/// covers: P9, C12, R9
#[test]
fn what_takes_several_frames_leaves_at_once() {
    let cluster = usual();
    cluster.run(async {
        let (leader, _) = cluster.roles().await;
        let node = cluster.node(leader);
        cluster.idle().await;
        let before = cluster.now();
        let mut reading = node.read();
        assert!(poll_once(&mut reading).is_pending());
        let pending = node.try_propose(b"one").unwrap();
        assert_eq!((pending.await, reading.await.is_ok()), (Ok(answer(1)), true));
        assert_eq!(cluster.now(), before);
    });
}

/// One round is under way when the others come: they share the next one.
///
/// covers: C12, R7
#[test]
fn a_thousand_readers_share_two_rounds() {
    let cluster = usual();
    cluster.run(async {
        let (leader, followers) = cluster.roles().await;
        for (node, asked) in [(leader, 0), (followers[0], 2)] {
            let confirms = Rc::<Cell<usize>>::default();
            let reads = Rc::<Cell<usize>>::default();
            let counters = (Rc::clone(&confirms), Rc::clone(&reads));
            cluster.links().filter(move |_, _, message| {
                match message {
                    Message::Confirm(_) => counters.0.set(counters.0.get() + 1),
                    Message::Read(_) => counters.1.set(counters.1.get() + 1),
                    _ => {}
                }
                true
            });
            let before = cluster.now();
            let readers: Vec<_> = (0..1000).map(|_| read(&cluster, node)).collect();
            cluster.idle().await;
            assert!(readers.iter().all(|reader| reader.is_done() && reader.outcome().is_ok()));
            assert_eq!((confirms.get(), reads.get(), cluster.now()), (2 * 2, asked, before));
            // Registered, and woken for what it waits for: nobody looks again and again.
            assert!(readers.iter().all(|reader| reader.polls() <= 4));
        }
    });
}

/// Scenario 50: the old leader does not know yet that there is another, and has not what that one has committed.
///
/// covers: C12, R7
#[test]
fn a_reader_on_a_deposed_leader_reads_nothing_and_learns_why() {
    let cluster: Usual = Cluster::new::<256, 64, 16>(|config| {
        // It waits longer for its followers than they for it.
        let patience = if config.id == node_id(0) { 5000 } else { 500 };
        config.election_timeout = Duration::from_millis(patience);
    });
    cluster.run(async {
        if cluster.leader().await != 0 {
            let leader = cluster.leader().await;
            cluster.node(leader).transfer(Some(node_id(0))).await.unwrap();
            assert_eq!(cluster.leader().await, 0);
        }
        cluster.links().isolate(0);
        let leader = cluster.leader_among([1, 2]).await;
        assert_eq!(cluster.node(leader).propose(b"new").await, Ok(answer(1)));
        assert_eq!(cluster.node(0).status().role, Role::Leader);
        let reader = read(&cluster, 0);
        cluster.sleep(Duration::from_millis(1000)).await;
        assert_eq!((cluster.node(0).status().role, reader.is_done()), (Role::Leader, false));
        cluster.links().heal();
        assert_eq!(cluster.leader().await, leader);
        assert_eq!(reader.outcome(), Err(ReadError::NoLeader));
        assert_eq!(cluster.node(0).read().await.map(|_| cluster.applied(0)), Ok(commands(&["new"])));
    });
}

/// covers: C12, R7
#[test]
fn a_reader_whose_leader_is_gone_learns_so() {
    let cluster = usual();
    cluster.run(async {
        assert_eq!(cluster.node(0).read().await, Err(ReadError::NoLeader));
        let (leader, followers) = cluster.roles().await;
        cluster.kill(leader);
        let at_follower = read(&cluster, followers[0]);
        cluster.leader().await;
        assert_eq!(at_follower.outcome(), Err(ReadError::NoLeader));
        let (leader, _) = cluster.roles().await;
        (0..3).filter(|&node| node != leader).for_each(|node| cluster.kill(node));
        let at_leader = read(&cluster, leader);
        cluster.sleep(Duration::from_millis(3000)).await;
        assert_eq!(at_leader.outcome(), Err(ReadError::NoLeader));
    });
}

/// What an earlier leader committed is known once an own entry is: the new leader may not know of it yet.
///
/// covers: C12
#[test]
fn a_new_leader_serves_no_read_before_an_entry_of_its_own_is_committed() {
    let cluster = usual();
    cluster.run(async {
        let (old, _) = cluster.roles().await;
        cluster.node(old).propose(b"one").await.unwrap();
        cluster.kill(old);
        cluster.links().filter(|_, _, message| !matches!(message, Message::AppendAnswer(_)));
        let leader = cluster.leader().await;
        let others = (0..3).find(|&node| node != old && node != leader).unwrap();
        let readers = [read(&cluster, leader), read(&cluster, others)];
        cluster.sleep(Duration::from_millis(300)).await;
        assert_eq!(cluster.node(leader).status().role, Role::Leader);
        assert!(readers.iter().all(|reader| !reader.is_done()));
        cluster.links().heal();
        cluster.sleep(Duration::from_millis(200)).await;
        let last = cluster.node(leader).status().last;
        assert_eq!(readers.map(|reader| reader.outcome()), [Ok(last), Ok(last)]);
    });
}

/// covers: C12
#[test]
fn with_a_lease_a_leader_reads_without_asking_anybody() {
    let cluster: Usual = Cluster::new::<256, 64, 16>(with_lease);
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        cluster.node(leader).propose(b"one").await.unwrap();
        cluster.sleep(Duration::from_millis(500)).await;
        let frames = cluster.links().count(|_| true);
        let before = cluster.now();
        for _ in 0..100 {
            assert!(cluster.node(leader).read().await.is_ok());
        }
        assert_eq!((frames.get(), cluster.now()), (0, before));
        let confirms = cluster.links().count(|message| matches!(message, Message::Confirm(_)));
        assert!(cluster.node(follower).read().await.is_ok());
        assert_eq!((confirms.get(), cluster.now()), (0, before));
    });
}

/// covers: C12
#[test]
fn a_lease_ends_before_another_leader_can_be_elected() {
    for seed in 0..30 {
        let cluster: Usual = Cluster::new::<256, 64, 16>(move |config| {
            with_lease(config);
            config.seed = seed;
        });
        cluster.run(async {
            let (leader, followers) = cluster.roles().await;
            cluster.sleep(Duration::from_millis(500)).await;
            cluster.links().isolate(leader);
            let (isolated, mut last_read) = (cluster.now(), None);
            let others = cluster.client({
                let nodes = followers.map(|node| cluster.node(node));
                let clock = cluster.clock();
                async move {
                    loop {
                        if nodes.iter().any(|node| node.status().role == Role::Leader) {
                            return quoring::Clock::now(&clock);
                        }
                        quoring::Clock::sleep_until(&clock, quoring::Clock::now(&clock) + Duration::from_millis(1))
                            .await;
                    }
                }
            });
            while !others.is_done() {
                if let std::task::Poll::Ready(Ok(_)) = poll_once(cluster.node(leader).read()) {
                    last_read = Some(cluster.now());
                }
                cluster.sleep(Duration::from_millis(1)).await;
            }
            let (elected, last_read) = (others.outcome(), last_read.expect("it has a lease when it is cut off"));
            assert!(last_read - isolated > Duration::from_millis(500), "a lease is worth something");
            assert!(last_read < elected, "{last_read:?} {elected:?}");
        });
    }
}

/// A successor does not wait until the lease is over.
///
/// covers: C12, E10
#[test]
fn who_hands_over_its_office_has_no_lease_any_more() {
    let cluster: Usual = Cluster::new::<256, 64, 16>(with_lease);
    cluster.run(async {
        let (leader, [target, _]) = cluster.roles().await;
        cluster.sleep(Duration::from_millis(500)).await;
        cluster.links().filter(move |_, to, message| to != target || !matches!(message, Message::CampaignNow(_)));
        assert!(cluster.node(leader).transfer(Some(node_id(target))).await.is_err());
        cluster.sleep(Duration::from_millis(500)).await;
        let confirms = cluster.links().count(|message| matches!(message, Message::Confirm(_)));
        assert!(cluster.node(leader).read().await.is_ok());
        assert_eq!(confirms.get(), 2);
    });
}

/// covers: C12, R7, R9
#[test]
fn readers_that_go_away_early_cut_nobody_off() {
    let cluster = usual();
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        for node in [leader, follower] {
            // Both while they wait for the round, and while they wait for the application.
            for application in [false, true] {
                if application {
                    cluster.application(node).stop();
                    let proposer = cluster.node(leader);
                    _ = cluster.client(async move { proposer.propose(b"more").await });
                    cluster.idle().await;
                } else {
                    cluster.links().filter(|_, _, message| !matches!(message, Message::ConfirmAnswer(_)));
                }
                let readers: Vec<_> = (0..10).map(|_| read(&cluster, node)).collect();
                cluster.idle().await;
                assert!(readers.iter().all(|reader| !reader.is_done()));
                for gone in [0, 4, 5, 9] {
                    cluster.dismiss(&readers[gone]);
                    cluster.idle().await;
                }
                cluster.links().heal();
                cluster.application(node).go_on();
                cluster.sleep(Duration::from_millis(150)).await;
                for (place, reader) in readers.iter().enumerate() {
                    assert_eq!(reader.is_done(), ![0, 4, 5, 9].contains(&place), "{place}");
                }
            }
        }
    });
}

/// covers: C12, R7, R9
#[test]
fn a_reader_waits_until_the_application_has_come_so_far_and_not_longer() {
    let cluster = usual();
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        cluster.application(follower).stop();
        for _ in 0..3 {
            cluster.node(leader).propose(b"more").await.unwrap();
        }
        let before = cluster.now();
        let reader = read(&cluster, follower);
        cluster.idle().await;
        assert!(!reader.is_done());
        cluster.application(follower).go_on();
        cluster.idle().await;
        let index = reader.outcome().unwrap();
        assert_eq!((index, cluster.now()), (cluster.node(leader).status().committed, before));
        assert_eq!(cluster.applied(follower).len(), 3);
    });
}

/// covers: C12, D6, R7
#[test]
fn a_reader_on_a_node_that_halts_learns_so_whatever_it_waits_for() {
    for at_leader in [true, false] {
        for application in [true, false] {
            let cluster = usual();
            cluster.run(async {
                let (leader, [follower, _]) = cluster.roles().await;
                let node = if at_leader { leader } else { follower };
                if application {
                    cluster.application(node).stop();
                    let proposer = cluster.node(leader);
                    _ = cluster.client(async move { proposer.propose(b"more").await });
                    cluster.idle().await;
                } else {
                    cluster.links().filter(|_, _, message| !matches!(message, Message::ConfirmAnswer(_)));
                }
                let reader = read(&cluster, node);
                cluster.idle().await;
                assert!(!reader.is_done());
                cluster.store(node).set(Fault::Fails);
                let proposer = cluster.node(leader);
                _ = cluster.client(async move { proposer.propose(b"last").await });
                cluster.idle().await;
                assert!(cluster.node(node).halted().is_some());
                assert_eq!(reader.outcome(), Err(ReadError::Halted), "leader: {at_leader}, {application}");
                assert_eq!(cluster.node(node).read().await, Err(ReadError::Halted));
            });
        }
    }
}

/// What was told to the node before it was started again completes nothing: its questions name the boot.
///
/// covers: C12, R15
#[test]
fn a_node_that_was_started_again_asks_under_another_boot_number() {
    let cluster = usual();
    cluster.run(async {
        let (_, [follower, _]) = cluster.roles().await;
        let mut boots = Vec::new();
        for _ in 0..3 {
            let asked = Rc::<Cell<Option<u32>>>::default();
            let boot = Rc::clone(&asked);
            cluster.links().filter(move |_, _, message| {
                if let Message::Read(read) = message {
                    boot.set(Some(read.boot));
                }
                true
            });
            assert!(cluster.node(follower).read().await.is_ok());
            boots.extend(asked.get());
            cluster.reboot(follower);
            cluster.leader().await;
        }
        assert!(boots.len() == 3 && boots.is_sorted_by(|early, late| early < late), "{boots:?}");
    });
}

/// Every frame of the way there and back is lost once, one after the other.
///
/// covers: C12, R7
#[test]
fn a_read_outlives_the_loss_of_any_of_its_frames() {
    let kinds: [fn(&Message<'_>) -> bool; 4] = [
        |message| matches!(message, Message::Read(_)),
        |message| matches!(message, Message::Confirm(_)),
        |message| matches!(message, Message::ConfirmAnswer(_)),
        |message| matches!(message, Message::ReadAnswer(_)),
    ];
    for is_lost in kinds {
        let cluster = usual();
        cluster.run(async {
            let (_, [follower, _]) = cluster.roles().await;
            let mut left = 2;
            cluster.links().filter(move |_, _, message| {
                let lost = is_lost(message) && left > 0;
                left -= usize::from(lost);
                !lost
            });
            let before = cluster.now();
            assert!(cluster.node(follower).read().await.is_ok());
            assert!(cluster.now() - before <= Duration::from_millis(300));
        });
    }
}

/// The executor runs them side by side in one task.
///
/// covers: C12
#[test]
fn many_reads_of_one_task_all_end() {
    let cluster = usual();
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        for node in [leader, follower].map(|node| cluster.node(node)) {
            let reads = cluster.client(async move {
                let mut reads: Vec<_> = (0..20).map(|_| Box::pin(node.read())).collect();
                // The first two race, and the loser is dropped.
                let (second, first) = (reads.pop().unwrap(), reads.pop().unwrap());
                select(first, second).await;
                for read in reads {
                    assert!(read.await.is_ok());
                }
            });
            cluster.idle().await;
            assert!(reads.is_done());
        }
    });
}
