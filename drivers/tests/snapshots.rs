//! Three nodes whose logs are small: they make snapshots, purge what those cover, and who was away gets one.

mod snapshot_rig;

use quoring::{Duration, LogIndex, Role};

use snapshot_rig::Cluster;

/// covers: S1, S3, S7, P8, P9
#[test]
fn who_was_away_for_several_logs_gets_a_snapshot_and_then_goes_on_with_entries() {
    let cluster = Cluster::new();
    cluster.world.run(async {
        let leader = cluster.leader().await;
        let away = (leader + 1) % 3;
        cluster.propose(leader, 0..20).await;
        cluster.kill(away);
        cluster.propose(leader, 20..1000).await;
        let status = cluster.status(leader);
        assert!(status.start > LogIndex(500), "the log was purged: {status:?}");
        assert!(status.start <= status.snapshot && status.snapshot > LogIndex(700), "{status:?}");
        cluster.reboot(away);
        cluster.agree(leader).await;
        assert!(cluster.application(away).restored.get() > 0);
        assert!(cluster.status(away).snapshot >= status.snapshot);
        cluster.propose(leader, 1000..1100).await;
        cluster.agree(leader).await;
    });
}

/// covers: S5, R11
#[test]
fn after_a_loss_of_power_everywhere_the_applications_go_on_from_their_snapshots() {
    let cluster = Cluster::new();
    cluster.world.run(async {
        let leader = cluster.leader().await;
        cluster.propose(leader, 0..300).await;
        cluster.agree(leader).await;
        let before = cluster.application(leader).sum.get();
        (0..3).for_each(|node| cluster.kill(node));
        for node in 0..3 {
            cluster.reboot(node);
            let status = cluster.status(node);
            assert_eq!(status.committed, status.snapshot, "what is known to be committed is what the snapshot covers");
            assert!(status.committed > LogIndex(200) && status.committed <= status.durable, "{status:?}");
        }
        let leader = cluster.leader().await;
        cluster.agree(leader).await;
        cluster.propose(leader, 0..1).await;
        cluster.agree(leader).await;
        for node in 0..3 {
            let application = cluster.application(node);
            assert_eq!((application.count.get(), application.restored.get()), (301, 1));
            assert_eq!(application.sum.get(), before.wrapping_mul(31));
        }
    });
}

/// covers: P10, P12
#[test]
fn a_log_of_which_nobody_makes_snapshots_refuses_clients_until_somebody_does() {
    let cluster = Cluster::new();
    cluster.world.run(async {
        let leader = cluster.leader().await;
        (0..3).for_each(|node| cluster.application(node).lazy.set(true));
        let (mut taken, mut refused) = (0_u64, 0);
        while refused < 100 {
            match cluster.node(leader).try_propose(&taken.to_le_bytes()) {
                Ok(pending) => {
                    pending.await.unwrap();
                    taken += 1;
                }
                Err(_) => {
                    refused += 1;
                    cluster.world.sleep(Duration::from_millis(20)).await;
                }
            }
        }
        assert!(taken > 100, "the log takes {taken} entries");
        assert_eq!((cluster.status(leader).role, cluster.status(leader).start), (Role::Leader, LogIndex::ZERO));
        // Somebody asks for votes, again and again: there is room for that.
        cluster.kill(leader);
        let next = cluster.leader().await;
        cluster.reboot(leader);
        cluster.world.sleep(Duration::from_millis(1000)).await;
        (0..3).for_each(|node| cluster.application(node).lazy.set(false));
        // Who has declined is asked again, but not at once.
        cluster.world.sleep(Duration::from_millis(20_000)).await;
        cluster.propose(next, taken..taken + 50).await;
        cluster.agree(next).await;
        assert_eq!(cluster.application(next).count.get(), taken + 50);
    });
}

/// covers: S2, S4, R7
#[test]
fn an_application_that_stood_still_restores_the_snapshot_that_was_installed_under_it() {
    let cluster = Cluster::new();
    cluster.world.run(async {
        let leader = cluster.leader().await;
        let slow = (leader + 1) % 3;
        cluster.propose(leader, 0..20).await;
        cluster.application(slow).stopped.set(true);
        cluster.propose(leader, 20..1000).await;
        for _ in 0..100 {
            cluster.world.sleep(Duration::from_millis(20)).await;
        }
        let status = cluster.status(slow);
        assert!(status.applied < LogIndex(30) && status.snapshot > LogIndex(500), "{status:?}");
        cluster.application(slow).stopped.set(false);
        cluster.agree(leader).await;
        assert!(cluster.application(slow).restored.get() > 0);
    });
}

/// The follower finds out when it has all of it, and a leader cannot know; but it tries ever more rarely, and makes a better one when that is due.
///
/// covers: S1, L14
#[test]
fn a_rotten_snapshot_is_sent_ever_more_rarely_until_there_is_a_better_one() {
    let cluster = Cluster::new();
    cluster.world.run(async {
        let leader = cluster.leader().await;
        let away = (leader + 1) % 3;
        cluster.propose(leader, 0..20).await;
        cluster.kill(away);
        cluster.propose(leader, 20..600).await;
        cluster.world.sleep(Duration::from_millis(5000)).await;
        cluster.media[leader].rotten.set(cluster.snapshot(leader));
        let before = cluster.media[away].begun.get();
        cluster.reboot(away);
        cluster.world.sleep(Duration::from_millis(10_000)).await;
        let begun = cluster.media[away].begun.get() - before;
        assert!((2..10).contains(&begun), "begun {begun} times in ten seconds");
        assert_eq!(cluster.application(away).restored.get(), u32::from(before > 0), "nothing rotten is restored");
        cluster.propose(leader, 600..700).await;
        cluster.agree(leader).await;
    });
}

/// R1.
/// covers: C12, S4
#[test]
fn no_read_ends_while_the_application_restores() {
    let cluster = Cluster::new();
    cluster.world.run(async {
        let leader = cluster.leader().await;
        let slow = (leader + 1) % 3;
        cluster.propose(leader, 0..20).await;
        cluster.agree(leader).await;
        let application = cluster.application(slow);
        application.held.set(true);
        cluster.propose(leader, 20..21).await;
        cluster.world.sleep(Duration::from_millis(200)).await;
        let ended = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        for _ in 0..30 {
            let (node, held, end) = (cluster.node(slow), cluster.application(slow), std::rc::Rc::clone(&ended));
            cluster.world.spawn(async move {
                let index = node.read().await;
                end.borrow_mut().push((index, held.restoring.get()));
            });
        }
        cluster.world.sleep(Duration::from_millis(200)).await;
        assert!(ended.borrow().is_empty(), "the application has not come so far");
        cluster.propose(leader, 21..1000).await;
        cluster.world.sleep(Duration::from_millis(2000)).await;
        let status = cluster.status(slow);
        assert!(status.applied < LogIndex(30) && status.snapshot > LogIndex(500), "{status:?}");
        application.held.set(false);
        cluster.agree(leader).await;
        assert_eq!(ended.borrow().len(), 30);
        let unsafe_ones: Vec<_> = ended.borrow().iter().filter(|(_, restoring)| *restoring).copied().collect();
        assert!(unsafe_ones.is_empty(), "reads ended while the state was being replaced: {unsafe_ones:?}");
    });
}
