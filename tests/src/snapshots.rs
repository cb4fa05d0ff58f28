//! The application of all nodes, and what a disk holds of its snapshots.
//!
//! The application's state is a hash of all entries it has applied: two that agree on it agree on everything before.

use quoring_core::{EntryId, LogIndex, NodeSet, Snapshot, Term};
use quoring_ring::DEFAULT_CRC32C;

/// Bytes of the smallest snapshot: the state, and after which entry.
pub const SMALLEST: usize = 20;

/// What a snapshot says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// The last entry it has the effect of.
    pub after: EntryId,
    /// The hash of that and all before.
    pub chain: u64,
}

impl State {
    /// As bytes, `length` in all; what is not needed for the state is `filler`.
    #[must_use]
    pub fn encode(&self, length: usize, filler: u8) -> Vec<u8> {
        let mut bytes = self.after.index.0.to_le_bytes().to_vec();
        bytes.extend(self.after.term.0.to_le_bytes());
        bytes.extend(self.chain.to_le_bytes());
        bytes.resize(length.max(SMALLEST), filler);
        bytes
    }

    /// Of bytes; `None` if they are too few.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let number = |at| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let term = Term(u32::from_le_bytes(*bytes.get(8..)?.first_chunk()?));
        Some(Self { after: EntryId { term, index: LogIndex(number(0)?) }, chain: number(12)? })
    }

    /// What is told about a snapshot of these bytes.
    #[must_use]
    pub fn describe(&self, bytes: &[u8], voters: NodeSet) -> Snapshot {
        Snapshot { last: self.after, length: bytes.len() as u64, checksum: DEFAULT_CRC32C(0, bytes), voters }
    }
}

/// A whole snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Saved {
    /// What is told about it.
    pub snapshot: Snapshot,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Two places on a disk: the newest snapshot, and the one before it or the one being written.
#[derive(Clone, Default, Debug)]
pub struct Snapshots {
    newest: Option<Saved>,
    older: Option<Saved>,
    part: Option<(EntryId, Vec<u8>)>,
}

/// Why bytes were not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The place was taken by another snapshot.
    Superseded,
    /// They do not follow on those before, or the whole is not what was told of it.
    Mismatch,
}

impl Snapshots {
    /// The newest.
    #[must_use]
    pub const fn newest(&self) -> Option<&Saved> {
        self.newest.as_ref()
    }

    /// The last entry that the newest covers.
    #[must_use]
    pub fn covered(&self) -> EntryId {
        self.newest.as_ref().map_or(EntryId::ZERO, |saved| saved.snapshot.last)
    }

    /// Begins another one in the place of the older.
    pub fn begin(&mut self, last: EntryId) {
        (self.older, self.part) = (None, Some((last, Vec::new())));
    }

    /// Adds bytes to it.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn write(&mut self, last: EntryId, offset: u64, bytes: &[u8]) -> Result<(), Refused> {
        let part = self.part.as_mut().filter(|part| part.0 == last).ok_or(Refused::Superseded)?;
        if part.1.len() as u64 != offset {
            return Err(Refused::Mismatch);
        }
        part.1.extend(bytes);
        Ok(())
    }

    /// Makes it the newest.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn finish(&mut self, snapshot: &Snapshot) -> Result<(), Refused> {
        let (_, bytes) = self.part.as_ref().filter(|part| part.0 == snapshot.last).ok_or(Refused::Superseded)?;
        if (bytes.len() as u64, DEFAULT_CRC32C(0, bytes)) != (snapshot.length, snapshot.checksum) {
            return Err(Refused::Mismatch);
        }
        let bytes = self.part.take().map(|(_, bytes)| bytes).unwrap_or_default();
        self.older = self.newest.replace(Saved { snapshot: *snapshot, bytes });
        Ok(())
    }

    /// The bytes of one of the two.
    #[must_use]
    pub fn read(&self, snapshot: &Snapshot) -> Option<&[u8]> {
        let saved = [&self.newest, &self.older].into_iter().flatten().find(|saved| saved.snapshot == *snapshot);
        saved.map(|saved| saved.bytes.as_slice())
    }

    /// The power goes: what is not finished is lost.
    pub fn cut(&mut self) {
        self.part = None;
    }
}
