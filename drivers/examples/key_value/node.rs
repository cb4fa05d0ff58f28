//! A node: what a program of your own does.

use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::{process, thread};

use embassy_futures::select::{select_array, select3};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use futures_lite::future::block_on;
use quoring::clock::system::SystemClock;
use quoring::store::file::{FileLog, FileSize};
use quoring::transport::udp::UdpTransport;
use quoring::{
    ClusterId, Committed, Config, Node, NodeId, NodeSet, Platform, Replicator, Resources, Restore, RestoreError, Save,
    SaveError, Step, Tasks, TransferError,
};

use crate::command::Command;
use crate::map::Map;
use crate::service::Service;

/// What the node stands on.
pub(crate) struct Host;

impl Platform for Host {
    type Mutex = CriticalSectionRawMutex; // its tasks run on several threads
    type Store = FileLog<FRAME>;
    type Transport = UdpTransport;
    type Clock = SystemClock;
}

/// What fits into one frame of Ethernet.
const FRAME: usize = 1472;

/// Clients that wait on one node at a time, and sessions of the whole cluster, of which the one used longest ago makes place for another.
const CLIENTS: usize = 32;
const SESSIONS: usize = 64;

/// 16 KiB of ring, in which the last 256 entries can be found, and two peers.
type Memory = Resources<'static, Host, 2048, 256, 2, FRAME, CLIENTS, SESSIONS>;

/// 64 KiB of log, which is enough because the map is saved every few hundred commands; and two copies of the map and of the sessions, which take
/// less than a page.
const SIZE: FileSize = FileSize { page: 8192, log_pages: 8, snapshot_pages: (Map::LIMIT / 8192 + 2) as u16 };

const CLUSTER: ClusterId = ClusterId(0x3A0D_E500);

/// Runs node `id` of those at `addresses` until its disk fails, or somebody stops it.
pub(crate) fn run(id: NodeId, addresses: &[SocketAddr], folder: &Path) -> Result<(), Box<dyn Error>> {
    let peers: Vec<_> = (0..).filter_map(NodeId::new).zip(addresses.iter().copied()).collect();
    let address = addresses[usize::from(id.get())];
    let clients = TcpListener::bind(address)?;

    let store = FileLog::open(folder, CLUSTER, id, SIZE)?;
    let transport = UdpTransport::bind(address, &peers)?;
    let voters = peers.iter().fold(NodeSet::EMPTY, |voters, &(peer, _)| voters.with(peer));
    let config = Config { snapshot_after: 400, ..Config::new(id, CLUSTER, voters) };
    let memory = Box::leak(Box::new(Memory::new())); // in firmware a static
    let (node, committed, runner) = block_on(quoring::new(config, store, transport, SystemClock::new(), memory))?;
    eprintln!("node {id} at {address} holds entries up to {}", node.status().durable);

    // A file log blocks while it writes, so the log writer has a thread of its own; so has the application, which may take its time. The thread that sends and
    // receives is the only one that watches sockets and timers: wherever else `async_io::block_on` ran, frames would come in there, and be handed on to this one.
    let Tasks { log_writer, replicators, receiver, ticker } = runner.split();
    thread::spawn(move || block_on(log_writer.run()));
    thread::spawn(move || {
        async_io::block_on(select3(receiver.run(), select_array(replicators.map(Replicator::run)), ticker.run()))
    });
    thread::spawn(move || Service::new(node).take(&clients));
    thread::spawn(move || await_stop(node));
    block_on(apply(committed))
}

/// Does what the node asks of the application, until the node stops.
async fn apply(mut committed: Committed<'static, Host>) -> Result<(), Box<dyn Error>> {
    loop {
        match committed.next().await? {
            Step::Apply(entry) => {
                // Commands are checked before they are proposed: what is none here was proposed by another version of this program.
                let command = str::from_utf8(entry.command())?;
                let answer = map().apply(Command::parse(command)?);
                entry.answer(answer.as_bytes());
            }
            // If it fails, the node asks again, or has stopped and says so.
            Step::Save(save) => drop(write_snapshot(save).await),
            Step::Restore(restore) => read_snapshot(restore).await?,
        }
    }
}

async fn write_snapshot(mut save: Save<'_, 'static, Host>) -> Result<(), SaveError> {
    let bytes = map().snapshot();
    save.write(&bytes).await?;
    save.finish().await
}

async fn read_snapshot(mut restore: Restore<'_, 'static, Host>) -> Result<(), Box<dyn Error>> {
    let mut bytes = vec![0; restore.length() as usize];
    let mut rest = &mut bytes[..];
    while !rest.is_empty() {
        match restore.read(rest).await {
            Ok(count) => rest = &mut rest[count..],
            Err(RestoreError::Superseded) => return Ok(()), // by a newer one, which is the next step
            Err(error) => return Err(error.into()),
        }
    }
    let (restored, index) = (Map::restore(&bytes).ok_or("the snapshot is none of a map")?, restore.index());
    let keys = restored.len();
    *map() = restored;
    restore.finish()?; // only now: whoever waits to read goes on
    eprintln!("restored {keys} keys up to entry {index}");
    Ok(())
}

/// The map, as long as nothing is awaited.
pub(crate) fn map() -> MutexGuard<'static, Map> {
    static MAP: Mutex<Map> = Mutex::new(Map::new());
    MAP.lock().expect("the application has not failed")
}

/// Ends the process in peace when the line `stop` comes: it leads no longer, so that nobody has to wait for an election.
fn await_stop(node: Node<'static, Host>) {
    if io::stdin().lines().map_while(Result::ok).any(|line| line.trim() == "stop") {
        match block_on(node.transfer(None)) {
            Ok(successor) => eprintln!("handed over to node {successor}"),
            Err(TransferError::NotLeader(_)) => {}
            Err(error) => eprintln!("handed over to nobody: {error:?}"),
        }
        // Nothing has to be closed: what counts is durable at any moment.
        process::exit(0);
    }
}
