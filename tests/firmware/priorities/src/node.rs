//! The node: its application preempts its other tasks.

use core::sync::atomic::{AtomicU32, Ordering};

use embassy_executor::{SendSpawner, Spawner};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_time::Timer;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use quoring::clock::embassy::EmbassyClock;
use quoring::store::nor::Nor;
use quoring::store::paged::{Error, Layout, Owner, PagedLog};
use quoring::transport::memory::{MemoryNetwork, MemoryTransport};
use quoring::{
    ClusterId, Committed, Config, LogWriter, Node, NodeId, NodeSet, Platform, Position, Receiver, Replicator,
    Resources, StartError, Tasks, Ticker,
};
use quoring_mps2::{Flash, Refused, ticks};
use quoring_registers::Application;
use static_cell::ConstStaticCell;

use crate::expect;
use crate::findings::{Finding, check};

/// What the node stands on.
pub(crate) struct Priorities;

impl Platform for Priorities {
    type Mutex = CriticalSectionRawMutex; // tasks of two priorities
    type Store = PagedLog<Nor<Stamped>, 8, 4, FRAME>;
    type Transport = MemoryTransport<'static, CriticalSectionRawMutex, FRAME, 2>;
    type Clock = EmbassyClock;
}

pub(crate) type OneNode = Node<'static, Priorities>;

const CLUSTER: ClusterId = ClusterId(0x5155_4F52);
const ID: NodeId = NodeId::new(0).expect("it is below 32");
/// Bytes of the largest frame, which limits commands too.
pub(crate) const FRAME: usize = 240;
const LAYOUT: Layout = Layout { log_pages: 8, slot_pages: 1 };

static MEMORY: ConstStaticCell<Resources<'static, Priorities, 256, 32, 1, FRAME, 8, 0>> =
    ConstStaticCell::new(Resources::new());
static NETWORK: MemoryNetwork<CriticalSectionRawMutex, 1, FRAME, 2> = MemoryNetwork::new();

/// What is replicated.
pub(crate) static REGISTERS: Application<CriticalSectionRawMutex> = Application::new();

/// When the flash last had done what it was told.
static WRITTEN: AtomicU32 = AtomicU32::new(0);

/// The longest time from there until an entry was applied.
static LONGEST: AtomicU32 = AtomicU32::new(0);

/// Ticks that passed at most from when an entry was durable until it was applied and answered, since this was last asked.
pub(crate) fn take_longest_way() -> u32 {
    LONGEST.swap(0, Ordering::Relaxed)
}

/// Starts the only voter on flash that is erased first, and waits until it leads. `application` spawns at the higher priority.
pub(crate) async fn start(
    mut flash: Flash,
    spawner: Spawner,
    application: SendSpawner,
) -> Result<OneNode, StartError<Error<Refused>>> {
    let end = flash.capacity() as u32;
    flash.erase(0, end).await.expect("whole pages");
    let config = Config {
        snapshot_after: 200,
        // Soon after the start it wraps.
        origin: Position::new(u32::MAX - 999),
        ..Config::new(ID, CLUSTER, NodeSet::first(1))
    };
    let owner = Owner { cluster: CLUSTER, node: ID };
    let store = PagedLog::new(Nor::new(Stamped(flash)), owner, LAYOUT).expect("the layout fits this flash");
    let transport = NETWORK.endpoint(ID).expect("it is the only one");
    let (node, committed, runner) = quoring::new(config, store, transport, EmbassyClock, MEMORY.take()).await?;

    let Tasks { log_writer, replicators, receiver, ticker } = runner.split();
    spawner.spawn(expect(write_log(log_writer)));
    replicators.into_iter().for_each(|replicator| spawner.spawn(expect(replicate(replicator))));
    spawner.spawn(expect(receive(receiver)));
    spawner.spawn(expect(tick(ticker)));
    application.spawn(expect(apply(committed)));
    application.spawn(expect(look_on(node)));
    while node.pointers().leading().is_none() {
        Timer::after_millis(10).await;
    }
    Ok(node)
}

#[embassy_executor::task]
async fn write_log(task: LogWriter<'static, Priorities>) {
    task.run().await;
}

#[embassy_executor::task]
async fn replicate(task: Replicator<'static, Priorities>) {
    task.run().await;
}

#[embassy_executor::task]
async fn receive(task: Receiver<'static, Priorities>) {
    task.run().await;
}

#[embassy_executor::task]
async fn tick(task: Ticker<'static, Priorities>) {
    task.run().await;
}

#[embassy_executor::task]
async fn apply(committed: Committed<'static, Priorities>) {
    REGISTERS
        .run(committed, || {
            _ = LONGEST.fetch_max(ticks().wrapping_sub(WRITTEN.load(Ordering::Relaxed)), Ordering::Relaxed)
        })
        .await;
}

/// Looks at the node over and over, locked and not.
#[embassy_executor::task]
async fn look_on(node: OneNode) {
    let mut pointers = node.pointers();
    loop {
        let status = node.status();
        let behind = pointers.applied() < status.applied || pointers.committed() < status.committed;
        check(!behind, Finding::BehindStatus);
        let committed = pointers.committed();
        // Nobody leads at first.
        if node.read().await.is_ok() {
            check(pointers.applied() >= committed, Finding::BehindStatus);
        }
        Timer::after_micros(700).await;
    }
}

/// Flash that notes when it has done what it was told.
#[derive(Debug)]
pub(crate) struct Stamped(Flash);

impl ErrorType for Stamped {
    type Error = Refused;
}

impl ReadNorFlash for Stamped {
    const READ_SIZE: usize = Flash::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Refused> {
        self.0.read(offset, bytes).await
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl NorFlash for Stamped {
    const WRITE_SIZE: usize = Flash::WRITE_SIZE;
    const ERASE_SIZE: usize = Flash::ERASE_SIZE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Refused> {
        self.0.erase(from, to).await
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Refused> {
        let written = self.0.write(offset, bytes).await;
        WRITTEN.store(ticks(), Ordering::Relaxed);
        written
    }
}
