//! Three nodes whose logs are small: they make snapshots, purge what those cover, and who was away gets one.

#[path = "rig/world.rs"]
#[allow(dead_code)] // Not every test needs all of it.
mod world;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use futures_lite::future::block_on;
use quoring::store::ReadError;
use quoring::store::memory::{Error, MemoryLog};
use quoring::transport::memory::{MemoryNetwork, MemoryTransport};
use quoring::{
    Clock, ClusterId, Committed, Config, Duration, EntryId, Halt, LogIndex, LogStore, Node, NodeId, NodeSet, Platform,
    Recovery, Replicator, Resources, Restore, RestoreError, Role, Save, SaveError, Snapshot, SnapshotError, Space,
    Status, Step, Tasks,
};

use world::{TestClock, World};

const FRAME: usize = 256;
const SNAPSHOT_AFTER: u32 = 50;

/// A medium that outlives its node.
#[derive(Clone, Default)]
struct Medium {
    log: Rc<RefCell<MemoryLog<{ 8 * 1024 }, 1024>>>,
    /// The bytes of this snapshot have rotted.
    rotten: Rc<Cell<Option<Snapshot>>>,
    /// How many snapshots were begun.
    begun: Rc<Cell<u32>>,
}

impl LogStore for Medium {
    type Error = Error;

    async fn recover(&mut self, log: &mut Recovery) -> Result<(), Error> {
        block_on(self.log.borrow_mut().recover(log))
    }

    async fn append(&mut self, batch: &[u8]) -> Result<(), Error> {
        block_on(self.log.borrow_mut().append(batch))
    }

    async fn read(&mut self, index: LogIndex, buffer: &mut [u8]) -> Result<usize, ReadError<Error>> {
        block_on(self.log.borrow_mut().read(index, buffer))
    }

    fn space(&self) -> Space {
        self.log.borrow().space()
    }

    fn purge(&mut self, index: LogIndex) {
        self.log.borrow_mut().purge(index);
    }

    fn snapshot_limit(&self) -> u64 {
        self.log.borrow().snapshot_limit()
    }

    async fn begin_snapshot(&mut self, last: EntryId) -> Result<(), Error> {
        self.begun.set(self.begun.get() + 1);
        block_on(self.log.borrow_mut().begin_snapshot(last))
    }

    async fn write_snapshot(&mut self, last: EntryId, offset: u64, bytes: &[u8]) -> Result<(), SnapshotError<Error>> {
        block_on(self.log.borrow_mut().write_snapshot(last, offset, bytes))
    }

    async fn finish_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError<Error>> {
        block_on(self.log.borrow_mut().finish_snapshot(snapshot))
    }

    async fn read_snapshot(
        &mut self,
        snapshot: &Snapshot,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, SnapshotError<Error>> {
        let read = block_on(self.log.borrow_mut().read_snapshot(snapshot, offset, buffer));
        if self.rotten.get() == Some(*snapshot) && offset == 0 {
            buffer[0] ^= 1;
        }
        read
    }
}

struct Board;

impl Platform for Board {
    type Mutex = NoopRawMutex;
    type Store = Medium;
    type Transport = MemoryTransport<'static, NoopRawMutex, FRAME, 16>;
    type Clock = TestClock;
}

/// An application whose state is one number, blown up so that a snapshot takes several frames.
#[derive(Default)]
struct Application {
    sum: Cell<u64>,
    count: Cell<u64>,
    saved: Cell<u32>,
    restored: Cell<u32>,
    /// It makes no snapshots.
    lazy: Cell<bool>,
    /// It does nothing.
    stopped: Cell<bool>,
}

impl Application {
    async fn run(self: Rc<Self>, clock: TestClock, mut committed: Committed<'static, Board>) -> Halt {
        loop {
            while self.stopped.get() {
                clock.sleep_until(clock.now() + Duration::from_millis(10)).await;
            }
            match committed.next().await {
                Ok(Step::Apply(entry)) => {
                    let value = u64::from_le_bytes(entry.command()[..8].try_into().unwrap());
                    self.sum.set(self.sum.get().wrapping_mul(31).wrapping_add(value));
                    self.count.set(self.count.get() + 1);
                    entry.answer(&self.sum.get().to_le_bytes());
                }
                Ok(Step::Save(_)) if self.lazy.get() => {}
                Ok(Step::Save(save)) => self.save(save).await.unwrap(),
                Ok(Step::Restore(restore)) => self.restore(restore).await.unwrap(),
                Err(halt) => return halt,
            }
        }
    }

    async fn save(&self, mut save: Save<'_, 'static, Board>) -> Result<(), SaveError> {
        for _ in 0..50 {
            save.write(&self.sum.get().to_le_bytes()).await?;
            save.write(&self.count.get().to_le_bytes()).await?;
        }
        save.finish().await?;
        self.saved.set(self.saved.get() + 1);
        Ok(())
    }

    async fn restore(&self, mut restore: Restore<'_, 'static, Board>) -> Result<(), RestoreError> {
        let mut state = Vec::new();
        loop {
            let mut piece = [0; 100];
            let len = restore.read(&mut piece).await?;
            if len == 0 {
                break;
            }
            state.extend_from_slice(&piece[..len]);
        }
        assert_eq!(state.len() as u64, restore.length());
        assert!(state.chunks(16).all(|copy| copy == &state[..16]), "the state is whole");
        self.sum.set(u64::from_le_bytes(state[..8].try_into().unwrap()));
        self.count.set(u64::from_le_bytes(state[8..16].try_into().unwrap()));
        restore.finish()?;
        self.restored.set(self.restored.get() + 1);
        Ok(())
    }
}

struct Incarnation {
    node: Node<'static, Board>,
    application: Rc<Application>,
    tasks: Vec<usize>,
}

struct Cluster {
    world: World,
    network: &'static MemoryNetwork<NoopRawMutex, 3, FRAME, 16>,
    media: [Medium; 3],
    nodes: RefCell<Vec<Incarnation>>,
}

impl Cluster {
    fn new() -> Self {
        let (world, network) = (World::default(), &*Box::leak(Box::default()));
        let cluster = Self { world, network, media: Default::default(), nodes: RefCell::default() };
        for id in 0..3 {
            let node = cluster.boot(id);
            cluster.nodes.borrow_mut().push(node);
        }
        cluster
    }

    fn boot(&self, id: usize) -> Incarnation {
        let id = NodeId::new(id as u8).unwrap();
        let mut config = Config::new(id, ClusterId(7), NodeSet::first(3));
        config.snapshot_after = SNAPSHOT_AFTER;
        let memory = Box::leak(Box::new(Resources::<_, 256, 64, 2, FRAME, 8>::new()));
        let store = self.media[usize::from(id.get())].clone();
        let started = quoring::new(config, store, self.network.endpoint(id).unwrap(), self.world.clock(), memory);
        let (node, committed, runner) = block_on(started).unwrap();
        let application = Rc::<Application>::default();
        let Tasks { log_writer, replicators, receiver, ticker } = runner.split();
        let world = &self.world;
        let mut tasks: Vec<_> = replicators.map(Replicator::run).map(|task| world.spawn(end(task))).into();
        tasks.push(world.spawn(end(log_writer.run())));
        tasks.push(world.spawn(end(receiver.run())));
        tasks.push(world.spawn(end(ticker.run())));
        tasks.push(world.spawn(end(Rc::clone(&application).run(world.clock(), committed))));
        world.inspect(move || node.assert_invariants());
        Incarnation { node, application, tasks }
    }

    fn kill(&self, node: usize) {
        self.nodes.borrow_mut()[node].tasks.drain(..).for_each(|task| self.world.kill(task));
    }

    fn reboot(&self, node: usize) {
        self.kill(node);
        self.nodes.borrow_mut()[node] = self.boot(node);
    }

    fn node(&self, node: usize) -> Node<'static, Board> {
        self.nodes.borrow()[node].node
    }

    fn application(&self, node: usize) -> Rc<Application> {
        Rc::clone(&self.nodes.borrow()[node].application)
    }

    fn status(&self, node: usize) -> Status {
        self.node(node).status()
    }

    async fn leader(&self) -> usize {
        loop {
            let leads =
                |&node: &usize| !self.nodes.borrow()[node].tasks.is_empty() && self.status(node).role == Role::Leader;
            if let Some(leader) = (0..3).find(leads) {
                return leader;
            }
            self.world.sleep(Duration::from_millis(10)).await;
        }
    }

    /// Commands of `values`, one after the other.
    async fn propose(&self, leader: usize, values: std::ops::Range<u64>) {
        for value in values {
            self.node(leader).propose(&value.to_le_bytes()).await.unwrap();
        }
    }

    /// Waits until all applications have come as far as the leader's.
    async fn agree(&self, leader: usize) {
        let state = |node: usize| (self.application(node).count.get(), self.application(node).sum.get());
        for _ in 0..1000 {
            if (0..3).all(|node| state(node) == state(leader)) {
                return;
            }
            self.world.sleep(Duration::from_millis(10)).await;
        }
        let all = [0, 1, 2].map(|node| (state(node), self.status(node), self.node(node).halted()));
        panic!("they do not agree: {all:?}");
    }
}

async fn end(task: impl Future<Output = Halt>) {
    task.await;
}

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
        let recovered = {
            let mut recovery = Recovery::new(ClusterId(7), quoring_ring::DEFAULT_CRC32C);
            block_on(cluster.media[leader].log.borrow_mut().recover(&mut recovery)).unwrap();
            recovery.finish().unwrap()
        };
        cluster.media[leader].rotten.set(recovered.snapshot);
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
