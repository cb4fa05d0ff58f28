//! What a log costs its medium, without running one.

use super::format::{BATCH_HEADER, HEADER, STEP, TRAILER};

/// Bytes, pages and years of a log, from its sizes alone (D8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Plan {
    /// Bytes of a word.
    pub word: u32,
    /// Bytes of a page.
    pub page: u32,
    /// Pages of the log.
    pub log_pages: u16,
}

impl Plan {
    const fn unit(&self) -> u32 {
        if self.word > STEP { self.word } else { STEP }
    }

    /// Bytes that a flush of `records` bytes of records programs.
    #[must_use]
    pub const fn batch(&self, records: u32) -> u32 {
        (records + BATCH_HEADER + TRAILER).next_multiple_of(self.unit())
    }

    /// Bytes that beginning a page programs: its header, twice.
    #[must_use]
    pub const fn header(&self) -> u32 {
        2 * (HEADER as u32).next_multiple_of(self.unit())
    }

    /// How many such flushes fit on a page.
    #[must_use]
    pub const fn batches_per_page(&self, records: u32) -> u32 {
        self.page.saturating_sub(self.header()) / self.batch(records)
    }

    /// Bytes that `flushes` of them program, headers included, on an empty log.
    #[must_use]
    pub const fn programmed(&self, flushes: u64, records: u32) -> u64 {
        flushes * self.batch(records) as u64 + self.pages(flushes, records) * self.header() as u64
    }

    /// Pages that they begin, each of which costs an erase.
    #[must_use]
    pub const fn pages(&self, flushes: u64, records: u32) -> u64 {
        match self.batches_per_page(records) {
            0 => 0,
            per_page => flushes.div_ceil(per_page as u64),
        }
    }

    /// How many of them wear out a medium whose pages take `endurance` erases.
    #[must_use]
    pub const fn flushes_until_worn(&self, endurance: u32, records: u32) -> u64 {
        endurance as u64 * self.log_pages as u64 * self.batches_per_page(records) as u64
    }
}
