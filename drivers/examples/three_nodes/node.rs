//! A node: what a program of your own does.

use std::error::Error;
use std::io::{self, BufRead, BufReader, LineWriter, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::thread;

use async_io::block_on;
use embassy_futures::select::{select_array, select3};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use quoring::clock::system::SystemClock;
use quoring::store::file::{FileLog, FileSize};
use quoring::transport::udp::UdpTransport;
use quoring::{
    ClusterId, Committed, Config, Halt, Node, NodeId, NodeSet, Platform, ProposalError, ProposeError, Replicator,
    Resources, Step, Tasks,
};

use crate::book::Book;

/// What the node stands on.
struct Host;

impl Platform for Host {
    type Mutex = CriticalSectionRawMutex; // its tasks run on several threads
    type Store = FileLog<FRAME>;
    type Transport = UdpTransport;
    type Clock = SystemClock;
}

/// What fits into one frame of Ethernet.
const FRAME: usize = 1472;

/// 16 KiB of ring, in which the last 256 entries can be found, and two peers.
type Memory = Resources<'static, Host, 2048, 256, 2, FRAME>;

/// 64 KiB of log, which is enough because the book is saved every few hundred lines, and two copies of the book.
const SIZE: FileSize = FileSize { page: 8192, log_pages: 8, snapshot_pages: (Book::LIMIT / 8192 + 1) as u16 };

const CLUSTER: ClusterId = ClusterId(0x3A0D_E500);

/// Runs node `id` of those at `addresses` until its disk fails.
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
    eprintln!("holds entries up to {}", node.status().durable);

    // A file log blocks while it writes, so the log writer has a thread of its own; so has the application, which may take its time.
    let Tasks { log_writer, replicators, receiver, ticker } = runner.split();
    thread::spawn(move || block_on(log_writer.run()));
    thread::spawn(move || {
        block_on(select3(select_array(replicators.map(Replicator::run)), receiver.run(), ticker.run()))
    });
    thread::spawn(move || propose_lines(node, io::stdin().lock(), io::stderr()));
    thread::spawn(move || take_clients(node, &clients));
    Err(block_on(apply(committed)).into())
}

/// Does what the node asks of the application, until the node stops.
async fn apply(mut committed: Committed<'static, Host>) -> Halt {
    let mut book = Book::default();
    loop {
        match committed.next().await {
            Ok(Step::Apply(entry)) => {
                let answer = book.write(entry.command());
                entry.answer(answer.as_bytes());
            }
            // If it fails, the node asks again, or has stopped and says so.
            Ok(Step::Save(save)) => drop(book.save(save).await),
            Ok(Step::Restore(restore)) => drop(book.restore(restore).await),
            Err(halt) => return halt,
        }
    }
}

/// Proposes each line and tells what became of it, in one line that begins with a word for the client.
fn propose_lines(node: Node<'static, Host>, lines: impl BufRead, mut replies: impl Write) -> io::Result<()> {
    for line in lines.split(b'\n') {
        match block_on(node.propose(&line?)) {
            Ok(answer) => writeln!(replies, "ok {}", String::from_utf8_lossy(&answer))?,
            Err(ProposalError::Refused(ProposeError::NotLeader { leader: Some(leader) })) => {
                writeln!(replies, "leader {leader}")?;
            }
            Err(ProposalError::Refused(error @ ProposeError::TooLarge { .. })) => writeln!(replies, "refused {error}")?,
            Err(error) => writeln!(replies, "retry {error}")?,
        }
    }
    Ok(())
}

fn take_clients(node: Node<'static, Host>, clients: &TcpListener) {
    for client in clients.incoming().flatten() {
        // What goes wrong with one client is its own affair.
        thread::spawn(move || propose_lines(node, BufReader::new(&client), LineWriter::new(&client)));
    }
}
