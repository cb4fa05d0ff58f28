//! Streams, sessions, reads and transfers, from every node of a cluster in one process, in virtual time.

#[allow(dead_code, unused_imports)] // Other tests use the rest of it.
mod rig;

use std::cell::RefCell;
use std::rc::Rc;

use quoring::{Answer, Broken, Duration, LogIndex, Lost, OpenError, ReadError, SendError, SessionError, TransferError};
use rig::{Cluster, Fault, node_id};

type Usual = Cluster<256, 16>;

fn usual() -> Usual {
    Cluster::new::<256, 64, 16>(|_| {})
}

fn answer(count: usize) -> Answer {
    Answer::new(count.to_string().as_bytes()).unwrap()
}

/// Runs a client beside the test; what it found, in time.
fn client<T: 'static>(cluster: &Usual, client: impl Future<Output = T> + 'static) -> Rc<RefCell<Option<T>>> {
    let outcome: Rc<RefCell<Option<T>>> = Rc::default();
    let found = Rc::clone(&outcome);
    cluster.spawn(async move {
        *found.borrow_mut() = Some(client.await);
    });
    outcome
}

fn commands(commands: &[&str]) -> Vec<Vec<u8>> {
    commands.iter().map(|command| command.as_bytes().to_vec()).collect()
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

/// covers: C12, R7
#[test]
fn a_thousand_readers_share_one_round_and_all_of_them_read() {
    let cluster = usual();
    cluster.run(async {
        let (leader, followers) = cluster.roles().await;
        for node in [leader, followers[0]] {
            let handle = cluster.node(node);
            let readers: Vec<_> = (0..1000).map(|_| client(&cluster, async move { handle.read().await })).collect();
            cluster.idle().await;
            assert!(readers.iter().all(|reader| matches!(*reader.borrow(), Some(Ok(_)))));
        }
    });
}

/// covers: C12, R7
#[test]
fn a_reader_whose_leader_is_gone_learns_so() {
    let cluster = usual();
    cluster.run(async {
        assert_eq!(cluster.node(0).read().await, Err(ReadError::NoLeader));
        let (leader, followers) = cluster.roles().await;
        followers.into_iter().for_each(|node| cluster.kill(node));
        let handle = cluster.node(leader);
        let reader = client(&cluster, async move { handle.read().await });
        cluster.sleep(Duration::from_millis(3000)).await;
        assert_eq!(reader.take(), Some(Err(ReadError::NoLeader)));
    });
}

/// covers: C1, C2, C6, C8
#[test]
fn a_stream_on_any_node_brings_its_commands_in_order_and_each_gets_its_answer() {
    let cluster = usual();
    cluster.run(async {
        let (leader, followers) = cluster.roles().await;
        let mut expected = Vec::new();
        for node in [leader, followers[0], followers[1]] {
            let mut stream = cluster.node(node).stream().await.unwrap();
            assert_eq!(cluster.node(node).stream().await.unwrap_err(), OpenError::InUse);
            let mut sent = Vec::new();
            for number in 0..40 {
                let command = format!("{node}-{number}");
                sent.push(stream.send(command.as_bytes()).await.unwrap());
                expected.push(command.into_bytes());
                if sent.len() == 8 {
                    let first = expected.len() - 8;
                    for (place, sent) in sent.drain(..).enumerate() {
                        assert_eq!(sent.await, Ok(answer(first + place + 1)));
                    }
                }
            }
            assert!(stream.try_send_batch([]).unwrap().is_empty());
            let batch = stream.send_batch([b"a", b"b", b"c"].map(|command| &command[..])).await.unwrap();
            expected.extend(commands(&["a", "b", "c"]));
            for (place, sent) in batch.into_iter().enumerate() {
                assert_eq!(sent.await, Ok(answer(expected.len() - 2 + place)));
            }
            assert_eq!(stream.broken(), None);
        }
        cluster.idle().await;
        (0..3).for_each(|node| assert_eq!(cluster.applied(node), expected));
    });
}

/// covers: C4, C5, C6
#[test]
fn a_refused_command_closes_the_stream_and_nothing_of_it_or_behind_it_is_stored() {
    let refuses = |command: &[u8]| if command == b"bad" { Err(quoring::Rejection(7)) } else { Ok(()) };
    let cluster: Usual = Cluster::new::<256, 64, 16>(move |config| {
        // The follower that streams has not heard of the rule.
        config.admit = if config.id == node_id(2) { |_| Ok(()) } else { refuses };
        config.seed = 3;
    });
    cluster.run(async {
        let leader = cluster.leader().await;
        if leader == 2 {
            cluster.node(2).transfer(Some(node_id(0))).await.unwrap();
            cluster.leader().await;
        }
        let mut stream = cluster.node(2).stream().await.unwrap();
        let watch = stream.watch();
        let ended = client(&cluster, async move { watch.until_broken().await });
        let sent: Vec<_> =
            [&b"good"[..], b"bad", b"behind"].into_iter().map(|command| stream.try_send(command).unwrap()).collect();
        let mut outcomes = Vec::new();
        for sent in sent {
            outcomes.push(sent.await);
        }
        assert_eq!(outcomes, [Ok(answer(1)), Err(Lost::NotStored), Err(Lost::NotStored)]);
        let broken = Broken::Rejected(quoring::Rejection(7));
        assert_eq!(stream.try_send(b"more").unwrap_err(), SendError::Broken(broken));
        cluster.idle().await;
        assert_eq!((ended.take(), watch.broken()), (Some(broken), Some(broken)));
        (0..3).for_each(|node| assert_eq!(cluster.applied(node), commands(&["good"])));
    });
}

/// covers: C11, R7
#[test]
fn a_session_goes_on_through_a_change_of_leader_and_each_command_takes_effect_once() {
    let cluster = usual();
    cluster.run(async {
        let (leader, followers) = cluster.roles().await;
        let mut sessions = Vec::new();
        for node in [leader, followers[0], followers[1]] {
            sessions.push(cluster.node(node).session().await.unwrap());
        }
        for session in &mut sessions {
            session.propose(b"before").await.unwrap();
        }
        cluster.node(leader).transfer(Some(node_id(followers[0]))).await.unwrap();
        for session in &mut sessions {
            session.propose(b"after").await.unwrap();
        }
        assert_eq!(cluster.leader().await, followers[0]);
        cluster.store(followers[0]).set(Fault::Fails);
        let mut last = sessions.remove(2);
        let outcome = client(&cluster, async move { last.propose(b"last").await });
        cluster.sleep(Duration::from_millis(10_000)).await;
        let outcome = outcome.take().expect("there is a leader again");
        assert!(outcome.is_ok(), "{outcome:?}");
        let mut expected = vec![b"before".to_vec(); 3];
        expected.extend(vec![b"after".to_vec(); 3]);
        expected.push(b"last".to_vec());
        for node in [leader, followers[1]] {
            assert_eq!(cluster.applied(node), expected);
        }
        assert_eq!(sessions.remove(1).propose(b"dead").await, Err(SessionError::Halted));
    });
}

/// covers: E10
#[test]
fn a_leader_hands_over_to_the_node_it_is_told_and_loses_nothing() {
    let cluster = usual();
    cluster.run(async {
        let (leader, followers) = cluster.roles().await;
        cluster.node(leader).propose(b"one").await.unwrap();
        let before = cluster.now();
        assert_eq!(cluster.node(leader).transfer(Some(node_id(followers[1]))).await, Ok(node_id(followers[1])));
        assert_eq!(cluster.leader().await, followers[1]);
        assert!(cluster.now() - before < Duration::from_millis(100));
        let refused = TransferError::NotLeader(Some(node_id(followers[1])));
        assert_eq!(cluster.node(leader).transfer(None).await, Err(refused));
        assert_eq!(cluster.node(followers[1]).read().await.map(|index| index > LogIndex(2)), Ok(true));
        cluster.idle().await;
        assert_eq!(cluster.applied(followers[1]), commands(&["one"]));
    });
}
