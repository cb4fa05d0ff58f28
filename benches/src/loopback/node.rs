//! A node in a process of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use async_executor::LocalExecutor;
use async_io::block_on;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use futures_lite::future;
use quoring::clock::system::SystemClock;
use quoring::store::file::FileLog;
use quoring::transport::udp::UdpTransport;
use quoring::{
    ClusterId, Committed, Config, Halt, Node, NodeId, NodeSet, Platform, Resources, RestoreError, Role, Step, Tasks,
};

use crate::arguments::Layout;
use crate::disk::SIZE;
use crate::helper::{answer, listen};
use crate::lanes::Lanes;
use crate::load::{self, Passage};

/// What the node stands on: as in the example `key_value`.
pub(crate) struct Host;

impl Platform for Host {
    type Mutex = CriticalSectionRawMutex;
    type Store = FileLog<FRAME>;
    type Transport = UdpTransport;
    type Clock = SystemClock;
}

/// What fits into a jumbo frame of Ethernet; the loopback's are larger yet. It is also what one sync makes durable at most.
const FRAME: usize = 8192;

/// How many clients can wait.
pub(crate) const PLACES: usize = 64;

/// 32 KiB of ring, three quarters of whose 512 indices are for clients.
type Memory = Resources<'static, Host, 4096, 512, 2, FRAME, PLACES>;

const CLUSTER: ClusterId = ClusterId(0x100B_BACC);

/// What the process is told to do.
type Orders = Channel<CriticalSectionRawMutex, String, 1>;

/// Runs node `id`: says which port it has, hears those of all nodes, then does what it is told until it is told nothing more.
pub(crate) fn run(id: NodeId, layout: Layout, folder: &Path) -> Result<()> {
    let mut transport = UdpTransport::bind((Ipv4Addr::LOCALHOST, 0), &[])?;
    answer(Ok(transport.local_address()?.to_string()));
    let addresses = listen();
    let addresses = addresses.split(' ').map(str::parse).collect::<Result<Vec<SocketAddr>, _>>()?;
    for (peer, address) in (0..).filter_map(NodeId::new).zip(&addresses) {
        transport.set_peer(peer, *address);
    }
    let store = FileLog::open(folder, CLUSTER, id, SIZE)?;
    let voters = NodeSet::first(addresses.len() as u32);
    let config = Config { snapshot_after: 100_000, ..Config::new(id, CLUSTER, voters) };
    let memory = Box::leak(Box::new(Memory::new()));
    let started = future::block_on(quoring::new(config, store, transport, SystemClock::new(), memory));
    let (node, committed, runner) = started.map_err(|error| anyhow!("{error:?}"))?;

    let Tasks { log_writer, replicators, receiver, ticker } = runner.split();
    let orders: &'static Orders = Box::leak(Box::new(Orders::new()));
    thread::spawn(move || {
        loop {
            future::block_on(orders.send(listen()));
        }
    });
    let (lanes, passage) = (Rc::new(Lanes::default()), Rc::new(Passage::default()));
    let _in = (
        lanes.input.spawn(receiver.run()),
        lanes.input.spawn(ticker.run()),
        lanes.input.spawn(apply(committed, Rc::clone(&passage))),
    );
    let _out = replicators.map(|replicator| lanes.output.spawn(replicator.run()));
    let _log = match layout {
        Layout::OneThread => Some(lanes.log.spawn(log_writer.run())),
        Layout::LogThread => {
            thread::spawn(move || future::block_on(log_writer.run()));
            None
        }
    };
    block_on(lanes.run(serve(Rc::clone(&lanes), node, passage, orders)))
}

/// Counts commands.
async fn apply(mut committed: Committed<'static, Host>, passage: Rc<Passage>) -> Result<(), Halt> {
    let mut count = 0_u64;
    loop {
        match committed.next().await? {
            Step::Apply(entry) => {
                count += 1;
                let streamed = entry.request().is_some();
                entry.answer(&count.to_le_bytes());
                if streamed {
                    passage.applied();
                }
            }
            Step::Save(mut save) => {
                // If it fails, the node asks again, or has stopped and says so.
                if save.write(&count.to_le_bytes()).await.is_ok() {
                    let _ = save.finish().await;
                }
            }
            Step::Restore(mut restore) => {
                let mut bytes = [0; 8];
                match restore.read(&mut bytes).await {
                    Ok(_) => count = u64::from_le_bytes(bytes),
                    Err(RestoreError::Superseded) => continue,
                    Err(error) => panic!("a snapshot cannot be read: {error:?}"),
                }
                let _ = restore.finish();
            }
        }
    }
}

/// Does what it is told.
async fn serve(lanes: Rc<Lanes<'static>>, node: Node<'static, Host>, passage: Rc<Passage>, orders: &Orders) -> ! {
    loop {
        let order = orders.receive().await;
        answer(obey(&lanes.input, node, &passage, &order).await);
    }
}

async fn obey(
    lanes: &LocalExecutor<'static>,
    node: Node<'static, Host>,
    passage: &Rc<Passage>,
    order: &str,
) -> Result<String> {
    if let Some(halt) = node.halted() {
        bail!("the node has stopped: {halt:?}");
    }
    let words: Vec<_> = order.split(' ').collect();
    match words[..] {
        ["leads"] => Ok((node.status().role == Role::Leader).to_string()),
        ["load", in_flight, milliseconds] => {
            let (in_flight, duration) = (in_flight.parse()?, Duration::from_millis(milliseconds.parse()?));
            let samples = load::run(lanes, node, passage, in_flight, duration).await;
            Ok(samples.with_context(|| format!("{in_flight} in flight"))?.to_string())
        }
        _ => bail!("unknown order {order}"),
    }
}
