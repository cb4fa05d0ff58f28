//! The application's end: a stream of committed entries that takes their answers.

use core::fmt;

use quoring_core::{EntryId, LogIndex, Term};
use quoring_ring::{Applier, CopyError, HEADER, Header, Kind, Record, Records};

use crate::answer::Answer;
use crate::halt::Halt;
use crate::platform::Platform;
use crate::shared::Shared;

/// The committed entries in order, each once, none before it is durable here (P5).
pub struct Committed<'a, P: Platform> {
    shared: &'a Shared<'a, P>,
    applier: Applier<'a>,
    buffer: &'a mut [u8],
    /// The entry that was lent and is not finished.
    lent: Option<EntryId>,
}

/// A committed entry, lent until the next one is asked for.
///
/// Dropping it without an answer is fine: its proposer gets an empty one once the next entry is asked for (P14, R7).
pub struct Entry<'e, 'a, P: Platform> {
    committed: &'e mut Committed<'a, P>,
    entry: EntryId,
    len: usize,
}

/// Where the next entry is.
enum Found {
    /// In the buffer, copied from the ring.
    Copied(Header),
    /// No longer in the ring, hence in the store.
    Stored,
    /// The node has stopped.
    Halted(Halt),
}

impl<'a, P: Platform> Committed<'a, P> {
    pub(crate) const fn new(shared: &'a Shared<'a, P>, applier: Applier<'a>, buffer: &'a mut [u8]) -> Self {
        Self { shared, applier, buffer, lent: None }
    }

    /// Waits for the next command. After a restart it begins with the first one again.
    ///
    /// Cancel-safe: a command that was not lent is lent next time.
    ///
    /// # Errors
    /// The node has stopped; see [`Halt`].
    pub async fn next(&mut self) -> Result<Entry<'_, 'a, P>, Halt> {
        if let Some(entry) = self.lent.take() {
            self.finish(entry, &Answer::EMPTY);
        }
        loop {
            let index = LogIndex(self.applier.applied()).next();
            let header = self.fetch(index).await?;
            let entry = EntryId { term: Term(header.term), index };
            if header.kind == Kind::Command {
                self.lent = Some(entry);
                return Ok(Entry { committed: self, entry, len: usize::from(header.len) });
            }
            self.finish(entry, &Answer::EMPTY);
        }
    }

    /// Waits until `index` may be applied, and brings its record into the buffer.
    async fn fetch(&mut self, index: LogIndex) -> Result<Header, Halt> {
        let (shared, reader) = (self.shared, self.applier.reader());
        let buffer = &mut *self.buffer;
        let found = shared.wakes.committed.until(|| {
            if let Some(halt) = shared.halted() {
                return Some(Found::Halted(halt));
            }
            if !shared.may_apply(index) {
                return None;
            }
            match reader.copy(index.0, buffer) {
                // The start of a durable record precedes `flushed`, which lies on record boundaries.
                Ok(copied) if copied.position.precedes(reader.flushed()) || shared.applies_accepted() => {
                    Some(Found::Copied(copied.header))
                }
                Ok(_) => None,
                // Only what is durable leaves the ring (ring rule 3). A record larger than any frame cannot have come from one.
                Err(CopyError::Gone) => Some(Found::Stored),
                Err(_) => Some(Found::Halted(shared.halt(Halt::Corrupt(index)))),
            }
        });
        match found.await {
            Found::Copied(header) => Ok(header),
            Found::Stored => self.read(index).await,
            Found::Halted(halt) => Err(halt),
        }
    }

    /// Reads the entry back from the store, and trusts it no further than its checksum.
    async fn read(&mut self, index: LogIndex) -> Result<Header, Halt> {
        let (shared, buffer) = (self.shared, &mut *self.buffer);
        let read = shared
            .read_store(&shared.wakes.committed, async |store| crate::store::LogStore::read(store, index, buffer).await)
            .await;
        let Ok(len) = read else { return Err(shared.halt(Halt::Read(index))) };
        match self.buffer.get(..len).and_then(|bytes| Records::new(bytes).next()) {
            Some(Ok(record)) if shared.is_entry(&record, index) => Ok(record.header),
            _ => Err(shared.halt(Halt::Corrupt(index))),
        }
    }

    fn finish(&mut self, entry: EntryId, answer: &Answer) {
        self.applier.publish(entry.index.0);
        self.shared.applied(entry, answer);
    }
}

impl<P: Platform> Shared<'_, P> {
    /// Whether the entry is committed.
    fn may_apply(&self, index: LogIndex) -> bool {
        self.ring.committed(index.0) >= index.0 || self.applies_accepted() && self.ring.last(index.0) >= index.0
    }

    /// Whether the record is this entry, undamaged.
    pub(crate) fn is_entry(&self, record: &Record<'_>, index: LogIndex) -> bool {
        record.header.kind.is_entry()
            && record.header.index_low == index.0 as u32
            && self.checksum.verify(record, (index.0 >> 32) as u32).is_ok()
    }

    /// Whether a test asked for P5 to be broken.
    fn applies_accepted(&self) -> bool {
        #[cfg(feature = "planted-faults")]
        {
            self.with(|state| state.raft.config().planted == Some(quoring_core::Planted::ApplyAccepted))
        }
        #[cfg(not(feature = "planted-faults"))]
        {
            false
        }
    }
}

impl<P: Platform> Entry<'_, '_, P> {
    /// The command as it was proposed.
    pub fn command(&self) -> &[u8] {
        self.committed.buffer.get(HEADER..HEADER + self.len).unwrap_or_default()
    }

    /// Its place in the log.
    pub const fn index(&self) -> LogIndex {
        self.entry.index
    }

    /// The term in which it was proposed.
    pub const fn term(&self) -> Term {
        self.entry.term
    }

    /// Finishes the entry and gives its proposer, if it waits on this node, the answer. What exceeds [`ANSWER`](crate::ANSWER) bytes is cut off.
    pub fn answer(self, answer: &[u8]) {
        let cut = answer.get(..answer.len().min(crate::ANSWER)).unwrap_or_default();
        self.committed.lent = None;
        self.committed.finish(self.entry, &Answer::new(cut).unwrap_or(Answer::EMPTY));
    }
}

impl<P: Platform> fmt::Debug for Committed<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committed").field("applied", &self.applier.applied()).field("lent", &self.lent).finish()
    }
}

impl<P: Platform> fmt::Debug for Entry<'_, '_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("id", &self.entry).field("command", &self.command()).finish()
    }
}
