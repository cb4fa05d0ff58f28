//! All tasks of a node in one future, on media that block: who goes first.
#![cfg(feature = "std")]

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use futures_lite::future::{block_on, poll_once};
use quoring::store::ReadError;
use quoring::store::memory::{self, MemoryLog};
use quoring::transport::memory::{Error, MemoryNetwork, MemoryTransport};
use quoring::{
    Clock, ClusterId, Config, Instant, LogIndex, LogStore, Node, NodeId, NodeSet, Platform, Recovery, Resources, Role,
    Step, Transport,
};

struct Board;

impl Platform for Board {
    type Mutex = NoopRawMutex;
    type Store = Watched<MemoryLog<{ 64 * 1024 }>>;
    type Transport = Watched<MemoryTransport<'static, NoopRawMutex, 256, 16>>;
    type Clock = Hand;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Deed {
    Sent,
    Written,
}

/// A device, and what its node has done with all of them.
struct Watched<T> {
    device: T,
    deeds: Rc<RefCell<Vec<Deed>>>,
}

impl LogStore for Watched<MemoryLog<{ 64 * 1024 }>> {
    type Error = memory::Error;

    async fn recover(&mut self, log: &mut Recovery) -> Result<(), memory::Error> {
        self.device.recover(log).await
    }

    async fn append(&mut self, batch: &[u8]) -> Result<(), memory::Error> {
        self.deeds.borrow_mut().push(Deed::Written);
        self.device.append(batch).await
    }

    async fn read(&mut self, index: LogIndex, buffer: &mut [u8]) -> Result<usize, ReadError<memory::Error>> {
        self.device.read(index, buffer).await
    }
}

impl Transport for Watched<MemoryTransport<'static, NoopRawMutex, 256, 16>> {
    type Error = Error;

    async fn send(&self, peer: NodeId, frame: &[u8]) -> Result<(), Error> {
        self.deeds.borrow_mut().push(Deed::Sent);
        self.device.send(peer, frame).await
    }

    async fn receive(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.device.receive(buffer).await
    }
}

/// A clock that is moved by hand. Who sleeps is polled all the same.
#[derive(Clone, Default)]
struct Hand(Rc<Cell<Instant>>);

impl Clock for Hand {
    fn now(&self) -> Instant {
        self.0.get()
    }

    async fn sleep_until(&self, deadline: Instant) {
        poll_fn(|_| if self.now() >= deadline { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// A node, its application, and all else of it in one future.
struct Whole {
    node: Node<'static, Board>,
    tasks: Pin<Box<dyn Future<Output = ()>>>,
    application: Pin<Box<dyn Future<Output = ()>>>,
    deeds: Rc<RefCell<Vec<Deed>>>,
}

impl Whole {
    /// Polls it once.
    fn poll(&mut self) {
        assert_eq!(block_on(poll_once(&mut self.tasks)), None, "the node goes on");
        block_on(poll_once(&mut self.application));
    }

    fn deeds(&self) -> Vec<Deed> {
        self.deeds.take()
    }
}

struct Cluster {
    nodes: [Whole; 3],
    clock: Hand,
}

impl Cluster {
    /// Three nodes, of which one leads and the others know it.
    fn start() -> Self {
        let network: &'static MemoryNetwork<NoopRawMutex, 3, 256, 16> = Box::leak(Box::default());
        let clock = Hand::default();
        let nodes = [0, 1, 2].map(|id| {
            let id = NodeId::new(id).expect("a small number");
            let deeds = Rc::<RefCell<Vec<Deed>>>::default();
            let store = Watched { device: MemoryLog::new(), deeds: Rc::clone(&deeds) };
            let transport = Watched { device: network.endpoint(id).expect("one of three"), deeds: Rc::clone(&deeds) };
            let config = Config::new(id, ClusterId(7), NodeSet::first(3));
            let memory: &'static mut Resources<'static, Board, 256, 64, 2, 256> = Box::leak(Box::new(Resources::new()));
            let started = block_on(quoring::new(config, store, transport, clock.clone(), memory));
            let (node, mut committed, runner) = started.expect("an empty log is one");
            let tasks = Box::pin(async move { _ = runner.run().await });
            let application = Box::pin(async move {
                while let Ok(Step::Apply(entry)) = committed.next().await {
                    entry.answer(b"");
                }
            });
            Whole { node, tasks, application, deeds }
        });
        let mut cluster = Self { nodes, clock };
        while cluster.nodes.iter().any(|whole| whole.node.status().leader.is_none()) {
            cluster.clock.0.set(Instant(cluster.clock.now().0 + 10_000));
            cluster.settle();
        }
        cluster
    }

    /// Polls all nodes until none does anything more.
    fn settle(&mut self) {
        loop {
            (0..20).for_each(|_| self.nodes.iter_mut().for_each(Whole::poll));
            if self.nodes.iter().all(|whole| whole.deeds().is_empty()) {
                return;
            }
        }
    }

    /// The leader first.
    fn sorted(self) -> [Whole; 3] {
        let mut nodes = self.nodes;
        nodes.sort_by_key(|whole| whole.node.status().role != Role::Leader);
        nodes
    }
}

/// While the leader's medium blocks it, those of its peers write the same.
///
/// covers: P6
#[test]
fn what_is_accepted_is_sent_before_it_is_written() {
    let [mut leader, ..] = Cluster::start().sorted();
    let _pending = leader.node.try_propose(b"first").expect("it leads");
    leader.poll();
    assert_eq!(leader.deeds(), [Deed::Sent, Deed::Sent, Deed::Written]);
}

#[test]
fn all_frames_that_wait_already_take_one_write_and_one_answer() {
    let [mut leader, mut follower, _] = Cluster::start().sorted();
    let pending = [b"1", b"2", b"3"].map(|command| {
        let pending = leader.node.try_propose(command).expect("there is room");
        leader.poll();
        pending
    });
    assert_eq!(leader.deeds(), [Deed::Sent, Deed::Sent, Deed::Written].repeat(3), "each in frames of its own");
    (0..20).for_each(|_| follower.poll());
    assert_eq!(follower.deeds(), [Deed::Written, Deed::Sent]);
    (0..20).for_each(|_| leader.poll());
    for pending in pending {
        assert!(block_on(pending).is_ok());
    }
}
