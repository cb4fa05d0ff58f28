//! Three nodes and their applications.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::ops::Deref;
use std::rc::Rc;
use std::task::{Poll, Waker};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use futures_lite::future::block_on;
use quoring::transport::memory::{MemoryNetwork, MemoryTransport};
use quoring::{
    ClusterId, Committed, Config, Duration, Halt, Node, NodeId, NodeSet, Platform, Replicator, Resources, Role, Step,
    Tasks,
};

use super::medium::TestLog;
use super::world::{TestClock, World};

/// What the nodes stand on: `FRAME` bytes a frame, `DEPTH` frames in a mailbox.
pub(crate) struct Board<const FRAME: usize, const DEPTH: usize>;

impl<const FRAME: usize, const DEPTH: usize> Platform for Board<FRAME, DEPTH> {
    type Mutex = NoopRawMutex;
    type Store = TestLog;
    type Transport = MemoryTransport<'static, NoopRawMutex, FRAME, DEPTH>;
    type Clock = TestClock;
}

/// Starts the node of a configuration.
type Boot<const FRAME: usize, const DEPTH: usize> = dyn Fn(&World, NodeId, &TestLog) -> Incarnation<FRAME, DEPTH>;

/// Three nodes in their world.
pub(crate) struct Cluster<const FRAME: usize, const DEPTH: usize> {
    world: World,
    boot: Box<Boot<FRAME, DEPTH>>,
    stores: [TestLog; 3],
    nodes: [RefCell<Incarnation<FRAME, DEPTH>>; 3],
}

/// A node from its start to the loss of its tasks.
struct Incarnation<const FRAME: usize, const DEPTH: usize> {
    node: Node<'static, Board<FRAME, DEPTH>>,
    application: Rc<Application>,
    tasks: Vec<usize>,
}

impl<const FRAME: usize, const DEPTH: usize> Cluster<FRAME, DEPTH> {
    /// Three nodes with this much memory, each with its own tuning.
    pub(crate) fn new<const UNITS: usize, const SLOTS: usize, const PROPOSALS: usize>(
        tune: impl Fn(&mut Config) + 'static,
    ) -> Self {
        let network: &'static MemoryNetwork<NoopRawMutex, 3, FRAME, DEPTH> = Box::leak(Box::default());
        let boot = move |world: &World, id: NodeId, store: &TestLog| {
            let mut config = Config::new(id, ClusterId(7), NodeSet::first(3));
            tune(&mut config);
            let memory = Box::leak(Box::new(Resources::<_, UNITS, SLOTS, 2, FRAME, PROPOSALS>::new()));
            let started = quoring::new(config, store.clone(), network.endpoint(id).unwrap(), world.clock(), memory);
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
        let world = World::default();
        let stores: [TestLog; 3] = Default::default();
        let nodes = [0, 1, 2].map(|id| RefCell::new(boot(&world, node_id(id), &stores[id])));
        Self { world, boot: Box::new(boot), stores, nodes }
    }

    /// The node's newest handle.
    pub(crate) fn node(&self, node: usize) -> Node<'static, Board<FRAME, DEPTH>> {
        self.nodes[node].borrow().node
    }

    pub(crate) fn application(&self, node: usize) -> Rc<Application> {
        Rc::clone(&self.nodes[node].borrow().application)
    }

    pub(crate) fn store(&self, node: usize) -> &TestLog {
        &self.stores[node]
    }

    /// Drops all tasks of the node, wherever they are.
    pub(crate) fn kill(&self, node: usize) {
        self.nodes[node].borrow_mut().tasks.drain(..).for_each(|task| self.world.kill(task));
    }

    /// Kills the node and starts it again from its store.
    pub(crate) fn reboot(&self, node: usize) {
        self.kill(node);
        *self.nodes[node].borrow_mut() = (self.boot)(&self.world, node_id(node), &self.stores[node]);
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

    /// The leader and its followers.
    pub(crate) async fn roles(&self) -> (usize, [usize; 2]) {
        let leader = self.leader().await;
        (leader, [(leader + 1) % 3, (leader + 2) % 3])
    }

    /// The commands that the node's application has finished.
    pub(crate) fn applied(&self, node: usize) -> Vec<Vec<u8>> {
        self.application(node).applied.borrow().clone()
    }

    fn is_running(&self, node: usize) -> bool {
        let incarnation = self.nodes[node].borrow();
        !incarnation.tasks.is_empty() && incarnation.node.halted().is_none()
    }
}

impl<const FRAME: usize, const DEPTH: usize> Deref for Cluster<FRAME, DEPTH> {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// An application that keeps its commands and answers how many there are.
#[derive(Default)]
pub(crate) struct Application {
    applied: RefCell<Vec<Vec<u8>>>,
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

    /// What it was told when the node stopped.
    pub(crate) fn halted(&self) -> Option<Halt> {
        self.halt.get()
    }

    async fn apply<P: Platform>(self: Rc<Self>, node: Node<'static, P>, mut committed: Committed<'static, P>) {
        let halt = loop {
            let entry = match committed.next().await {
                Ok(Step::Apply(entry)) => entry,
                Ok(step @ (Step::Save(_) | Step::Restore(_))) => unreachable!("the store keeps all entries: {step:?}"),
                Err(halt) => break halt,
            };
            let status = node.status();
            assert!(entry.index() <= status.committed.min(status.durable), "P5: {entry:?}, {status:?}");
            assert!(entry.index() > status.applied, "each entry once: {entry:?}, {status:?}");
            self.wait().await;
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
