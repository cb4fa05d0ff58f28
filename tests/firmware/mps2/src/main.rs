//! A node on a board: what a program of your own does. The board is in `quoring_mps2`, what is replicated in `quoring_registers`.
#![no_std]
#![no_main]

#[cfg(feature = "defmt")]
mod events;
#[cfg_attr(not(feature = "udp"), path = "link/raw.rs")]
#[cfg_attr(feature = "udp", path = "link/udp.rs")]
mod link;

use embassy_executor::{SpawnError, SpawnToken, Spawner};
use embassy_sync::blocking_mutex::raw::ThreadModeRawMutex;
use panic_halt as _;
use quoring::clock::embassy::EmbassyClock;
use quoring::store::nor::Nor;
use quoring::store::paged::{Layout, Owner, PagedLog};
use quoring::{
    ClusterId, Committed, Config, Duration, LogWriter, NodeId, NodeSet, Platform, Receiver, Replicator, Resources,
    Tasks, Ticker,
};
use quoring_mps2::{Board, Flash, Uart};
use quoring_registers::{Application, Service};
use static_cell::ConstStaticCell;

use crate::link::Link;

/// What the node stands on.
struct Mps2;

impl Platform for Mps2 {
    type Mutex = ThreadModeRawMutex; // all tasks run in thread mode
    type Store = PagedLog<Nor<Flash>, 8, 4, FRAME>;
    type Transport = Link;
    type Clock = EmbassyClock;
}

const CLUSTER: ClusterId = ClusterId(0x5155_4F52);
const PEERS: usize = if cfg!(feature = "five") { 4 } else { 2 };
const FRAME: usize = 224;

/// 32 KiB of log and two snapshots of up to 4 KiB.
const LAYOUT: Layout = Layout { log_pages: 8, slot_pages: 1 };

/// All memory of consensus: 2 KiB of ring, in which the last 32 entries can be found, 8 clients that wait, 8 sessions.
static MEMORY: ConstStaticCell<Resources<'static, Mps2, 256, 32, PEERS, FRAME, 8, 8>> =
    ConstStaticCell::new(Resources::new());

static REGISTERS: Application<ThreadModeRawMutex> = Application::new();

#[cortex_m_rt::entry]
fn main() -> ! {
    quoring_mps2::run(|spawner| spawn(spawner, start(spawner)))
}

/// Recovers the node from flash and starts its tasks: each is woken only by what it watches.
#[embassy_executor::task]
async fn start(spawner: Spawner) {
    let Board { ethernet, flash, mut line } = Board::take();
    // The network chip's address tells who this is, and in how large a cluster.
    let [.., voters, id] = ethernet.address();
    let id = NodeId::new(id).expect("a cluster has 32 nodes at most");
    let config = Config {
        election_timeout: Duration::from_millis(400),
        heartbeat_interval: Duration::from_millis(100),
        snapshot_after: 200,
        ..Config::new(id, CLUSTER, NodeSet::first(u32::from(voters)))
    };
    let owner = Owner { cluster: CLUSTER, node: id };
    let store = PagedLog::new(Nor::new(flash), owner, LAYOUT).expect("the layout fits this flash");
    match quoring::new(config, store, link::open(spawner, ethernet), EmbassyClock, MEMORY.take()).await {
        Ok((node, committed, runner)) => {
            let Tasks { log_writer, replicators, receiver, ticker } = runner.split();
            spawn(spawner, write_log(log_writer));
            replicators.into_iter().for_each(|replicator| spawn(spawner, replicate(replicator)));
            spawn(spawner, receive(receiver));
            spawn(spawner, tick(ticker));
            spawn(spawner, apply(committed));
            #[cfg(feature = "defmt")]
            spawn(spawner, events::report(node));
            spawn(spawner, serve(Service { node, application: &REGISTERS, clock: EmbassyClock }, line));
        }
        Err(error) => line.print(format_args!("0 failed {error}")).await,
    }
}

// A task ends when the node has stopped for good. The board stays up, so that whoever asks for `halted` learns why; a product would sound an alarm here.

#[embassy_executor::task]
async fn write_log(task: LogWriter<'static, Mps2>) {
    task.run().await;
}

#[embassy_executor::task(pool_size = PEERS)]
async fn replicate(task: Replicator<'static, Mps2>) {
    task.run().await;
}

#[embassy_executor::task]
async fn receive(task: Receiver<'static, Mps2>) {
    task.run().await;
}

#[embassy_executor::task]
async fn tick(task: Ticker<'static, Mps2>) {
    task.run().await;
}

#[embassy_executor::task]
async fn apply(committed: Committed<'static, Mps2>) {
    REGISTERS.run(committed, quoring_mps2::mark).await;
}

#[embassy_executor::task]
async fn serve(service: Service<'static, Mps2, ThreadModeRawMutex, EmbassyClock>, line: Uart) {
    let Ok(()) = service.serve(line).await;
}

/// Each task has a place of its own, so that there is always one.
fn spawn<S>(spawner: Spawner, task: Result<SpawnToken<S>, SpawnError>) {
    spawner.spawn(task.expect("each task is spawned once"));
}
