//! A store whose medium never lets anybody wait.

use quoring::store::ReadError;
use quoring::{EntryId, LogIndex, LogStore, Recovery, Snapshot, SnapshotError, Space};

/// A [`LogStore`] that does all its work at once. The chip's flash stops the processor anyway while it is programmed or erased, so nothing is
/// lost; and five tasks do without the memory for what they would be in the middle of, some 800 bytes each.
pub(crate) struct Immediate<S: 'static>(pub(crate) &'static mut S);

/// Not part of its caller, so that its memory on the stack is free again when it is done.
#[inline(never)]
fn at_once<R>(work: impl Future<Output = R>) -> R {
    embassy_futures::block_on(work)
}

impl<S: LogStore> LogStore for Immediate<S> {
    type Error = S::Error;

    async fn recover(&mut self, log: &mut Recovery) -> Result<(), S::Error> {
        at_once(self.0.recover(log))
    }

    async fn append(&mut self, batch: &[u8]) -> Result<(), S::Error> {
        at_once(self.0.append(batch))
    }

    async fn read(&mut self, index: LogIndex, buffer: &mut [u8]) -> Result<usize, ReadError<S::Error>> {
        at_once(self.0.read(index, buffer))
    }

    fn space(&self) -> Space {
        self.0.space()
    }

    fn record_limit(&self) -> usize {
        self.0.record_limit()
    }

    fn purge(&mut self, index: LogIndex) {
        self.0.purge(index);
    }

    fn is_tidy(&self) -> bool {
        self.0.is_tidy()
    }

    async fn tidy(&mut self) -> Result<bool, S::Error> {
        at_once(self.0.tidy())
    }

    fn snapshot_limit(&self) -> u64 {
        self.0.snapshot_limit()
    }

    async fn begin_snapshot(&mut self, last: EntryId) -> Result<(), S::Error> {
        at_once(self.0.begin_snapshot(last))
    }

    async fn write_snapshot(
        &mut self,
        last: EntryId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), SnapshotError<S::Error>> {
        at_once(self.0.write_snapshot(last, offset, bytes))
    }

    async fn finish_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError<S::Error>> {
        at_once(self.0.finish_snapshot(snapshot))
    }

    async fn read_snapshot(
        &mut self,
        snapshot: &Snapshot,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, SnapshotError<S::Error>> {
        at_once(self.0.read_snapshot(snapshot, offset, buffer))
    }
}
