//! A store on a medium that outlives the node, and fails when the test says so.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use futures_lite::future::block_on;
use quoring::store::ReadError;
use quoring::store::memory::{Error, MemoryLog};
use quoring::{EntryId, LogIndex, LogStore, Recovery, Snapshot, SnapshotError, Space};
use quoring_ring::Records;

/// What an append does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Fault {
    /// What it should.
    #[default]
    None,
    /// It fails.
    Fails,
    /// It waits until the fault is another one.
    Hangs,
    /// It makes the first record of the batch durable, and then waits until it is dropped.
    Tears,
}

/// The store. All clones are one medium.
pub(crate) struct TestLog<const LOG: usize, const SNAPSHOT: usize>(Rc<Medium<LOG, SNAPSHOT>>);

#[derive(Default)]
struct Medium<const LOG: usize, const SNAPSHOT: usize> {
    log: RefCell<MemoryLog<LOG, SNAPSHOT>>,
    fault: Cell<Fault>,
    waiting: RefCell<Option<Waker>>,
    appending: Cell<usize>,
    reads: Cell<usize>,
}

/// What a [`Fault::Fails`] says.
const FAILED: Error = Error::Full;

impl<const LOG: usize, const SNAPSHOT: usize> Clone for TestLog<LOG, SNAPSHOT> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<const LOG: usize, const SNAPSHOT: usize> Default for TestLog<LOG, SNAPSHOT> {
    fn default() -> Self {
        Self(Rc::default())
    }
}

impl<const LOG: usize, const SNAPSHOT: usize> TestLog<LOG, SNAPSHOT> {
    /// From now on appends, also one that hangs, do this.
    pub(crate) fn set(&self, fault: Fault) {
        self.0.fault.set(fault);
        if let Some(waker) = self.0.waiting.take() {
            waker.wake();
        }
    }

    /// How many appends have begun and not ended; those that were dropped among them.
    pub(crate) fn appending(&self) -> usize {
        self.0.appending.get()
    }

    /// How many entries were read back.
    pub(crate) fn reads(&self) -> usize {
        self.0.reads.get()
    }

    /// Bytes on the medium.
    pub(crate) fn used(&self) -> usize {
        self.0.log.borrow().used()
    }

    fn write(&self, batch: &[u8]) -> Result<(), Error> {
        block_on(self.0.log.borrow_mut().append(batch))
    }
}

impl<const LOG: usize, const SNAPSHOT: usize> LogStore for TestLog<LOG, SNAPSHOT> {
    type Error = Error;

    async fn recover(&mut self, log: &mut Recovery) -> Result<(), Error> {
        block_on(self.0.log.borrow_mut().recover(log))
    }

    async fn append(&mut self, batch: &[u8]) -> Result<(), Error> {
        let medium = &*self.0;
        medium.appending.set(medium.appending.get() + 1);
        if medium.fault.get() == Fault::Tears {
            let first = Records::new(batch).next().expect("a batch has records").expect("whole ones");
            self.write(first.bytes)?;
        }
        let fault = poll_fn(|cx| match medium.fault.get() {
            Fault::Hangs | Fault::Tears => {
                *medium.waiting.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
            fault => Poll::Ready(fault),
        });
        let failed = fault.await == Fault::Fails;
        medium.appending.set(medium.appending.get() - 1);
        if failed { Err(FAILED) } else { self.write(batch) }
    }

    async fn read(&mut self, index: LogIndex, buffer: &mut [u8]) -> Result<usize, ReadError<Error>> {
        self.0.reads.set(self.0.reads.get() + 1);
        block_on(self.0.log.borrow_mut().read(index, buffer))
    }

    fn space(&self) -> Space {
        self.0.log.borrow().space()
    }

    fn purge(&mut self, index: LogIndex) {
        self.0.log.borrow_mut().purge(index);
    }

    fn snapshot_limit(&self) -> u64 {
        self.0.log.borrow().snapshot_limit()
    }

    async fn begin_snapshot(&mut self, last: EntryId) -> Result<(), Error> {
        block_on(self.0.log.borrow_mut().begin_snapshot(last))
    }

    async fn write_snapshot(&mut self, last: EntryId, offset: u64, bytes: &[u8]) -> Result<(), SnapshotError<Error>> {
        block_on(self.0.log.borrow_mut().write_snapshot(last, offset, bytes))
    }

    async fn finish_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError<Error>> {
        block_on(self.0.log.borrow_mut().finish_snapshot(snapshot))
    }

    async fn read_snapshot(
        &mut self,
        snapshot: &Snapshot,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, SnapshotError<Error>> {
        block_on(self.0.log.borrow_mut().read_snapshot(snapshot, offset, buffer))
    }
}
