//! The client stream on every node of a cluster in one process, in virtual time.

#[allow(dead_code, unused_imports)] // Other tests use the rest of it.
mod rig;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use quoring::{Answer, Broken, Capabilities, Duration, Instant, Lost, OpenError, Rejection, SendError, Sent, Stream};
use quoring_core::wire::{Items, Message};
use rig::{Board, Client, Cluster, Fault, Usual, answer, commands, node_id, usual};

type UsualSent = Sent<'static, Board<256, 16>>;
type UsualStream = Stream<'static, Board<256, 16>>;

type Outcome = Result<Answer, Lost>;

/// Refuses what begins with "bad".
fn admit(command: &[u8]) -> Result<(), Rejection> {
    if command.starts_with(b"bad") { Err(Rejection(7)) } else { Ok(()) }
}

const REFUSED: Broken = Broken::Rejected(Rejection(7));

/// What becomes of one command.
fn outcome(cluster: &Usual, sent: UsualSent) -> Client<Outcome> {
    cluster.client(sent)
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
            assert!(stream.pipelines());
            let before = cluster.now();
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
            assert_eq!((stream.broken(), cluster.now()), (None, before));
        }
        cluster.idle().await;
        (0..3).for_each(|node| assert_eq!(cluster.applied(node), expected));
    });
}

/// On the leader a command is in the log when it is taken; no frame carries it there.
///
/// covers: C2, C10
#[test]
fn a_stream_appends_on_the_leader_and_forwards_elsewhere_under_the_clients_own_name() {
    let cluster = usual();
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        let forwards = cluster.links().count(|message| matches!(message, Message::Forward(_)));
        let mut here = cluster.node(leader).stream().await.unwrap();
        let last = cluster.node(leader).status().last;
        let sent = here.try_send(b"here").unwrap();
        assert_eq!((cluster.node(leader).status().last, forwards.get()), (last.next(), 0));
        assert_eq!(sent.await, Ok(answer(1)));
        let mut there = cluster.node(follower).stream().await.unwrap();
        assert_eq!(there.send(b"there").await.unwrap().await, Ok(answer(2)));
        assert_eq!(there.send(b"again").await.unwrap().await, Ok(answer(3)));
        assert!(forwards.get() >= 3);
        cluster.idle().await;
        for node in 0..3 {
            let requests: Vec<_> =
                cluster.application(node).requests().into_iter().skip(1).map(Option::unwrap).collect();
            assert!(requests.iter().all(|request| request.client.node() == Some(node_id(follower))));
            assert_eq!(requests.iter().map(|request| request.sequence).collect::<Vec<_>>(), [0, 1]);
        }
    });
}

/// covers: C3, C5
#[test]
fn a_stream_that_is_not_opened_says_why() {
    let cluster: Usual = Cluster::new::<256, 64, 16>(|config| {
        config.seed = 5;
    });
    cluster.run(async {
        assert_eq!(cluster.node(0).stream().await.unwrap_err(), OpenError::NoLeader);
        let (leader, [follower, halted]) = cluster.roles().await;
        let stream = cluster.node(leader).stream().await.unwrap();
        assert_eq!(cluster.node(leader).stream().await.unwrap_err(), OpenError::InUse);
        drop(stream);
        // It hears its leader, and the leader does not hear it.
        cluster.links().cut(follower, leader);
        let before = cluster.now();
        assert_eq!(cluster.node(follower).stream().await.unwrap_err(), OpenError::NoAnswer);
        let took = cluster.now() - before;
        let two_election_timeouts = Duration::from_millis(2000)..Duration::from_millis(2300);
        assert!(two_election_timeouts.contains(&took), "{took:?}");
        cluster.links().heal();
        assert!(cluster.node(follower).stream().await.is_ok());
        cluster.store(halted).set(Fault::Fails);
        cluster.node(leader).propose(b"one").await.unwrap();
        cluster.idle().await;
        assert_eq!(cluster.node(halted).stream().await.unwrap_err(), OpenError::Halted);
    });
}

/// Whoever it is that does not know such commands: the leader, the node itself, or the third.
///
/// covers: C3, C9
#[test]
fn in_a_cluster_with_a_node_that_does_not_know_streams_none_is_opened_through_it() {
    for old in 0..3 {
        let cluster: Usual = Cluster::new::<256, 64, 16>(move |config| {
            if config.id == node_id(old) {
                config.capabilities = Capabilities::NONE;
            }
        });
        cluster.run(async {
            let (leader, followers) = cluster.roles().await;
            // Who can do what is known as soon as somebody asked.
            cluster.node(leader).read().await.unwrap();
            cluster.sleep(Duration::from_millis(200)).await;
            for follower in followers {
                assert_eq!(cluster.node(follower).stream().await.unwrap_err(), OpenError::Unsupported, "{old}");
            }
            assert_eq!(cluster.node(leader).propose(b"plain").await, Ok(answer(1)));
        });
    }
}

/// covers: C3
#[test]
fn over_a_link_that_takes_one_frame_at_a_time_one_command_is_on_its_way() {
    let cluster = usual();
    cluster.links().one_at_a_time();
    (0..3).for_each(|node| cluster.reboot(node));
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        let most = Rc::<Cell<usize>>::default();
        let items = Rc::clone(&most);
        cluster.links().filter(move |_, _, message| {
            if let Message::Forward(forward) = message {
                items.set(items.get().max(Items::new(forward.items).count()));
            }
            true
        });
        assert!(cluster.node(leader).stream().await.unwrap().pipelines());
        let mut stream = cluster.node(follower).stream().await.unwrap();
        assert!(!stream.pipelines());
        let first = stream.try_send(b"1").unwrap();
        assert_eq!(stream.try_send(b"2").unwrap_err(), SendError::NotReady);
        let before = cluster.now();
        let second = stream.send(b"2").await.unwrap();
        assert_eq!((first.await, second.await), (Ok(answer(1)), Ok(answer(2))));
        assert_eq!((most.get(), cluster.now()), (1, before));
    });
}

/// By this node or by the leader, whose rules it may not have heard of.
///
/// Scenario 49.
///
/// covers: C4, C5, C6
#[test]
fn a_refused_command_closes_the_stream_and_nothing_of_it_or_behind_it_is_stored() {
    for knows in [true, false] {
        let cluster: Usual = Cluster::new::<256, 64, 16>(move |config| {
            config.admit = if config.id == node_id(2) && !knows { |_| Ok(()) } else { admit };
        });
        cluster.run(async {
            if cluster.leader().await == 2 {
                cluster.node(2).transfer(Some(node_id(0))).await.unwrap();
            }
            let leader = cluster.leader().await;
            for (round, node) in [(0, leader), (1, 2)] {
                let mut stream = cluster.node(node).stream().await.unwrap();
                let watch = stream.watch();
                let ended = cluster.client(async move { watch.until_broken().await });
                let good = outcome(&cluster, stream.try_send(b"good").unwrap());
                let refused = stream.try_send(b"bad");
                if node == 2 && !knows {
                    let refused = outcome(&cluster, refused.unwrap());
                    let behind = outcome(&cluster, stream.try_send(b"behind").unwrap());
                    cluster.idle().await;
                    assert_eq!((refused.outcome(), behind.outcome()), (Err(Lost::NotStored), Err(Lost::NotStored)));
                } else {
                    assert_eq!(refused.unwrap_err(), SendError::Broken(REFUSED));
                }
                assert_eq!(stream.try_send(b"more").unwrap_err(), SendError::Broken(REFUSED));
                assert_eq!(stream.send(b"more").await.unwrap_err(), REFUSED);
                cluster.idle().await;
                assert_eq!(
                    (good.outcome(), ended.outcome(), watch.broken()),
                    (Ok(answer(round + 1)), REFUSED, Some(REFUSED))
                );
            }
            cluster.idle().await;
            (0..3).for_each(|node| assert_eq!(cluster.applied(node), commands(&["good", "good"])));
        });
    }
}

/// covers: C4, C8
#[test]
fn a_batch_is_stored_as_a_whole_or_not_at_all() {
    let cluster: Usual = Cluster::new::<256, 64, 16>(move |config| {
        config.admit = if config.id == node_id(2) { |_| Ok(()) } else { admit };
    });
    cluster.run(async {
        if cluster.leader().await == 2 {
            cluster.node(2).transfer(Some(node_id(0))).await.unwrap();
        }
        let leader = cluster.leader().await;
        for (node, refused) in [(leader, "refused by the leader"), (2, "refused far away")] {
            let mut stream = cluster.node(node).stream().await.unwrap();
            assert!(stream.send_batch([]).await.unwrap().is_empty());
            let [one, two] = stream.send_batch([&b"one"[..], b"two"]).await.unwrap();
            assert!(one.await.is_ok() && two.await.is_ok());
            match stream.send_batch([&b"three"[..], b"bad", b"four"]).await {
                Err(broken) => assert_eq!(broken, REFUSED),
                Ok(batch) => {
                    for sent in batch {
                        assert_eq!(sent.await, Err(Lost::NotStored), "{refused}");
                    }
                }
            }
            assert_eq!(stream.broken(), Some(REFUSED));
        }
        cluster.idle().await;
        (0..3).for_each(|node| assert_eq!(cluster.applied(node), commands(&["one", "two", "one", "two"])));
    });
}

/// covers: C4, L10
#[test]
fn what_is_too_large_for_a_node_on_the_way_closes_the_stream_before_anything_of_it_is_stored() {
    let cluster = usual();
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        for node in [leader, follower] {
            let limit = cluster.node(node).command_limit();
            let mut stream = cluster.node(node).stream().await.unwrap();
            assert!(stream.send(&vec![1; limit - 16]).await.unwrap().await.is_ok());
            assert_eq!(stream.try_send(&vec![1; limit + 1]).unwrap_err(), SendError::Broken(Broken::TooLarge));
            assert_eq!(stream.broken(), Some(Broken::TooLarge));
        }
        let mut stream = cluster.node(follower).stream().await.unwrap();
        let long = [1; 100];
        assert_eq!(stream.send_batch([&long[..]; 3]).await.unwrap_err(), Broken::TooLarge);
        cluster.idle().await;
        (0..3).for_each(|node| assert_eq!(cluster.applied(node).len(), 2));
    });
}

/// It is woken once, and nothing looks in between: no time passes and nobody runs.
///
/// covers: C5
#[test]
fn a_watcher_is_woken_when_the_stream_breaks_and_not_before() {
    let cluster = usual();
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        for node in [leader, follower] {
            let mut stream = cluster.node(node).stream().await.unwrap();
            let watch = stream.watch();
            let watcher = cluster.client(async move { watch.until_broken().await });
            for _ in 0..20 {
                stream.send(b"more").await.unwrap().await.unwrap();
                cluster.sleep(Duration::from_millis(100)).await;
            }
            assert_eq!((watcher.polls(), watch.broken()), (1, None));
            let before = cluster.now();
            stream.break_off();
            cluster.idle().await;
            assert_eq!((watcher.polls(), watcher.outcome(), cluster.now()), (2, Broken::Owner, before));
            // It stays so, whatever happens then.
            drop(stream);
            cluster.links().isolate(node);
            cluster.sleep(Duration::from_millis(4000)).await;
            cluster.links().heal();
            assert_eq!(watch.broken(), Some(Broken::Owner));
            cluster.leader().await;
        }
    });
}

/// covers: C5, C6
#[test]
fn a_stream_that_its_owner_breaks_takes_nothing_more_and_what_was_sent_still_has_its_answer() {
    let cluster = usual();
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        for (node, count) in [(leader, 1), (follower, 2)] {
            let mut stream = cluster.node(node).stream().await.unwrap();
            let sent = stream.try_send(b"sent").unwrap();
            stream.break_off();
            assert_eq!(stream.try_send(b"more").unwrap_err(), SendError::Broken(Broken::Owner));
            drop(stream);
            assert_eq!(sent.await, Ok(answer(count)));
        }
        cluster.idle().await;
        assert_eq!(cluster.applied(leader), commands(&["sent", "sent"]));
    });
}

/// covers: C5, C6, D6
#[test]
fn a_stream_on_a_node_that_halts_says_so_and_so_do_its_commands() {
    for at_leader in [true, false] {
        let cluster = usual();
        cluster.run(async {
            let (leader, [follower, _]) = cluster.roles().await;
            let node = if at_leader { leader } else { follower };
            let mut stream = cluster.node(node).stream().await.unwrap();
            let watch = stream.watch();
            let watcher = cluster.client(async move { watch.until_broken().await });
            stream.send(b"one").await.unwrap().await.unwrap();
            cluster.store(node).set(Fault::Fails);
            let sent = outcome(&cluster, stream.try_send(b"two").unwrap());
            cluster.idle().await;
            assert!(cluster.node(node).halted().is_some());
            assert_eq!((sent.outcome(), watcher.outcome()), (Err(Lost::Halted), Broken::Halted));
            assert_eq!(stream.try_send(b"three").unwrap_err(), SendError::Broken(Broken::Halted));
        });
    }
}

/// The leader is cut off, killed, or hands over, while a stream on each other node is at work.
///
/// Scenario 48.
///
/// covers: C1, C5, C6, R7
#[test]
fn across_a_change_of_leader_what_commits_is_a_prefix_of_each_stream() {
    for (case, seed) in (0..30).map(|seed| (seed % 3, seed)) {
        let cluster: Usual = Cluster::new::<256, 64, 16>(move |config| config.seed = seed);
        cluster.run(async {
            let (leader, _) = cluster.roles().await;
            let journal = Rc::<Journal>::default();
            let streamers: Vec<_> = (0..3).map(|node| stream_on(&cluster, node, &journal)).collect();
            let mut chance = Chance(seed + 1);
            cluster.sleep(Duration(20_000 + chance.below(20_000))).await;
            match case {
                0 => cluster.links().isolate(leader),
                1 => {
                    cluster.kill(leader);
                    journal.killed.set(true);
                }
                _ => _ = cluster.node(leader).transfer(None).await,
            }
            cluster.sleep(Duration::from_millis(4000)).await;
            cluster.links().heal();
            if case == 1 {
                cluster.reboot(leader);
            }
            journal.stop.set(true);
            cluster.sleep(Duration::from_millis(6000)).await;
            assert!(
                streamers
                    .iter()
                    .enumerate()
                    .all(|(node, streamer)| { streamer.is_done() || case == 1 && node == leader }),
                "every command has its outcome"
            );
            cluster.leader().await;
            cluster.sleep(Duration::from_millis(500)).await;
            journal.check(&cluster);
            assert!(journal.streams.borrow().len() > 3, "streams were opened again");
        });
    }
}

/// Frames are lost all the time, and leaders now and then.
///
/// covers: C1, C6, R7
#[test]
fn over_links_that_lose_frames_each_stream_still_commits_a_prefix_of_itself() {
    for seed in 0..8 {
        let cluster: Usual = Cluster::new::<256, 64, 16>(move |config| config.seed = seed);
        cluster.run(async {
            cluster.leader().await;
            let mut loss = Chance(seed + 100);
            cluster.links().filter(move |_, _, _| loss.below(100) >= 10);
            let journal = Rc::<Journal>::default();
            let streamers: Vec<_> = (0..3).map(|node| stream_on(&cluster, node, &journal)).collect();
            for _ in 0..4 {
                cluster.sleep(Duration::from_millis(3000)).await;
                for node in 0..3 {
                    _ = cluster.client({
                        let node = cluster.node(node);
                        async move { node.transfer(None).await.is_ok() }
                    });
                }
            }
            journal.stop.set(true);
            cluster.links().heal();
            cluster.sleep(Duration::from_millis(6000)).await;
            assert!(streamers.iter().all(Client::is_done), "every command has its outcome");
            cluster.leader().await;
            cluster.sleep(Duration::from_millis(500)).await;
            journal.check(&cluster);
        });
    }
}

/// What was sent in all streams, and what became of it.
#[derive(Default)]
struct Journal {
    /// The outcomes of each stream's commands, in order.
    streams: RefCell<Vec<Vec<Option<Outcome>>>>,
    stop: Cell<bool>,
    /// A node was killed: what its own clients waited for nobody knows.
    killed: Cell<bool>,
}

impl Journal {
    fn command(stream: usize, place: usize) -> Vec<u8> {
        format!("{stream}/{place}").into_bytes()
    }

    fn check(&self, cluster: &Usual) {
        let applied = (0..3).map(|node| cluster.applied(node)).max_by_key(Vec::len).unwrap();
        let mut answered = 0;
        for (stream, outcomes) in self.streams.borrow().iter().enumerate() {
            let begins = format!("{stream}/").into_bytes();
            let ours: Vec<_> = applied.iter().filter(|command| command.starts_with(&begins)).cloned().collect();
            let sent: Vec<_> = (0..outcomes.len()).map(|place| Self::command(stream, place)).collect();
            assert!(sent.starts_with(&ours), "stream {stream}: {ours:?}");
            for (place, outcome) in outcomes.iter().enumerate() {
                let Some(outcome) = outcome else {
                    assert!(self.killed.get(), "{stream}/{place} has no outcome");
                    continue;
                };
                match outcome {
                    Ok(count) => {
                        let count: usize = std::str::from_utf8(count).unwrap().parse().unwrap();
                        assert_eq!(applied[count - 1], sent[place], "the answer is its own");
                        answered += 1;
                    }
                    Err(Lost::NotStored) => assert!(place >= ours.len(), "{stream}/{place} was not stored"),
                    Err(_) => {}
                }
            }
        }
        assert!(answered > 20, "{answered}");
        let mut once = applied.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), applied.len(), "each once");
    }
}

/// Streams commands from the node, a few at a time, and opens another stream when one breaks, until it is told to stop.
fn stream_on(cluster: &Usual, node: usize, journal: &Rc<Journal>) -> Client<()> {
    let (node, journal, clock) = (cluster.node(node), Rc::clone(journal), cluster.clock());
    cluster.client(async move {
        while !journal.stop.get() {
            if let Ok(stream) = node.stream().await {
                send_until_broken(stream, &journal, &clock).await;
            }
        }
    })
}

async fn send_until_broken(mut stream: UsualStream, journal: &Journal, clock: &impl quoring::Clock) {
    let number = journal.streams.borrow().len();
    journal.streams.borrow_mut().push(Vec::new());
    let mut waiting = VecDeque::<(usize, UsualSent)>::new();
    let mut place = 0;
    loop {
        let sent = if journal.stop.get() { None } else { stream.send(&Journal::command(number, place)).await.ok() };
        let has_ended = sent.is_none();
        if let Some(sent) = sent {
            journal.streams.borrow_mut()[number].push(None);
            waiting.push_back((place, sent));
            place += 1;
        }
        while waiting.len() > 4 || has_ended && !waiting.is_empty() {
            let (place, sent) = waiting.pop_front().unwrap();
            let outcome = sent.await;
            journal.streams.borrow_mut()[number][place] = Some(outcome);
        }
        if has_ended {
            return;
        }
        clock.sleep_until(clock.now() + Duration::from_millis(7)).await;
    }
}

/// A xorshift generator.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Moments at which attempts end, in milliseconds from `from`.
fn after(now: Instant, from: Instant) -> u64 {
    (now - from).0 / 1000
}

/// covers: C7
#[test]
fn opening_again_waits_twice_as_long_each_time_up_to_an_election_timeout_until_a_command_has_its_answer() {
    let cluster = usual();
    cluster.run(async {
        let (leader, [follower, other]) = cluster.roles().await;
        [leader, other].into_iter().for_each(|node| cluster.kill(node));
        while cluster.node(follower).status().leader.is_some() {
            cluster.sleep(Duration::from_millis(10)).await;
        }
        let mut waits = Vec::new();
        for _ in 0..7 {
            let before = cluster.now();
            assert_eq!(cluster.node(follower).stream().await.unwrap_err(), OpenError::NoLeader);
            waits.push(after(cluster.now(), before));
        }
        assert_eq!(waits, [0, 100, 200, 400, 800, 1000, 1000]);
        [leader, other].into_iter().for_each(|node| cluster.reboot(node));
        cluster.leader().await;
        let mut stream = cluster.node(follower).stream().await.unwrap();
        stream.send(b"one").await.unwrap().await.unwrap();
        drop(stream);
        // That was the end of it: the next failures are the first ones again.
        cluster.kill(leader);
        cluster.kill(other);
        while cluster.node(follower).status().leader.is_some() {
            cluster.sleep(Duration::from_millis(10)).await;
        }
        let before = cluster.now();
        for _ in 0..2 {
            assert_eq!(cluster.node(follower).stream().await.unwrap_err(), OpenError::NoLeader);
        }
        assert_eq!(after(cluster.now(), before), 100);
    });
}

/// covers: P15, C6, R9
#[test]
fn a_stream_waits_for_room_in_the_table_of_clients_and_goes_on_when_one_has_gone() {
    let cluster: Usual = Cluster::new::<256, 64, 2>(|_| {});
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        for node in [leader, follower] {
            let mut stream = cluster.node(node).stream().await.unwrap();
            cluster.application(node).stop();
            let [one, two] = stream.try_send_batch([&b"one"[..], b"two"]).unwrap();
            assert_eq!(stream.try_send(b"three").unwrap_err(), SendError::NotReady);
            let before = cluster.now();
            let was_sent = Rc::<Cell<bool>>::default();
            let taken = Rc::clone(&was_sent);
            let three = cluster.client(async move {
                let sent = stream.send(b"three").await.unwrap();
                taken.set(true);
                sent.await
            });
            cluster.idle().await;
            assert!(!was_sent.get());
            drop(one);
            cluster.idle().await;
            assert!(was_sent.get() && !three.is_done());
            cluster.application(node).go_on();
            cluster.idle().await;
            assert!(three.is_done() && three.outcome().is_ok() && two.await.is_ok());
            assert_eq!(cluster.now(), before);
        }
        cluster.idle().await;
        assert_eq!(cluster.applied(leader), commands(&["one", "two", "three", "one", "two", "three"]));
    });
}

/// The log takes no more until the store has taken what is there. All commands keep their places meanwhile, so nothing else wakes the sender.
///
/// covers: P10, C6, R9
#[test]
fn a_stream_waits_for_room_in_the_log_and_goes_on_when_there_is_some() {
    let cluster: Usual = Cluster::new::<256, 64, 64>(|_| {});
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        for node in [leader, follower] {
            let mut stream = cluster.node(node).stream().await.unwrap();
            cluster.store(leader).set(Fault::Hangs);
            let mut taken = Vec::new();
            while let Ok(sent) = stream.try_send(&[1; 100]) {
                taken.push(sent);
                cluster.idle().await;
            }
            assert!(taken.len() > 3 && taken.len() < 60, "{}", taken.len());
            let before = cluster.now();
            let more = cluster.client(async move { stream.send(&[2; 100]).await.map(|sent| (sent, stream)) });
            cluster.idle().await;
            assert!(!more.is_done());
            cluster.store(leader).set(Fault::None);
            cluster.idle().await;
            assert!(more.is_done());
            let (sent, _stream) = more.outcome().unwrap();
            assert!(sent.await.is_ok());
            for sent in taken {
                assert!(sent.await.is_ok());
            }
            assert_eq!(cluster.now(), before);
        }
    });
}

/// No such batch will ever fit: to wait for it is to wait for ever.
///
/// covers: C4, R6
#[test]
fn a_batch_of_more_commands_than_clients_may_wait_is_refused() {
    let cluster: Usual = Cluster::new::<256, 64, 2>(|_| {});
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        for node in [leader, follower] {
            let mut stream = cluster.node(node).stream().await.unwrap();
            let batch = cluster.client(async move { stream.send_batch([&b"x"[..]; 3]).await.map(|_| ()) });
            cluster.sleep(Duration::from_millis(5000)).await;
            assert!(batch.is_done(), "the sender hangs");
            assert_eq!(batch.outcome(), Err(Broken::TooLarge));
        }
    });
}

/// The frame with a command is lost, while the node asks its leader for other things all the time.
///
/// covers: C6, R7
#[test]
fn a_lost_command_is_sent_again_however_busy_the_node_is() {
    let cluster = usual();
    cluster.run(async {
        let (_, [follower, _]) = cluster.roles().await;
        let mut stream = cluster.node(follower).stream().await.unwrap();
        cluster.idle().await;
        let mut lost = false;
        cluster
            .links()
            .filter(move |_, _, message| !matches!(message, Message::Forward(_)) || std::mem::replace(&mut lost, true));
        let sent = cluster.client(stream.try_send(b"lost").unwrap());
        for _ in 0..40 {
            assert!(cluster.node(follower).read().await.is_ok());
            cluster.sleep(Duration::from_millis(50)).await;
        }
        assert!(sent.is_done(), "not in two seconds");
    });
}

/// The leader's own limits are the same whatever way a command comes to it.
///
/// covers: C4, L10
#[test]
fn the_largest_command_of_a_stream_is_the_same_on_every_node() {
    let cluster = usual();
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        let limit = cluster.node(leader).command_limit();
        let mut taken = Vec::new();
        for node in [leader, follower] {
            let mut stream = cluster.node(node).stream().await.unwrap();
            taken.push((stream.command_limit(), stream.send(&vec![1; limit]).await.map(|_| ())));
        }
        assert_eq!(taken, [(limit - 16, Err(Broken::TooLarge)); 2]);
    });
}

/// covers: C10
#[test]
fn a_command_of_a_stream_names_its_client_wherever_the_stream_is() {
    let cluster = usual();
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        for node in [leader, follower] {
            let mut stream = cluster.node(node).stream().await.unwrap();
            stream.send(b"x").await.unwrap().await.unwrap();
        }
        let clients: Vec<_> =
            cluster.application(leader).requests().into_iter().map(|request| request?.client.node()).collect();
        assert_eq!(clients, [Some(node_id(leader)), Some(node_id(follower))]);
    });
}

/// From the moment at which it broke; and ever longer, as long as nothing comes of it.
///
/// covers: C7
#[test]
fn opening_waits_after_a_stream_that_broke_with_its_leader_and_not_after_one_that_its_owner_broke() {
    let cluster = usual();
    cluster.run(async {
        let (mut leader, _) = cluster.roles().await;
        let (mut waits, mut broke) = (Vec::new(), cluster.now());
        for _ in 0..4 {
            let stream = cluster.node(2).stream().await.unwrap();
            waits.push(after(cluster.now(), broke));
            cluster.node(leader).transfer(Some(node_id((leader + 1) % 3))).await.unwrap();
            broke = cluster.now();
            leader = cluster.leader().await;
            assert_eq!(stream.broken(), Some(Broken::LeaderLost));
        }
        assert_eq!(waits, [0, 100, 200, 400]);
        let mut stream = cluster.node(2).stream().await.unwrap();
        stream.send(b"works").await.unwrap().await.unwrap();
        let before = cluster.now();
        for _ in 0..3 {
            stream.break_off();
            stream.break_off();
            drop(stream);
            stream = cluster.node(2).stream().await.unwrap();
        }
        assert_eq!(cluster.now(), before);
    });
}

/// A frame holds one command: each waits until the leader has the one before it.
///
/// covers: C1, C6, R6
#[test]
fn a_window_of_one_command_still_takes_them_all_in_order() {
    let cluster = Cluster::<112, 16>::new::<256, 64, 16>(|_| {});
    cluster.run(async {
        let (_, [follower, _]) = cluster.roles().await;
        let mut stream = cluster.node(follower).stream().await.unwrap();
        let long = vec![1; stream.command_limit()];
        let first = stream.try_send(&long).unwrap();
        assert_eq!(stream.try_send(&long).unwrap_err(), SendError::NotReady);
        let before = cluster.now();
        let rest = cluster.client(async move {
            let mut last = None;
            for _ in 0..100 {
                last = Some(stream.send(&long).await.unwrap());
            }
            last.unwrap().await
        });
        assert_eq!(first.await, Ok(answer(1)));
        cluster.idle().await;
        assert_eq!((rest.outcome(), cluster.now()), (Ok(answer(101)), before));
    });
}

/// Whoever gives up while it waits for room has sent nothing; whoever gives up while it opens a stream has none.
///
/// covers: C1, C4, R7
#[test]
fn what_is_given_up_before_it_was_taken_leaves_nothing_behind() {
    let cluster: Usual = Cluster::new::<256, 64, 1>(|_| {});
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        for node in [leader, follower] {
            cluster.links().isolate(leader);
            let handle = cluster.node(node);
            let opening = cluster.client(async move { handle.stream().await.is_ok() });
            cluster.idle().await;
            assert!(!opening.is_done());
            assert_eq!(cluster.node(node).stream().await.unwrap_err(), OpenError::InUse);
            cluster.dismiss(&opening);
            cluster.links().heal();
            let mut stream = cluster.node(node).stream().await.unwrap();
            cluster.application(node).stop();
            let held = outcome(&cluster, stream.try_send(b"held").unwrap());
            cluster.idle().await;
            {
                let mut waiting = Box::pin(stream.send(b"given up"));
                assert!(embassy_futures::poll_once(waiting.as_mut()).is_pending());
            }
            cluster.application(node).go_on();
            cluster.idle().await;
            assert!(held.outcome().is_ok());
            assert!(stream.send(b"taken").await.unwrap().await.is_ok());
        }
        cluster.idle().await;
        assert_eq!(cluster.applied(leader), commands(&["held", "taken", "held", "taken"]));
    });
}

///
///
/// covers: C2, C4
#[test]
fn the_largest_batch_of_a_stream_is_the_same_on_every_node() {
    let cluster = usual();
    cluster.run(async {
        let (leader, followers) = cluster.roles().await;
        let taken = [leader, followers[0]].map(|node| {
            let cluster = &cluster;
            async move {
                let mut stream = cluster.node(node).stream().await.unwrap();
                let sent = stream.try_send_batch([&[1; 80][..]; 4]);
                sent.map(drop).map_err(|_| stream.broken())
            }
        });
        let [on_leader, on_follower] = taken;
        assert_eq!(on_leader.await, on_follower.await);
    });
}
