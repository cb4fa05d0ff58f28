//! Nodes and clients on threads of their own, in real time: what one executor's order of things could hide.
#![cfg(feature = "std")] // It brings the critical section of threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time;

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use futures_lite::future::{block_on, zip};
use quoring::clock::system::SystemClock;
use quoring::store::memory::MemoryLog;
use quoring::transport::memory::{MemoryNetwork, MemoryTransport};
use quoring::{
    Broken, ClusterId, Committed, Config, Duration, LogIndex, Node, NodeId, NodeSet, Platform, Pointers, Position,
    ReadError, Resources, Role, Step, Term,
};

struct Host;

impl Platform for Host {
    type Mutex = CriticalSectionRawMutex;
    type Store = MemoryLog<{ 256 * 1024 }>;
    type Transport = MemoryTransport<'static, CriticalSectionRawMutex, 256, 16>;
    type Clock = SystemClock;
}

/// More than enough for everything here.
const PATIENCE: time::Duration = time::Duration::from_secs(30);

async fn apply(mut committed: Committed<'static, Host>) {
    let mut count = 0_u64;
    while let Ok(step) = committed.next().await {
        match step {
            Step::Apply(entry) => {
                count += 1;
                entry.answer(&count.to_le_bytes());
            }
            step => unreachable!("the store keeps all entries: {step:?}"),
        }
    }
}

/// So many nodes, each with its application on a thread.
fn start<const NODES: usize>() -> [Node<'static, Host>; NODES] {
    let network: &'static MemoryNetwork<CriticalSectionRawMutex, NODES, 256, 16> = Box::leak(Box::default());
    std::array::from_fn(|id| {
        let id = NodeId::new(id as u8).unwrap();
        let mut config = Config::new(id, ClusterId(7), NodeSet::first(NODES as u32));
        config.election_timeout = Duration::from_millis(200);
        config.heartbeat_interval = Duration::from_millis(20);
        let memory = Box::leak(Box::new(Resources::<_, 256, 64, 2, 256, 32>::new()));
        let started = quoring::new(config, MemoryLog::new(), network.endpoint(id).unwrap(), SystemClock::new(), memory);
        let (node, committed, runner) = block_on(started).unwrap();
        // Made here and run there: executors of many threads move tasks about.
        let tasks = zip(runner.run(), apply(committed));
        thread::spawn(move || block_on(tasks));
        node
    })
}

fn leader<const NODES: usize>(nodes: &[Node<'static, Host>; NODES]) -> Node<'static, Host> {
    let deadline = time::Instant::now() + PATIENCE;
    loop {
        if let Some(leader) = nodes.iter().find(|node| node.status().role == Role::Leader)
            && nodes.iter().all(|node| node.status().leader == Some(leader.status().id))
        {
            return *leader;
        }
        assert!(time::Instant::now() < deadline, "nobody is elected");
        thread::sleep(time::Duration::from_millis(5));
    }
}

/// Runs a client on a thread of its own.
fn client<T: Send + 'static>(client: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(client()));
    receiver
}

/// One asks again and again, one sleeps until it is woken.
///
/// covers: C5
#[test]
fn that_a_stream_is_broken_is_seen_on_every_thread() {
    let nodes = start::<1>();
    let node = leader(&nodes);
    let mut stream = block_on(node.stream()).unwrap();
    let watch = stream.watch();
    let sleeper = client(move || block_on(watch.until_broken()));
    let looker = client(move || {
        loop {
            if let Some(broken) = watch.broken() {
                return broken;
            }
            thread::yield_now();
        }
    });
    for _ in 0..100 {
        block_on(async { stream.send(b"more").await.unwrap().await }).unwrap();
    }
    assert_eq!(watch.broken(), None);
    stream.break_off();
    assert_eq!((sleeper.recv_timeout(PATIENCE), looker.recv_timeout(PATIENCE)), (Ok(Broken::Owner), Ok(Broken::Owner)));
}

/// Readers on many threads come, go away early and come again, while sessions on all nodes write.
///
/// covers: C11, C12, P15, R7, R9
#[test]
fn nobody_on_any_thread_waits_for_ever() {
    const ROUNDS: usize = 200;
    let nodes = start::<3>();
    leader(&nodes);
    let mut readers = Vec::new();
    for place in 0..9 {
        let node = nodes[place % 3];
        readers.push(client(move || {
            for round in 0..ROUNDS {
                if (round + place) % 5 == 0 {
                    // It asks, and does not wait.
                    let mut gone = Box::pin(node.read());
                    block_on(futures_lite::future::poll_once(&mut gone));
                }
                while let Err(error) = block_on(node.read()) {
                    assert_eq!(error, ReadError::NoLeader);
                    thread::sleep(time::Duration::from_millis(10));
                }
            }
        }));
    }
    let mut writers = Vec::new();
    for place in 0..6 {
        let node = nodes[place % 3];
        writers.push(client(move || {
            block_on(async {
                let mut session = node.session().await.unwrap();
                let mut counts = Vec::new();
                for _ in 0..ROUNDS / 4 {
                    let count = session.propose(b"more").await.unwrap();
                    counts.push(u64::from_le_bytes(count[..8].try_into().unwrap()));
                }
                counts
            })
        }));
    }
    let mut counts: Vec<_> =
        writers.into_iter().flat_map(|writer| writer.recv_timeout(PATIENCE).expect("written")).collect();
    counts.sort_unstable();
    assert!(counts.into_iter().eq(1..=6 * (ROUNDS / 4) as u64), "each command took effect once");
    for reader in readers {
        reader.recv_timeout(PATIENCE).expect("it has read each time");
    }
}

/// One reading of each pointer, in the order in which none of a pair may be ahead of the other.
#[derive(Clone, Copy, Debug)]
struct Reading {
    leading: Option<Term>,
    flushed: Position,
    accepted: Position,
    applied: LogIndex,
    committed: LogIndex,
}

impl Reading {
    fn of(pointers: &mut Pointers<'_>) -> Self {
        Self {
            leading: pointers.leading(),
            flushed: pointers.flushed(),
            accepted: pointers.accepted(),
            applied: pointers.applied(),
            committed: pointers.committed(),
        }
    }

    /// Checks it by itself, and against the one before.
    fn check(&self, before: &Self) {
        let Self { leading, flushed, accepted, applied, committed } = *self;
        assert!(applied <= committed, "applied before it was committed: {self:?}");
        assert!(!accepted.precedes(flushed), "flushed before it was accepted: {self:?}");
        assert!(before.applied <= applied && before.committed <= committed, "back from {before:?} to {self:?}");
        assert!(!flushed.precedes(before.flushed), "back from {before:?} to {self:?}");
        assert!(!accepted.precedes(before.accepted), "back from {before:?} to {self:?}");
        if let (Some(term), Some(earlier)) = (leading, before.leading) {
            assert!(earlier <= term, "back from {before:?} to {self:?}");
        }
    }
}

/// How much was seen, and when to stop.
#[derive(Default)]
struct Watched {
    /// Of each node: readings that differ from the one before.
    moves: [AtomicU32; 3],
    /// Terms in which a node was seen to lead.
    offices: AtomicU32,
    over: AtomicBool,
}

impl Watched {
    fn is_enough(&self) -> bool {
        self.moves.iter().all(|moves| moves.load(Ordering::Relaxed) > 100) && self.offices.load(Ordering::Relaxed) > 3
    }

    /// Looks at the pointers of node `id` until it is over, and once more; what was seen last, and in which terms the node led.
    fn watch(&self, id: usize, mut pointers: Pointers<'static>) -> (Reading, Vec<Term>) {
        let (mut last, mut offices) = (Reading::of(&mut pointers), Vec::new());
        loop {
            let over = self.over.load(Ordering::Acquire);
            let reading = Reading::of(&mut pointers);
            reading.check(&last);
            if let Some(term) = reading.leading.filter(|term| offices.last() != Some(term)) {
                offices.push(term);
                self.offices.fetch_add(1, Ordering::Relaxed);
            }
            let moved = reading.applied != last.applied || reading.accepted != last.accepted;
            self.moves[id].fetch_add(u32::from(moved), Ordering::Relaxed);
            last = reading;
            if over {
                return (last, offices);
            }
            thread::yield_now();
        }
    }
}

/// A thread that never locks a node looks at its pointers, while sessions write and the office goes from node to node.
///
/// covers: F2
#[test]
fn pointers_never_go_back_nor_past_each_other_on_a_thread_that_only_looks() {
    let nodes = start::<3>();
    leader(&nodes);
    let (watched, written) = (Arc::new(Watched::default()), Arc::new(AtomicBool::new(false)));
    let watchers = [0, 1, 2].map(|id| {
        let (watched, pointers) = (Arc::clone(&watched), nodes[id].pointers());
        client(move || watched.watch(id, pointers))
    });
    let writers = nodes.map(|node| {
        let written = Arc::clone(&written);
        client(move || {
            block_on(async {
                let mut session = node.session().await.unwrap();
                while !written.load(Ordering::Relaxed) {
                    session.propose(b"more").await.unwrap();
                    // Nobody makes snapshots: the log would soon be full.
                    thread::sleep(time::Duration::from_millis(5));
                }
            });
        })
    });
    let deadline = time::Instant::now() + PATIENCE;
    while !watched.is_enough() {
        // The leader may have lost its office meanwhile.
        let _ = block_on(leader(&nodes).transfer(None));
        assert!(time::Instant::now() < deadline, "the watchers see nothing move");
        thread::sleep(time::Duration::from_millis(20));
    }
    written.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.recv_timeout(PATIENCE).expect("written"));
    let committed = leader(&nodes).status().committed;
    for node in nodes {
        while block_on(node.read()).is_err() {}
    }
    watched.over.store(true, Ordering::Release);

    let mut leaders = BTreeMap::new();
    for (id, watcher) in watchers.into_iter().enumerate() {
        let (last, offices) = watcher.recv_timeout(PATIENCE).expect("no check failed");
        assert!(last.applied >= committed, "node {id} has applied {committed:?}: {last:?}");
        for term in offices {
            assert_eq!(*leaders.entry(term).or_insert(id), id, "two leaders of {term:?}");
        }
    }
}
