//! Clients with sessions on every node of a cluster in one process, in virtual time.

#[allow(dead_code, unused_imports)] // Other tests use the rest of it.
mod rig;

use quoring::{
    Answer, Broken, Capabilities, ClientId, Duration, Lost, ProposalError, Rejection, Session, SessionError, SessionId,
};
use quoring_core::wire::Message;
use rig::{Board, Client, Cluster, Fault, Usual, answer, commands, node_id, usual};

type UsualSession = Session<'static, Board<256, 16>>;

/// Sends one command of the session; the session is gone then.
fn propose(cluster: &Usual, mut session: UsualSession, command: &'static [u8]) -> Client<Result<Answer, SessionError>> {
    cluster.client(async move { session.propose(command).await })
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
        let last = propose(&cluster, sessions.remove(2), b"last");
        cluster.sleep(Duration::from_millis(10_000)).await;
        assert_eq!(last.outcome(), Ok(answer(7)), "there is a leader again");
        let mut expected = vec![b"before".to_vec(); 3];
        expected.extend(vec![b"after".to_vec(); 3]);
        expected.push(b"last".to_vec());
        for node in [leader, followers[1]] {
            assert_eq!(cluster.applied(node), expected);
        }
        assert_eq!(sessions.remove(1).propose(b"dead").await, Err(SessionError::Halted));
    });
}

/// Scenario 47: in one half of the runs the cut-off leader's entry is in a follower's log, and is committed by the next leader.
///
/// covers: C11, P15, R7
#[test]
fn what_was_proposed_at_a_leader_that_is_cut_off_is_unknown_and_in_a_session_takes_effect_once() {
    for reaches_a_follower in [true, false] {
        let cluster = usual();
        cluster.run(async {
            let (leader, followers) = cluster.roles().await;
            let mut session = cluster.node(leader).session().await.unwrap();
            session.propose(b"first").await.unwrap();
            cluster.idle().await;
            if reaches_a_follower {
                // Nothing comes back, and nothing of a commit index gets there.
                followers.into_iter().for_each(|follower| cluster.links().cut(follower, leader));
            } else {
                cluster.links().isolate(leader);
            }
            let (node, id, sequence) = (cluster.node(leader), session.id(), session.next_sequence());
            let plain = cluster.client(async move { node.propose(b"plain").await });
            let in_session = propose(&cluster, session, b"session");
            cluster.idle().await;
            let reached = followers.iter().filter(|&&node| cluster.node(node).status().last.0 > 3).count();
            assert_eq!(reached, if reaches_a_follower { 2 } else { 0 });
            cluster.links().isolate(leader);
            let next = cluster.leader_among(followers).await;
            while cluster.node(leader).status().leader.is_some() {
                cluster.sleep(Duration::from_millis(10)).await;
            }
            cluster.idle().await;
            assert_eq!(plain.outcome(), Err(ProposalError::Lost(Lost::LeadershipLost)));
            assert!(!in_session.is_done());
            // Meanwhile the client goes to another node, under the same number.
            let retried = cluster.node(next).resume_session(id, sequence).propose(b"session").await;
            assert_eq!(retried, Ok(answer(if reaches_a_follower { 3 } else { 2 })));
            cluster.links().heal();
            cluster.leader().await;
            cluster.sleep(Duration::from_millis(500)).await;
            assert_eq!(in_session.outcome(), retried, "the first answer");
            let expected = if reaches_a_follower { &["first", "plain", "session"][..] } else { &["first", "session"] };
            (0..3).for_each(|node| assert_eq!(cluster.applied(node), commands(expected), "{node}"));
        });
    }
}

/// On the same node, on another, and after a restart of all.
///
/// covers: C11, S5
#[test]
fn a_command_that_is_sent_again_gets_its_first_answer_wherever_the_session_goes_on() {
    let cluster = usual();
    cluster.run(async {
        let (leader, [follower, other]) = cluster.roles().await;
        let mut session = cluster.node(follower).session().await.unwrap();
        assert_eq!(session.id().client.node(), Some(node_id(follower)));
        assert_eq!(session.propose(b"one").await, Ok(answer(1)));
        cluster.node(leader).propose(b"else").await.unwrap();
        assert_eq!(session.propose(b"two").await, Ok(answer(3)));
        let (id, next) = (session.id(), session.next_sequence());
        for node in [follower, leader, other] {
            let mut resumed = cluster.node(node).resume_session(id, next - 1);
            assert_eq!(resumed.propose(b"two").await, Ok(answer(3)), "whatever it says now");
            assert_eq!(resumed.next_sequence(), next);
            // Its answer made way for that of the next.
            assert_eq!(cluster.node(node).resume_session(id, 1).propose(b"one").await, Err(SessionError::Superseded));
        }
        (0..3).for_each(|node| cluster.reboot(node));
        cluster.leader().await;
        assert_eq!(cluster.node(other).resume_session(id, next - 1).propose(b"two").await, Ok(answer(3)));
        assert_eq!(cluster.node(follower).resume_session(id, next).propose(b"three").await, Ok(answer(4)));
        cluster.idle().await;
        (0..3).for_each(|node| assert_eq!(cluster.applied(node), commands(&["one", "else", "two", "three"])));
    });
}

/// Places go to whoever comes, from who was silent longest in the order of the log.
///
/// covers: C11
#[test]
fn with_more_sessions_than_places_the_one_that_was_used_longest_ago_expires() {
    let cluster: Usual = Cluster::with_sessions::<256, 64, 16, 2>(|_| {});
    cluster.run(async {
        let (leader, [follower, other]) = cluster.roles().await;
        let mut first = cluster.node(follower).session().await.unwrap();
        let mut second = cluster.node(leader).session().await.unwrap();
        first.propose(b"first").await.unwrap();
        let mut third = cluster.node(other).session().await.unwrap();
        assert_eq!(second.propose(b"second").await, Err(SessionError::Expired));
        assert_eq!(first.propose(b"first").await, Ok(answer(2)));
        assert_eq!(third.propose(b"third").await, Ok(answer(3)));
        assert_eq!(second.propose(b"second").await, Err(SessionError::Expired), "for good");
        cluster.idle().await;
        (0..3).for_each(|node| assert_eq!(cluster.applied(node), commands(&["first", "first", "third"])));
    });
}

/// covers: C11, C4, L10, P15
#[test]
fn what_a_session_cannot_send_it_says_and_the_next_command_is_another() {
    let cluster: Usual = Cluster::new::<256, 64, 2>(|config| {
        config.admit = |command| if command == b"bad" { Err(Rejection(7)) } else { Ok(()) };
    });
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        for node in [leader, follower] {
            let mut session = cluster.node(node).session().await.unwrap();
            assert_eq!(session.propose(b"bad").await, Err(SessionError::Rejected(Rejection(7))));
            let limit = cluster.node(node).command_limit() - 16;
            assert_eq!(session.propose(&vec![0; limit + 1]).await, Err(SessionError::TooLarge { limit }));
            assert!(session.propose(&vec![0; limit]).await.is_ok());
            assert_eq!(session.next_sequence(), 4);
            let mut worn_out = cluster.node(node).resume_session(session.id(), u32::MAX);
            assert_eq!(worn_out.propose(b"x").await, Err(SessionError::Exhausted));
            // As many clients wait as may.
            let id = session.id();
            cluster.application(node).stop();
            let waiting = propose(&cluster, session, b"wait");
            let again = propose(&cluster, cluster.node(node).resume_session(id, 4), b"wait");
            cluster.idle().await;
            let mut one_more = cluster.node(node).resume_session(id, 5);
            assert_eq!(one_more.propose(b"more").await, Err(SessionError::TooManyPending));
            assert_eq!(cluster.node(node).session().await.unwrap_err(), SessionError::TooManyPending);
            cluster.application(node).go_on();
            cluster.idle().await;
            assert_eq!(waiting.outcome(), again.outcome());
        }
        cluster.idle().await;
        assert_eq!(cluster.applied(leader).len(), 4);
    });
}

/// covers: C11, C9
#[test]
fn without_places_or_with_a_node_that_does_not_know_them_there_are_no_sessions() {
    let cluster: Usual = Cluster::with_sessions::<256, 64, 16, 0>(|_| {});
    cluster.run(async {
        let leader = cluster.leader().await;
        assert_eq!(cluster.node(leader).session().await.unwrap_err(), SessionError::Unsupported);
    });
    let cluster: Usual = Cluster::new::<256, 64, 16>(|config| {
        if config.id == node_id(1) {
            config.capabilities = Capabilities::NONE;
        }
    });
    cluster.run(async {
        let (leader, followers) = cluster.roles().await;
        cluster.node(leader).read().await.unwrap();
        cluster.sleep(Duration::from_millis(200)).await;
        for node in [leader, followers[0], followers[1]] {
            assert_eq!(cluster.node(node).session().await.unwrap_err(), SessionError::Unsupported, "{node}");
        }
        assert_eq!(cluster.node(leader).propose(b"plain").await, Ok(answer(1)));
    });
}

/// covers: C11
#[test]
fn a_session_that_was_never_opened_has_expired() {
    let cluster = usual();
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        let mut opened = cluster.node(leader).session().await.unwrap();
        opened.propose(b"one").await.unwrap();
        let SessionId { client, opened } = opened.id();
        let strangers =
            [SessionId { client: ClientId(client.0 + 1), opened }, SessionId { client, opened: opened + 1 }];
        for (node, stranger) in [(leader, strangers[0]), (follower, strangers[0]), (follower, strangers[1])] {
            let mut session = cluster.node(node).resume_session(stranger, 1);
            assert_eq!(session.propose(b"strange").await, Err(SessionError::Expired));
        }
        cluster.idle().await;
        assert_eq!(cluster.applied(follower), commands(&["one"]));
    });
}

/// The future is dropped before its command leaves the node, on its way, and once the leader has it.
///
/// covers: C11, R7
#[test]
fn a_command_that_its_client_gave_up_takes_effect_once_at_most_and_its_answer_can_be_asked_for() {
    let cluster = usual();
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        for node in [leader, follower] {
            let mut session = cluster.node(node).session().await.unwrap();
            for stage in 0..3 {
                let (id, sequence) = (session.id(), session.next_sequence());
                let count = cluster.applied(node).len();
                match stage {
                    0 => cluster.store(leader).set(Fault::Hangs),
                    1 => cluster.links().filter(|_, _, message| !matches!(message, Message::ForwardAnswer(_))),
                    _ => cluster.application(node).stop(),
                }
                let given_up = propose(&cluster, session, b"given up");
                cluster.idle().await;
                cluster.dismiss(&given_up);
                cluster.store(leader).set(Fault::None);
                cluster.links().heal();
                cluster.application(node).go_on();
                session = cluster.node(node).resume_session(id, sequence);
                assert_eq!(session.propose(b"given up").await, Ok(answer(count + 1)), "stage {stage}");
                cluster.idle().await;
                assert_eq!(cluster.applied(node).len(), count + 1);
            }
        }
    });
}

/// Nobody leads yet, and later nobody leads for a while.
///
/// covers: C11, R7
#[test]
fn a_session_waits_for_a_leader_as_long_as_it_takes() {
    let cluster = usual();
    cluster.run(async {
        let mut session = cluster.node(0).session().await.unwrap();
        assert_eq!(session.propose(b"one").await, Ok(answer(1)));
        cluster.kill(1);
        cluster.kill(2);
        while cluster.node(0).status().leader.is_some() {
            cluster.sleep(Duration::from_millis(10)).await;
        }
        let waiting = propose(&cluster, session, b"two");
        cluster.sleep(Duration::from_millis(20_000)).await;
        assert!(!waiting.is_done() && waiting.polls() < 100, "{}", waiting.polls());
        cluster.reboot(1);
        cluster.leader_among([0, 1]).await;
        cluster.idle().await;
        assert_eq!(waiting.outcome(), Ok(answer(2)));
    });
}

/// Frames are lost, leaders change, commands are handed in again and again.
///
/// covers: C11, R7
#[test]
fn over_links_that_lose_frames_every_command_of_every_session_takes_effect_once_and_in_order() {
    for seed in 1..15 {
        let cluster: Usual = Cluster::new::<256, 64, 16>(move |config| config.seed = seed);
        cluster.run(async {
            let (leader, _) = cluster.roles().await;
            let mut loss = seed;
            cluster.links().filter(move |_, _, _| {
                loss = loss.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (loss >> 33) % 10 > 0
            });
            let clients: Vec<_> = (0..3)
                .map(|id| {
                    let node = cluster.node(id);
                    cluster.client(async move {
                        let mut session = node.session().await.unwrap();
                        for place in 0..30 {
                            session.propose(format!("{id}/{place}").as_bytes()).await.unwrap();
                        }
                    })
                })
                .collect();
            let handing_over = cluster.node(leader);
            _ = cluster.client(async move { handing_over.transfer(None).await });
            while !clients.iter().all(Client::is_done) {
                cluster.sleep(Duration::from_millis(100)).await;
            }
            cluster.links().heal();
            cluster.agree(90).await;
            for node in 0..3 {
                let applied = cluster.applied(node);
                for id in 0..3 {
                    let ours = applied.iter().filter(|command| command.starts_with(format!("{id}/").as_bytes()));
                    assert!(
                        ours.eq((0..30).map(|place| format!("{id}/{place}").into_bytes()).collect::<Vec<_>>().iter())
                    );
                }
            }
        });
    }
}

/// The node's window is one, whoever uses it; what one client may not send is no fault of the others.
///
/// covers: C4, C11
#[test]
fn a_command_that_is_refused_far_away_takes_no_other_sessions_commands_with_it() {
    let cluster: Usual = Cluster::new::<256, 64, 16>(|config| {
        let refuses = |command: &[u8]| if command == b"bad" { Err(Rejection(7)) } else { Ok(()) };
        config.admit = if config.id == node_id(2) { |_| Ok(()) } else { refuses };
    });
    cluster.run(async {
        if cluster.leader().await == 2 {
            cluster.node(2).transfer(Some(node_id(0))).await.unwrap();
        }
        cluster.leader().await;
        let mut sessions = Vec::new();
        for _ in 0..5 {
            sessions.push(cluster.node(2).session().await.unwrap());
        }
        let stream = cluster.node(2).stream().await.unwrap();
        let words: [&'static [u8]; 5] = [b"good", b"bad", b"good", b"bad", b"good"];
        let clients: Vec<_> =
            sessions.into_iter().zip(words).map(|(session, word)| propose(&cluster, session, word)).collect();
        let before = cluster.now();
        cluster.idle().await;
        let outcomes: Vec<_> = clients.iter().map(Client::outcome).collect();
        let refused = Err(SessionError::Rejected(Rejection(7)));
        assert!(outcomes[1] == refused && outcomes[3] == refused, "{outcomes:?}");
        assert!([0, 2, 4].iter().all(|&place| outcomes[place].is_ok()), "{outcomes:?}");
        assert_eq!(cluster.now(), before);
        assert_eq!(stream.broken(), Some(Broken::Rejected(Rejection(7))), "it went through the same window");
        cluster.idle().await;
        assert_eq!(cluster.applied(0), commands(&["good"; 3]));
    });
}

/// A follower's session, where the leader is able and another follower is not.
///
/// covers: C11, C9, R7
#[test]
fn a_session_is_refused_on_a_follower_whose_leader_is_able_and_another_follower_is_not() {
    let cluster: Usual = Cluster::new::<256, 64, 16>(|config| {
        if config.id == node_id(1) {
            config.capabilities = Capabilities::NONE;
        }
    });
    cluster.run(async {
        let leader = cluster.leader().await;
        if leader != 0 {
            cluster.node(leader).transfer(Some(node_id(0))).await.unwrap();
        }
        assert_eq!(cluster.leader().await, 0);
        let forwards = cluster.links().count(|message| matches!(message, Message::Forward(_)));
        let node = cluster.node(2);
        let opening = cluster.client(async move { node.session().await.map(|session| session.id()) });
        cluster.sleep(Duration::from_millis(300)).await;
        println!("{} forwards, {} polls, done {}", forwards.get(), opening.polls(), opening.is_done());
        assert_eq!(opening.outcome(), Err(SessionError::Unsupported));
    });
}

/// A node with places for more sessions than the others opens them, while another client of it is served: the cluster keeps as many as all have places for.
///
/// covers: C11, C9, R7
#[test]
fn a_cluster_keeps_as_many_sessions_as_every_node_has_places_for() {
    let cluster: Usual = Cluster::new::<256, 64, 16>(|config| {
        if config.id != node_id(2) {
            config.capabilities = Capabilities::ALL.with_sessions(4);
        }
    });
    cluster.run(async {
        let leader = cluster.leader().await;
        if leader != 0 {
            cluster.node(leader).transfer(Some(node_id(0))).await.unwrap();
        }
        assert_eq!(cluster.leader().await, 0);
        let mut stream = cluster.node(2).stream().await.unwrap();
        let mut sessions = Vec::new();
        for _ in 0..5 {
            sessions.push(cluster.node(2).session().await.unwrap());
        }
        assert_eq!(stream.send(b"item").await.unwrap().await, Ok(answer(1)));
        assert_eq!(sessions[0].propose(b"first").await, Err(SessionError::Expired));
        assert_eq!(sessions[1].propose(b"second").await, Ok(answer(2)));
    });
}

/// "As long as one says that it is off, the leader that hears so refuses; when the last is up, it does not."
///
/// covers: C9
#[test]
fn once_the_last_node_is_able_there_are_sessions() {
    let off = std::rc::Rc::new(std::cell::Cell::new(true));
    let is_off = std::rc::Rc::clone(&off);
    let cluster: Usual = Cluster::new::<256, 64, 16>(move |config| {
        if config.id == node_id(1) && is_off.get() {
            config.capabilities = Capabilities::NONE;
        }
    });
    cluster.run(async {
        let leader = cluster.leader().await;
        if leader != 0 {
            cluster.node(leader).transfer(Some(node_id(0))).await.unwrap();
        }
        assert_eq!(cluster.leader().await, 0);
        cluster.node(0).read().await.unwrap();
        cluster.sleep(Duration::from_millis(200)).await;
        assert_eq!(cluster.node(0).session().await.map(|_| ()), Err(SessionError::Unsupported));
        off.set(false);
        cluster.reboot(1);
        cluster.sleep(Duration::from_millis(2000)).await;
        assert_eq!(cluster.leader().await, 0);
        for _ in 0..5 {
            if cluster.node(0).session().await.is_ok() {
                return;
            }
            cluster.sleep(Duration::from_millis(1000)).await;
        }
        panic!("the leader still believes what node 1 said before it was started anew");
    });
}
