//! What a durable snapshot covers may go, whoever gave up waiting for it.
#![cfg(feature = "std")]

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use futures_lite::future::{block_on, or, poll_once};
use quoring::clock::system::SystemClock;
use quoring::store::memory::{Error, MemoryLog};
use quoring::store::{ReadError, SnapshotError};
use quoring::transport::memory::{MemoryNetwork, MemoryTransport};
use quoring::{
    ClusterId, Committed, Config, EntryId, LogIndex, LogStore, Node, NodeId, NodeSet, Platform, Recovery, Resources,
    Snapshot, Space, Step,
};

struct Board;

impl Platform for Board {
    type Mutex = NoopRawMutex;
    type Store = Watched;
    type Transport = MemoryTransport<'static, NoopRawMutex, 256, 16>;
    type Clock = SystemClock;
}

/// A store without anything to tidy, and what it was allowed to purge.
struct Watched {
    log: MemoryLog<{ 64 * 1024 }, 1024>,
    allowed: Rc<Cell<LogIndex>>,
}

impl LogStore for Watched {
    type Error = Error;

    async fn recover(&mut self, log: &mut Recovery) -> Result<(), Error> {
        self.log.recover(log).await
    }

    async fn append(&mut self, batch: &[u8]) -> Result<(), Error> {
        self.log.append(batch).await
    }

    async fn read(&mut self, index: LogIndex, buffer: &mut [u8]) -> Result<usize, ReadError<Error>> {
        self.log.read(index, buffer).await
    }

    fn space(&self) -> Space {
        self.log.space()
    }

    fn purge(&mut self, index: LogIndex) {
        self.allowed.set(index);
        self.log.purge(index);
    }

    fn is_tidy(&self) -> bool {
        true
    }

    fn snapshot_limit(&self) -> u64 {
        self.log.snapshot_limit()
    }

    async fn begin_snapshot(&mut self, last: EntryId) -> Result<(), Error> {
        self.log.begin_snapshot(last).await
    }

    async fn write_snapshot(&mut self, last: EntryId, offset: u64, bytes: &[u8]) -> Result<(), SnapshotError<Error>> {
        self.log.write_snapshot(last, offset, bytes).await
    }

    async fn finish_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError<Error>> {
        self.log.finish_snapshot(snapshot).await
    }

    async fn read_snapshot(
        &mut self,
        snapshot: &Snapshot,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, SnapshotError<Error>> {
        self.log.read_snapshot(snapshot, offset, buffer).await
    }
}

/// Makes one snapshot, and gives up as soon as it is durable.
async fn apply(mut committed: Committed<'static, Board>, node: Node<'static, Board>) {
    loop {
        match committed.next().await.expect("the node goes on") {
            Step::Apply(entry) => entry.answer(b""),
            Step::Save(mut save) if node.status().snapshot == LogIndex::ZERO => {
                save.write(b"state").await.expect("there is room");
                let mut finish = pin!(save.finish());
                while node.status().snapshot == LogIndex::ZERO {
                    assert!(poll_once(finish.as_mut()).await.is_none(), "it was not given up");
                }
            }
            _ => {}
        }
    }
}

/// covers: P9, S3
#[test]
fn what_a_snapshot_covers_may_go_though_nobody_waited_for_its_end() {
    let allowed = Rc::new(Cell::new(LogIndex::ZERO));
    let network: &'static MemoryNetwork<NoopRawMutex, 1, 256, 16> = Box::leak(Box::new(MemoryNetwork::new()));
    let memory: &'static mut Resources<'static, Board, 256, 64, 2, 256, 16> = Box::leak(Box::new(Resources::new()));
    let id = NodeId::new(0).expect("it is below 32");
    let config = Config { snapshot_after: 20, ..Config::new(id, ClusterId(7), NodeSet::first(1)) };
    let transport = network.endpoint(id).expect("it is the only one");
    let store = Watched { log: MemoryLog::new(), allowed: allowed.clone() };
    block_on(async {
        let started = quoring::new(config, store, transport, SystemClock::default(), memory).await;
        let (node, committed, runner) = started.expect("an empty log is one");
        let client = async {
            while node.status().snapshot == LogIndex::ZERO {
                let _ = node.propose(b"more").await;
                futures_lite::future::yield_now().await;
            }
            let covered = node.status().snapshot;
            for _ in 0..10 {
                node.propose(b"more").await.expect("it leads");
            }
            assert!(allowed.get() >= covered, "up to {:?} may go, and the store knows of {:?}", covered, allowed.get());
        };
        let tasks = async {
            runner.run().await;
        };
        or(client, or(tasks, apply(committed, node))).await;
    });
}
