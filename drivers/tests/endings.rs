//! Every client that waits learns how its wait ends, whatever happens to what it waits for: one table of all clients and all endings (P15, R7).

#[allow(dead_code, unused_imports)] // Other tests use the rest of it.
mod rig;

use quoring::{
    Answer, Config, Duration, LogIndex, Lost, ProposalError, ProposeError, ReadError, Session, SessionError, Stream,
};
use quoring_core::wire::Message;
use rig::{Board, Client, Cluster, Fault, answer, commands};

/// Small logs and snapshots, so that entries are soon gone.
const LOG: usize = 8 * 1024;
const SNAPSHOT: usize = 16 * 1024;

type Place = Board<256, 16, LOG, SNAPSHOT>;
type Small = Cluster<256, 16, LOG, SNAPSHOT>;

fn small() -> Small {
    Cluster::new::<256, 64, 16>(|config: &mut Config| config.snapshot_after = 30)
}

/// One client of each kind at a node, ready to begin.
struct Clients {
    node: quoring::Node<'static, Place>,
    stream: Stream<'static, Place>,
    session: Session<'static, Place>,
}

/// How the wait of each ended.
#[derive(PartialEq, Debug)]
struct Ends {
    plain: Result<Answer, ProposalError>,
    stream: Result<Answer, Lost>,
    session: Result<Answer, SessionError>,
    reader: Result<LogIndex, ReadError>,
}

/// The clients while they wait.
struct Waiting {
    plain: Client<Result<Answer, ProposalError>>,
    stream: Client<Result<Answer, Lost>>,
    session: Client<Result<Answer, SessionError>>,
    reader: Client<Result<LogIndex, ReadError>>,
}

impl Clients {
    async fn at(cluster: &Small, node: usize) -> Self {
        let node = cluster.node(node);
        let clients = Self { node, stream: node.stream().await.unwrap(), session: node.session().await.unwrap() };
        cluster.idle().await;
        clients
    }

    /// All begin to wait, in this order.
    async fn begin(self, cluster: &Small) -> Waiting {
        let Self { node, mut stream, mut session } = self;
        let plain = cluster.client(async move { node.propose(b"plain").await });
        let sent = stream.try_send(b"stream").unwrap();
        let stream = cluster.client(async move {
            let _open = stream;
            sent.await
        });
        let session = cluster.client(async move { session.propose(b"session").await });
        cluster.idle().await;
        let reader = cluster.client(async move { node.read().await });
        cluster.idle().await;
        Waiting { plain, stream, session, reader }
    }
}

impl Waiting {
    /// Nobody but a plain client of a node that does not lead has an outcome.
    fn still_waits(&self, leads: bool) -> bool {
        let plain = self.plain.is_done() != leads;
        plain && !self.stream.is_done() && !self.session.is_done() && !self.reader.is_done()
    }

    fn ends(self) -> Ends {
        Ends {
            plain: self.plain.outcome(),
            stream: self.stream.outcome(),
            session: self.session.outcome(),
            reader: self.reader.outcome(),
        }
    }
}

const fn elsewhere(leader: usize) -> Result<Answer, ProposalError> {
    let leader = quoring::NodeId::new(leader as u8);
    Err(ProposalError::Refused(ProposeError::NotLeader { leader }))
}

const LOST: Result<Answer, ProposalError> = Err(ProposalError::Lost(Lost::LeadershipLost));

/// The leader has the commands, nobody else will ever have them.
///
/// covers: P15, R7, C6, C12, L2
#[test]
fn the_entry_is_truncated() {
    for at_leader in [true, false] {
        let cluster = small();
        cluster.run(async {
            let (leader, followers) = cluster.roles().await;
            let clients = Clients::at(&cluster, if at_leader { leader } else { followers[0] }).await;
            cluster.links().filter(move |from, _, message| {
                from != leader || matches!(message, Message::ForwardAnswer(_)) || is_heartbeat(message)
            });
            let waiting = clients.begin(&cluster).await;
            assert!(waiting.still_waits(at_leader));
            let tail = cluster.node(leader).status().last;
            cluster.links().isolate(leader);
            let next = cluster.leader_among(followers).await;
            cluster.node(next).propose(b"instead").await.unwrap();
            cluster.sleep(Duration::from_millis(1500)).await;
            cluster.links().heal();
            cluster.leader().await;
            cluster.sleep(Duration::from_millis(2000)).await;
            let ends = waiting.ends();
            let plain = if at_leader { LOST } else { elsewhere(leader) };
            assert_eq!((ends.plain, ends.stream), (plain, Err(Lost::LeadershipLost)));
            assert_eq!(ends.reader, Err(ReadError::NoLeader));
            // It takes effect after all, in another entry.
            assert!(ends.session.is_ok() && cluster.node(leader).status().last > tail.previous());
            let applied = cluster.applied(leader);
            assert!(!applied.contains(&b"plain".to_vec()) && !applied.contains(&b"stream".to_vec()));
            assert_eq!(applied.iter().filter(|command| command == &b"session").count(), 1);
        });
    }
}

/// It is dead, and never comes back; what only it has committed nobody else knows of.
///
/// covers: P15, R7, C6, C12
#[test]
fn the_leader_is_gone() {
    let cluster = small();
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        let clients = Clients::at(&cluster, follower).await;
        cluster.links().filter(|_, _, message| {
            !matches!(message, Message::AppendAnswer(_) | Message::ConfirmAnswer(_) | Message::ReadAnswer(_))
        });
        let waiting = clients.begin(&cluster).await;
        assert!(waiting.still_waits(false));
        cluster.kill(leader);
        cluster.links().heal();
        cluster.leader().await;
        cluster.sleep(Duration::from_millis(500)).await;
        let ends = waiting.ends();
        assert_eq!((ends.plain, ends.stream), (elsewhere(leader), Err(Lost::LeadershipLost)));
        assert_eq!((ends.session.is_ok(), ends.reader), (true, Err(ReadError::NoLeader)));
        // The next leader had it all, and nobody is told twice or applied twice.
        assert_eq!(cluster.applied(follower), commands(&["stream", "session"]));
    });
}

/// covers: P15, R7, C6, C12, D6
#[test]
fn the_node_halts() {
    for at_leader in [true, false] {
        let cluster = small();
        cluster.run(async {
            let (leader, [follower, _]) = cluster.roles().await;
            let node = if at_leader { leader } else { follower };
            let clients = Clients::at(&cluster, node).await;
            cluster.links().filter(|_, _, message| {
                !matches!(message, Message::AppendAnswer(_) | Message::ConfirmAnswer(_) | Message::ReadAnswer(_))
            });
            let waiting = clients.begin(&cluster).await;
            assert!(waiting.still_waits(at_leader));
            cluster.store(node).set(Fault::Fails);
            cluster.links().heal();
            let proposer = cluster.node(leader);
            _ = cluster.client(async move { proposer.propose(b"last").await });
            cluster.idle().await;
            assert!(cluster.node(node).halted().is_some());
            let plain = if at_leader { Err(ProposalError::Lost(Lost::Halted)) } else { elsewhere(leader) };
            let expected = Ends {
                plain,
                stream: Err(Lost::Halted),
                session: Err(SessionError::Halted),
                reader: Err(ReadError::Halted),
            };
            assert_eq!(waiting.ends(), expected);
        });
    }
}

/// covers: P14, P15, R7, C6
#[test]
fn the_application_gives_no_answer() {
    for at_leader in [true, false] {
        let cluster = small();
        cluster.run(async {
            let (leader, [follower, _]) = cluster.roles().await;
            let node = if at_leader { leader } else { follower };
            let clients = Clients::at(&cluster, node).await;
            cluster.application(node).fall_silent();
            cluster.application(node).stop();
            let waiting = clients.begin(&cluster).await;
            assert!(waiting.still_waits(at_leader));
            cluster.application(node).go_on();
            cluster.idle().await;
            let ends = waiting.ends();
            assert_eq!(ends.plain, if at_leader { Ok(Answer::EMPTY) } else { elsewhere(leader) });
            assert_eq!((ends.stream, ends.session), (Ok(Answer::EMPTY), Ok(Answer::EMPTY)));
            assert!(ends.reader.is_ok());
        });
    }
}

/// It steps down, and a proposal that waits for room has none to wait for.
///
/// covers: P10, P15, R7
#[test]
fn the_room_that_a_client_waits_for_never_comes() {
    let cluster = small();
    cluster.run(async {
        let (leader, followers) = cluster.roles().await;
        let mut stream = cluster.node(leader).stream().await.unwrap();
        let mut session = cluster.node(leader).session().await.unwrap();
        cluster.store(leader).set(Fault::Hangs);
        let mut taken = Vec::new();
        while let Ok(pending) = cluster.node(leader).try_propose(&[0; 100]) {
            taken.push(pending);
        }
        let node = cluster.node(leader);
        let plain = cluster.client(async move { node.propose(&[1; 100]).await });
        let in_stream = cluster.client(async move { stream.send(&[2; 100]).await.map(|_| ()) });
        let in_session = cluster.client(async move { session.propose(&[3; 100]).await });
        cluster.idle().await;
        assert!(!plain.is_done() && !in_stream.is_done() && !in_session.is_done());
        cluster.leader_among(followers).await;
        cluster.sleep(Duration::from_millis(500)).await;
        let refused = plain.outcome();
        assert!(matches!(refused, Err(ProposalError::Refused(ProposeError::NotLeader { .. }))), "{refused:?}");
        assert_eq!(in_stream.outcome(), Err(quoring::Broken::LeaderLost));
        for pending in taken {
            assert_eq!(pending.await, Err(Lost::LeadershipLost));
        }
        // Its store is back: it hands the command in where somebody leads.
        cluster.store(leader).set(Fault::None);
        cluster.sleep(Duration::from_millis(2000)).await;
        assert!(in_session.outcome().is_ok());
    });
}

/// The leader has committed and purged it, and the client's node gets a snapshot in its place: no frame with it has arrived there, or the application has
/// not come so far.
///
/// Scenario 52.
///
/// covers: P15, R7, S4, C6, C11
#[test]
fn a_snapshot_takes_the_place_of_the_entry() {
    for application in [true, false] {
        let cluster = small();
        cluster.run(async {
            let (leader, [follower, _]) = cluster.roles().await;
            let mut clients = Clients::at(&cluster, follower).await;
            clients.session.propose(b"first").await.unwrap();
            cluster.agree(1).await;
            if application {
                cluster.application(follower).stop();
            } else {
                lose_entries(&cluster, leader, follower);
            }
            let id = clients.session.id();
            // The application has this one in its hands when it stops.
            cluster.node(leader).propose(b"held").await.unwrap();
            let waiting = clients.begin(&cluster).await;
            // Of one session's two commands the later one has taken the place of the first one's answer.
            let mut earlier = cluster.node(follower).resume_session(id, 1);
            let superseded = cluster.client(async move { earlier.propose(b"first").await });
            // Opened, and never heard of.
            let node = cluster.node(follower);
            let opened = cluster.client(async move { node.session().await.map(|session| session.id()) });
            cluster.idle().await;
            assert!(!opened.is_done() && !superseded.is_done());
            purge(&cluster, leader).await;
            cluster.links().heal();
            cluster.application(follower).go_on();
            cluster.agree(1004).await;
            assert!(cluster.application(follower).restored() > 0);
            let ends = waiting.ends();
            assert_eq!((ends.plain, ends.stream), (elsewhere(leader), Err(Lost::Covered)));
            assert_eq!((ends.session, superseded.outcome()), (Ok(answer(4)), Err(SessionError::Superseded)));
            assert!(ends.reader.is_ok() && opened.outcome().is_ok());
            assert_eq!(cluster.applied(follower)[..4], commands(&["first", "held", "stream", "session"]));
        });
    }
}

/// While the client waits for its command, others take the session's place.
///
/// covers: P15, R7, C11
#[test]
fn a_session_expires_under_its_client_in_a_snapshot() {
    let cluster: Small = Cluster::with_sessions::<256, 64, 16, 1>(|config: &mut Config| config.snapshot_after = 30);
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        let mut session = cluster.node(follower).session().await.unwrap();
        cluster.idle().await;
        lose_entries(&cluster, leader, follower);
        let waiting = cluster.client(async move { session.propose(b"session").await });
        cluster.idle().await;
        cluster.node(leader).session().await.unwrap();
        purge(&cluster, leader).await;
        cluster.links().heal();
        cluster.agree(1001).await;
        assert_eq!((waiting.outcome(), cluster.application(follower).restored()), (Err(SessionError::Expired), 1));
    });
}

/// The session was opened, and has expired, in entries that its client's node never sees.
///
/// covers: P15, R7, C11
#[test]
fn a_session_is_opened_and_expires_under_its_client_in_a_snapshot() {
    let cluster: Small = Cluster::with_sessions::<256, 64, 16, 1>(|config: &mut Config| config.snapshot_after = 30);
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        // The node has a boot number and a window.
        drop(cluster.node(follower).stream().await.unwrap());
        cluster.idle().await;
        lose_entries(&cluster, leader, follower);
        let node = cluster.node(follower);
        let opening = cluster.client(async move { node.session().await.map(|session| session.id()) });
        cluster.idle().await;
        cluster.node(leader).session().await.unwrap();
        purge(&cluster, leader).await;
        cluster.links().heal();
        cluster.agree(1000).await;
        assert_eq!(cluster.application(follower).restored(), 1);
        cluster.sleep(Duration::from_millis(5000)).await;
        assert!(opening.is_done(), "it waits for an entry that is gone");
        let outcome = opening.outcome();
        assert!(matches!(outcome, Ok(_) | Err(SessionError::Expired)), "{outcome:?}");
    });
}

/// The leader is deposed while its application stands still; what it waits for is in a snapshot by the time it goes on.
///
/// Scenario 52.
///
/// covers: P15, R7, S4
#[test]
fn a_deposed_leaders_clients_are_told_before_a_snapshot_takes_the_place_of_their_entries() {
    let cluster = small();
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        let clients = Clients::at(&cluster, leader).await;
        cluster.application(leader).stop();
        let waiting = clients.begin(&cluster).await;
        assert!(waiting.still_waits(true));
        cluster.node(leader).transfer(Some(rig::node_id(follower))).await.unwrap();
        cluster.idle().await;
        assert!(waiting.plain.is_done() && waiting.stream.is_done() && !waiting.session.is_done());
        purge(&cluster, follower).await;
        cluster.application(leader).go_on();
        cluster.agree(1003).await;
        assert!(cluster.application(leader).restored() > 0);
        let ends = waiting.ends();
        assert_eq!((ends.plain, ends.stream, ends.session), (LOST, Err(Lost::LeadershipLost), Ok(answer(3))));
    });
}

fn is_heartbeat(message: &Message<'_>) -> bool {
    matches!(message, Message::Append(append) if append.bytes == 0)
}

/// The follower hears its leader, and gets none of its entries.
fn lose_entries(cluster: &Small, leader: usize, follower: usize) {
    cluster.links().filter(move |from, to, message| {
        let is_append = matches!(message, Message::Append(_)) && !is_heartbeat(message);
        (from, to) != (leader, follower) || !(is_append || matches!(message, Message::InstallSnapshot(_)))
    });
}

/// So many commands go through the leader that nothing is left of what was there before.
async fn purge(cluster: &Small, leader: usize) {
    let last = cluster.node(leader).status().last;
    for _ in 0..1000 {
        cluster.node(leader).propose(b"more").await.unwrap();
    }
    cluster.sleep(Duration::from_millis(1000)).await;
    let status = cluster.node(leader).status();
    assert!(status.start > last, "{status:?}");
}

/// The same, while the window has no room for the request when it should be handed in again.
///
/// covers: P15, R7, C11
#[test]
fn a_session_is_opened_and_expires_under_its_client_in_a_snapshot_while_the_window_is_full() {
    let cluster: Small = Cluster::with_sessions::<256, 64, 16, 1>(|config: &mut Config| config.snapshot_after = 30);
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        let mut stream = cluster.node(follower).stream().await.unwrap();
        cluster.idle().await;
        lose_entries(&cluster, leader, follower);
        let node = cluster.node(follower);
        let opening = cluster.client(async move { node.session().await.map(|session| session.id()) });
        cluster.idle().await;
        cluster.node(leader).session().await.unwrap();
        purge(&cluster, leader).await;
        cluster.links().heal();
        cluster.links().filter(|_, _, message| !matches!(message, quoring_core::wire::Message::Forward(_)));
        let mut sent = Vec::new();
        for size in [90, 50, 20, 5, 1, 0] {
            while let Ok(item) = stream.try_send(&[7; 100][..size]) {
                sent.push(item);
            }
        }
        println!("{} items fill the window, {:?}", sent.len(), stream.broken());
        while cluster.application(follower).restored() == 0 {
            cluster.sleep(Duration::from_millis(10)).await;
        }
        println!("restored, {:?}", stream.broken());
        cluster.links().heal();
        cluster.sleep(Duration::from_millis(5000)).await;
        println!("then {:?}", stream.broken());
        assert!(opening.is_done(), "it waits for an entry that is gone");
    });
}

/// The leader leads on, with the rest of its quorum, so no election ends the wait.
///
/// covers: R7, C6, C12
#[test]
fn a_reader_and_a_command_whose_leader_does_not_hear_this_node_learn_so() {
    let cluster = small();
    cluster.run(async {
        let (leader, [follower, _]) = cluster.roles().await;
        let mut stream = cluster.node(follower).stream().await.unwrap();
        cluster.idle().await;
        cluster.links().cut(follower, leader);
        let node = cluster.node(follower);
        let reader = cluster.client(async move { node.read().await });
        let sent = cluster.client(async move { stream.send(b"x").await.unwrap().await });
        cluster.sleep(Duration::from_millis(3000)).await;
        assert_eq!(reader.outcome(), Err(ReadError::NoLeader));
        assert_eq!(sent.outcome(), Err(Lost::LeadershipLost));
    });
}
