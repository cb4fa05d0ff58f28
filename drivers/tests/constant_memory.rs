//! A node allocates nothing for those who wait, however many they are: all memory that waiting takes lies in the clients' own futures.

use std::cell::Cell;
use std::future::poll_fn;
use std::hint::black_box;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use allocation_counter::measure;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use futures_lite::future::block_on;
use quoring::store::memory::MemoryLog;
use quoring::transport::memory::{MemoryNetwork, MemoryTransport};
use quoring::{
    Clock, ClusterId, Committed, Config, Halt, Instant, Node, NodeId, NodeSet, Platform, Reading, Resources, Role,
    Session, Step, Stream,
};

struct Board;

impl Platform for Board {
    type Mutex = NoopRawMutex;
    type Store = MemoryLog<{ 64 * 1024 }>;
    type Transport = MemoryTransport<'static, NoopRawMutex, 256, 16>;
    type Clock = Hand;
}

type Memory = Resources<'static, Board, 256, 64, 2, 256, 16>;

/// A clock that the test moves on, and then lets every task look.
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

/// A task with its waker, both there before anything is measured.
struct Task {
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    woken: Arc<Woken>,
    waker: Waker,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

impl Task {
    fn new(future: impl Future<Output = ()> + 'static) -> Self {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        Self { future: Some(Box::pin(future)), waker: Waker::from(Arc::clone(&woken)), woken }
    }

    /// Whether it ran.
    fn run(&mut self) -> bool {
        let Some(future) = self.future.as_mut().filter(|_| self.woken.0.swap(false, Relaxed)) else { return false };
        if future.as_mut().poll(&mut Context::from_waker(&self.waker)).is_ready() {
            self.future = None;
        }
        true
    }

    const fn is_done(&self) -> bool {
        self.future.is_none()
    }
}

/// Runs all until nobody has anything to do.
fn settle(nodes: &mut [Task], clients: &mut [Task]) {
    while nodes.iter_mut().chain(&mut *clients).fold(false, |ran, task| task.run() | ran) {}
}

/// Lets time pass until `done`; whoever sleeps looks at the clock.
fn run_until(clock: &Hand, nodes: &mut [Task], clients: &mut [Task], done: impl Fn(&[Task]) -> bool) {
    settle(nodes, clients);
    for _ in 0..10_000 {
        if done(clients) {
            return;
        }
        clock.0.set(Instant(clock.0.get().0 + 10_000));
        nodes.iter().for_each(|task| task.woken.0.store(true, Relaxed));
        settle(nodes, clients);
    }
    panic!("what the test waits for never happens");
}

async fn apply(mut committed: Committed<'static, Board>) {
    while let Ok(step) = committed.next().await {
        match step {
            Step::Apply(entry) => entry.answer(b"done"),
            step => unreachable!("the store keeps all entries: {step:?}"),
        }
    }
}

async fn end(runner: impl Future<Output = Halt>) {
    runner.await;
}

async fn stream_on(mut stream: Stream<'static, Board>) {
    for _ in 0..50 {
        let batch = stream.send_batch([&b"stream"[..]; 2]).await.expect("the leader stays");
        for sent in batch {
            sent.await.expect("the leader stays");
        }
    }
}

async fn propose_in(mut session: Session<'static, Board>) {
    for _ in 0..20 {
        session.propose(b"session").await.expect("one of few");
    }
}

fn start(clock: &Hand) -> (Vec<Node<'static, Board>>, Vec<Task>) {
    let network: &'static MemoryNetwork<NoopRawMutex, 3, 256, 16> = Box::leak(Box::default());
    let mut tasks = Vec::new();
    let nodes = (0..3)
        .map(|id| {
            let id = NodeId::new(id).unwrap();
            let config = Config::new(id, ClusterId(7), NodeSet::first(3));
            let memory = Box::leak(Box::new(Memory::new()));
            let link = network.endpoint(id).unwrap();
            let started = quoring::new(config, MemoryLog::new(), link, clock.clone(), memory);
            let (node, committed, runner) = block_on(started).unwrap();
            tasks.push(Task::new(end(runner.run())));
            tasks.push(Task::new(apply(committed)));
            node
        })
        .collect();
    (nodes, tasks)
}

/// A thousand readers, a stream and sessions on each of three nodes; a leader that hands over while they wait; those who come again.
///
/// covers: P13, P15, C12
#[test]
fn a_thousand_readers_streams_and_sessions_make_no_node_allocate() {
    let clock = Hand::default();
    let (nodes, mut tasks) = start(&clock);
    let leads = || nodes.iter().find(|node| node.status().role == Role::Leader).copied();
    run_until(&clock, &mut tasks, &mut [], |_| leads().is_some());
    let leader = leads().unwrap();

    // What clients are made of is theirs.
    let opened = Rc::<Cell<usize>>::default();
    let mut clients = Vec::new();
    for &node in &nodes {
        for _ in 0..1000 {
            clients.push(Task::new(async move { _ = node.read().await }));
        }
        for kind in 0..3 {
            let opened = Rc::clone(&opened);
            clients.push(Task::new(async move {
                match kind {
                    0 => stream_on(node.stream().await.expect("there is a leader")).await,
                    _ => propose_in(node.session().await.expect("there is a leader")).await,
                }
                opened.set(opened.get() + 1);
            }));
        }
    }
    let at_work = measure(|| run_until(&clock, &mut tasks, &mut clients, |clients| clients.iter().all(Task::is_done)));
    assert_eq!((at_work.count_total, opened.get()), (0, 9));

    // Nobody answers the leader any more: its readers wait, and then learn so.
    let mut clients: Vec<_> = nodes
        .iter()
        .flat_map(|&node| (0..1000).map(move |_| Task::new(async move { _ = node.read().await })))
        .collect();
    clients.push(Task::new(async move { _ = leader.transfer(None).await }));
    let handed_over =
        measure(|| run_until(&clock, &mut tasks, &mut clients, |clients| clients.iter().all(Task::is_done)));
    assert_eq!((handed_over.count_total, leader.status().role), (0, Role::Follower));
    let seen = measure(|| drop(black_box(Box::new(clock))));
    assert_eq!(seen.count_total, 1, "it would be seen");
}

#[test]
fn the_future_of_the_start_holds_neither_store_nor_node() {
    let network: &'static MemoryNetwork<NoopRawMutex, 3, 256, 16> = Box::leak(Box::default());
    let config = Config::new(NodeId::new(0).unwrap(), ClusterId(1), NodeSet::first(3));
    let memory: &'static mut Memory = Box::leak(Box::new(Memory::new()));
    let link = network.endpoint(config.id).unwrap();
    let start = quoring::new(config, MemoryLog::new(), link, Hand::default(), memory);
    assert!(size_of_val(&start) < 1536, "{}", size_of_val(&start));
}

/// A reader keeps its place in the row itself: three wakers, the row's number, and what it waits for.
///
/// covers: P13, P15, C12
#[test]
fn a_reader_costs_what_its_future_takes_and_the_node_nothing() {
    assert!(
        size_of::<Reading<'static, Board>>() <= 10 * size_of::<usize>(),
        "{}",
        size_of::<Reading<'static, Board>>()
    );
}
