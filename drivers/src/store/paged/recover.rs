//! Finding the log on a medium, writing nothing.

use quoring_core::{EntryId, LogIndex, RecoveredRecord, Recovery, RecoveryError, Term};
use quoring_ring::{HEADER, Header, Kind, Record};

use super::append::numbered;
use super::error::{Damage, Error};
use super::format::{Origin, PageHeader};
use super::pages::{Page, State};
use super::walk::{Cursor, Found, Step, Walk};
use super::{PagedLog, Tail};
use crate::store::medium::Medium;

/// A place in a page, and what is wrong there.
type Fault = (usize, u32, Damage);

impl<M: Medium, const PAGES: usize, const WORD: usize, const RECORD: usize> PagedLog<M, PAGES, WORD, RECORD> {
    /// Reads everything, and tells it to `log`.
    pub(super) async fn find_log(&mut self, log: &mut Recovery) -> Result<(), Error<M::Error>> {
        // What a cache shows must not be lost once it counts.
        self.io.medium.sync().await.map_err(Error::Medium)?;
        self.io.forget();
        self.pages.clear();
        self.forget_state();
        self.snapshots.find(&mut self.io).await.map_err(Error::Medium)?;
        if let Some(snapshot) = self.snapshots.newest() {
            log.snapshot(&snapshot);
            // A durable snapshot covers these, whoever asks (S3). Its last entry stays: it shows whether the log follows on the snapshot or
            // contradicts it, and must be started anew.
            self.pages.allow(snapshot.last.index.previous());
        }
        let covered = self.snapshots.newest().map_or(LogIndex::ZERO, |snapshot| snapshot.last.index);
        self.find_pages().await?;
        self.drop_unfinished().await?;
        self.drop_superseded();
        self.check_unfinished()?;
        let broken = self.drop_broken_oldest().await?;
        let first = self.scan_pages().await?;
        self.measure().await?;
        self.tell(first, log).await?;
        // Only what is covered may be missing.
        match broken {
            Some((page, offset, damage)) if self.start() > covered => Err(corrupt(page, offset, damage)),
            _ => Ok(()),
        }
    }

    /// Reads the headers.
    async fn find_pages(&mut self) -> Result<(), Error<M::Error>> {
        let mut unreadable = (0, None);
        for number in 0..usize::from(self.io.format.layout.log_pages) {
            if let Some(header) = self.io.header(number).await.map_err(Error::Medium)? {
                let header = self.own(header.map_err(Error::Version)?)?;
                self.sequence = self.sequence.max(header.sequence);
                // An older record of a vote never counts beside a newer one.
                if (header.term, header.sequence) >= (self.term, self.vote_at) {
                    (self.term, self.vote, self.vote_at) = (header.term, header.vote, header.sequence);
                }
                self.boot = self.boot.max(header.boot);
                self.pages.set(number, Page::begun(&header));
            } else if let Err(error) = self.io.get(self.io.format.base(number), 1).await {
                unreadable = (unreadable.0 + 1, Some(error));
            }
        }
        match unreadable {
            // A medium that does not answer is not an empty one.
            (count, Some(error)) if count == self.pages.all().len() => Err(Error::Medium(error)),
            _ => Ok(()),
        }
    }

    /// The header, if it is one of this log.
    fn own(&self, header: PageHeader) -> Result<PageHeader, Error<M::Error>> {
        let format = &self.io.format;
        if header.owner != format.owner {
            return Err(Error::Foreign(header.owner));
        }
        let same = header.layout == format.layout && header.page == format.page();
        if same && header.word == format.geometry.word { Ok(header) } else { Err(Error::Geometry) }
    }

    /// A merged page counts only once all of it is there; until then those that it is made of do.
    async fn drop_unfinished(&mut self) -> Result<(), Error<M::Error>> {
        for number in 0..self.pages.all().len() {
            if !self.pages.get(number).is(State::Live) || self.header(number).await?.origin == Origin::Opened {
                continue;
            }
            let mut walk = self.walk(number);
            let finished = loop {
                match self.io.step(&mut walk).await.map_err(Error::Medium)? {
                    Step::Batch(_) => break true,
                    Step::Torn(_) | Step::Stray(_) => {}
                    Step::Corrupt(..) | Step::End => break false,
                }
            };
            if !finished {
                self.pages.set_state(number, State::Dirty);
            }
        }
        Ok(())
    }

    /// What an unfinished page was made of is there; the pages a finished one was made of are erased before anything is added to it.
    fn check_unfinished(&self) -> Result<(), Error<M::Error>> {
        let newest = self.pages.head().map(|head| self.pages.get(head).last);
        let lost = |page: &Page| page.is(State::Dirty) && page.sequence > 0 && Some(page.last) > newest;
        match self.pages.all().iter().position(lost) {
            Some(number) => Err(corrupt(number, self.io.format.data(), Damage::Missing)),
            None => Ok(()),
        }
    }

    /// Pages that a later one stands for.
    fn drop_superseded(&mut self) {
        for number in 0..self.pages.all().len() {
            let page = *self.pages.get(number);
            let stands = |other: &Page| {
                other.is(State::Live)
                    && other.sequence > page.sequence
                    && other.first <= page.first
                    && page.last <= other.last
            };
            if page.is(State::Live) && self.pages.all().iter().any(stands) {
                self.pages.set_state(number, State::Stale);
            }
        }
    }

    /// The oldest page was being erased, if anything in it is damaged: unless it is needed, it counts no more.
    async fn drop_broken_oldest(&mut self) -> Result<Option<Fault>, Error<M::Error>> {
        let mut broken = None;
        while let Some(oldest) = self.pages.oldest()
            && let Some(expected) = self.expected(oldest).await?
            && let Some((at, damage)) = self.damage(oldest, expected).await?
        {
            broken = Some((oldest, at, damage));
            self.pages.set_state(oldest, State::Stale);
        }
        Ok(broken)
    }

    /// What is damaged in a page with that many batches.
    async fn damage(&mut self, number: usize, expected: u16) -> Result<Option<(u32, Damage)>, Error<M::Error>> {
        let mut walk = self.walk(number);
        while walk.batches() < expected {
            match self.io.step(&mut walk).await.map_err(Error::Medium)? {
                Step::Batch(_) | Step::Torn(_) | Step::Stray(_) => {}
                Step::Corrupt(at, damage) => return Ok(Some((at, damage))),
                Step::End => return Ok(Some((self.io.format.page(), Damage::Missing))),
            }
        }
        Ok(None)
    }

    /// How many batches a page has, as the one behind it tells; `None` for the newest.
    async fn expected(&mut self, number: usize) -> Result<Option<u16>, Error<M::Error>> {
        let Some(next) = self.pages.next(number) else { return Ok(None) };
        let header = self.header(next).await?;
        // What was merged after the next page was begun consists of one batch.
        let known = header.previous == self.pages.get(number).sequence;
        Ok(Some(if known { header.previous_batches } else { 1 }))
    }

    /// Finds what is live; the entry before the oldest page.
    async fn scan_pages(&mut self) -> Result<EntryId, Error<M::Error>> {
        let Some(oldest) = self.pages.oldest() else { return Ok(EntryId::ZERO) };
        let first = self.header(oldest).await?.before;
        self.last = first;
        let mut next = Some(oldest);
        while let Some(number) = next {
            self.scan(number).await?;
            next = self.pages.next(number);
            self.check_order(number, next)?;
        }
        self.pages.count_oldest();
        Ok(first)
    }

    /// Keeps account of the records of a page, and finds its end if it is the newest.
    async fn scan(&mut self, number: usize) -> Result<(), Error<M::Error>> {
        let expected = self.expected(number).await?;
        let format = self.io.format;
        let mut walk = self.walk(number);
        let (mut end, mut stray, mut torn) = (format.data(), 0, false);
        while expected != Some(walk.batches()) {
            match self.io.step(&mut walk).await.map_err(Error::Medium)? {
                Step::Batch(batch) => {
                    end = batch.end(&format);
                    self.scan_batch(number, Cursor::of(walk, &batch)).await?;
                }
                Step::Torn(batch) => (end, torn) = (batch.end(&format), true),
                Step::Stray(at) => (stray, torn) = (at, true),
                Step::Corrupt(at, damage) => return Err(corrupt(number, at, damage)),
                Step::End if expected.is_some() => return Err(corrupt(number, format.page(), Damage::Missing)),
                Step::End => break,
            }
        }
        self.pages.update(number, |page| (page.batches, page.torn) = (walk.batches(), torn));
        // A word may have been interrupted and show nothing, so nothing is written right behind the end. What begins two units behind leaves an erased one
        // before it, if it is torn as well.
        let page = self.pages.get(number);
        let seed = format.seed(page.sequence, page.salt);
        self.tail = Tail { at: (end + 2 * format.unit()).max(stray + 2 * format.unit()), seed };
        // Nothing more goes on a page that one flipped bit would lose.
        if expected.is_none() && !self.io.has_both_headers(number).await.map_err(Error::Medium)? {
            self.tail.at = format.page();
        }
        Ok(())
    }

    async fn scan_batch(&mut self, number: usize, mut cursor: Cursor) -> Result<(), Error<M::Error>> {
        loop {
            let found = self.io.record(&mut cursor).await.map_err(Error::Medium)?;
            let Some(found) = found.map_err(|at| self.fault(number, at))? else { return Ok(()) };
            let taken = match found.header.kind {
                Kind::Vote => RecoveredRecord::Vote,
                Kind::Start => {
                    let index = self.io.array(found.at + HEADER as u32).await.map_err(Error::Medium)?;
                    let index = LogIndex(index.map_or(0, u64::from_le_bytes));
                    RecoveredRecord::Start(EntryId { term: Term(found.header.term), index })
                }
                kind if kind.is_entry() => RecoveredRecord::Entry(numbered(&found.header, self.last.index)),
                _ => return Err(self.fault(number, found.at)),
            };
            self.note(number, &found.header, taken);
        }
    }

    /// Tells what counts: a merge leaves out what does not, so that dead records behind it continue nothing.
    async fn tell(&mut self, first: EntryId, log: &mut Recovery) -> Result<(), Error<M::Error>> {
        let begin = match self.start() {
            index if index == self.last.index => self.last,
            index if index == first.index => first,
            index => EntryId { term: Term::ZERO, index },
        };
        log.start(begin, self.term, self.vote, self.boot);
        let mut next = self.pages.oldest();
        while let Some(number) = next {
            let mut live = self.live(number, self.known_walk(number)).await?;
            while let Some((found, _)) = self.next_live(number, &mut live).await? {
                self.tell_record(number, &found, log).await?;
            }
            next = self.pages.next(number);
        }
        Ok(())
    }

    async fn tell_record(&mut self, number: usize, found: &Found, log: &mut Recovery) -> Result<(), Error<M::Error>> {
        let at = found.at - self.io.format.base(number);
        let size = found.header.size() as u32;
        if size as usize > RECORD {
            return Err(Error::TooLarge(size));
        }
        let bytes = self.io.get(found.at, size).await.map_err(Error::Medium)?;
        let record = Record::parse(bytes).map_err(RecoveryError::Record);
        let told = record.and_then(|record| log.record(&record));
        told.map(drop).map_err(|error| corrupt(number, at, Damage::Record(error)))
    }

    /// Pages stand one behind the other.
    fn check_order(&self, number: usize, next: Option<usize>) -> Result<(), Error<M::Error>> {
        let page = self.pages.get(number);
        let twice = self
            .pages
            .all()
            .iter()
            .filter(|other| other.is(State::Live) && other.first <= page.last && page.first <= other.last);
        let follows = next.is_none_or(|next| page.last.checked_add(1) == Some(self.pages.get(next).first));
        if follows && twice.count() == 1 { Ok(()) } else { Err(corrupt(next.unwrap_or(number), 0, Damage::Order)) }
    }

    /// Keeps account of a record on page `number` that is durable.
    pub(super) fn note(&mut self, number: usize, header: &Header, taken: RecoveredRecord) {
        let size = header.size() as u32;
        let term = Term(header.term);
        if term > self.term {
            (self.term, self.vote) = (term, 0);
        }
        match taken {
            RecoveredRecord::Vote => {
                // It stands in the place of an index, and counts whatever the term.
                self.boot = self.boot.max(header.index_low);
                if term == self.term && header.flags != 0 {
                    self.vote = header.flags;
                }
            }
            RecoveredRecord::Start(before) => {
                self.pages.update_live(Page::kill);
                // A read that stopped among the dead must not go on there.
                self.readers.forget();
                self.pages.update(number, |page| {
                    page.kill();
                    (page.begin, page.end, page.live) = (before.index.next(), before.index, size);
                    page.starts = true;
                });
                self.last = before;
            }
            RecoveredRecord::Entry(index) => {
                if index <= self.last.index {
                    self.trim_others(number, index);
                }
                self.pages.update(number, |page| page.add(index, index, size));
                self.last = EntryId { term, index };
            }
        }
    }

    fn trim_others(&mut self, number: usize, index: LogIndex) {
        let sequence = self.pages.get(number).sequence;
        self.pages.update_live(|page| {
            if page.sequence != sequence {
                page.trim(index);
            }
        });
    }

    /// The header of a live page.
    pub(super) async fn header(&mut self, number: usize) -> Result<PageHeader, Error<M::Error>> {
        match self.io.header(number).await.map_err(Error::Medium)? {
            Some(Ok(header)) => Ok(header),
            _ => Err(corrupt(number, 0, Damage::Order)),
        }
    }

    pub(super) fn walk(&self, number: usize) -> Walk {
        let (format, page) = (&self.io.format, self.pages.get(number));
        Walk::new(format, number, format.seed(page.sequence, page.salt))
    }

    /// The same on a page that was recovered, or begun since.
    pub(super) fn known_walk(&self, number: usize) -> Walk {
        let walk = self.walk(number);
        if self.pages.get(number).torn { walk } else { walk.trusting() }
    }
}

/// Damage at an offset of a page.
pub(super) const fn corrupt<E>(page: usize, offset: u32, damage: Damage) -> Error<E> {
    Error::Corrupt { page: page as u32, offset, damage }
}
