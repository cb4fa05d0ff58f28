//! Where in the log the newest record of each entry lies.

use std::io::IoSlice;

use quoring_core::LogIndex;

use super::Tail;
use super::error::{Damage, Error};
use super::layout::BATCH_HEADER;
use super::medium::Medium;
use crate::store::entries::{Entries, Entry};

/// A side file of 8-byte little-endian offsets, by index. Recovery rebuilds it, so it is never synced; a reader checks what it finds.
#[derive(Debug)]
pub(super) struct Offsets {
    file: Medium,
    /// The index of the first offset in `run`.
    first: LogIndex,
    /// Offsets of entries in a row, not yet written.
    run: [u8; RUN],
    used: usize,
}

const RUN: usize = 4096;
const SIZE: usize = size_of::<u64>();

impl Offsets {
    pub(super) const fn new(file: Medium) -> Self {
        Self { file, first: LogIndex::ZERO, run: [0; RUN], used: 0 }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) -> Result<(), Error> {
        self.used = 0;
        self.file.cut(0)
    }

    /// Where the newest record of `index` lies.
    pub(super) fn get(&self, index: LogIndex) -> Result<u64, Error> {
        let mut offset = [0; SIZE];
        self.file.read_exact_at(self.place(index)?, &mut offset)?;
        Ok(u64::from_le_bytes(offset))
    }

    /// Notes the entries of a `batch` that was written at `tail`.
    pub(super) fn note(&mut self, batch: &[u8], tail: Tail) -> Result<(), Error> {
        let records = tail.end + BATCH_HEADER as u64;
        for Entry { index, at, .. } in Entries::new(batch, tail.last).flatten() {
            self.put(index, records + at as u64)?;
        }
        self.flush()
    }

    /// Notes where `index` lies, at the latest when [flushed](Self::flush).
    pub(super) fn put(&mut self, index: LogIndex, offset: u64) -> Result<(), Error> {
        if self.used == RUN || index.0 != self.first.0 + (self.used / SIZE) as u64 {
            self.flush()?;
            self.first = index;
        }
        if let Some(place) = self.run.get_mut(self.used..self.used + SIZE) {
            place.copy_from_slice(&offset.to_le_bytes());
            self.used += SIZE;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), Error> {
        let run = self.run.get(..self.used).unwrap_or_default();
        if !run.is_empty() {
            self.file.write_at(self.place(self.first)?, &mut [IoSlice::new(run)])?;
            self.used = 0;
        }
        Ok(())
    }

    /// The file begins with the place of index 0, which stays empty.
    fn place(&self, index: LogIndex) -> Result<u64, Error> {
        index.0.checked_mul(SIZE as u64).ok_or_else(|| self.file.corrupt(0, Damage::OtherEntry))
    }
}
