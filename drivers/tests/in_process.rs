//! Three nodes in one process: the driver tasks with memory logs and a memory network, in virtual time.

#[allow(dead_code, unused_imports)] // Other tests use the rest of it.
mod rig;

use std::array::from_fn;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use embassy_futures::poll_once;
use quoring::{Answer, Duration, Halt, Lost, Pending, ProposalError, ProposeError, Role};
use quoring_core::wire::Message;
use rig::{Board, Cluster, Fault, node_id};

/// Nodes with 2 KiB of ring in which 64 entries can be found.
type Usual = Cluster<256, 16>;

/// `PROPOSALS` clients may wait at a time.
fn usual<const PROPOSALS: usize>() -> Usual {
    Cluster::new::<256, 64, PROPOSALS>(|_| {})
}

/// What the application says to its `count`th command.
fn answer(count: usize) -> Answer {
    Answer::new(count.to_string().as_bytes()).unwrap()
}

/// Proposes until there is no room.
async fn fill(cluster: &Usual, leader: usize) -> Vec<Pending<'static, Board<256, 16>>> {
    let mut taken = Vec::new();
    loop {
        match cluster.node(leader).try_propose(taken.len().to_string().as_bytes()) {
            Ok(pending) => taken.push(pending),
            Err(error) => {
                assert_eq!(error, ProposeError::Busy);
                return taken;
            }
        }
        cluster.idle().await;
    }
}

/// A client that has proposed, and in time the outcome.
type Client = Rc<RefCell<Option<Result<Answer, ProposalError>>>>;

/// Starts a client, which waits if there is no room.
async fn client(cluster: &Usual, leader: usize, command: &'static [u8]) -> Client {
    let (node, outcome) = (cluster.node(leader), Client::default());
    let client = Rc::clone(&outcome);
    cluster.spawn(async move {
        let answer = node.propose(command).await;
        client.replace(Some(answer));
    });
    cluster.idle().await;
    outcome
}

fn commands<const N: usize>(commands: [&str; N]) -> Vec<Vec<u8>> {
    commands.map(|command| command.as_bytes().to_vec()).into()
}

/// With devices that take no time nothing waits for a deadline: each pointer that moves wakes who watches it.
///
/// covers: P1, P2, P5, P14, P15, L13, R9
#[test]
fn a_command_is_answered_and_applied_everywhere_before_any_time_passes() {
    let cluster = usual::<8>();
    cluster.run(async {
        let leader = cluster.leader().await;
        let before = cluster.now();
        assert_eq!(cluster.node(leader).propose(b"one").await, Ok(answer(1)));
        let pending = cluster.node(leader).try_propose(b"two").unwrap();
        let status = cluster.node(leader).status();
        assert_eq!((pending.index(), pending.term()), (status.last, status.term));
        assert_eq!(pending.await, Ok(answer(2)));
        cluster.idle().await;
        (0..3).for_each(|node| assert_eq!(cluster.applied(node), commands(["one", "two"])));
        assert_eq!(cluster.now(), before);
    });
}

/// covers: P15, L10
#[test]
fn a_node_that_does_not_lead_refuses_and_names_the_leader_if_it_knows_it() {
    let cluster = usual::<1>();
    cluster.run(async {
        let refused = |error| Err(ProposalError::Refused(error));
        assert_eq!(cluster.node(0).propose(b"early").await, refused(ProposeError::NotLeader { leader: None }));
        let (leader, followers) = cluster.roles().await;
        for follower in followers {
            let error = ProposeError::NotLeader { leader: Some(node_id(leader)) };
            assert_eq!(cluster.node(follower).propose(b"late").await, refused(error));
        }
        let limit = cluster.node(leader).command_limit();
        let too_large = cluster.node(leader).propose(&vec![0; limit + 1]).await;
        assert_eq!(too_large, refused(ProposeError::TooLarge { limit }));
        assert_eq!(cluster.node(leader).propose(&vec![0; limit]).await, Ok(answer(1)));
    });
}

/// All places are taken, and more of them by clients that wait for room than the ring has room for at a time.
///
/// covers: P10, P15, R7, R9
#[test]
fn clients_wait_for_room_and_all_get_their_answers() {
    let cluster = usual::<64>();
    cluster.run(async {
        let leader = cluster.leader().await;
        let before = cluster.now();
        cluster.store(leader).set(Fault::Hangs);
        let taken = fill(&cluster, leader).await;
        let mut clients = Vec::new();
        for _ in taken.len()..64 {
            clients.push(client(&cluster, leader, &[0; 100]).await);
        }
        assert!(clients.iter().all(|client| client.borrow().is_none()) && clients.len() > 10, "{}", taken.len());
        let one_more = client(&cluster, leader, b"no place").await;
        assert_eq!(one_more.take(), Some(Err(ProposalError::Refused(ProposeError::TooManyPending))));

        cluster.store(leader).set(Fault::None);
        cluster.idle().await;
        let applied = cluster.applied(leader).len();
        assert_eq!((applied, cluster.now()), (64, before));
        for (count, pending) in (1..).zip(taken) {
            assert_eq!(pending.await, Ok(answer(count)));
        }
        let answers: Vec<_> = clients.iter().map(|client| client.take().unwrap().unwrap()).collect();
        assert!((applied - answers.len()..applied).all(|count| answers.contains(&answer(count + 1))), "{answers:?}");
    });
}

/// covers: P10, P15, R7
#[test]
fn a_client_that_gives_up_frees_its_place_and_its_command_is_applied_all_the_same() {
    let cluster = usual::<1>();
    cluster.run(async {
        let leader = cluster.leader().await;
        let node = cluster.node(leader);
        let given_up = node.try_propose(b"given up").unwrap();
        assert!(matches!(node.try_propose(b"no room"), Err(ProposeError::TooManyPending)));
        drop(given_up);
        assert_eq!(node.propose(b"next").await, Ok(answer(2)));
        assert_eq!(cluster.applied(leader), commands(["given up", "next"]));
        // An outcome that nobody has taken keeps its place, but no longer than its owner.
        let pending = node.try_propose(b"done").unwrap();
        cluster.idle().await;
        assert!(matches!(node.try_propose(b"no room"), Err(ProposeError::TooManyPending)));
        drop(pending);
        assert_eq!(node.propose(b"last").await, Ok(answer(4)));
    });
}

/// covers: P14, R7
#[test]
fn a_command_dropped_without_an_answer_completes_with_an_empty_one() {
    let cluster = usual::<8>();
    cluster.run(async {
        let leader = cluster.leader().await;
        cluster.application(leader).fall_silent();
        for command in [b"one", b"two"] {
            assert_eq!(cluster.node(leader).propose(command).await, Ok(Answer::EMPTY));
        }
        assert_eq!(cluster.applied(leader), commands(["one", "two"]));
    });
}

/// Scenario 20.
///
/// covers: P15, E5, R7
#[test]
fn the_clients_of_a_leader_that_is_left_alone_learn_that_it_leads_no_longer() {
    let cluster = usual::<64>();
    cluster.run(async {
        let (leader, followers) = cluster.roles().await;
        followers.into_iter().for_each(|follower| cluster.kill(follower));
        let taken = fill(&cluster, leader).await;
        let waiting = client(&cluster, leader, b"for room").await;
        for pending in taken {
            assert_eq!(pending.await, Err(Lost::LeadershipLost));
        }
        cluster.idle().await;
        let refused = ProposalError::Refused(ProposeError::NotLeader { leader: None });
        assert_eq!(waiting.take(), Some(Err(refused)));
        assert!(cluster.applied(leader).is_empty());

        followers.into_iter().for_each(|follower| cluster.reboot(follower));
        let leader = cluster.leader().await;
        cluster.node(leader).propose(b"again").await.unwrap();
        cluster.idle().await;
        (0..3).for_each(|node| assert!(cluster.applied(node).ends_with(&commands(["again"]))));
    });
}

/// Scenario 33, at the leader.
///
/// covers: P10, R6, R7
#[test]
fn while_the_application_stands_still_proposals_are_refused_and_none_that_was_taken_is_lost() {
    let cluster = usual::<64>();
    cluster.run(async {
        let leader = cluster.leader().await;
        let (node, application) = (cluster.node(leader), cluster.application(leader));
        application.stop();
        let taken = fill(&cluster, leader).await;
        assert_eq!((taken.len(), node.refusals().busy), (48, 1), "three quarters of 64 slots");
        cluster.sleep(Duration::from_millis(30_000)).await;
        assert_eq!((cluster.leader().await, node.status().term), (leader, taken[0].term()), "the leader stays");
        assert!(matches!(node.try_propose(b"no"), Err(ProposeError::Busy)));

        let waiting = client(&cluster, leader, b"last").await;
        assert_eq!(*waiting.borrow(), None);
        application.go_on();
        for (count, pending) in (1..).zip(taken) {
            assert_eq!(pending.await, Ok(answer(count)));
        }
        cluster.idle().await;
        assert_eq!(waiting.take(), Some(Ok(answer(49))));
        (0..3).for_each(|other| assert_eq!(cluster.applied(other), cluster.applied(leader)));
    });
}

/// Scenario 33, at a follower: the leader goes on for several rings.
///
/// covers: P1, P8, P10
#[test]
fn an_application_that_stood_still_for_several_rings_catches_up_from_the_store() {
    let cluster = usual::<8>();
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        cluster.application(follower).stop();
        for count in 1..=500_usize {
            assert_eq!(cluster.node(leader).propose(&count.to_le_bytes()).await, Ok(answer(count)));
        }
        assert!(cluster.applied(follower).is_empty());
        let (reads, before) = (cluster.store(follower).reads(), cluster.now());
        cluster.application(follower).go_on();
        cluster.idle().await;
        assert_eq!(cluster.applied(follower), cluster.applied(leader));
        assert!(cluster.store(follower).reads() >= reads + 400, "the ring holds 64 entries");
        assert_eq!(cluster.now(), before);
    });
}

/// The leader's clients send their next command as soon as the last one is answered, and begin with the first entries that the peer gets. It was
/// one turn of the executor for each entry once: then the clients were faster.
///
/// covers: P1, P7, P8, L12
#[test]
fn a_peer_behind_the_ring_catches_up_from_the_store_under_full_load() {
    let cluster = usual::<16>();
    cluster.run(async {
        let (leader, [away, _]) = cluster.roles().await;
        let node = cluster.node(leader);
        cluster.links().isolate(away);
        for count in 1..=164 {
            assert_eq!(node.propose(b"without it").await, Ok(answer(count)));
        }
        cluster.links().heal();
        let (begun, waiting) = (Rc::<Cell<bool>>::default(), Rc::<RefCell<Vec<Waker>>>::default());
        let begin = || {
            let (begun, waiting) = (Rc::clone(&begun), Rc::clone(&waiting));
            poll_fn(move |cx| {
                waiting.borrow_mut().push(cx.waker().clone());
                if begun.get() { Poll::Ready(()) } else { Poll::Pending }
            })
        };
        let clients: [_; 8] = from_fn(|_| {
            let begin = begin();
            cluster.client(async move {
                begin.await;
                while node.propose(b"load").await.is_ok() {}
            })
        });
        let began = begin();
        cluster.links().filter(move |from, to, message| {
            if matches!(message, Message::Append(append) if (from, to) == (leader, away) && append.bytes > 0) {
                begun.set(true);
                waiting.take().into_iter().for_each(Waker::wake);
            }
            true
        });
        let reads = cluster.store(leader).reads();
        began.await;
        let behind = || node.status().last.0 - cluster.node(away).status().durable.0;
        let mut own = 0;
        while behind() > 40 {
            own += 1;
            assert!(own < 200, "{} entries behind, clients or not", behind());
            node.propose(b"own").await.unwrap();
        }
        assert!(cluster.store(leader).reads() >= reads + 100, "from the store");
        clients.iter().for_each(|client| cluster.dismiss(client));
    });
}

/// Scenario 38, fails: at the leader.
///
/// covers: D6, P15, R7
#[test]
fn a_leader_whose_store_fails_halts_and_tells_its_clients_and_the_others_go_on() {
    let cluster = usual::<64>();
    cluster.run(async {
        let (leader, followers) = cluster.roles().await;
        let node = cluster.node(leader);
        assert_eq!(node.propose(b"kept").await, Ok(answer(1)));
        let durable = node.status().durable;
        cluster.store(leader).set(Fault::Hangs);
        let taken = fill(&cluster, leader).await;
        let waiting = client(&cluster, leader, b"for room").await;
        cluster.store(leader).set(Fault::Fails);
        for pending in taken {
            assert_eq!(pending.await, Err(Lost::Halted));
        }
        cluster.idle().await;
        assert_eq!(waiting.take(), Some(Err(ProposalError::Refused(ProposeError::Halted))));
        assert!(matches!(node.try_propose(b"no"), Err(ProposeError::Halted)));
        assert_eq!((node.halted(), node.status().role), (Some(Halt::Append), Role::Halted));
        assert_eq!(cluster.application(leader).halted(), Some(Halt::Append));

        let next = cluster.leader().await;
        assert!(followers.contains(&next));
        cluster.node(next).propose(b"others").await.unwrap();
        cluster.sleep(Duration::from_millis(5_000)).await;
        assert_eq!(cluster.applied(followers[0]), cluster.applied(followers[1]));
        assert!(cluster.applied(next).starts_with(&commands(["kept"])));
        assert!(cluster.applied(next).ends_with(&commands(["others"])));
        assert_eq!((cluster.applied(leader), node.status().durable), (commands(["kept"]), durable));

        cluster.store(leader).set(Fault::None);
        cluster.reboot(leader);
        cluster.sleep(Duration::from_millis(1_000)).await;
        assert_eq!(cluster.applied(leader), cluster.applied(next), "with a good medium it is back");
    });
}

/// Scenario 38, fails and hangs: one of each at the followers. The one that hangs still hears its leader, so the leader stays.
///
/// covers: D6, P6, L4, R7
#[test]
fn what_the_stores_of_a_quorum_have_not_taken_is_not_acknowledged() {
    let cluster = usual::<8>();
    cluster.run(async {
        let (leader, [fails, hangs]) = cluster.roles().await;
        let (node, committed) = (cluster.node(leader), cluster.node(leader).status().committed);
        cluster.store(fails).set(Fault::Fails);
        cluster.store(hangs).set(Fault::Hangs);
        let mut pending = pin!(node.try_propose(b"open").unwrap());
        cluster.sleep(Duration::from_millis(60_000)).await;
        assert!(poll_once(pending.as_mut()).is_pending());
        assert_eq!(cluster.node(fails).halted(), Some(Halt::Append));
        assert_eq!((cluster.node(hangs).halted(), cluster.store(hangs).appending()), (None, 1));
        assert_eq!((0..3).map(|other| cluster.node(other).status().committed).max(), Some(committed));

        cluster.store(hangs).set(Fault::None);
        assert_eq!(pending.await, Ok(answer(1)));
        cluster.idle().await;
        assert_eq!((cluster.applied(hangs), cluster.applied(fails)), (commands(["open"]), commands([])));

        cluster.store(hangs).set(Fault::Fails);
        assert_eq!(node.propose(b"alone").await, Err(ProposalError::Lost(Lost::LeadershipLost)));
        assert_eq!(cluster.applied(leader), commands(["open"]));
    });
}

/// Scenario 38, hangs: at a follower. Its ring holds what is committed; its application must not see it yet.
///
/// covers: P2, P5, P6, R9
#[test]
fn a_follower_whose_store_hangs_applies_nothing_until_it_is_durable_there() {
    let cluster = usual::<8>();
    cluster.run(async {
        let (leader, [follower, other]) = cluster.roles().await;
        cluster.store(follower).set(Fault::Hangs);
        assert_eq!(cluster.node(leader).propose(b"one").await, Ok(answer(1)));
        cluster.sleep(Duration::from_millis(5_000)).await;
        assert_eq!(cluster.leader().await, leader, "nobody needs another one");
        assert_eq!((cluster.applied(other), cluster.applied(follower)), (commands(["one"]), commands([])));
        let before = cluster.now();
        cluster.store(follower).set(Fault::None);
        cluster.idle().await;
        assert_eq!((cluster.applied(follower), cluster.now()), (commands(["one"]), before));
    });
}

/// The own node is one voter among others, but the only one whose store counts for its application.
///
/// covers: P2, P5, P6, R9
#[test]
fn a_leader_commits_what_its_own_store_has_not_taken_and_applies_it_as_soon_as_it_has() {
    let cluster = usual::<8>();
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        let (node, before) = (cluster.node(leader), cluster.now());
        cluster.store(leader).set(Fault::Hangs);
        let mut pending = pin!(node.try_propose(b"one").unwrap());
        cluster.idle().await;
        assert_eq!(node.status().committed, pending.index());
        assert!(poll_once(pending.as_mut()).is_pending());
        assert_eq!((cluster.applied(leader), cluster.applied(follower)), (commands([]), commands(["one"])));
        cluster.store(leader).set(Fault::None);
        assert_eq!(pending.await, Ok(answer(1)));
        assert_eq!(cluster.now(), before);
    });
}

/// Scenarios 38, hangs, and 39: at the leader. The followers may commit what its own store never took.
///
/// covers: P5, P6, P7, R7
#[test]
fn a_leader_whose_store_hangs_steps_down_and_follows_once_it_is_back() {
    let cluster = usual::<8>();
    cluster.run(async {
        let (leader, followers) = cluster.roles().await;
        cluster.store(leader).set(Fault::Hangs);
        let lost = cluster.node(leader).propose(b"open").await;
        assert_eq!(lost, Err(ProposalError::Lost(Lost::LeadershipLost)));
        let next = cluster.leader().await;
        assert!(followers.contains(&next));
        cluster.node(next).propose(b"others").await.unwrap();
        cluster.idle().await;
        assert_eq!(cluster.applied(next), commands(["open", "others"]));
        assert_eq!(cluster.applied(leader), commands([]), "nothing of it is durable there");
        cluster.store(leader).set(Fault::None);
        cluster.sleep(Duration::from_millis(5_000)).await;
        (0..3).for_each(|node| assert_eq!(cluster.applied(node), cluster.applied(next)));
    });
}

/// Scenarios 38, is cancelled, and 40: all nodes are dropped in the middle of an append, again and again, half of the times with a torn
/// batch.
///
/// covers: P5, P15, L4, E2
#[test]
fn what_was_acknowledged_outlives_appends_that_are_cancelled_on_every_node() {
    let cluster = usual::<64>();
    cluster.run(async {
        let mut acknowledged = commands([]);
        for round in 0..20_usize {
            let leader = cluster.leader().await;
            let node = cluster.node(leader);
            let kept = format!("kept {round}").into_bytes();
            node.propose(&kept).await.unwrap();
            acknowledged.push(kept);

            let fault = if round % 2 == 0 { Fault::Hangs } else { Fault::Tears };
            (0..3).for_each(|other| cluster.store(other).set(fault));
            let open: Vec<_> =
                (0..5).map(|i| node.try_propose(format!("open {round}.{i}").as_bytes()).unwrap()).collect();
            cluster.idle().await;
            (0..3).for_each(|other| assert!(cluster.store(other).appending() > 0, "in the middle of an append"));
            assert!(cluster.applied(leader).ends_with(&acknowledged[round..]), "nothing that is open was applied");
            let used = (0..3).map(|other| cluster.store(other).used()).collect::<Vec<_>>();
            (0..3).for_each(|other| cluster.kill(other));
            drop(open);

            (0..3).for_each(|other| cluster.store(other).set(Fault::None));
            assert_eq!(used, (0..3).map(|other| cluster.store(other).used()).collect::<Vec<_>>());
            (0..3).for_each(|other| cluster.reboot(other));
        }
        let leader = cluster.leader().await;
        cluster.node(leader).propose(b"last").await.unwrap();
        acknowledged.push(b"last".to_vec());
        cluster.idle().await;
        let applied = cluster.applied(leader);
        (0..3).for_each(|node| assert_eq!(cluster.applied(node), applied));
        let mut rest = applied.iter();
        assert!(acknowledged.iter().all(|command| rest.any(|other| other == command)), "{applied:?}");
    });
}

/// Scenario 32: one waiting client, one frame in a mailbox, one append on its way, and a ring of 128 bytes in which 4 entries can be
/// found.
///
/// covers: R6, R7, P10, P11, P12
#[test]
fn every_hand_off_of_size_one_still_hands_over() {
    hand_over::<16, 4>(100, |_| vec![0; 16]);
    hand_over::<16, 4>(300, |count| vec![0; count * 7 % 49]);
}

/// Scenario 32, with the smallest ring that can elect: four records, all without payload.
///
/// covers: R6, R7, P12, R13
#[test]
fn a_ring_of_four_empty_records_still_replicates() {
    hand_over::<8, 4>(100, |_| Vec::new());
}

fn hand_over<const UNITS: usize, const SLOTS: usize>(count: usize, command: impl Fn(usize) -> Vec<u8>) {
    let cluster = Cluster::<128, 1>::new::<UNITS, SLOTS, 1>(|config| config.max_in_flight = 1);
    cluster.run(async {
        let proposed: Vec<_> = (1..=count).map(command).collect();
        let leader = cluster.leader().await;
        for (count, command) in (1..).zip(&proposed) {
            assert_eq!(cluster.node(leader).propose(command).await, Ok(answer(count)));
        }
        cluster.sleep(Duration::from_millis(10_000)).await;
        (0..3).for_each(|node| assert_eq!(cluster.applied(node), proposed));
    });
}
