//! Sessions across repetitions, leaders, losses of power and snapshots: a command takes effect once, and has one answer.

mod snapshot_rig;

use futures_lite::future::block_on;
use quoring::{ClientId, Duration, Halt, LogIndex, LogStore, Recovery, RequestId};
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

    /// A command in a session.
    fn command(&mut self, client: u64, sequence: u32, value: u64) {
        self.request(Kind::Session, client, sequence, 0, value);
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
    script.command(7, 1, 90); // There is no session yet.
    script.open(7, SESSIONS);
    script.command(7, 1, 10);
    script.command(7, 1, 10);
    script.open(7, SESSIONS);
    script.command(7, 1, 91); // The same number is the same command, whatever it says.
    script.command(7, 3, 11);
    script.command(7, 2, 92); // Too late: a later one has taken effect.
    (1..=SESSIONS as u64).for_each(|client| script.open(100 + client, SESSIONS));
    script.command(7, 4, 93); // Expired.
    script.command(101, 1, 12);
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
    script.command(7, 1, 10);
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
        script.command(client, 1, client);
    }
    script
}

/// covers: S6
#[test]
fn a_snapshot_has_the_sessions_beside_the_application_s_state_and_the_application_sees_only_that() {
    let cluster = Cluster::over(three_sessions().media(), None);
    cluster.world.run(async {
        let leader = with_snapshots(&cluster).await;
        let table = 3 + 3 * (21 + 8);
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
