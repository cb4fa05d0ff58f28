//! The applier's end: tells how far the application is.

use crate::reader::Reader;
use crate::ring::Ring;
use crate::sync::Ordering::Release;

/// The applier's end, and the only writer of `applied`.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Applier<'r> {
    ring: Ring<'r>,
    applied: u64,
}

impl<'r> Applier<'r> {
    pub(crate) fn new(ring: Ring<'r>, applied: u64) -> Self {
        Self { ring, applied }
    }

    /// Moves `applied` up to `index`: forward only.
    pub fn publish(&mut self, index: u64) {
        if index > self.applied {
            self.applied = index;
            self.ring.marks.applied.store(index as u32, Release);
        }
    }

    /// Index up to which the application has finished.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// A view to read the entries by.
    #[must_use]
    pub fn reader(&self) -> Reader<'r> {
        Reader::new(self.ring)
    }
}
