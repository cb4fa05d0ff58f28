//! The view of all who only look: replicators, the applier, interrupts.

use crate::position::Position;
use crate::record::Header;
use crate::ring::Ring;
use crate::sync::{Ordering::Acquire, Step, acquire, fence};
use crate::watermark::extend;

/// A view of the ring. Every watermark is readable from any context, and nothing here waits for the
/// writer (F2).
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Reader<'r> {
    ring: Ring<'r>,
}

/// A record that [`Reader::copy`] copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Copied {
    /// The record's header.
    pub header: Header,
    /// Where the record begins. Another position at the next copy of the same index tells that it
    /// was replaced.
    pub position: Position,
    /// Bytes that were copied: the whole padded record.
    pub size: usize,
}

/// Why a record was not copied.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CopyError {
    /// Not in the ring: read it from the store, where everything is that has left the ring.
    Gone,
    /// The buffer is too small: the record has this many bytes.
    TooSmall(usize),
}

impl<'r> Reader<'r> {
    pub(crate) fn new(ring: Ring<'r>) -> Self {
        Self { ring }
    }

    /// Copies the whole padded record of `index` to the beginning of `buf`, whose content is
    /// unspecified after an error.
    ///
    /// The writer may truncate and overwrite meanwhile: what is returned is intact, though it may
    /// be stale by then. Whether copies belong to one log is told by [`leading`](Self::leading),
    /// looked at after them.
    ///
    /// # Errors
    /// Any [`CopyError`].
    pub fn copy(&self, index: u64, buf: &mut [u8]) -> Result<Copied, CopyError> {
        let position = self.ring.find(index, acquire(Step::Find)).ok_or(CopyError::Gone)?;
        // Until `tail` has been looked at, these bytes are nobody's: a header may be torn or be no
        // header.
        let words = self.ring.arena.from(position);
        let header = words.header().filter(|header| header.is_entry_of(index)).ok_or(CopyError::Gone)?;
        let size = header.size();
        let loaded = buf.get_mut(..size).map(|buf| words.load(buf));
        fence(Step::Judge, Acquire);
        if !self.ring.holds(position, self.ring.marks.tail()) {
            return Err(CopyError::Gone);
        }
        match loaded {
            Some(true) => Ok(Copied { header, position, size }),
            Some(false) => Err(CopyError::Gone),
            None => Err(CopyError::TooSmall(size)),
        }
    }

    /// Copies what lies at `start` and the `buf.len()` bytes from there: a span that the writer has told, handed over by whatever orders
    /// its step before this one. Where it lay, nothing else lies until it leaves the ring; so this is what was told, or an error.
    ///
    /// # Errors
    /// [`CopyError::Gone`].
    pub fn copy_span(&self, start: Position, buf: &mut [u8]) -> Result<(), CopyError> {
        let loaded = self.ring.arena.load(start, buf);
        fence(Step::Judge, Acquire);
        if loaded && self.ring.holds(start, self.ring.marks.tail()) { Ok(()) } else { Err(CopyError::Gone) }
    }

    /// End of the last record.
    #[must_use]
    pub fn accepted(&self) -> Position {
        self.ring.marks.accepted()
    }

    /// End of what is durable.
    #[must_use]
    pub fn flushed(&self) -> Position {
        self.ring.marks.flushed()
    }

    /// Index of the last entry, [extended](extend) against `base`. Goes back on truncation.
    #[must_use]
    pub fn last(&self, base: u64) -> u64 {
        extend(base, self.ring.marks.core.last.load(Acquire))
    }

    /// Index up to which entries are committed, [extended](extend) against `base`.
    #[must_use]
    pub fn committed(&self, base: u64) -> u64 {
        extend(base, self.ring.marks.core.committed.load(acquire(Step::SeeCommitted)))
    }

    /// Index up to which the application has finished, [extended](extend) against `base`.
    #[must_use]
    pub fn applied(&self, base: u64) -> u64 {
        extend(base, self.ring.marks.applied.load(Acquire))
    }

    /// The own term while this node leads, else 0.
    ///
    /// A message of a leader of term `t` is: copies of entries, then `committed`, then this; only
    /// if it is still `t` may the message be sent. Otherwise it may mix the logs of two leaders, or
    /// bring one leader's entries with the other's commit index. What was read from the store
    /// meanwhile is under the same rule.
    #[must_use]
    pub fn leading(&self) -> u32 {
        self.ring.marks.core.leading.load(Acquire)
    }
}
