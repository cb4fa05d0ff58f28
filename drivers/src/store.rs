//! Where the log becomes durable: the contract of a [`LogStore`], and the stores of this crate.

use core::fmt::Debug;

use quoring_core::{LogIndex, Recovery};

mod entries;
#[cfg(feature = "std")]
pub mod file;
pub mod memory;
#[cfg(test)]
pub(crate) mod testing;

/// A durable log of records.
///
/// A *record* is what the ring holds: a 16-byte header and its payload, padded to 16 bytes, self-describing and independent
/// of its place ([`quoring_ring::Record`]). An *entry* record with index `i` replaces whatever the log held from `i` on; a vote
/// record has no index. The store keeps both in one order.
///
/// # Contract
/// 1. **Durable**: when [`append`](Self::append) returns `Ok`, the batch survives loss of power.
/// 2. **Prefix-ordered**: if any byte of a batch is found by [`recover`](Self::recover), all earlier batches are found whole.
///    A torn tail is legal, a hole is not.
/// 3. **Nothing invented**: recovery yields records that were appended, in the order they were, each at most once.
/// 4. **Fail-stop**: after an `Err` from `append` the node halts and calls nothing but `read`. Part of the batch may be durable.
/// 5. **Cancelled**: when the future of `append` is dropped before it is done, any prefix of the batch may be durable, and the
///    store is used again only after `recover`.
/// 6. **Newest**: [`read`](Self::read) gives the newest record of that index; a truncated entry is never read again.
#[allow(async_fn_in_trait)] // Tasks run where their executor is; a store that must be `Send` says so itself.
pub trait LogStore {
    /// What can go wrong with the medium.
    type Error: Debug;

    /// Finds what is durable and hands each record, oldest first, to `log`, which checks and numbers it. A torn tail is dropped so that
    /// it cannot come back. Called once, before anything else.
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
