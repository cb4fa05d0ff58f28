//! A log in RAM, for tests and demonstrations.

use core::fmt;

use quoring_core::{LogIndex, Recovery, RecoveryError};
use quoring_ring::Records;

use super::entries::{Entries, Entry};
use super::{LogStore, ReadError};

/// A log in `BYTES` bytes of RAM: it keeps every rule of [`LogStore`] but the first, and **forgets everything at loss of power**.
///
/// A node that restarts with the same `MemoryLog` finds what it wrote; one that restarts with a new one must not vote again.
/// Nothing is compacted: when `BYTES` are used, appends are refused. The initial image is all zero.
///
/// A read is a scan of record headers. It starts at the record read before, unless the entry lies before the newest truncation.
#[derive(Debug)]
pub struct MemoryLog<const BYTES: usize> {
    bytes: [u8; BYTES],
    used: usize,
    last: LogIndex,
    /// Where the newest truncation took place. From here on entries follow one another, so the first of an index is its newest.
    straight: Place,
    /// The entry read last; at or after `straight`.
    cursor: Place,
}

/// Why a [`MemoryLog`] refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// The batch does not fit any more; nothing of it was taken. Make the log larger.
    Full,
    /// The batch is not a sequence of whole records that continues the log; nothing of it was taken. A fault of the caller.
    Record(RecoveryError),
}

/// A record boundary, and the last entry before it.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: usize,
    before: LogIndex,
}

const START: Place = Place { at: 0, before: LogIndex::ZERO };

impl<const BYTES: usize> MemoryLog<BYTES> {
    /// An empty log.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; BYTES], used: 0, last: LogIndex::ZERO, straight: START, cursor: START }
    }

    /// Bytes in use.
    #[must_use]
    pub const fn used(&self) -> usize {
        self.used
    }

    fn store(&mut self, batch: &[u8]) -> Result<(), Error> {
        let last = Entries::new(batch, self.last).finish().map_err(Error::Record)?;
        let free = self.bytes.get_mut(self.used..).unwrap_or_default();
        free.get_mut(..batch.len()).ok_or(Error::Full)?.copy_from_slice(batch);
        self.straighten(batch);
        self.used += batch.len();
        self.last = last;
        Ok(())
    }

    /// Notes the newest truncation in `batch`, which lies at the end of the log.
    fn straighten(&mut self, batch: &[u8]) {
        let mut last = self.last;
        for Entry { index, at, .. } in Entries::new(batch, last).flatten() {
            if index <= last {
                self.straight = Place { at: self.used + at, before: index.previous() };
                self.cursor = self.straight;
            }
            last = index;
        }
    }

    /// The newest record of `index`, and where it lies.
    fn find(&self, index: LogIndex) -> Option<(Place, &[u8])> {
        if index == LogIndex::ZERO || index > self.last {
            return None;
        }
        let same = |entry: &Entry<'_>| entry.index == index;
        let entry = if index > self.cursor.before {
            self.entries(self.cursor).find(same)
        } else if index > self.straight.before {
            self.entries(self.straight).find(same)
        } else {
            self.entries(START).take_while(|entry| entry.at < self.straight.at).filter(same).last()
        }?;
        Some((Place { at: entry.at, before: index.previous() }, entry.record.bytes))
    }

    fn entries(&self, from: Place) -> impl Iterator<Item = Entry<'_>> {
        let bytes = self.bytes.get(..self.used).unwrap_or_default();
        Entries::new(bytes, from.before).skip_to(from.at).flatten()
    }
}

impl<const BYTES: usize> Default for MemoryLog<BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const BYTES: usize> LogStore for MemoryLog<BYTES> {
    type Error = Error;

    async fn recover(&mut self, log: &mut Recovery) -> Result<(), Error> {
        for record in Records::new(self.bytes.get(..self.used).unwrap_or_default()) {
            let record = record.map_err(|error| Error::Record(RecoveryError::Record(error)))?;
            log.record(&record).map_err(Error::Record)?;
        }
        Ok(())
    }

    async fn append(&mut self, batch: &[u8]) -> Result<(), Error> {
        self.store(batch)
    }

    async fn read(&mut self, index: LogIndex, buffer: &mut [u8]) -> Result<usize, ReadError<Error>> {
        let (place, record) = self.find(index).ok_or(ReadError::Missing)?;
        let size = record.len();
        buffer.get_mut(..size).ok_or(ReadError::TooSmall(size))?.copy_from_slice(record);
        if place.at >= self.straight.at {
            self.cursor = place;
        }
        Ok(size)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the memory log is full"),
            Self::Record(error) => write!(f, "the batch does not continue the log: {error}"),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use futures_lite::future::block_on;
    use quoring_core::RecoveredRecord;

    use super::*;
    use crate::store::testing::{Script, recovery, vote};

    fn read<const B: usize>(log: &mut MemoryLog<B>, index: u64) -> Result<Vec<u8>, ReadError<Error>> {
        let mut buffer = [0; 64];
        let size = block_on(log.read(LogIndex(index), &mut buffer))?;
        Ok(buffer[..size].to_vec())
    }

    #[test]
    fn the_newest_record_of_an_index_is_read_after_any_history_of_truncations() {
        let mut script = Script::starting_at(LogIndex(1));
        let mut log = MemoryLog::<{ 64 * 1024 }>::new();
        let mut model: Vec<Vec<u8>> = Vec::new();
        let mut seed = 7_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for step in 0..400_u32 {
            if random(5) == 0 {
                let next = 1 + random(model.len() as u64 + 1);
                model.truncate(next as usize - 1);
                script.truncate(LogIndex(next));
            }
            let mut batch = vote();
            for _ in 0..=random(3) {
                model.push(script.entry(&step.to_le_bytes()));
                batch.extend(&model[model.len() - 1]);
            }
            block_on(log.append(&batch)).unwrap();
            for _ in 0..8 {
                let index = random(model.len() as u64 + 3);
                let expected = (index as usize).checked_sub(1).and_then(|i| model.get(i)).cloned();
                assert_eq!(read(&mut log, index), expected.ok_or(ReadError::Missing), "step {step}, index {index}");
            }
        }
        let mut recovered = recovery();
        block_on(log.recover(&mut recovered)).unwrap();
        assert_eq!(recovered.last(), LogIndex(model.len() as u64));
    }

    #[test]
    fn a_full_log_refuses_the_batch_whole_and_keeps_what_it_has() {
        let mut script = Script::starting_at(LogIndex(1));
        let mut log = MemoryLog::<80>::new();
        let first = script.entry(b"thirty-two bytes with padding"); // 48 with its header
        block_on(log.append(&first)).unwrap();
        assert_eq!(block_on(log.append(&script.entry(&[1; 32]))), Err(Error::Full));
        assert_eq!((log.used(), read(&mut log, 1), read(&mut log, 2)), (48, Ok(first), Err(ReadError::Missing)));
        script.truncate(LogIndex(2));
        block_on(log.append(&script.entry(&[2; 16]))).unwrap();
        assert_eq!(log.used(), 80);
    }

    #[test]
    fn a_short_buffer_is_told_the_size_it_needs() {
        let mut log = MemoryLog::<64>::new();
        block_on(log.append(&Script::starting_at(LogIndex(1)).entry(&[1; 20]))).unwrap();
        assert_eq!(block_on(log.read(LogIndex(1), &mut [0; 47])), Err(ReadError::TooSmall(48)));
        assert_eq!(block_on(log.read(LogIndex(1), &mut [0; 48])), Ok(48));
    }

    #[test]
    fn a_batch_that_does_not_continue_the_log_changes_nothing() {
        let mut log = MemoryLog::<256>::new();
        let mut script = Script::starting_at(LogIndex(1));
        let good = script.entry(b"1");
        script.truncate(LogIndex(3));
        let batch = [good, script.entry(b"3")].concat();
        assert_eq!(block_on(log.append(&batch)), Err(Error::Record(RecoveryError::Gap)));
        assert_eq!((log.used(), read(&mut log, 1)), (0, Err(ReadError::Missing)));
    }

    #[test]
    fn recovery_hands_over_votes_and_entries_in_their_order() {
        let mut log = MemoryLog::<256>::new();
        let mut script = Script::starting_at(LogIndex(1));
        let batch = [vote(), script.entry(b"a"), vote(), script.entry(b"b")].concat();
        block_on(log.append(&batch)).unwrap();
        let mut direct = recovery();
        let kinds: Vec<_> = Records::new(&batch).map(|r| direct.record(&r.unwrap()).unwrap()).collect();
        assert_eq!(kinds[1], RecoveredRecord::Entry(LogIndex(1)));
        let mut recovered = recovery();
        block_on(log.recover(&mut recovered)).unwrap();
        let (left, right) = (recovered.finish().unwrap(), direct.finish().unwrap());
        assert_eq!((left.last, left.term, left.vote), (right.last, right.term, right.vote));
    }
}
