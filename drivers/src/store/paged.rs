//! A log on pages: NOR flash, FRAM, MRAM, or a file.

mod append;
mod error;
mod format;
mod inspect;
mod io;
mod merge;
mod pages;
mod plan;
mod readers;
mod recover;
mod snapshots;
mod walk;

use quoring_core::{EntryId, LogIndex, RecoveredRecord, Recovery, RecoveryError, Snapshot, Space, Term};
use quoring_ring::{Checksum, Crc32c, DEFAULT_CRC32C, Record};

use self::append::taken;
pub use self::error::{Damage, Error, LayoutError};
use self::format::Format;
pub use self::format::{Commit, Layout, Origin, Owner, PageHeader};
pub use self::inspect::{Finding, identify};
use self::io::Io;
use self::pages::{Pages, State};
pub use self::plan::Plan;
use self::readers::Readers;
use self::snapshots::Snapshots;
use self::walk::Live;
use super::medium::Medium;
use super::{LogStore, ReadError, SnapshotError};

/// A log and two snapshots on a [`Medium`], in constant memory: a table of `PAGES` pages, two words of up to `WORD` bytes, and one record of up to
/// `RECORD` bytes.
///
/// ```text
///  medium:  | page 0 | page 1 | ... | page log_pages - 1 | snapshot A | snapshot B |
///  page:    | header | header again | batch | batch | batch | ...    erased        |
///  batch:   | header 12 | records, as they are in the ring ... | zeros to the word | sum 4 |
/// ```
///
/// An append is one batch and one sync: 16 bytes beside the records, and nothing per record. A page is begun when the one before is full, and one erased page is
/// always kept for that. The oldest pages go when the room is needed, as far as [`purge`](LogStore::purge) allows, or when nothing in them
/// counts any more. Where dead records stand between live ones, neighbouring pages are merged into one: votes and replaced entries
/// never fill the log for good (P12).
///
/// # Recovery
/// [`recover`](LogStore::recover) writes nothing: power may fail in it any number of times (D2). The end of the log is where checksums and numbers
/// end, whatever lies behind it (D3). What a loss of power can have torn is skipped, and never completed: no place is begun
/// at twice. What it cannot have done is [`Error::Corrupt`], and the node does not start (D5). `STORE.md` draws every byte and every state.
///
/// # Cancelled
/// A future of `append`, `tidy` or of a snapshot's writing that fails or is dropped leaves a log that refuses all writes until it is recovered (D9).
/// `read` may be cancelled at any time.
#[derive(Clone, Debug)]
pub struct PagedLog<M, const PAGES: usize, const WORD: usize, const RECORD: usize> {
    io: Io<M, WORD, RECORD>,
    pages: Pages<PAGES>,
    /// Bytes of records that an empty page takes, however they are batched, and one that leaves room for votes.
    full: u32,
    voting: u32,
    snapshots: Snapshots,
    phase: Phase,
    /// Where the next batch goes, on the newest page.
    tail: Tail,
    /// Of the page that was begun last.
    sequence: u32,
    salt: u32,
    /// The newest entry, the newest term, and the flags of the newest vote of that term.
    last: EntryId,
    term: Term,
    vote: u8,
    /// The newest boot number.
    boot: u32,
    /// The sequence of the page that told `vote`, during recovery.
    vote_at: u32,
    readers: Readers,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Opened,
    Running,
    /// Something failed, or is being written.
    Failed,
}

/// Bytes from the page's beginning.
#[derive(Clone, Copy, Debug)]
struct Tail {
    at: u32,
    /// What the checksums of the page's batches start from.
    seed: u32,
}

impl<M: Medium, const PAGES: usize, const WORD: usize, const RECORD: usize> PagedLog<M, PAGES, WORD, RECORD> {
    /// A log of `owner` on `medium`, to be [recovered](LogStore::recover) before anything else. An erased medium is an empty log.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn new(medium: M, owner: Owner, layout: Layout) -> Result<Self, LayoutError> {
        let geometry = medium.geometry();
        let largest = RECORD as u32;
        if geometry.word as usize > WORD {
            return Err(LayoutError::Word(geometry.word));
        }
        if usize::from(layout.log_pages) > PAGES {
            return Err(LayoutError::TooManyPages(u32::from(layout.log_pages)));
        }
        if !RECORD.is_multiple_of(16) || RECORD < 64 || RECORD > 1 << 17 {
            return Err(LayoutError::Record(largest));
        }
        let format = Format::new(owner, layout, geometry, DEFAULT_CRC32C, largest)?;
        Ok(Self {
            full: format.promise(format.usable(), largest),
            voting: format.promise(format.usable().saturating_sub(format.kept()), largest),
            io: Io::new(medium, format),
            pages: Pages::new(usize::from(layout.log_pages)),
            snapshots: Snapshots::NONE,
            phase: Phase::Opened,
            tail: Tail { at: 0, seed: 0 },
            sequence: 0,
            salt: 0,
            last: EntryId::ZERO,
            term: Term::ZERO,
            vote: 0,
            boot: 0,
            vote_at: 0,
            readers: Readers::NONE,
        })
    }

    /// Uses another CRC-32C, such as a hardware unit.
    #[must_use]
    pub const fn with_crc(mut self, crc: Crc32c) -> Self {
        self.io.format.crc = crc;
        self
    }

    /// Mixes a random number into the checksums of all pages that are begun from now on: then no command can look like a batch. To be given
    /// anew at each start where words are not [ordered](super::medium::Geometry::ordered).
    #[must_use]
    pub const fn with_salt(mut self, salt: u32) -> Self {
        self.salt = salt;
        self
    }

    /// The medium.
    pub const fn medium(&self) -> &M {
        &self.io.medium
    }

    /// The medium, for what has nothing to do with the log's bytes: what is changed behind its back is not noticed before it is recovered.
    pub const fn medium_mut(&mut self) -> &mut M {
        &mut self.io.medium
    }

    /// The medium back.
    pub fn into_medium(self) -> M {
        self.io.medium
    }

    /// How long this configuration lasts.
    #[must_use]
    pub const fn plan(&self) -> Plan {
        let format = &self.io.format;
        Plan { word: format.geometry.word, page: format.geometry.page, log_pages: format.layout.log_pages }
    }

    /// Panics if the account of the pages contradicts itself. For tests.
    #[doc(hidden)]
    pub fn assert_invariants(&self) {
        self.pages.assert_invariants();
        if let Some(head) = self.pages.head().filter(|_| self.phase == Phase::Running) {
            let page = self.pages.get(head);
            assert_eq!(self.tail.seed, self.io.format.seed(page.sequence, page.salt), "the seed of the newest page");
        }
        let numbers = || self.pages.in_order().map(|number| self.pages.get(number));
        for (before, next) in numbers().zip(numbers().skip(1)) {
            assert_eq!(before.last.checked_add(1), Some(next.first), "pages stand one behind the other");
        }
        for page in numbers() {
            assert!(page.sequence <= self.sequence && !page.trimmed);
        }
        let room = self.pages.free() + self.pages.droppable();
        assert!(self.phase != Phase::Running || self.pages.head().is_none() || room > 0, "a page for a merge");
    }

    /// What is not kept on the medium.
    const fn forget_state(&mut self) {
        (self.sequence, self.vote_at, self.vote, self.boot) = (0, 0, 0, 0);
        (self.last, self.term) = (EntryId::ZERO, Term::ZERO);
        self.readers.forget();
    }

    /// The log begins behind this entry.
    fn start(&self) -> LogIndex {
        self.pages.first_entry().map_or(self.last.index, LogIndex::previous)
    }

    /// Refuses to write unless all went well so far, and again if what begins now does not end.
    const fn begin_write(&mut self) -> Result<(), Error<M::Error>> {
        match self.phase {
            Phase::Opened => Err(Error::NotRecovered),
            Phase::Failed => Err(Error::Halted),
            Phase::Running => {
                self.phase = Phase::Failed;
                Ok(())
            }
        }
    }

    /// Whether this is a batch that the log can take. Its last entry, if it is nothing but entries that go on with the log.
    fn check(&self, batch: &[u8]) -> Result<Option<EntryId>, Error<M::Error>> {
        let (mut last, mut rest, mut rises) = (self.last, batch, true);
        while !rest.is_empty() {
            let record = Record::parse(rest).map_err(|error| Error::Record(RecoveryError::Record(error)))?;
            let size = record.bytes.len();
            if size > RECORD {
                return Err(Error::TooLarge(size as u32));
            }
            match taken(&record, last.index).ok_or(Error::Record(RecoveryError::NotOfALog))? {
                RecoveredRecord::Entry(index) => {
                    if index == LogIndex::ZERO || index > last.index.next() {
                        return Err(Error::Record(RecoveryError::Gap));
                    }
                    let term = Term(record.header.term);
                    rises &= index > last.index && term >= last.term;
                    last = EntryId { term, index };
                }
                RecoveredRecord::Start(before) => (last, rises) = (before, false),
                RecoveredRecord::Vote => rises = false,
            }
            rest = rest.get(size..).unwrap_or_default();
        }
        Ok(rises.then_some(last))
    }

    /// Does one piece of work ahead of need.
    async fn work(&mut self) -> Result<bool, Error<M::Error>> {
        if self.is_tidy() {
            return Ok(false);
        }
        if self.pages.has(State::Stale) || !self.pages.has(State::Clean) {
            return self.clean_one().await;
        }
        let format = &self.io.format;
        match self.mergeable(format.reserve() + format.extent(RECORD as u32)) {
            Some(run) if run.0 != run.1 || self.merge_gains() >= format.usable() / 4 => {
                self.merge(run).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Bytes that a merge of the newest page alone makes free.
    fn merge_gains(&self) -> u32 {
        let live = self.pages.head().map_or(0, |head| self.pages.get(head).live);
        self.tail.at.saturating_sub(self.io.format.data() + self.io.format.extent(live))
    }

    /// Bytes of records that so many whole pages take and, before them, `rest` bytes of the newest. The last of all leaves room for votes.
    const fn promise(&self, pages: usize, rest: u32) -> u64 {
        let (format, largest) = (&self.io.format, RECORD as u32);
        match pages.checked_sub(1) {
            Some(full) => full as u64 * self.full as u64 + (self.voting + format.promise(rest, largest)) as u64,
            None => format.promise(rest.saturating_sub(format.kept()), largest) as u64,
        }
    }

    async fn fetch(&mut self, index: LogIndex, buffer: &mut [u8]) -> Result<usize, ReadError<Error<M::Error>>> {
        let place = self.readers.find(index, &self.pages);
        let (number, from, mut live) = match &place {
            Some(place) => {
                let number = usize::from(place.page);
                (number, place.next, Live::resumed(&self.io.format, place, self.pages.get(number)))
            }
            None => {
                let holds = |number: &usize| self.pages.get(*number).holds(index);
                let number = self.pages.in_order().find(holds).ok_or(ReadError::Missing)?;
                let live = self.live(number, self.known_walk(number)).await.map_err(ReadError::Store)?;
                // Who read the last entry of the page before.
                (number, index, live)
            }
        };
        while let Some((found, here)) = self.next_live(number, &mut live).await.map_err(ReadError::Store)? {
            if here == index {
                let size = found.header.size();
                let mut next = index.next();
                if size > buffer.len() {
                    // Whoever finds it too large asks for it again.
                    live.step_back(&found);
                    next = index;
                }
                if !self.pages.get(number).falls {
                    self.readers.note(from, live.place(number, next));
                }
                return self.copy_record(number, found.at, size, index, buffer).await;
            }
        }
        let base = self.io.format.base(number);
        Err(ReadError::Store(self.fault(number, base)))
    }

    /// Copies a record, and checks it if it is there whole.
    async fn copy_record(
        &mut self,
        number: usize,
        at: u32,
        size: usize,
        index: LogIndex,
        buffer: &mut [u8],
    ) -> Result<usize, ReadError<Error<M::Error>>> {
        let count = size.min(buffer.len());
        let bytes = buffer.get_mut(..count).unwrap_or_default();
        self.io.medium.read(at, bytes).await.map_err(Error::Medium).map_err(ReadError::Store)?;
        if count < size {
            return Err(ReadError::TooSmall(size));
        }
        let checksum = Checksum::new(self.io.format.owner.cluster.0, self.io.format.crc);
        let checked = Record::parse(bytes).and_then(|record| checksum.verify(&record, (index.0 >> 32) as u32));
        checked.map_err(|_| ReadError::Store(self.fault(number, at)))?;
        Ok(size)
    }
}

impl<M: Medium, const PAGES: usize, const WORD: usize, const RECORD: usize> LogStore
    for PagedLog<M, PAGES, WORD, RECORD>
{
    type Error = Error<M::Error>;

    /// Writes nothing.
    async fn recover(&mut self, log: &mut Recovery) -> Result<(), Self::Error> {
        self.phase = Phase::Failed;
        self.find_log(log).await?;
        self.phase = Phase::Running;
        Ok(())
    }

    async fn append(&mut self, batch: &[u8]) -> Result<(), Self::Error> {
        self.begin_write()?;
        let checked = self.check(batch);
        if let Ok(continued) = checked {
            self.write(batch, continued).await?;
        }
        self.phase = Phase::Running;
        checked.map(drop)
    }

    async fn read(&mut self, index: LogIndex, buffer: &mut [u8]) -> Result<usize, ReadError<Self::Error>> {
        self.fetch(index, buffer).await
    }

    fn record_limit(&self) -> usize {
        RECORD
    }

    fn space(&self) -> Space {
        let all = usize::from(self.io.format.layout.log_pages);
        let pages = (self.pages.free() + self.pages.droppable()).saturating_sub(1);
        let rest = self.pages.head().map_or(0, |_| self.io.format.page().saturating_sub(self.tail.at));
        Space { capacity: self.promise(all - 1, 0), free: self.promise(pages, rest), start: self.start() }
    }

    /// An allowance that the log relies on to take votes is not taken back.
    fn purge(&mut self, index: LogIndex) {
        if index >= self.pages.allowed() || self.pages.free() + self.pages.droppable_below(index) >= 2 {
            self.pages.allow(index);
        }
    }

    fn is_tidy(&self) -> bool {
        !self.pages.has(State::Stale) && self.pages.has(State::Clean) && self.can_open()
    }

    async fn tidy(&mut self) -> Result<bool, Self::Error> {
        self.begin_write()?;
        let more = self.work().await?;
        self.phase = Phase::Running;
        Ok(more)
    }

    fn snapshot_limit(&self) -> u64 {
        u64::from(self.io.format.slot_bytes())
    }

    async fn begin_snapshot(&mut self, last: EntryId) -> Result<(), Self::Error> {
        self.begin_write()?;
        self.snapshots.begin(&mut self.io, last).await.map_err(Error::Medium)?;
        self.phase = Phase::Running;
        Ok(())
    }

    async fn write_snapshot(
        &mut self,
        last: EntryId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), SnapshotError<Self::Error>> {
        self.begin_write().map_err(SnapshotError::Store)?;
        let written = self.snapshots.write(&mut self.io, (last, offset), bytes).await;
        self.end_snapshot_write(written)
    }

    async fn finish_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError<Self::Error>> {
        self.begin_write().map_err(SnapshotError::Store)?;
        let finished = self.snapshots.finish(&mut self.io, snapshot).await;
        self.end_snapshot_write(finished)
    }

    async fn read_snapshot(
        &mut self,
        snapshot: &Snapshot,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, SnapshotError<Self::Error>> {
        self.snapshots.read(&mut self.io, (snapshot, offset), buffer).await.map_err(in_store)
    }
}

impl<M: Medium, const PAGES: usize, const WORD: usize, const RECORD: usize> PagedLog<M, PAGES, WORD, RECORD> {
    /// A refusal changes nothing; a failure latches.
    fn end_snapshot_write(
        &mut self,
        written: Result<(), SnapshotError<M::Error>>,
    ) -> Result<(), SnapshotError<Error<M::Error>>> {
        if !matches!(written, Err(SnapshotError::Store(_))) {
            self.phase = Phase::Running;
        }
        written.map_err(in_store)
    }
}

fn in_store<E>(error: SnapshotError<E>) -> SnapshotError<Error<E>> {
    match error {
        SnapshotError::Superseded => SnapshotError::Superseded,
        SnapshotError::TooLarge => SnapshotError::TooLarge,
        SnapshotError::Mismatch => SnapshotError::Mismatch,
        SnapshotError::Store(error) => SnapshotError::Store(Error::Medium(error)),
    }
}
