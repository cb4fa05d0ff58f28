//! Three nodes in one chip: elections, commands, reads on every node and a hand-over; then the machine ends, with code 0 if all was as it must be.
#![no_std]
#![no_main]

use core::panic::PanicInfo;

use embassy_executor::{Executor, SpawnError, SpawnToken, Spawner};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_time::{Duration, Timer, with_timeout};
use quoring::clock::embassy::EmbassyClock;
use quoring::store::memory::MemoryLog;
use quoring::transport::memory::{MemoryNetwork, MemoryTransport};
use quoring::{ClusterId, Committed, Config, Node, NodeId, NodeSet, Platform, Resources, Role, Runner, Term};
use quoring_registers::{Application, COUNT, Command};
use quoring_riscv::{exit, print};
use static_cell::{ConstStaticCell, StaticCell};

/// What each node stands on. What is in its log, no loss of power would leave there.
struct Virt;

impl Platform for Virt {
    type Mutex = CriticalSectionRawMutex;
    type Store = MemoryLog<2048, 512>;
    type Transport = MemoryTransport<'static, CriticalSectionRawMutex, FRAME, 4>;
    type Clock = EmbassyClock;
}

const NODES: usize = 3;
const FRAME: usize = 240;

static NETWORK: MemoryNetwork<CriticalSectionRawMutex, NODES, FRAME, 4> = MemoryNetwork::new();
static MEMORY: [ConstStaticCell<Resources<'static, Virt, 128, 32, { NODES - 1 }, FRAME, 4, 0>>; NODES] =
    [const { ConstStaticCell::new(Resources::new()) }; NODES];
static REGISTERS: [Application<CriticalSectionRawMutex>; NODES] = [const { Application::new() }; NODES];

type Nodes = [Node<'static, Virt>; NODES];

#[riscv_rt::entry]
fn main() -> ! {
    static EXECUTOR: StaticCell<Executor> = StaticCell::new();
    quoring_riscv::start();
    EXECUTOR.init(Executor::new()).run(|spawner| spawn(spawner, prove(spawner)))
}

#[embassy_executor::task]
async fn prove(spawner: Spawner) {
    let nodes = [start(spawner, 0).await, start(spawner, 1).await, start(spawner, 2).await];
    match with_timeout(Duration::from_secs(60), script(nodes)).await {
        Ok(Ok(())) => exit(0),
        Ok(Err(wrong)) => print(format_args!("failed: {wrong}")),
        Err(_) => print(format_args!("failed: it takes too long: {nodes:?}")),
    }
    exit(1)
}

/// Starts a node and its tasks.
async fn start(spawner: Spawner, number: u8) -> Node<'static, Virt> {
    let id = NodeId::new(number).expect("a cluster has 32 nodes at most");
    let config = Config { snapshot_after: 20, ..Config::new(id, ClusterId(0x5155_4F52), NodeSet::first(NODES as u32)) };
    let transport = NETWORK.endpoint(id).expect("the network has so many");
    let memory = MEMORY[usize::from(number)].take();
    let started = quoring::new(config, MemoryLog::new(), transport, EmbassyClock, memory).await;
    let (node, committed, runner) = started.expect("an empty log is one");
    spawn(spawner, consensus(runner));
    spawn(spawner, apply(&REGISTERS[usize::from(number)], committed));
    node
}

#[embassy_executor::task(pool_size = NODES)]
async fn consensus(runner: Runner<'static, Virt, { NODES - 1 }>) {
    let halt = runner.run().await;
    panic!("{halt}");
}

#[embassy_executor::task(pool_size = NODES)]
async fn apply(registers: &'static Application<CriticalSectionRawMutex>, committed: Committed<'static, Virt>) {
    let ended = registers.run(committed, || {}).await;
    panic!("{ended}");
}

/// What a client would do, and whether it sees what it must.
async fn script(nodes: Nodes) -> Result<(), &'static str> {
    put(&nodes, 0..100).await;
    read_back(&nodes, 100).await?;
    let former = hand_over(&nodes).await;
    put(&nodes, 100..120).await;
    read_back(&nodes, 120).await?;
    if leader(&nodes).await.status().term <= former {
        return Err("nobody was handed over to");
    }
    // Who has applied as much as another has applied the same.
    let [(applied, digest), others @ ..] =
        REGISTERS.each_ref().map(|registers| registers.with(|registers| (registers.applied(), registers.digest())));
    if others != [(applied, digest); NODES - 1] {
        return Err("digests differ");
    }
    let snapshots = nodes.map(|node| node.status().snapshot.0);
    print(format_args!(
        "{NODES} nodes agree on 120 commands: applied {applied}, digest {digest:08x}, snapshots {snapshots:?}"
    ));
    Ok(())
}

async fn leader(nodes: &Nodes) -> Node<'static, Virt> {
    loop {
        if let Some(leader) = nodes.iter().find(|node| node.status().role == Role::Leader) {
            return *leader;
        }
        Timer::after_millis(10).await;
    }
}

/// Has the leader hand over; its term.
async fn hand_over(nodes: &Nodes) -> Term {
    loop {
        let leader = leader(nodes).await;
        let term = leader.status().term;
        if leader.transfer(None).await.is_ok() {
            return term;
        }
    }
}

/// Has each value put into a register, one after the other. Where the outcome is open, the same once more does no harm.
async fn put(nodes: &Nodes, values: core::ops::Range<u32>) {
    for value in values {
        let command = Command { key: (value as usize % COUNT) as u8, value }.encode();
        while leader(nodes).await.propose(&command).await.is_err() {
            Timer::after_millis(10).await;
        }
    }
}

/// Reads all registers on every node: the last of `count` values is in each.
async fn read_back(nodes: &Nodes, count: u32) -> Result<(), &'static str> {
    for (node, registers) in nodes.iter().zip(&REGISTERS) {
        while node.read().await.is_err() {
            Timer::after_millis(10).await;
        }
        let expected = |key: u32| (0..count).rev().find(|value| value % COUNT as u32 == key).unwrap_or_default();
        let differs = |key: &u32| registers.with(|registers| registers.get(*key as u8)) != expected(*key);
        if (0..COUNT as u32).any(|key| differs(&key)) {
            return Err("a register does not hold what was put there last");
        }
    }
    Ok(())
}

/// Each task has a place of its own, so that there is always one.
fn spawn<S>(spawner: Spawner, task: Result<SpawnToken<S>, SpawnError>) {
    spawner.spawn(task.expect("each task is spawned once"));
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    print(format_args!("failed: {info}"));
    exit(2)
}
