//! The entries of a batch, numbered and placed: what every store needs to find them again.

use quoring_core::{LogIndex, RecoveryError};
use quoring_ring::{Kind, Record, extend};

/// Walks the records of a batch and tells index and offset of each entry; votes are stepped over.
///
/// The low half of an index is extended against the entry before it (L15). Checksums are left to the reader.
/// Ends at the end of the batch, or after the first error.
pub(crate) struct Entries<'b> {
    batch: &'b [u8],
    at: usize,
    last: LogIndex,
}

/// An entry of a batch.
pub(crate) struct Entry<'b> {
    pub(crate) index: LogIndex,
    /// Bytes from the start of the batch.
    pub(crate) at: usize,
    pub(crate) record: Record<'b>,
}

impl<'b> Entries<'b> {
    /// The entries of `batch`, written when the log's last entry was `last`.
    pub(crate) const fn new(batch: &'b [u8], last: LogIndex) -> Self {
        Self { batch, at: 0, last }
    }

    /// Goes on at byte `at`, a record boundary.
    pub(crate) const fn skip_to(mut self, at: usize) -> Self {
        self.at = at;
        self
    }

    /// Walks on to the end; the log's last entry there.
    ///
    /// # Errors
    /// The batch is not a sequence of whole records that continues the log.
    pub(crate) fn finish(mut self) -> Result<LogIndex, RecoveryError> {
        self.by_ref().try_for_each(|entry| entry.map(drop))?;
        Ok(self.last)
    }

    fn number(&mut self, record: &Record<'b>) -> Result<Option<LogIndex>, RecoveryError> {
        match record.header.kind {
            Kind::Vote => Ok(None),
            Kind::Start => {
                self.last = LogIndex(record.start().ok_or(RecoveryError::NotOfALog)?);
                Ok(None)
            }
            kind if kind.is_entry() => {
                let index = LogIndex(extend(self.last.0, record.header.index_low));
                if index == LogIndex::ZERO || index > self.last.next() {
                    return Err(RecoveryError::Gap);
                }
                self.last = index;
                Ok(Some(index))
            }
            _ => Err(RecoveryError::NotOfALog),
        }
    }

    fn step(&mut self, rest: &'b [u8]) -> Result<Option<Entry<'b>>, RecoveryError> {
        let record = Record::parse(rest).map_err(RecoveryError::Record)?;
        let index = self.number(&record)?;
        let at = self.at;
        self.at = at.saturating_add(record.bytes.len());
        Ok(index.map(|index| Entry { index, at, record }))
    }
}

impl<'b> Iterator for Entries<'b> {
    type Item = Result<Entry<'b>, RecoveryError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(rest) = self.batch.get(self.at..).filter(|rest| !rest.is_empty()) {
            match self.step(rest) {
                Ok(None) => {}
                Ok(Some(entry)) => return Some(Ok(entry)),
                Err(error) => {
                    self.at = self.batch.len();
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use quoring_ring::RecordError;

    use super::*;
    use crate::store::testing::{Script, vote};

    #[test]
    fn indices_go_on_across_the_32_bit_wrap() {
        // covers: L15
        let mut script = Script::starting_at(LogIndex(0xFFFF_FFFE));
        let batch = [script.entry(b"a"), script.entry(b"b"), vote(), script.entry(b"c")].concat();
        let found: std::vec::Vec<_> =
            Entries::new(&batch, LogIndex(0xFFFF_FFFD)).map(|e| e.map(|e| e.index.0)).collect();
        assert_eq!(found, [Ok(0xFFFF_FFFE), Ok(0xFFFF_FFFF), Ok(0x1_0000_0000)]);
    }

    #[test]
    fn a_gap_a_zero_and_a_cut_record_end_the_walk() {
        let mut script = Script::starting_at(LogIndex(3));
        let gap = script.entry(b"third");
        assert_eq!(Entries::new(&gap, LogIndex(1)).finish(), Err(RecoveryError::Gap));
        assert_eq!(Entries::new(&gap, LogIndex(2)).finish(), Ok(LogIndex(3)));
        let zero = Script::starting_at(LogIndex(0)).entry(b"none");
        assert_eq!(Entries::new(&zero, LogIndex(0)).finish(), Err(RecoveryError::Gap));
        let cut = &gap[..gap.len() - 1];
        assert_eq!(Entries::new(cut, LogIndex(2)).finish(), Err(RecoveryError::Record(RecordError::Truncated)));
        assert_eq!(Entries::new(cut, LogIndex(2)).count(), 1);
    }
}
