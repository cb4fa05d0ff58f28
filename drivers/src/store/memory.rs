//! A log in RAM, for tests and demonstrations.

mod snapshots;
#[cfg(test)]
mod tests;

use core::fmt;

use quoring_core::{EntryId, LogIndex, Recovery, RecoveryError, Snapshot, Term};
use quoring_ring::{Header, Kind, Record, Records};

use self::snapshots::Snapshots;
use super::entries::{Entries, Entry};
use super::{LogStore, ReadError, SnapshotError, Space};

/// A log in `BYTES` bytes of RAM and two snapshots of up to `SNAPSHOT` bytes: it keeps every rule of [`LogStore`] but the first, and
/// **forgets everything at loss of power**.
///
/// A node that restarts with the same `MemoryLog` finds what it wrote; one that restarts with a new one must not vote again. The initial image
/// is all zero.
///
/// ```text
///         start                  allowed      cursor               last      used           BYTES
///  gone ..... | entry | entry | entry | entry | entry | entry | entry | ..... free ..... |
///             '-- may go when needed -'
/// ```
///
/// RAM can be written in place, so only what counts is kept: a replaced entry makes room for its successor, and the newest vote stands beside the
/// log. Entries that may go are moved over when the room is needed, at least a quarter of the log at a time.
///
/// A read is a scan of record headers from the entry read before, or from the beginning if it lies before that one.
#[derive(Debug)]
pub struct MemoryLog<const BYTES: usize, const SNAPSHOT: usize = 0> {
    /// The entries behind `start` up to `last`, each once.
    bytes: [u8; BYTES],
    used: usize,
    start: EntryId,
    last: LogIndex,
    /// Behind the last entry that may go.
    allowed: Place,
    /// Where the last search ended.
    cursor: Place,
    term: Term,
    /// Those of the newest vote record, if it was of this term.
    vote: u8,
    /// The newest one of all vote records.
    boot: u32,
    snapshots: Snapshots<SNAPSHOT>,
}

/// Why a [`MemoryLog`] refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// An entry does not fit any more; those before it in the batch were taken. Make the log larger, or allow entries to go.
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

const FIRST: Place = Place { at: 0, before: LogIndex::ZERO };

impl<const BYTES: usize, const SNAPSHOT: usize> MemoryLog<BYTES, SNAPSHOT> {
    /// An empty log.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; BYTES],
            used: 0,
            start: EntryId::ZERO,
            last: LogIndex::ZERO,
            allowed: FIRST,
            cursor: FIRST,
            term: Term::ZERO,
            vote: 0,
            boot: 0,
            snapshots: Snapshots::new(),
        }
    }

    /// Bytes of the entries it holds.
    #[must_use]
    pub const fn used(&self) -> usize {
        self.used
    }

    fn store(&mut self, batch: &[u8]) -> Result<(), Error> {
        Entries::new(batch, self.last).finish().map_err(Error::Record)?;
        for record in Records::new(batch).flatten() {
            match record.header.kind {
                Kind::Vote => self.note_vote(&record.header),
                Kind::Start => self.begin_behind(&record),
                _ => self.put(&record)?,
            }
        }
        Ok(())
    }

    /// A vote counts from its term on; none takes another one of the same term back. A boot number counts whatever the term.
    fn note_vote(&mut self, header: &Header) {
        let term = Term(header.term);
        self.boot = self.boot.max(header.index_low);
        if term > self.term || term == self.term && header.flags != 0 {
            (self.term, self.vote) = (term, header.flags);
        }
    }

    fn note_term(&mut self, term: Term) {
        if term > self.term {
            (self.term, self.vote) = (term, 0);
        }
    }

    /// Forgets all entries.
    fn begin_behind(&mut self, record: &Record<'_>) {
        let Some(index) = record.start() else { return };
        self.note_term(Term(record.header.term));
        self.begin(EntryId { term: Term(record.header.term), index: LogIndex(index) });
    }

    fn begin(&mut self, start: EntryId) {
        (self.start, self.last, self.used) = (start, start.index, 0);
        (self.allowed, self.cursor) = (self.first(), self.first());
    }

    /// Writes an entry in the place of that index and all above.
    fn put(&mut self, record: &Record<'_>) -> Result<(), Error> {
        let index = LogIndex(quoring_ring::extend(self.last.0, record.header.index_low));
        if index <= self.start.index {
            self.begin(EntryId { term: Term::ZERO, index: index.previous() });
        }
        let mut place = match self.find(index) {
            Some((place, _)) => place,
            None => self.end(),
        };
        place.at -= self.make_room(place, record.bytes.len())?;
        let end = place.at + record.bytes.len();
        self.bytes.get_mut(place.at..end).ok_or(Error::Full)?.copy_from_slice(record.bytes);
        (self.used, self.last, self.cursor) = (end, index, place);
        self.note_term(Term(record.header.term));
        Ok(())
    }

    /// Makes `size` bytes behind `place` free; by how many bytes everything before it was moved down for that.
    fn make_room(&mut self, place: Place, size: usize) -> Result<usize, Error> {
        let free = BYTES.saturating_sub(place.at);
        if size <= free {
            return Ok(0);
        }
        let short = size - free;
        let may_go = self.allowed.at.min(place.at);
        if short > may_go { Err(Error::Full) } else { Ok(self.drop_oldest(may_go.min(short.max(BYTES / 4)))) }
    }

    /// Drops entries until `wanted` bytes are free, and moves the others down; how many bytes.
    fn drop_oldest(&mut self, wanted: usize) -> usize {
        let (mut cut, mut start) = (0, self.start);
        for Entry { index, at, record } in self.entries(self.first()).take_while(|entry| entry.at < wanted) {
            cut = at + record.bytes.len();
            start = EntryId { term: Term(record.header.term), index };
        }
        if let Some(bytes) = self.bytes.get_mut(..self.used)
            && cut <= bytes.len()
        {
            bytes.copy_within(cut.., 0);
        }
        (self.start, self.used) = (start, self.used.saturating_sub(cut));
        let first = self.first();
        for place in [&mut self.allowed, &mut self.cursor] {
            *place = if place.at < cut { first } else { Place { at: place.at - cut, ..*place } };
        }
        cut
    }

    /// The record of `index`, and where it lies.
    fn find(&self, index: LogIndex) -> Option<(Place, &[u8])> {
        if index <= self.start.index || index > self.last {
            return None;
        }
        let from = if index > self.cursor.before { self.cursor } else { self.first() };
        let entry = self.entries(from).find(|entry| entry.index == index)?;
        Some((Place { at: entry.at, before: index.previous() }, entry.record.bytes))
    }

    fn entries(&self, from: Place) -> impl Iterator<Item = Entry<'_>> {
        let bytes = self.bytes.get(..self.used).unwrap_or_default();
        Entries::new(bytes, from.before).skip_to(from.at).flatten()
    }

    const fn first(&self) -> Place {
        Place { at: 0, before: self.start.index }
    }

    const fn end(&self) -> Place {
        Place { at: self.used, before: self.last }
    }
}

impl<const BYTES: usize, const SNAPSHOT: usize> Default for MemoryLog<BYTES, SNAPSHOT> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const BYTES: usize, const SNAPSHOT: usize> LogStore for MemoryLog<BYTES, SNAPSHOT> {
    type Error = Error;

    async fn recover(&mut self, log: &mut Recovery) -> Result<(), Error> {
        if let Some(snapshot) = self.snapshots.newest() {
            log.snapshot(snapshot);
        }
        log.start(self.start, self.term, self.vote, self.boot);
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
        buffer.iter_mut().zip(record).for_each(|(to, &from)| *to = from);
        self.cursor = place;
        if size <= buffer.len() { Ok(size) } else { Err(ReadError::TooSmall(size)) }
    }

    /// Entries that replace others need less than that.
    fn space(&self) -> Space {
        let capacity = BYTES - BYTES % quoring_ring::ALIGN;
        let free = capacity.saturating_sub(self.used.saturating_sub(self.allowed.at));
        Space { capacity: capacity as u64, free: free as u64, start: self.start.index }
    }

    fn purge(&mut self, index: LogIndex) {
        let from = if index >= self.allowed.before { self.allowed } else { self.first() };
        let ends = |entry: Entry<'_>| Place { at: entry.at + entry.record.bytes.len(), before: entry.index };
        let behind = self.entries(from).take_while(|entry| entry.index <= index).last().map(ends);
        self.allowed = behind.unwrap_or(from);
    }

    fn snapshot_limit(&self) -> u64 {
        SNAPSHOT as u64
    }

    async fn begin_snapshot(&mut self, last: EntryId) -> Result<(), Error> {
        self.snapshots.begin(last);
        Ok(())
    }

    async fn write_snapshot(&mut self, last: EntryId, offset: u64, bytes: &[u8]) -> Result<(), SnapshotError<Error>> {
        self.snapshots.write(last, offset, bytes)
    }

    async fn finish_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError<Error>> {
        self.snapshots.finish(snapshot)
    }

    async fn read_snapshot(
        &mut self,
        snapshot: &Snapshot,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, SnapshotError<Error>> {
        self.snapshots.read(snapshot, offset, buffer)
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
