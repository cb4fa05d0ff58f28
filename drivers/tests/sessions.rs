//! Sessions across repetitions, leaders, losses of power and snapshots: a command takes effect once, and has one answer.

mod snapshot_rig;

use std::cell::RefCell;
use std::rc::Rc;

use futures_lite::future::block_on;
use quoring::{
    Answer, ClientId, Duration, Halt, LogIndex, LogStore, Lost, Recovery, RequestId, SessionError, SessionId,
};
use quoring_ring::{Checksum, DEFAULT_CRC32C, Header, Kind};

use snapshot_rig::{CLUSTER, Cluster, Medium, SESSIONS, SNAPSHOT, STATE};

/// A log that all three nodes find when they start.
#[derive(Default)]
struct Script {
    records: Vec<u8>,
    last: u64,
}

impl Script {
    fn entry(&mut self, kind: Kind, payload: &[u8]) {
        self.last += 1;
        let len = payload.len() as u16;
        let mut header = Header { checksum: 0, term: 1, index_low: self.last as u32, len, kind, flags: 0 };
        header.checksum = Checksum::new(CLUSTER.0, DEFAULT_CRC32C).of(&header, 0, payload);
        let end = self.records.len() + header.size();
        self.records.extend([&header.encode(), payload].concat());
        self.records.resize(end, 0);
    }

    fn request(&mut self, kind: Kind, client: u64, sequence: u32, table: usize, value: u64) {
        let request = RequestId { client: ClientId(client), sequence, table: table as u32 };
        self.entry(kind, &[&request.encode()[..], &value.to_le_bytes()].concat());
    }

    fn open(&mut self, client: u64, table: usize) {
        self.request(Kind::Session, client, 0, table, 0);
    }

    /// A command in the session that was opened by entry `opened`.
    fn command(&mut self, client: u64, opened: usize, sequence: u32, value: u64) {
        self.request(Kind::Session, client, sequence, opened, value);
    }

    fn media(&self) -> [Medium; 3] {
        let media: [Medium; 3] = Default::default();
        for medium in &media {
            let mut log = medium.log.borrow_mut();
            block_on(log.recover(&mut Recovery::new(CLUSTER, DEFAULT_CRC32C))).unwrap();
            block_on(log.append(&self.records)).unwrap();
        }
        media
    }
}

/// What the application makes of these values.
fn sum(values: impl IntoIterator<Item = u64>) -> u64 {
    values.into_iter().fold(0, |sum: u64, value| sum.wrapping_mul(31).wrapping_add(value))
}

/// covers: C11
#[test]
fn on_every_node_the_application_is_lent_each_command_of_a_session_once() {
    let mut script = Script::default();
    script.command(7, 2, 1, 90); // There is no session yet.
    script.open(7, SESSIONS);
    script.command(7, 2, 1, 10);
    script.command(7, 2, 1, 10);
    script.open(7, SESSIONS);
    script.command(7, 2, 1, 91); // The same number is the same command, whatever it says.
    script.command(7, 2, 3, 11);
    script.command(7, 2, 2, 92); // Too late: a later one has taken effect.
    (1..=SESSIONS as u64).for_each(|client| script.open(100 + client, SESSIONS));
    script.command(7, 2, 4, 93); // Expired.
    script.command(101, 9, 1, 12);
    let cluster = Cluster::over(script.media(), None);
    cluster.world.run(async {
        let leader = cluster.leader().await;
        cluster.propose(leader, 13..14).await;
        cluster.agree(leader).await;
        for node in 0..3 {
            let application = cluster.application(node);
            assert_eq!((application.count.get(), application.sum.get()), (4, sum([10, 11, 12, 13])), "node {node}");
        }
    });
}

/// What opens the session stands in the log twice, as it does when it was handed in again after a change of leader; in between the session had a command and expired.
///
/// covers: C11, S6
#[test]
fn a_command_of_a_session_that_expired_is_not_lent_again_though_a_late_repetition_has_opened_another() {
    let mut script = Script::default();
    script.open(7, SESSIONS);
    script.command(7, 1, 1, 10);
    for client in 0..8 {
        script.open(100 + client, SESSIONS);
    }
    script.open(7, SESSIONS);
    script.command(7, 1, 1, 90); // Its client did not hear that it took effect.
    let cluster = Cluster::over(script.media(), None);
    cluster.world.run(async {
        let leader = cluster.leader().await;
        let expired = Err(SessionError::Expired);
        let [first, second] = [1, 11].map(|opened| SessionId { client: ClientId(7), opened });
        assert_eq!(ask_again(&cluster, first, 1, 91).await, [expired; 3], "from the log");
        let mut session = cluster.node(leader).resume_session(second, 1);
        let answer = session.propose(&11_u64.to_le_bytes()).await;
        assert_eq!(answer, Ok(Answer::new(&sum([10, 11]).to_le_bytes()).unwrap()));
        cluster.propose(leader, 12..300).await;
        cluster.agree(leader).await;
        (0..3).for_each(|node| cluster.reboot(node));
        let leader = cluster.leader().await;
        assert_eq!(ask_again(&cluster, first, 1, 92).await, [expired; 3], "from the snapshot");
        assert_eq!(ask_again(&cluster, second, 1, 93).await, [answer; 3]);
        cluster.agree(leader).await;
        for node in 0..3 {
            assert!(cluster.application(node).restored.get() > 0);
            assert_eq!(cluster.application(node).sum.get(), sum([10].into_iter().chain(11..300)), "node {node}");
        }
    });
}

/// covers: C1, C11, T5
#[test]
fn the_application_learns_whose_command_it_is_and_is_not_lent_what_names_nobody() {
    let mut script = Script::default();
    for kind in [Kind::Session, Kind::Stream] {
        (0..RequestId::SIZE).for_each(|len| script.entry(kind, &vec![0xA5; len]));
    }
    script.request(Kind::Stream, 8, 5, 0, 10);
    script.request(Kind::Stream, 8, 5, 0, 11); // A stream is no session: its commands are not told apart.
    let cluster = Cluster::over(script.media(), None);
    cluster.world.run(async {
        let leader = cluster.leader().await;
        cluster.world.sleep(Duration::from_millis(1000)).await;
        let request = RequestId { client: ClientId(8), sequence: 5, table: 0 };
        for node in 0..3 {
            let application = cluster.application(node);
            assert_eq!((application.count.get(), application.sum.get()), (2, sum([10, 11])), "node {node}");
            assert_eq!(application.request.get(), Some(request));
        }
        cluster.propose(leader, 12..13).await;
        assert_eq!(cluster.application(leader).request.get(), None);
    });
}

/// Else it would forget other sessions than the others, and apply what they do not.
///
/// covers: C11
#[test]
fn a_node_with_too_few_places_for_sessions_stops_and_says_how_many_it_needs() {
    let mut script = Script::default();
    script.open(7, 1);
    script.command(7, 1, 1, 10);
    script.open(8, SESSIONS);
    let cluster = Cluster::over(script.media(), Some(1));
    cluster.world.run(async {
        while cluster.node(1).halted().is_none() {
            cluster.world.sleep(Duration::from_millis(10)).await;
        }
        let halt = cluster.node(1).halted().unwrap();
        assert_eq!(halt, Halt::Sessions { needed: SESSIONS as u32 });
        assert!(halt.to_string().ends_with("SESSIONS = 4 or more"), "{halt}");
        assert_eq!(cluster.application(1).sum.get(), 10, "what came before that is applied");
        cluster.kill(1);
        let leader = cluster.leader().await;
        cluster.propose(leader, 11..12).await;
        assert_eq!(cluster.application(leader).sum.get(), sum([10, 11]));
    });
}

/// A cluster whose nodes made snapshots with three sessions in them, and its leader.
async fn with_snapshots(cluster: &Cluster) -> usize {
    let leader = cluster.leader().await;
    cluster.propose(leader, 0..300).await;
    cluster.agree(leader).await;
    leader
}

fn three_sessions() -> Script {
    let mut script = Script::default();
    for client in 1..=3 {
        script.open(client, SESSIONS);
        script.command(client, script.last as usize, 1, client);
    }
    script
}

/// covers: S6
#[test]
fn a_snapshot_has_the_sessions_beside_the_application_s_state_and_the_application_sees_only_that() {
    let cluster = Cluster::over(three_sessions().media(), None);
    cluster.world.run(async {
        let leader = with_snapshots(&cluster).await;
        let table = 3 + 3 * (25 + 8);
        for node in 0..3 {
            assert_eq!(cluster.application(node).limit.get(), (SNAPSHOT - table) as u64);
            assert_eq!(cluster.snapshot(node).unwrap().length, (table + STATE) as u64);
        }
        let before = cluster.application(leader).sum.get();
        (0..3).for_each(|node| cluster.reboot(node));
        let leader = cluster.leader().await;
        cluster.agree(leader).await;
        (0..3).for_each(|node| assert_eq!(cluster.application(node).sum.get(), before));
    });
}

/// What was read of the sessions in vain is no reason to go on with the entries below the snapshot.
///
/// covers: S5, S6
#[test]
fn an_application_that_gives_up_waiting_for_its_snapshot_is_given_it_again() {
    let cluster = Cluster::over(three_sessions().media(), None);
    cluster.world.run(async {
        let leader = with_snapshots(&cluster).await;
        let (before, length) = (cluster.application(leader).sum.get(), cluster.snapshot(leader).unwrap().length);
        (0..3).for_each(|node| cluster.reboot(node));
        (0..3).for_each(|node| cluster.application(node).impatient.set(true));
        let leader = cluster.leader().await;
        cluster.agree(leader).await;
        assert_eq!(cluster.application(leader).sum.get(), before);
        cluster.propose(leader, 0..100).await;
        cluster.agree(leader).await;
        for node in 0..3 {
            assert_eq!((cluster.application(node).restored.get(), cluster.snapshot(node).unwrap().length), (1, length));
        }
    });
}

/// covers: S6, D6
#[test]
fn a_snapshot_whose_sessions_are_damaged_stops_the_node() {
    let cluster = Cluster::over(three_sessions().media(), None);
    cluster.world.run(async {
        let leader = with_snapshots(&cluster).await;
        let other = (leader + 1) % 3;
        cluster.kill(other);
        cluster.media[other].rotten.set(cluster.snapshot(other));
        cluster.reboot(other);
        cluster.world.sleep(Duration::from_millis(100)).await;
        assert_eq!(cluster.node(other).halted(), Some(Halt::Snapshot));
        assert_eq!(cluster.application(other).restored.get(), 0);
    });
}

/// covers: S6, C11
#[test]
fn a_snapshot_with_more_sessions_than_a_node_has_places_for_stops_it() {
    let mut cluster = Cluster::over(three_sessions().media(), None);
    cluster.meagre = Some(2);
    cluster.world.run(async {
        with_snapshots(&cluster).await;
        cluster.reboot(2);
        cluster.world.sleep(Duration::from_millis(100)).await;
        assert_eq!(cluster.node(2).halted(), Some(Halt::Sessions { needed: 3 }));
        assert!(cluster.status(2).snapshot > LogIndex::ZERO);
    });
}

/// Sends the command again, with the number that it had, on each node.
async fn ask_again(
    cluster: &Cluster,
    session: SessionId,
    sequence: u32,
    value: u64,
) -> [Result<Answer, SessionError>; 3] {
    let mut answers = [Ok(Answer::EMPTY); 3];
    for (node, answer) in answers.iter_mut().enumerate() {
        // Another command: if it were applied, it would show.
        let mut session = cluster.node(node).resume_session(session, sequence);
        *answer = session.propose(&value.to_le_bytes()).await;
    }
    answers
}

/// covers: C11, S5, S6
#[test]
fn a_command_has_its_first_answer_after_a_loss_of_power_everywhere_and_when_its_entry_is_gone() {
    let cluster = Cluster::new();
    cluster.world.run(async {
        let leader = cluster.leader().await;
        cluster.propose(leader, 0..20).await;
        let mut session = cluster.node((leader + 1) % 3).session().await.unwrap();
        let answer = session.propose(&5_u64.to_le_bytes()).await.unwrap();
        let opened = cluster.status(leader).committed;
        (0..3).for_each(|node| cluster.reboot(node));
        let leader = cluster.leader().await;
        assert_eq!(ask_again(&cluster, session.id(), 1, 99).await, [Ok(answer); 3], "from the log");
        cluster.propose(leader, 20..400).await;
        assert!(cluster.status(leader).start > opened, "the entry is gone");
        (0..3).for_each(|node| cluster.reboot(node));
        let leader = cluster.leader().await;
        assert_eq!(ask_again(&cluster, session.id(), 1, 99).await, [Ok(answer); 3], "from the snapshot");
        cluster.agree(leader).await;
        let values = (0..20).chain([5]).chain(20..400);
        assert_eq!(cluster.application(leader).sum.get(), sum(values), "applied once");
        let mut session = cluster.node(leader).resume_session(session.id(), 2);
        assert_ne!(session.propose(&6_u64.to_le_bytes()).await, Ok(answer));
        assert_eq!(ask_again(&cluster, session.id(), 1, 99).await, [Err(SessionError::Superseded); 3]);
    });
}

/// The node was restarted, and has restored neither its snapshot nor what opened the session behind that.
///
/// covers: C11, R7, S5
#[test]
fn a_session_goes_on_at_a_node_that_has_yet_to_restore_a_snapshot_from_before_it_was_opened() {
    let cluster = Cluster::new();
    cluster.world.run(async {
        let leader = cluster.leader().await;
        cluster.propose(leader, 0..300).await;
        let mut session = cluster.node(leader).session().await.unwrap();
        let first = session.propose(&5_u64.to_le_bytes()).await.unwrap();
        cluster.agree(leader).await;
        let node = (leader + 1) % 3;
        assert!(cluster.snapshot(node).unwrap().last.index.0 < u64::from(session.id().opened));
        cluster.reboot(node);
        cluster.application(node).stopped.set(true);
        let outcomes: Rc<RefCell<Vec<Result<Answer, SessionError>>>> = Rc::default();
        for sequence in [1, 2] {
            let (outcomes, mut session) =
                (Rc::clone(&outcomes), cluster.node(node).resume_session(session.id(), sequence));
            cluster.world.spawn(async move {
                let answer = session.propose(&6_u64.to_le_bytes()).await;
                outcomes.borrow_mut().push(answer);
            });
            cluster.world.sleep(Duration::from_millis(100)).await;
        }
        cluster.application(node).stopped.set(false);
        cluster.agree(leader).await;
        assert_eq!(cluster.application(node).restored.get(), 1);
        let second = Answer::new(&cluster.application(node).sum.get().to_le_bytes()).unwrap();
        assert_eq!(outcomes.take(), [Ok(first), Ok(second)]);
    });
}

/// The node gets a snapshot in place of the entry that opened the session, and of those that made it expire.
///
/// covers: C11, R7, S4
#[test]
fn who_opens_a_session_is_not_left_waiting_if_it_expired_before_its_node_heard_of_it() {
    let cluster = Cluster::new();
    cluster.world.run(async {
        let leader = cluster.leader().await;
        let slow = (leader + 1) % 3;
        cluster.propose(leader, 0..20).await;
        cluster.application(slow).stopped.set(true);
        cluster.propose(leader, 20..22).await;
        let opened: Rc<RefCell<Option<SessionId>>> = Rc::default();
        let (node, known) = (cluster.node(slow), Rc::clone(&opened));
        cluster.world.spawn(async move {
            let session = node.session().await.unwrap();
            *known.borrow_mut() = Some(session.id());
        });
        cluster.world.idle().await;
        for _ in 0..SESSIONS {
            _ = cluster.node(leader).session().await.unwrap();
        }
        cluster.propose(leader, 22..1000).await;
        cluster.world.sleep(Duration::from_millis(2000)).await;
        assert_eq!(opened.take(), None);
        cluster.application(slow).stopped.set(false);
        cluster.agree(leader).await;
        cluster.world.sleep(Duration::from_millis(1000)).await;
        assert!(cluster.application(slow).restored.get() > 0);
        let session = opened.take().expect("it is opened again");
        assert!(u64::from(session.opened) > 1000, "{session}");
        let answer = cluster.node(leader).resume_session(session, 1).propose(&5_u64.to_le_bytes()).await;
        assert_eq!(answer, Ok(Answer::new(&sum((0..1000).chain([5])).to_le_bytes()).unwrap()));
    });
}

/// The sessions in the node's newest snapshot.
fn table(cluster: &Cluster, node: usize) -> Vec<u8> {
    let snapshot = cluster.snapshot(node).unwrap();
    let mut bytes = vec![0; snapshot.length as usize - STATE];
    let read = block_on(cluster.media[node].log.borrow_mut().read_snapshot(&snapshot, 0, &mut bytes));
    assert_eq!(read, Ok(bytes.len()));
    bytes
}

/// covers: C11, S6, S7
#[test]
fn who_was_away_learns_the_sessions_from_a_leader_s_snapshot_and_makes_the_same_one() {
    let cluster = Cluster::new();
    cluster.world.run(async {
        let leader = cluster.leader().await;
        let away = (leader + 1) % 3;
        cluster.kill(away);
        let mut sessions = Vec::new();
        for value in 0..SESSIONS as u64 {
            let mut session = cluster.node(leader).session().await.unwrap();
            let answer = session.propose(&value.to_le_bytes()).await.unwrap();
            sessions.push((session, answer));
        }
        cluster.propose(leader, 20..1000).await;
        cluster.reboot(away);
        cluster.agree(leader).await;
        assert!(cluster.application(away).restored.get() > 0);
        for (session, answer) in &sessions {
            assert_eq!(ask_again(&cluster, session.id(), 1, 99).await, [Ok(*answer); 3]);
        }
        cluster.propose(leader, 1000..1200).await;
        cluster.agree(leader).await;
        assert!(cluster.application(away).saved.get() > 0);
        let tables = [0, 1, 2].map(|node| table(&cluster, node));
        assert_eq!(tables, [(); 3].map(|()| tables[leader].clone()), "whoever writes it, it has the same bytes");
        let mut one_more = cluster.node(away).session().await.unwrap();
        one_more.propose(&7_u64.to_le_bytes()).await.unwrap();
        let expired = sessions[0].0.propose(&8_u64.to_le_bytes()).await;
        assert_eq!(expired, Err(SessionError::Expired), "the one that was used longest ago, on every node");
        let (last, _) = sessions.last_mut().unwrap();
        last.propose(&9_u64.to_le_bytes()).await.unwrap();
        cluster.agree(leader).await;
    });
}

/// Scenario 47, as far as the table goes: only the leader that was cut off has the command, and it takes effect in another entry.
///
/// covers: C11, R7
#[test]
fn a_command_that_only_a_lost_leader_has_takes_effect_once_when_it_is_sent_again() {
    let cluster = Cluster::new();
    cluster.world.run(async {
        let leader = cluster.leader().await;
        let others = [(leader + 1) % 3, (leader + 2) % 3];
        let id = cluster.node(leader).session().await.unwrap().id();
        cluster.propose(leader, 0..3).await;
        others.into_iter().for_each(|node| cluster.kill(node));
        let mut lost = cluster.node(leader).resume_session(id, 1);
        cluster.world.spawn(async move {
            let _ = lost.propose(&5_u64.to_le_bytes()).await;
        });
        cluster.world.idle().await;
        assert_eq!(cluster.status(leader).last, cluster.status(leader).committed.next(), "it is stored");
        cluster.kill(leader);
        others.into_iter().for_each(|node| cluster.reboot(node));
        let next = cluster.leader().await;
        let answer = cluster.node(next).resume_session(id, 1).propose(&5_u64.to_le_bytes()).await;
        assert_eq!(answer, Ok(Answer::new(&sum([0, 1, 2, 5]).to_le_bytes()).unwrap()));
        cluster.reboot(leader);
        cluster.agree(next).await;
        assert_eq!(ask_again(&cluster, id, 1, 99).await, [answer; 3]);
        assert_eq!(cluster.application(next).count.get(), 4);
    });
}

/// Scenario 52: the entries that they wait for are gone, and were never applied here.
///
/// covers: R7, P15, S4, C6
#[test]
fn a_session_s_answer_comes_with_the_snapshot_that_was_installed_under_its_client_and_a_stream_s_is_lost() {
    let cluster = Cluster::new();
    cluster.world.run(async {
        let leader = cluster.leader().await;
        let slow = (leader + 1) % 3;
        cluster.propose(leader, 0..20).await;
        let (mut session, mut stream) =
            (cluster.node(slow).session().await.unwrap(), cluster.node(slow).stream().await.unwrap());
        cluster.application(slow).stopped.set(true);
        // What it was waiting for it still gets.
        cluster.propose(leader, 20..22).await;
        let outcomes: Rc<RefCell<Vec<String>>> = Rc::default();
        let (of_session, of_stream) = (Rc::clone(&outcomes), Rc::clone(&outcomes));
        let sent = stream.send(&5_u64.to_le_bytes()).await.unwrap();
        cluster.world.idle().await;
        cluster.world.spawn(async move {
            let answer = session.propose(&6_u64.to_le_bytes()).await;
            of_session.borrow_mut().push(format!("{answer:?}"));
        });
        cluster.world.spawn(async move {
            let answer = sent.await;
            of_stream.borrow_mut().push(format!("{answer:?}"));
        });
        cluster.world.idle().await;
        cluster.propose(leader, 22..1000).await;
        cluster.world.sleep(Duration::from_millis(2000)).await;
        let status = cluster.status(slow);
        assert!(status.applied < LogIndex(30) && status.snapshot > LogIndex(500), "{status:?}");
        assert!(outcomes.borrow().is_empty());
        cluster.application(slow).stopped.set(false);
        cluster.agree(leader).await;
        cluster.world.idle().await;
        let answer = Answer::new(&sum((0..22).chain([5, 6])).to_le_bytes());
        let mut outcomes = outcomes.take();
        outcomes.sort();
        let expected =
            [format!("{:?}", Err::<Answer, _>(Lost::Covered)), format!("{:?}", Ok::<_, Lost>(answer.unwrap()))];
        assert_eq!(outcomes, expected);
        drop(stream);
    });
}
