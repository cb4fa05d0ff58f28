//! A node on a small board: what a program of your own does. The board is in `quoring_microbit`, what is replicated in `quoring_registers`.
//!
//! The start of a node takes more stack than anything later. So what is there only later, the tasks, lies on the stack as well: on that of [`run`], which never
//! returns.
#![no_std]
#![no_main]

mod immediate;

use embassy_executor::raw::{TaskPool, TaskStorage};
use embassy_futures::block_on;
use embassy_sync::blocking_mutex::raw::ThreadModeRawMutex;
use panic_halt as _;
use quoring::clock::embassy::EmbassyClock;
use quoring::store::nor::Nor;
use quoring::store::paged::{Layout, Owner, PagedLog};
use quoring::{
    ClusterId, Committed, Config, Duration, Node, NodeId, Platform, Receiver, Resources, Runner, StartError, Tasks,
};
use quoring_microbit::{Board, Flash, Line, forever};
use quoring_registers::{Application, Service};
use static_cell::{ConstStaticCell, StaticCell};

use self::immediate::Immediate;

/// What the node stands on.
struct Microbit;

impl Platform for Microbit {
    type Mutex = ThreadModeRawMutex; // all tasks run in thread mode
    type Store = Immediate<Log>;
    type Transport = &'static Line;
    type Clock = EmbassyClock;
}

type Log = PagedLog<Nor<Flash>, 6, 4, FRAME>;

/// What a start makes.
type Parts = (Node<'static, Microbit>, Committed<'static, Microbit>, Runner<'static, Microbit, 2>);

const CLUSTER: ClusterId = ClusterId(0x5155_4F52);
const FRAME: usize = 128;

/// 6 KiB of log and two snapshots of up to 1 KiB.
const LAYOUT: Layout = Layout { log_pages: 6, slot_pages: 1 };

/// All memory of consensus: half a KiB of ring, in which the last 16 entries can be found, 2 clients that wait, no sessions.
static MEMORY: ConstStaticCell<Resources<'static, Microbit, 64, 16, 2, FRAME, 2, 0>> =
    ConstStaticCell::new(Resources::new());

static LOG: StaticCell<Log> = StaticCell::new();
static REGISTERS: Application<ThreadModeRawMutex> = Application::new();

#[cortex_m_rt::entry]
fn main() -> ! {
    let Board { node: id, voters, flash, line } = Board::take();
    let config = Config {
        election_timeout: Duration::from_millis(600),
        heartbeat_interval: Duration::from_millis(150),
        // The line is slow: a second frame would only wait behind the first.
        max_in_flight: 1,
        snapshot_after: 32,
        ..Config::new(id, CLUSTER, voters)
    };
    run(start(config, flash, line), line)
}

/// Recovers the node from flash. Nothing in it waits for anything, so that it needs no executor.
#[inline(never)]
fn start(config: Config, flash: Flash, line: &'static Line) -> Parts {
    let store = open(config.id, flash);
    let started = block_on(quoring::new(config, store, line, EmbassyClock, MEMORY.take()));
    started.unwrap_or_else(|error: StartError<_>| line.fail(&error))
}

#[inline(never)]
fn open(id: NodeId, flash: Flash) -> Immediate<Log> {
    let log = PagedLog::new(Nor::new(flash), Owner { cluster: CLUSTER, node: id }, LAYOUT);
    Immediate(LOG.init(log.expect("the layout fits this flash")))
}

/// Runs the tasks of the node: each is woken only by what it watches.
#[inline(never)]
fn run((node, committed, runner): Parts, line: &'static Line) -> ! {
    let Tasks { log_writer, replicators, receiver, ticker } = runner.split();
    let service = Service { node, application: &REGISTERS, clock: EmbassyClock };
    let (write_log, replicate, receiving) = (TaskStorage::new(), TaskPool::<_, 2>::new(), TaskStorage::new());
    let (tick, apply, serve) = (TaskStorage::new(), TaskStorage::new(), TaskStorage::new());
    // SAFETY: this function never returns.
    let (write_log, replicate, receiving) = unsafe { (forever(&write_log), forever(&replicate), forever(&receiving)) };
    // SAFETY: as above.
    let (tick, apply, serve) = unsafe { (forever(&tick), forever(&apply), forever(&serve)) };
    const ONCE: &str = "each task is spawned once";
    quoring_microbit::run(|spawner| {
        spawner.spawn(write_log.spawn(|| log_writer.run()).expect(ONCE));
        for replicator in replicators {
            spawner.spawn(replicate.spawn(|| replicator.run()).expect(ONCE));
        }
        spawner.spawn(receiving.spawn(|| receive(receiver, line)).expect(ONCE));
        spawner.spawn(tick.spawn(|| ticker.run()).expect(ONCE));
        spawner.spawn(apply.spawn(|| REGISTERS.run(committed, || {})).expect(ONCE));
        spawner.spawn(serve.spawn(|| async move { service.serve(line.client()).await }).expect(ONCE));
    })
}

/// When the node has stopped, it can still be asked why: its line is the client's, too.
async fn receive(receiver: Receiver<'static, Microbit>, line: &'static Line) {
    receiver.run().await;
    line.attend().await;
}
