//! Linearizable reads through the drivers of a whole cluster in one process, to be counted by callgrind: links and media in memory, time stands still.
//!
//! `reads NODE READERS BATCHES` with NODE `leader` or `follower`: so many clients wait at a time on that node, so many times. It prints how many rounds to a
//! quorum that took. The script `benches/reads.sh` counts the instructions of a read as the difference of two run lengths.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::env::args;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use anyhow::{Context as _, Result, bail, ensure};
use embassy_futures::block_on;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use quoring::store::memory::MemoryLog;
use quoring::transport::memory::{Error, MemoryNetwork, MemoryTransport};
use quoring::{
    Clock, ClusterId, Config, Instant, Node, NodeId, NodeSet, Platform, Reading, Resources, Role, Step, Transport,
};

const NODES: u32 = 3;
const FRAME: usize = 256;
const DEPTH: usize = 16;
/// Where the kind of its message stands in a frame, and that of a question to confirm (WIRE.md).
const KIND: usize = 5;
const CONFIRM: u8 = 10;

struct Host;

impl Platform for Host {
    type Mutex = NoopRawMutex;
    type Store = MemoryLog<4096>;
    type Transport = Counting;
    type Clock = Hand;
}

/// A clock that is moved by hand.
#[derive(Clone, Default)]
struct Hand(Rc<(Cell<Instant>, RefCell<Vec<Waker>>)>);

impl Clock for Hand {
    fn now(&self) -> Instant {
        self.0.0.get()
    }

    async fn sleep_until(&self, deadline: Instant) {
        std::future::poll_fn(|cx| {
            if self.now() >= deadline {
                return Poll::Ready(());
            }
            self.0.1.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Hand {
    fn advance(&self, millis: u64) {
        self.0.0.set(Instant(self.now().0 + millis * 1000));
        self.0.1.take().into_iter().for_each(Waker::wake);
    }
}

/// A link that counts how often a leader asks whether it still is one.
struct Counting {
    link: MemoryTransport<'static, NoopRawMutex, FRAME, DEPTH>,
    asked: Rc<Cell<u64>>,
}

impl Transport for Counting {
    type Error = Error;

    async fn send(&self, peer: NodeId, frame: &[u8]) -> Result<(), Error> {
        if frame.get(KIND) == Some(&CONFIRM) {
            self.asked.set(self.asked.get() + 1);
        }
        self.link.send(peer, frame).await
    }

    async fn receive(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.link.receive(buffer).await
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Runs tasks that were woken until none is.
#[derive(Default)]
struct Executor {
    tasks: Vec<(Task, Waker)>,
    ready: Arc<Mutex<VecDeque<usize>>>,
}

struct TaskWaker {
    task: usize,
    ready: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().unwrap();
        if !ready.contains(&self.task) {
            ready.push_back(self.task);
        }
    }
}

impl Executor {
    fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        let waker = TaskWaker { task: self.tasks.len(), ready: Arc::clone(&self.ready) };
        self.ready.lock().unwrap().push_back(self.tasks.len());
        self.tasks.push((Box::pin(task), Arc::new(waker).into()));
    }

    fn run(&mut self) {
        loop {
            let Some(task) = self.ready.lock().unwrap().pop_front() else { return };
            let (task, waker) = &mut self.tasks[task];
            let _ = task.as_mut().poll(&mut Context::from_waker(waker));
        }
    }
}

fn main() -> ExitCode {
    match measure(&args().skip(1).collect::<Vec<_>>()) {
        Ok(rounds) => {
            println!("{rounds} rounds");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("reads: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Lets the clients read; how many rounds the leader began for them.
fn measure(arguments: &[String]) -> Result<u64> {
    let [place, readers, batches] = arguments else { bail!("usage: reads leader|follower READERS BATCHES") };
    let (readers, batches): (usize, usize) = (readers.parse().context("readers")?, batches.parse().context("batches")?);
    let (mut executor, clock, asked) = (Executor::default(), Hand::default(), Rc::<Cell<u64>>::default());
    let nodes = start(&mut executor, &clock, &asked)?;
    let mut patience = 0;
    while !nodes.iter().any(|node| node.status().role == Role::Leader) || nodes[0].status().leader.is_none() {
        executor.run();
        clock.advance(10);
        patience += 1;
        ensure!(patience < 10_000, "nobody is elected");
    }
    executor.run();
    let wanted = match place.as_str() {
        "leader" => |role| role == Role::Leader,
        "follower" => |role| role == Role::Follower,
        other => bail!("{other} is neither leader nor follower"),
    };
    let node = nodes.iter().find(|node| wanted(node.status().role)).context("no such node")?;
    let mut done = 0;
    for _ in 0..batches {
        // All of them ask before anybody is answered.
        let mut waiting: Vec<Reading<'static, Host>> = (0..readers).map(|_| node.read()).collect();
        let waker = Waker::noop();
        waiting.retain_mut(|reading| pin!(reading).poll(&mut Context::from_waker(waker)).is_pending());
        done += readers - waiting.len();
        executor.run();
        for reading in waiting {
            match pin!(reading).poll(&mut Context::from_waker(waker)) {
                Poll::Ready(Ok(_)) => done += 1,
                other => bail!("a client cannot read: {other:?}"),
            }
        }
    }
    ensure!(done == readers * batches, "{done} clients have read");
    Ok(asked.get() / u64::from(NODES - 1))
}

fn start(executor: &mut Executor, clock: &Hand, asked: &Rc<Cell<u64>>) -> Result<Vec<Node<'static, Host>>> {
    let network: &'static MemoryNetwork<NoopRawMutex, { NODES as usize }, FRAME, DEPTH> = Box::leak(Box::default());
    let mut nodes = Vec::new();
    for id in NodeSet::first(NODES).iter() {
        let config = Config::new(id, ClusterId(7), NodeSet::first(NODES));
        let link = network.endpoint(id).context("no such node")?;
        let transport = Counting { link, asked: Rc::clone(asked) };
        let resources = Box::leak(Box::new(Resources::<_, 256, 64, 2, FRAME>::new()));
        let started = block_on(quoring::new(config, MemoryLog::new(), transport, clock.clone(), resources));
        let (node, mut committed, runner) = started.map_err(|error| anyhow::anyhow!("{error:?}"))?;
        executor.spawn(async move { _ = runner.run().await });
        executor.spawn(async move {
            while let Ok(Step::Apply(entry)) = committed.next().await {
                entry.answer(b"");
            }
        });
        nodes.push(node);
    }
    Ok(nodes)
}
