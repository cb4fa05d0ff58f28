//! Where the log becomes durable: the contract of a [`LogStore`], and the stores of this crate.

use core::fmt::Debug;

use quoring_core::{EntryId, LogIndex, Recovery, Snapshot, Space};

mod entries;
#[cfg(feature = "std")]
pub mod file;
pub mod medium;
pub mod memory;
#[cfg(feature = "std")]
pub mod mock;
#[cfg(feature = "nor")]
pub mod nor;
pub mod paged;
#[cfg(test)]
pub(crate) mod testing;

/// A durable log of records, and two snapshots.
///
/// A *record* is what the ring holds: a 16-byte header and its payload, padded to 16 bytes, self-describing and independent
/// of its place ([`quoring_ring::Record`]). An *entry* record with index `i` replaces whatever the log held from `i` on; a *vote*
/// record has no index, and a boot number in the place of one; a *start* record says that everything before it counts no more, and that the log goes on
/// behind the entry it names. The store keeps all of them in one order.
///
/// # Contract
/// 1. **Durable**: when [`append`](Self::append) returns `Ok`, the batch survives loss of power.
/// 2. **Prefix-ordered**: if any byte of a batch is found by [`recover`](Self::recover), all earlier batches are found whole.
///    A torn tail is legal, a hole is not.
/// 3. **Nothing invented**: recovery yields records that were appended, in the order they were, each at most once.
/// 4. **Fail-stop**: after an `Err` that carries [`Error`](Self::Error) the node halts and calls nothing but `read`. Part of what was being written may
///    be durable.
/// 5. **Cancelled**: when the future of `append` is dropped before it is done, any prefix of the batch may be durable, and the
///    store is used again only after `recover`. The same holds for everything else that writes (D9).
/// 6. **Newest**: [`read`](Self::read) gives the newest record of that index; a truncated entry is never read again.
/// 7. **Purged**: entries may go only up to the index that [`purge`](Self::purge) allowed, oldest first; term, vote and the highest boot number never
///    go.
/// 8. **Two snapshots**: the newest finished one stays whole while the next is being written, whatever happens to that.
/// 9. **Room**: a vote or a start record always finds room, however full of entries the store is: what dead records take comes back (P12).
///
/// A store that never purges and holds no snapshots needs the first three methods only.
#[allow(async_fn_in_trait)] // Tasks run where their executor is; a store that must be `Send` says so itself.
pub trait LogStore {
    /// What can go wrong with the medium.
    type Error: Debug;

    /// Finds what is durable: tells `log` the newest snapshot, where the log begins, and each record, oldest first; `log` checks and numbers them. A torn
    /// tail is never seen again. Called once, before anything else.
    ///
    /// # Errors
    /// The medium cannot be read, or holds something other than a log with a torn tail. The node does not start; nothing was lost.
    async fn recover(&mut self, log: &mut Recovery) -> Result<(), Self::Error>;

    /// Makes `batch`, one or more whole records, durable.
    ///
    /// # Errors
    /// The medium failed or is full. The node halts (rule 4).
    async fn append(&mut self, batch: &[u8]) -> Result<(), Self::Error>;

    /// Copies the whole record of entry `index` into `buffer`; its length in bytes.
    ///
    /// # Errors
    /// The entry is not there, does not fit, or cannot be read. Never an excuse to send nothing (L12).
    async fn read(&mut self, index: LogIndex, buffer: &mut [u8]) -> Result<usize, ReadError<Self::Error>>;

    /// How much fits, and where the log begins.
    fn space(&self) -> Space {
        Space::UNLIMITED
    }

    /// Bytes of the largest record that [`append`](Self::append) takes. A node with larger ones does not start.
    fn record_limit(&self) -> usize {
        usize::MAX
    }

    /// Entries up to `index` may go: a durable snapshot covers them. An allowance, not an order: the store drops them when it needs the room, and a
    /// later allowance replaces an earlier one (P9). After [`recover`](Self::recover) a store may go by its
    /// newest snapshot itself, but for the last entry that this covers: the log may contradict it.
    fn purge(&mut self, index: LogIndex) {
        let _ = index;
    }

    /// Whether [`tidy`](Self::tidy) would find nothing to do now. To be told by who has a `tidy` of its own.
    fn is_tidy(&self) -> bool {
        true
    }

    /// Does one piece of work ahead of need, such as erasing the next page; `false` if there is none. Called when nothing waits to be appended.
    ///
    /// # Errors
    /// The medium failed. The node halts.
    async fn tidy(&mut self) -> Result<bool, Self::Error> {
        Ok(false)
    }

    /// The most bytes that a snapshot may have; 0 if this store holds none.
    fn snapshot_limit(&self) -> u64 {
        0
    }

    /// Begins to write the snapshot that covers the log up to `last`, in the place of the older of the two. What was being written is given up.
    ///
    /// # Errors
    /// The medium failed. The node halts.
    async fn begin_snapshot(&mut self, last: EntryId) -> Result<(), Self::Error> {
        let _ = last;
        Ok(())
    }

    /// Writes the bytes of that snapshot that follow those written so far, `offset` in number.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    async fn write_snapshot(
        &mut self,
        last: EntryId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), SnapshotError<Self::Error>> {
        let _ = (last, offset, bytes);
        Err(SnapshotError::TooLarge)
    }

    /// Makes that snapshot the newest, durably, if it is whole: length and checksum are those of the bytes written.
    ///
    /// # Errors
    /// See [`SnapshotError`]; [`Superseded`](SnapshotError::Superseded) also if the newest covers as much or more.
    async fn finish_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError<Self::Error>> {
        let _ = snapshot;
        Err(SnapshotError::TooLarge)
    }

    /// Copies bytes of a finished snapshot from `offset` on, as many as are there and fit, into `buffer`; how many.
    ///
    /// # Errors
    /// [`SnapshotError::Superseded`] if neither of the two is this one.
    async fn read_snapshot(
        &mut self,
        snapshot: &Snapshot,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, SnapshotError<Self::Error>> {
        let _ = (snapshot, offset, buffer);
        Err(SnapshotError::Superseded)
    }
}

/// Why bytes of a snapshot were not written or read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SnapshotError<E> {
    /// Another snapshot has taken its place.
    Superseded,
    /// It has more bytes than [`LogStore::snapshot_limit`].
    TooLarge,
    /// Length or checksum are not those of the bytes that were written, or these do not follow on those before.
    Mismatch,
    /// The medium failed. The node halts.
    Store(E),
}

/// Why an entry could not be read from the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ReadError<E> {
    /// The store does not hold this index (truncated since, or never written): ask the core again what to do.
    Missing,
    /// The record has this many bytes, more than the buffer, which holds as many of the first ones as fit.
    TooSmall(usize),
    /// The medium failed.
    Store(E),
}
