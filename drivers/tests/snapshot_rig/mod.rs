//! Three nodes whose logs are small, and their applications, which make snapshots.

#![allow(dead_code)] // Each test uses its part.

#[path = "../rig/world.rs"]
mod world;

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use embassy_futures::poll_once;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use futures_lite::future::block_on;
use quoring::store::ReadError;
use quoring::store::memory::{Error, MemoryLog};
use quoring::transport::memory::{MemoryNetwork, MemoryTransport};
use quoring::{
    Clock, ClusterId, Committed, Config, Duration, EntryId, Halt, LogIndex, LogStore, Node, NodeId, NodeSet, Platform,
    Recovery, Replicator, RequestId, Resources, Restore, RestoreError, Role, Save, SaveError, Snapshot, SnapshotError,
    Space, Status, Step, Tasks,
};

use world::{TestClock, World};

pub(crate) const FRAME: usize = 256;
pub(crate) const SNAPSHOT_AFTER: u32 = 50;
/// The most bytes of a snapshot.
pub(crate) const SNAPSHOT: usize = 1536;
/// Bytes of the application's state.
pub(crate) const STATE: usize = 800;
/// Places for sessions on a usual node.
pub(crate) const SESSIONS: usize = 4;
pub(crate) const CLUSTER: ClusterId = ClusterId(7);

/// A medium that outlives its node.
#[derive(Clone, Default)]
pub(crate) struct Medium {
    pub(crate) log: Rc<RefCell<MemoryLog<{ 8 * 1024 }, SNAPSHOT>>>,
    /// The bytes of this snapshot have rotted.
    pub(crate) rotten: Rc<Cell<Option<Snapshot>>>,
    /// How many snapshots were begun.
    pub(crate) begun: Rc<Cell<u32>>,
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

pub(crate) struct Board;

impl Platform for Board {
    type Mutex = NoopRawMutex;
    type Store = Medium;
    type Transport = MemoryTransport<'static, NoopRawMutex, FRAME, 16>;
    type Clock = TestClock;
}

/// An application whose state is one number, blown up so that a snapshot takes several frames.
#[derive(Default)]
pub(crate) struct Application {
    pub(crate) sum: Cell<u64>,
    pub(crate) count: Cell<u64>,
    pub(crate) saved: Cell<u32>,
    pub(crate) restored: Cell<u32>,
    /// It makes no snapshots.
    pub(crate) lazy: Cell<bool>,
    /// It does nothing.
    pub(crate) stopped: Cell<bool>,
    /// It thinks about its command.
    pub(crate) held: Cell<bool>,
    /// Its state is being replaced.
    pub(crate) restoring: Cell<bool>,
    /// Having started, it gives up waiting for its first step, a snapshot to restore, again and again.
    pub(crate) impatient: Cell<bool>,
    /// Bytes that it could have saved last time.
    pub(crate) limit: Cell<u64>,
    /// Who asked for the newest command.
    pub(crate) request: Cell<Option<RequestId>>,
}

impl Application {
    async fn run(self: Rc<Self>, clock: TestClock, mut committed: Committed<'static, Board>) -> Halt {
        for polls in 0..if self.impatient.get() { 40 } else { 0 } {
            let mut next = pin!(committed.next());
            for _ in 0..polls {
                if let Poll::Ready(step) = poll_once(next.as_mut()) {
                    assert!(matches!(step, Ok(Step::Restore(_))), "{step:?}");
                    break;
                }
            }
        }
        loop {
            while self.stopped.get() {
                clock.sleep_until(clock.now() + Duration::from_millis(10)).await;
            }
            match committed.next().await {
                Ok(Step::Apply(entry)) => {
                    let value = u64::from_le_bytes(entry.command()[..8].try_into().unwrap());
                    self.sum.set(self.sum.get().wrapping_mul(31).wrapping_add(value));
                    self.count.set(self.count.get() + 1);
                    while self.held.get() {
                        clock.sleep_until(clock.now() + Duration::from_millis(10)).await;
                    }
                    self.request.set(entry.request());
                    entry.answer(&self.sum.get().to_le_bytes());
                }
                Ok(Step::Save(_)) if self.lazy.get() => {}
                Ok(Step::Save(save)) => self.save(save).await.unwrap(),
                Ok(Step::Restore(restore)) => {
                    self.restoring.set(true);
                    clock.sleep_until(clock.now() + Duration::from_millis(10)).await;
                    self.restore(restore).await.unwrap();
                    self.restoring.set(false);
                }
                Err(halt) => return halt,
            }
        }
    }

    async fn save(&self, mut save: Save<'_, 'static, Board>) -> Result<(), SaveError> {
        self.limit.set(save.limit());
        for _ in 0..STATE / 16 {
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
        assert_eq!((state.len(), restore.length()), (STATE, STATE as u64), "nothing but what was saved");
        assert!(state.chunks(16).all(|copy| copy == &state[..16]), "the state is whole");
        self.sum.set(u64::from_le_bytes(state[..8].try_into().unwrap()));
        self.count.set(u64::from_le_bytes(state[8..16].try_into().unwrap()));
        restore.finish()?;
        self.restored.set(self.restored.get() + 1);
        Ok(())
    }
}

pub(crate) struct Incarnation {
    pub(crate) node: Node<'static, Board>,
    pub(crate) application: Rc<Application>,
    pub(crate) tasks: Vec<usize>,
}

pub(crate) struct Cluster {
    pub(crate) world: World,
    pub(crate) network: &'static MemoryNetwork<NoopRawMutex, 3, FRAME, 16>,
    pub(crate) media: [Medium; 3],
    pub(crate) nodes: RefCell<Vec<Incarnation>>,
    /// This node has places for one session only.
    pub(crate) meagre: Option<usize>,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self::over(Default::default(), None)
    }

    /// Nodes that find this on their media.
    pub(crate) fn over(media: [Medium; 3], meagre: Option<usize>) -> Self {
        let (world, network) = (World::default(), &*Box::leak(Box::default()));
        let cluster = Self { world, network, media, nodes: RefCell::default(), meagre };
        for id in 0..3 {
            let node = cluster.boot(id);
            cluster.nodes.borrow_mut().push(node);
        }
        cluster
    }

    fn boot(&self, id: usize) -> Incarnation {
        if self.meagre == Some(id) { self.boot_with::<1>(id) } else { self.boot_with::<SESSIONS>(id) }
    }

    fn boot_with<const SESSIONS: usize>(&self, id: usize) -> Incarnation {
        let id = NodeId::new(id as u8).unwrap();
        let mut config = Config::new(id, CLUSTER, NodeSet::first(3));
        config.snapshot_after = SNAPSHOT_AFTER;
        let memory = Box::leak(Box::new(Resources::<_, 256, 64, 2, FRAME, 8, SESSIONS>::new()));
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

    pub(crate) fn kill(&self, node: usize) {
        self.nodes.borrow_mut()[node].tasks.drain(..).for_each(|task| self.world.kill(task));
    }

    pub(crate) fn reboot(&self, node: usize) {
        self.kill(node);
        self.nodes.borrow_mut()[node] = self.boot(node);
    }

    pub(crate) fn node(&self, node: usize) -> Node<'static, Board> {
        self.nodes.borrow()[node].node
    }

    pub(crate) fn application(&self, node: usize) -> Rc<Application> {
        Rc::clone(&self.nodes.borrow()[node].application)
    }

    pub(crate) fn status(&self, node: usize) -> Status {
        self.node(node).status()
    }

    /// The newest snapshot on the node's medium.
    pub(crate) fn snapshot(&self, node: usize) -> Option<Snapshot> {
        let mut recovery = Recovery::new(CLUSTER, quoring_ring::DEFAULT_CRC32C);
        block_on(self.media[node].log.borrow_mut().recover(&mut recovery)).unwrap();
        recovery.finish().unwrap().snapshot
    }

    pub(crate) async fn leader(&self) -> usize {
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
    pub(crate) async fn propose(&self, leader: usize, values: std::ops::Range<u64>) {
        for value in values {
            self.node(leader).propose(&value.to_le_bytes()).await.unwrap();
        }
    }

    /// Waits until all applications have come as far as the leader's.
    pub(crate) async fn agree(&self, leader: usize) {
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

pub(crate) async fn end(task: impl Future<Output = Halt>) {
    task.await;
}
