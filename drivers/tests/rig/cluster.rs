//! Three nodes and their applications.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::ops::Deref;
use std::rc::Rc;
use std::task::{Poll, Waker};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use futures_lite::future::block_on;
use quoring::transport::memory::MemoryNetwork;
use quoring::{
    Committed, Config, Duration, Halt, Node, NodeId, NodeSet, Platform, Replicator, RequestId, Resources, Restore,
    RestoreError, Role, Save, SaveError, Step, Tasks,
};

use super::links::{CLUSTER, Link, Links};
use super::medium::TestLog;
use super::world::{TestClock, World};

/// Bytes of a log that keeps all entries of a test.
const LARGE: usize = 128 * 1024;

/// What the nodes stand on: `FRAME` bytes a frame, `DEPTH` frames in a mailbox, `LOG` bytes of log and snapshots of up to `SNAPSHOT` bytes.
pub(crate) struct Board<const FRAME: usize, const DEPTH: usize, const LOG: usize = LARGE, const SNAPSHOT: usize = 0>;

impl<const FRAME: usize, const DEPTH: usize, const LOG: usize, const SNAPSHOT: usize> Platform
    for Board<FRAME, DEPTH, LOG, SNAPSHOT>
{
    type Mutex = NoopRawMutex;
    type Store = TestLog<LOG, SNAPSHOT>;
    type Transport = Link<FRAME, DEPTH>;
    type Clock = TestClock;
}

/// Starts the node of a configuration.
type Boot<B> = dyn Fn(&World, &Links, NodeId, &<B as Platform>::Store) -> Incarnation<B>;

/// Three nodes in their world.
pub(crate) struct Cluster<const FRAME: usize, const DEPTH: usize, const LOG: usize = LARGE, const SNAPSHOT: usize = 0> {
    world: World,
    links: Links,
    boot: Box<Boot<Board<FRAME, DEPTH, LOG, SNAPSHOT>>>,
    stores: [TestLog<LOG, SNAPSHOT>; 3],
    nodes: [RefCell<Incarnation<Board<FRAME, DEPTH, LOG, SNAPSHOT>>>; 3],
}

/// A node from its start to the loss of its tasks.
struct Incarnation<B: Platform + 'static> {
    node: Node<'static, B>,
    application: Rc<Application>,
    tasks: Vec<usize>,
}

/// Nodes with 2 KiB of ring in which 64 entries can be found.
pub(crate) type Usual = Cluster<256, 16>;

/// Sixteen clients may wait at a time on each node.
pub(crate) fn usual() -> Usual {
    Cluster::new::<256, 64, 16>(|_| {})
}

impl<const FRAME: usize, const DEPTH: usize, const LOG: usize, const SNAPSHOT: usize>
    Cluster<FRAME, DEPTH, LOG, SNAPSHOT>
{
    /// Three nodes with this much memory, each with its own tuning.
    pub(crate) fn new<const UNITS: usize, const SLOTS: usize, const PROPOSALS: usize>(
        tune: impl Fn(&mut Config) + 'static,
    ) -> Self {
        Self::with_sessions::<UNITS, SLOTS, PROPOSALS, 8>(tune)
    }

    /// The same, in a cluster that keeps `SESSIONS` sessions.
    pub(crate) fn with_sessions<
        const UNITS: usize,
        const SLOTS: usize,
        const PROPOSALS: usize,
        const SESSIONS: usize,
    >(
        tune: impl Fn(&mut Config) + 'static,
    ) -> Self {
        let network: &'static MemoryNetwork<NoopRawMutex, 3, FRAME, DEPTH> = Box::leak(Box::default());
        let boot = move |world: &World, links: &Links, id: NodeId, store: &TestLog<LOG, SNAPSHOT>| {
            let mut config = Config::new(id, CLUSTER, NodeSet::first(3));
            tune(&mut config);
            let memory = Box::leak(Box::new(Resources::<_, UNITS, SLOTS, 2, FRAME, PROPOSALS, SESSIONS>::new()));
            let link = links.of(id, network.endpoint(id).unwrap());
            let started = quoring::new(config, store.clone(), link, world.clock(), memory);
            let (node, committed, runner) = block_on(started).unwrap();
            let application = Rc::<Application>::default();
            let Tasks { log_writer, replicators, receiver, ticker } = runner.split();
            let mut tasks: Vec<_> = replicators.map(Replicator::run).map(|task| world.spawn(end(task))).into();
            tasks.push(world.spawn(end(log_writer.run())));
            tasks.push(world.spawn(end(receiver.run())));
            tasks.push(world.spawn(end(ticker.run())));
            tasks.push(world.spawn(Rc::clone(&application).apply(node, committed)));
            world.inspect(move || node.assert_invariants());
            Incarnation { node, application, tasks }
        };
        let (world, links) = (World::default(), Links::default());
        let stores: [TestLog<LOG, SNAPSHOT>; 3] = Default::default();
        let nodes = [0, 1, 2].map(|id| RefCell::new(boot(&world, &links, node_id(id), &stores[id])));
        Self { world, links, boot: Box::new(boot), stores, nodes }
    }

    /// The node's newest handle.
    pub(crate) fn node(&self, node: usize) -> Node<'static, Board<FRAME, DEPTH, LOG, SNAPSHOT>> {
        self.nodes[node].borrow().node
    }

    pub(crate) fn application(&self, node: usize) -> Rc<Application> {
        Rc::clone(&self.nodes[node].borrow().application)
    }

    pub(crate) fn store(&self, node: usize) -> &TestLog<LOG, SNAPSHOT> {
        &self.stores[node]
    }

    pub(crate) const fn links(&self) -> &Links {
        &self.links
    }

    /// Drops all tasks of the node, wherever they are.
    pub(crate) fn kill(&self, node: usize) {
        self.nodes[node].borrow_mut().tasks.drain(..).for_each(|task| self.world.kill(task));
    }

    /// Kills the node and starts it again from its store.
    pub(crate) fn reboot(&self, node: usize) {
        self.kill(node);
        *self.nodes[node].borrow_mut() = (self.boot)(&self.world, &self.links, node_id(node), &self.stores[node]);
    }

    /// Waits until all nodes that run follow the same one of them.
    pub(crate) async fn leader(&self) -> usize {
        loop {
            let running = (0..3).filter(|&node| self.is_running(node));
            let known: Vec<_> = running.map(|node| (node, self.node(node).status())).collect();
            if let Some((leader, of)) = known.iter().find(|(_, status)| status.role == Role::Leader)
                && known.iter().all(|(_, status)| (status.term, status.leader) == (of.term, Some(of.id)))
            {
                return *leader;
            }
            self.sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until these nodes follow the same one of them, whatever the others do.
    pub(crate) async fn leader_among(&self, nodes: [usize; 2]) -> usize {
        loop {
            let known = nodes.map(|node| (node, self.node(node).status()));
            if let Some((leader, of)) = known.iter().find(|(_, status)| status.role == Role::Leader)
                && known.iter().all(|(_, status)| (status.term, status.leader) == (of.term, Some(of.id)))
            {
                return *leader;
            }
            self.sleep(Duration::from_millis(10)).await;
        }
    }

    /// The leader and its followers.
    pub(crate) async fn roles(&self) -> (usize, [usize; 2]) {
        let leader = self.leader().await;
        (leader, [(leader + 1) % 3, (leader + 2) % 3])
    }

    /// The commands that the node's application has finished.
    pub(crate) fn applied(&self, node: usize) -> Vec<Vec<u8>> {
        self.application(node).applied.borrow().clone()
    }

    /// Waits until all applications have finished as many commands.
    pub(crate) async fn agree(&self, count: usize) {
        while (0..3).any(|node| self.applied(node).len() != count) {
            self.sleep(Duration::from_millis(10)).await;
        }
    }

    fn is_running(&self, node: usize) -> bool {
        let incarnation = self.nodes[node].borrow();
        !incarnation.tasks.is_empty() && incarnation.node.halted().is_none()
    }
}

impl<const FRAME: usize, const DEPTH: usize, const LOG: usize, const SNAPSHOT: usize> Deref
    for Cluster<FRAME, DEPTH, LOG, SNAPSHOT>
{
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// An application that keeps its commands and answers how many there are.
#[derive(Default)]
pub(crate) struct Application {
    applied: RefCell<Vec<Vec<u8>>>,
    /// Who asked for each that was not restored.
    requests: RefCell<Vec<Option<RequestId>>>,
    restored: Cell<usize>,
    stopped: Cell<bool>,
    silent: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
    halt: Cell<Option<Halt>>,
}

impl Application {
    /// Finishes nothing from now on; the next command is held.
    pub(crate) fn stop(&self) {
        self.stopped.set(true);
    }

    pub(crate) fn go_on(&self) {
        self.stopped.set(false);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    /// From now on drops its commands without an answer.
    pub(crate) fn fall_silent(&self) {
        self.silent.set(true);
    }

    /// Who asked for each command that it was lent.
    pub(crate) fn requests(&self) -> Vec<Option<RequestId>> {
        self.requests.borrow().clone()
    }

    /// How many snapshots it took as its state.
    pub(crate) fn restored(&self) -> usize {
        self.restored.get()
    }

    /// What it was told when the node stopped.
    pub(crate) fn halted(&self) -> Option<Halt> {
        self.halt.get()
    }

    async fn apply<P: Platform>(self: Rc<Self>, node: Node<'static, P>, mut committed: Committed<'static, P>) {
        let halt = loop {
            let entry = match committed.next().await {
                Ok(Step::Apply(entry)) => entry,
                Ok(Step::Save(save)) => match self.save(save).await {
                    Ok(()) | Err(SaveError::Superseded) => continue,
                    Err(error) => panic!("{error:?}"),
                },
                Ok(Step::Restore(restore)) => {
                    self.wait().await;
                    match self.restore(restore).await {
                        Ok(()) | Err(RestoreError::Superseded) => continue,
                        Err(error) => panic!("{error:?}"),
                    }
                }
                Err(halt) => break halt,
            };
            let status = node.status();
            assert!(entry.index() <= status.committed.min(status.durable), "P5: {entry:?}, {status:?}");
            assert!(entry.index() > status.applied, "each entry once: {entry:?}, {status:?}");
            self.wait().await;
            self.requests.borrow_mut().push(entry.request());
            let count = {
                let mut applied = self.applied.borrow_mut();
                applied.push(entry.command().to_vec());
                applied.len()
            };
            if !self.silent.get() {
                entry.answer(count.to_string().as_bytes());
            }
        };
        self.halt.set(Some(halt));
    }

    /// Its state is its commands, each behind its length.
    async fn save<P: Platform>(&self, mut save: Save<'_, 'static, P>) -> Result<(), SaveError> {
        let state = self.applied.borrow().clone();
        for command in state {
            save.write(&[command.len() as u8]).await?;
            save.write(&command).await?;
        }
        save.finish().await
    }

    async fn restore<P: Platform>(&self, mut restore: Restore<'_, 'static, P>) -> Result<(), RestoreError> {
        let mut state = Vec::new();
        loop {
            let mut piece = [0; 100];
            match restore.read(&mut piece).await? {
                0 => break,
                len => state.extend_from_slice(&piece[..len]),
            }
        }
        let (mut commands, mut rest) = (Vec::new(), &state[..]);
        while let Some((&len, behind)) = rest.split_first() {
            let (command, behind) = behind.split_at(len.into());
            commands.push(command.to_vec());
            rest = behind;
        }
        *self.applied.borrow_mut() = commands;
        self.restored.set(self.restored.get() + 1);
        restore.finish()
    }

    async fn wait(&self) {
        poll_fn(|cx| {
            if !self.stopped.get() {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A task of a node; why it ends is asked of the node.
async fn end(task: impl Future<Output = Halt>) {
    task.await;
}

pub(crate) fn node_id(node: usize) -> NodeId {
    NodeId::new(node as u8).unwrap()
}
