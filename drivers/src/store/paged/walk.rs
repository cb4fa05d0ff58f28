//! Finding the batches of a page, and the records in them, whatever the page holds.

use core::mem;

use quoring_core::LogIndex;
use quoring_ring::{HEADER, Header, Kind, extend};

use super::error::Damage;
use super::format::{BATCH_HEADER, BatchHeader, Format, TRAILER};
use super::io::Io;
use super::pages::Page;
use crate::store::medium::Medium;

/// Goes through the units of a page, from its first batch to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    base: u32,
    seed: u32,
    at: u32,
    /// Of the batch that is due.
    number: u16,
    /// The unit before was written, and began no batch.
    stray: bool,
    /// All batches are known to be whole.
    trusting: bool,
}

/// What lies on a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A batch that is whole.
    Batch(Batch),
    /// The beginning of one whose writing was interrupted.
    Torn(Batch),
    /// Something that was written at this offset of the page, and begins no batch: so short a beginning that it cannot be told.
    Stray(u32),
    /// Something at this offset of the page that no loss of power explains.
    Corrupt(u32, Damage),
    /// Nothing more.
    End,
}

/// A batch on a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Batch {
    /// Bytes from the page's beginning.
    pub(super) at: u32,
    pub(super) number: u16,
    /// Bytes of its records.
    pub(super) body: u32,
}

impl Batch {
    /// The offset behind it.
    pub(super) const fn end(&self, format: &Format) -> u32 {
        self.at + format.extent(self.body)
    }
}

impl Walk {
    /// Through page `number`, whose checksums start from `seed`.
    pub(super) const fn new(format: &Format, number: usize, seed: u32) -> Self {
        Self { base: format.base(number), seed, at: format.data(), number: 0, stray: false, trusting: false }
    }

    /// The same on a page whose batches were found whole, or written since: what was looked at once is not summed up again.
    pub(super) const fn trusting(self) -> Self {
        Self { trusting: true, ..self }
    }

    /// How many batches were found.
    pub(super) const fn batches(&self) -> u16 {
        self.number
    }
}

impl<M: Medium, const WORD: usize, const RECORD: usize> Io<M, WORD, RECORD> {
    /// What comes next on a page.
    ///
    /// A write leaves whole words, one that is torn, and erased ones behind it. So where words are ordered and erased, something written behind what
    /// is broken proves that this was whole once.
    pub(super) async fn step(&mut self, walk: &mut Walk) -> Result<Step, M::Error> {
        let format = self.format;
        let (unit, erases) = (format.unit(), format.geometry.erased.is_some());
        while walk.at + unit <= format.page() {
            let at = walk.at;
            let place = format.place(walk.seed, at);
            let head = self.array(walk.base + at).await?;
            if let Some(header) = head.and_then(|head| BatchHeader::decode(&head, &format, place)) {
                return self.batch(walk, place, &header).await;
            }
            walk.at += unit;
            let written = erases && !self.erased(walk.base + at, walk.base + at + unit).await?;
            let before = mem::replace(&mut walk.stray, written);
            if written && before && format.geometry.ordered {
                return Ok(Step::Corrupt(at - unit, Damage::Header));
            }
            if written {
                return Ok(Step::Stray(at));
            }
        }
        Ok(Step::End)
    }

    /// The batch that begins at the walk's place.
    async fn batch(&mut self, walk: &mut Walk, place: u32, header: &BatchHeader) -> Result<Step, M::Error> {
        let batch = Batch { at: walk.at, number: header.number, body: header.body() };
        let end = batch.end(&self.format);
        if header.number != walk.number || end > self.format.page() {
            return Ok(Step::Corrupt(walk.at, Damage::Number));
        }
        (walk.at, walk.stray) = (end, false);
        let step = if walk.trusting {
            Step::Batch(batch)
        } else {
            self.check(walk.base, place, &batch, header.prefix).await?
        };
        if matches!(step, Step::Batch(_)) {
            walk.number = walk.number.saturating_add(1);
        }
        Ok(step)
    }

    /// Whether a batch is whole, torn or damaged.
    async fn check(&mut self, base: u32, place: u32, batch: &Batch, prefix: u32) -> Result<Step, M::Error> {
        let format = self.format;
        let start = base + batch.at + BATCH_HEADER;
        let end = base + batch.end(&format);
        let tail = (end - format.tail()).max(start);
        let found = self.sum(place, start, tail).await?;
        let whole = match found {
            Some(sum) => self.sum(sum, tail, end - TRAILER).await?,
            None => None,
        };
        let sum = self.array(end - TRAILER).await?.map(u32::from_le_bytes);
        if whole.is_some() && whole == sum {
            return Ok(Step::Batch(*batch));
        }
        let provable = format.geometry.ordered && format.geometry.erased.is_some();
        if provable && found != Some(prefix) && !self.erased(tail, end).await? {
            return Ok(Step::Corrupt(batch.at, Damage::Batch));
        }
        Ok(Step::Torn(*batch))
    }
}

/// Goes through the records of a page's batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    walk: Walk,
    /// Batches to come.
    left: u16,
    /// The next record, and the end of those of its batch; from the medium's beginning.
    at: u32,
    end: u32,
}

/// A record on the medium.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Bytes from the medium's beginning.
    pub(super) at: u32,
    pub(super) header: Header,
}

impl Cursor {
    /// Through the first `batches` batches of a page.
    pub(super) const fn new(walk: Walk, batches: u16) -> Self {
        Self { walk, left: batches, at: 0, end: 0 }
    }

    /// Through one batch.
    pub(super) const fn of(walk: Walk, batch: &Batch) -> Self {
        let at = walk.base + batch.at + BATCH_HEADER;
        Self { walk, left: 0, at, end: at + batch.body }
    }
}

impl<M: Medium, const WORD: usize, const RECORD: usize> Io<M, WORD, RECORD> {
    /// The next record; `None` behind the last one. The damage found, in `Err`, with the offset from the medium's beginning.
    pub(super) async fn record(&mut self, cursor: &mut Cursor) -> Result<Result<Option<Found>, u32>, M::Error> {
        while cursor.at >= cursor.end {
            if cursor.left == 0 {
                return Ok(Ok(None));
            }
            match self.step(&mut cursor.walk).await? {
                Step::Batch(batch) => *cursor = Self::into_batch(cursor, &batch),
                Step::Torn(_) | Step::Stray(_) => {}
                Step::Corrupt(at, _) => return Ok(Err(cursor.walk.base + at)),
                Step::End => return Ok(Err(cursor.walk.base + cursor.walk.at)),
            }
        }
        let at = cursor.at;
        let bytes: Option<[u8; HEADER]> = self.array(at).await?;
        let header = bytes.and_then(|bytes| Header::decode(&bytes).ok());
        let Some(header) = header.filter(|header| header.size() as u32 <= cursor.end - at) else {
            return Ok(Err(at));
        };
        cursor.at += header.size() as u32;
        Ok(Ok(Some(Found { at, header })))
    }

    const fn into_batch(cursor: &Cursor, batch: &Batch) -> Cursor {
        Cursor { left: cursor.left - 1, ..Cursor::of(cursor.walk, batch) }
    }
}

/// Goes through the records of a page that still count: its last start record, and the newest record of each live entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    cursor: Cursor,
    /// The live entries of the page.
    first: LogIndex,
    last: LogIndex,
    /// The last start record, before which nothing counts.
    start: Option<u32>,
    /// The entry before, and the lowest index that replaces what comes from here on.
    before: LogIndex,
    limit: LogIndex,
}

/// Where a reader stands, on a page whose entries only rise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// No entry before this one follows.
    pub(super) next: LogIndex,
    seed: u32,
    /// The next batch: where it is looked for, and its number.
    walk: u32,
    batch: u16,
    pub(super) page: u16,
    /// The next record of this batch, and the end of those; from the medium's beginning.
    at: u32,
    end: u32,
}

impl Place {
    /// Nobody stands there.
    pub(super) const NONE: Self = Self { next: LogIndex(u64::MAX), seed: 0, walk: 0, batch: 0, page: 0, at: 0, end: 0 };
}

impl Live {
    /// Of the entries from `page.begin` to `page.end`.
    pub(super) const fn new(cursor: Cursor, page: &Page) -> Self {
        let (none, all) = (LogIndex::ZERO, LogIndex(u64::MAX));
        // Where entries only rise, none is ever at or below the one before.
        let before = if page.falls { all } else { none };
        Self { cursor, first: page.begin, last: page.end, start: None, before, limit: all }
    }

    /// On from a place of this page.
    pub(super) const fn resumed(format: &Format, place: &Place, page: &Page) -> Self {
        let walk = Walk { at: place.walk, number: place.batch, ..Walk::new(format, place.page as usize, place.seed) };
        let walk = if page.torn { walk } else { walk.trusting() };
        let left = page.batches.saturating_sub(place.batch);
        Self::new(Cursor { walk, left, at: place.at, end: place.end }, page)
    }

    /// The place in page `page` where this stands, having found an entry before `next`.
    pub(super) const fn place(&self, page: usize, next: LogIndex) -> Place {
        let Cursor { walk, at, end, .. } = self.cursor;
        Place { next, seed: walk.seed, walk: walk.at, at, end, batch: walk.number, page: page as u16 }
    }

    /// Will find this record again.
    pub(super) const fn step_back(&mut self, found: &Found) {
        self.cursor.at = found.at;
    }

    fn index(&self, header: &Header) -> LogIndex {
        LogIndex(extend(self.last.0, header.index_low))
    }
}

impl<M: Medium, const WORD: usize, const RECORD: usize> Io<M, WORD, RECORD> {
    /// Finds the last start record.
    pub(super) async fn find_start(&mut self, live: &mut Live) -> Result<Result<(), u32>, M::Error> {
        let mut cursor = live.cursor;
        loop {
            match self.record(&mut cursor).await? {
                Ok(Some(found)) if found.header.kind == Kind::Start => live.start = Some(found.at),
                Ok(Some(_)) => {}
                Ok(None) => return Ok(Ok(())),
                Err(at) => return Ok(Err(at)),
            }
        }
    }

    /// The next record that counts, and its index if it is an entry.
    #[allow(clippy::type_complexity)] // Damage and failure are told apart here only.
    pub(super) async fn live(&mut self, live: &mut Live) -> Result<Result<Option<(Found, LogIndex)>, u32>, M::Error> {
        loop {
            let found = match self.record(&mut live.cursor).await? {
                Ok(Some(found)) => found,
                Ok(None) => return Ok(Ok(None)),
                Err(at) => return Ok(Err(at)),
            };
            if found.header.kind == Kind::Start && live.start == Some(found.at) {
                return Ok(Ok(Some((found, LogIndex::ZERO))));
            }
            if !found.header.kind.is_entry() || live.start.is_some_and(|start| found.at < start) {
                continue;
            }
            let index = live.index(&found.header);
            if index <= live.before {
                live.limit = match self.replaced(live, index).await? {
                    Ok(limit) => limit,
                    Err(at) => return Ok(Err(at)),
                };
            }
            live.before = index;
            if index >= live.first && index <= live.last && index < live.limit {
                return Ok(Ok(Some((found, index))));
            }
        }
    }

    /// The lowest index with which a later run of entries begins on the page, when the run there is now began with `before`.
    async fn replaced(&mut self, live: &Live, mut before: LogIndex) -> Result<Result<LogIndex, u32>, M::Error> {
        let (mut cursor, mut limit) = (live.cursor, LogIndex(u64::MAX));
        loop {
            match self.record(&mut cursor).await? {
                Ok(Some(found)) if found.header.kind.is_entry() => {
                    let index = live.index(&found.header);
                    if index <= before {
                        limit = limit.min(index);
                    }
                    before = index;
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(Ok(limit)),
                Err(at) => return Ok(Err(at)),
            }
        }
    }
}
