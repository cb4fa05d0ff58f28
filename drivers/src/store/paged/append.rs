//! Writing batches, and beginning pages.

use quoring_core::{EntryId, LogIndex, RecoveredRecord, Term};
use quoring_ring::{Header, Kind, Record, Records, extend};

use super::error::Error;
use super::format::{MOST, Origin, PageHeader};
use super::pages::{Page, State};
use super::recover::corrupt;
use super::walk::{Cursor, Found, Live, Walk};
use super::{Damage, PagedLog, Tail};
use crate::store::medium::Medium;

impl<M: Medium, const PAGES: usize, const WORD: usize, const RECORD: usize> PagedLog<M, PAGES, WORD, RECORD> {
    /// Writes whole records: as many as fit at a time, into as many pages as it takes. If they are nothing but entries that go on with the log,
    /// `last` is the last of them, and they need not be looked at one by one.
    pub(super) async fn write(&mut self, mut batch: &[u8], last: Option<EntryId>) -> Result<(), Error<M::Error>> {
        self.wipe_stale().await?;
        while !batch.is_empty() {
            let (piece, rest) = batch.split_at_checked(self.fitting(batch)).unwrap_or((batch, &[]));
            match self.pages.head().filter(|_| !piece.is_empty()) {
                Some(head) => {
                    self.write_piece(head, piece).await?;
                    match last.filter(|_| rest.is_empty()) {
                        Some(last) => self.note_entries(head, last, piece.len() as u32),
                        None => self.note_records(head, piece).await?,
                    }
                }
                None => self.make_room(batch).await?,
            }
            batch = rest;
        }
        Ok(())
    }

    /// Bytes of the records at the beginning of `batch` that fit the newest page.
    fn fitting(&self, batch: &[u8]) -> usize {
        let format = &self.io.format;
        let Some(head) = self.pages.head() else { return 0 };
        let (room, open) = (format.page().saturating_sub(self.tail.at), self.can_open());
        if open && batch.len() <= MOST as usize && format.extent(batch.len() as u32) <= room {
            return batch.len();
        }
        let (mut live, mut taken) = (self.pages.get(head).live, 0);
        for record in Records::new(batch).flatten() {
            let size = record.bytes.len() as u32;
            let all = taken + size;
            let entry = record.header.kind.is_entry();
            if format.extent(all) > room || all > MOST || entry && !open && !self.leaves_reserve(live, size) {
                break;
            }
            taken = all;
            live += if entry { size } else { 0 };
        }
        taken as usize
    }

    /// Whether votes still find room on a page with `live` bytes of records when an entry of `size` more is there (P12).
    fn leaves_reserve(&self, live: u32, size: u32) -> bool {
        let format = &self.io.format;
        format.extent(live) + format.extent(size) + format.reserve() <= format.usable()
    }

    /// One batch.
    async fn write_piece(&mut self, head: usize, piece: &[u8]) -> Result<(), Error<M::Error>> {
        let format = &self.io.format;
        let Tail { at, seed } = self.tail;
        let (place, base) = (format.place(seed, at), format.base(head));
        let number = self.pages.get(head).batches;
        self.io.write_batch(base + at, number, place, piece).await.map_err(Error::Medium)?;
        self.io.medium.sync().await.map_err(Error::Medium)?;
        self.tail.at = at + self.io.format.extent(piece.len() as u32);
        self.pages.update(head, |page| page.batches = number.saturating_add(1));
        Ok(())
    }

    /// Keeps account of entries behind the last one, up to `last`, of so many bytes.
    fn note_entries(&mut self, head: usize, last: EntryId, bytes: u32) {
        let first = self.last.index.next();
        if last.term > self.term {
            (self.term, self.vote) = (last.term, 0);
        }
        self.pages.update(head, |page| page.add(first, last.index, bytes));
        self.last = last;
    }

    /// Keeps account of any records.
    async fn note_records(&mut self, head: usize, piece: &[u8]) -> Result<(), Error<M::Error>> {
        for record in Records::new(piece).flatten() {
            if let Some(taken) = taken(&record, self.last.index) {
                self.note(head, &record.header, taken);
            }
        }
        self.measure().await
    }

    /// Makes room for the first record of `batch`, which the newest page does not take.
    async fn make_room(&mut self, batch: &[u8]) -> Result<(), Error<M::Error>> {
        let record = Record::parse(batch).map_err(|_| Error::Full)?;
        if self.can_open() {
            return self.open().await;
        }
        let reserve = if record.header.kind.is_entry() { self.io.format.reserve() } else { 0 };
        let need = self.io.format.extent(record.bytes.len() as u32) + reserve;
        let run = self.mergeable(need).ok_or(Error::Full)?;
        self.merge(run).await
    }

    /// Whether a page can be begun and one more still be had, for a merge.
    pub(super) fn can_open(&self) -> bool {
        self.pages.free() + self.pages.droppable() >= 2 && self.sequence < u32::MAX
    }

    /// Begins the next page.
    async fn open(&mut self) -> Result<(), Error<M::Error>> {
        let number = self.clean_page().await?;
        let before = self.pages.head().map(|head| *self.pages.get(head));
        let place = before.map_or(Some(0), |page| page.last.checked_add(1)).ok_or(Error::Exhausted)?;
        let header = PageHeader { before: self.last, ..self.page_header(Origin::Opened, (place, place), before)? };
        self.begin_page(number, &header).await?;
        let format = &self.io.format;
        self.tail = Tail { at: format.data(), seed: format.seed(header.sequence, header.salt) };
        Ok(())
    }

    /// The header of a page that takes these places behind `before`.
    pub(super) fn page_header(
        &self,
        origin: Origin,
        (first, last): (u32, u32),
        before: Option<Page>,
    ) -> Result<PageHeader, Error<M::Error>> {
        let format = &self.io.format;
        Ok(PageHeader {
            owner: format.owner,
            layout: format.layout,
            word: format.geometry.word,
            page: format.page(),
            origin,
            sequence: self.sequence.checked_add(1).ok_or(Error::Exhausted)?,
            first,
            last,
            previous: before.map_or(0, |page| page.sequence),
            previous_batches: before.map_or(0, |page| page.batches),
            before: EntryId::ZERO,
            term: self.term,
            vote: self.vote,
            boot: self.boot,
            salt: self.salt,
        })
    }

    /// Writes the header of a page, durably before anything that counts by it.
    pub(super) async fn begin_page(&mut self, number: usize, header: &PageHeader) -> Result<(), Error<M::Error>> {
        self.io.write_header(number, header).await.map_err(Error::Medium)?;
        self.io.medium.sync().await.map_err(Error::Medium)?;
        self.sequence = header.sequence;
        self.pages.set(number, Page::begun(header));
        Ok(())
    }

    /// A page that is erased, by dropping the oldest if there is none.
    pub(super) async fn clean_page(&mut self) -> Result<usize, Error<M::Error>> {
        if let Some(number) = self.pages.find(State::Clean) {
            return Ok(number);
        }
        if !self.clean_one().await? {
            return Err(Error::Full);
        }
        self.pages.find(State::Clean).ok_or(Error::Full)
    }

    /// Erases one page that is out of use; `false` if there is none.
    pub(super) async fn clean_one(&mut self) -> Result<bool, Error<M::Error>> {
        let unused = self.pages.find(State::Stale).or_else(|| self.pages.find(State::Dirty));
        let oldest = || self.pages.oldest().filter(|_| self.pages.droppable() > 0);
        let Some(number) = unused.or_else(oldest) else { return Ok(false) };
        self.wipe(number).await?;
        Ok(true)
    }

    /// Erases the pages that another stands for: they must be gone before that one changes, or goes itself.
    pub(super) async fn wipe_stale(&mut self) -> Result<(), Error<M::Error>> {
        while let Some(number) = self.pages.find(State::Stale) {
            self.wipe(number).await?;
        }
        Ok(())
    }

    async fn wipe(&mut self, number: usize) -> Result<(), Error<M::Error>> {
        let format = self.io.format;
        self.io.wipe(format.base(number), format.data()).await.map_err(Error::Medium)?;
        self.readers.forget();
        self.pages.set(number, Page { state: State::Clean, ..Page::NONE });
        Ok(())
    }

    /// Counts again what is live on pages where something was replaced.
    pub(super) async fn measure(&mut self) -> Result<(), Error<M::Error>> {
        while let Some(number) = self.pages.trimmed() {
            let mut live = self.live(number, self.walk(number)).await?;
            let mut bytes = 0;
            while let Some((found, _)) = self.next_live(number, &mut live).await? {
                bytes += found.header.size() as u32;
            }
            self.pages.update(number, |page| (page.live, page.trimmed) = (bytes, false));
        }
        Ok(())
    }

    /// The records of a page that count, on this walk through it.
    pub(super) async fn live(&mut self, number: usize, walk: Walk) -> Result<Live, Error<M::Error>> {
        let page = self.pages.get(number);
        let (mut live, starts) = (Live::new(Cursor::new(walk, page.batches), page), page.starts);
        if starts {
            let found = self.io.find_start(&mut live).await.map_err(Error::Medium)?;
            found.map_err(|at| self.fault(number, at))?;
        }
        Ok(live)
    }

    /// The next of them.
    pub(super) async fn next_live(
        &mut self,
        number: usize,
        live: &mut Live,
    ) -> Result<Option<(Found, LogIndex)>, Error<M::Error>> {
        let next = self.io.live(live).await.map_err(Error::Medium)?;
        next.map_err(|at| self.fault(number, at))
    }

    pub(super) const fn fault(&self, number: usize, at: u32) -> Error<M::Error> {
        corrupt(number, at.saturating_sub(self.io.format.base(number)), Damage::Entry)
    }
}

/// What a record of a log is, behind entry `last`.
pub(super) fn taken(record: &Record<'_>, last: LogIndex) -> Option<RecoveredRecord> {
    match record.header.kind {
        Kind::Vote => Some(RecoveredRecord::Vote),
        Kind::Start => {
            let index = LogIndex(record.start()?);
            Some(RecoveredRecord::Start(EntryId { term: Term(record.header.term), index }))
        }
        kind => kind.is_entry().then(|| RecoveredRecord::Entry(numbered(&record.header, last))),
    }
}

/// The index of an entry that was written behind entry `last`.
pub(super) fn numbered(header: &Header, last: LogIndex) -> LogIndex {
    LogIndex(extend(last.0, header.index_low))
}
