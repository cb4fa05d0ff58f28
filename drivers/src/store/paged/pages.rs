//! What is known of each page in RAM.

use quoring_core::LogIndex;

use super::format::PageHeader;

/// A page of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    pub(super) state: State,
    pub(super) sequence: u32,
    pub(super) salt: u32,
    /// The places it takes in the order of pages.
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) batches: u16,
    /// Its live entries; none if they end before they begin.
    pub(super) begin: LogIndex,
    pub(super) end: LogIndex,
    /// It holds a start record.
    pub(super) starts: bool,
    /// Bytes of the records that count.
    pub(super) live: u32,
    /// `live` is too high: something was replaced since it was counted.
    pub(super) trimmed: bool,
}

/// What a page is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Nothing: to be erased before it is used.
    Dirty,
    /// Nothing, but its header still checks, and another page stands for it.
    Stale,
    /// Erased since the start.
    Clean,
    /// A part of the log.
    Live,
}

impl Page {
    pub(super) const NONE: Self = Self {
        state: State::Dirty,
        sequence: 0,
        salt: 0,
        first: 0,
        last: 0,
        batches: 0,
        begin: LogIndex(1),
        end: LogIndex::ZERO,
        starts: false,
        live: 0,
        trimmed: false,
    };

    /// A live page with this header, and nothing in it.
    pub(super) const fn begun(header: &PageHeader) -> Self {
        let PageHeader { sequence, salt, first, last, .. } = *header;
        Self { state: State::Live, sequence, salt, first, last, ..Self::NONE }
    }

    pub(super) const fn is(&self, state: State) -> bool {
        self.state as u8 == state as u8
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.end.0 < self.begin.0
    }

    /// An entry of this index was written to it.
    pub(super) fn add(&mut self, index: LogIndex, size: u32) {
        if self.is_empty() || index < self.begin {
            self.begin = index;
        }
        self.trimmed |= index <= self.end;
        self.end = index;
        self.live = self.live.saturating_add(size);
    }

    /// Entries from this index on were replaced elsewhere.
    pub(super) fn trim(&mut self, index: LogIndex) {
        if !self.is_empty() && index <= self.end {
            self.end = index.previous();
            self.trimmed = true;
        }
    }

    /// Nothing in it counts any more.
    pub(super) const fn kill(&mut self) {
        (self.begin, self.end) = (LogIndex(1), LogIndex::ZERO);
        (self.live, self.trimmed) = (0, false);
    }
}

/// All pages of the log.
#[derive(Clone, Debug)]
pub(super) struct Pages<const PAGES: usize> {
    table: [Page; PAGES],
    count: usize,
}

impl<const PAGES: usize> Pages<PAGES> {
    pub(super) const fn new(count: usize) -> Self {
        Self { table: [Page::NONE; PAGES], count }
    }

    /// Forgets all.
    pub(super) const fn clear(&mut self) {
        *self = Self::new(self.count);
    }

    pub(super) fn get(&self, number: usize) -> Page {
        self.all().get(number).copied().unwrap_or(Page::NONE)
    }

    pub(super) fn set(&mut self, number: usize, page: Page) {
        if let Some(place) = self.table.get_mut(number) {
            *place = page;
        }
    }

    pub(super) fn set_state(&mut self, number: usize, state: State) {
        self.set(number, Page { state, ..self.get(number) });
    }

    pub(super) fn all(&self) -> &[Page] {
        self.table.get(..self.count).unwrap_or_default()
    }

    pub(super) fn live_mut(&mut self) -> impl Iterator<Item = &mut Page> {
        self.table.iter_mut().take(self.count).filter(|page| page.is(State::Live))
    }

    /// A page in this state.
    pub(super) fn find(&self, state: State) -> Option<usize> {
        self.all().iter().position(|page| page.is(state))
    }

    /// Pages that are not part of the log.
    pub(super) fn free(&self) -> usize {
        self.all().iter().filter(|page| !page.is(State::Live)).count()
    }

    /// The page with which the log begins.
    pub(super) fn oldest(&self) -> Option<usize> {
        self.lowest(|_| true)
    }

    /// The numbers of the live pages, oldest first.
    pub(super) fn in_order(&self) -> impl Iterator<Item = usize> {
        core::iter::successors(self.oldest(), |&number| self.next(number))
    }

    /// The live page that stands behind this one.
    pub(super) fn next(&self, number: usize) -> Option<usize> {
        let last = self.get(number).last;
        self.lowest(|page| page.first > last)
    }

    /// The live page that stands before this one.
    pub(super) fn previous(&self, number: usize) -> Option<usize> {
        let first = self.get(number).first;
        self.live().filter(|(_, page)| page.last < first).max_by_key(|(_, page)| page.first).map(|(number, _)| number)
    }

    /// The newest page, the one that is written.
    pub(super) fn head(&self) -> Option<usize> {
        self.live().max_by_key(|(_, page)| page.first).map(|(number, _)| number)
    }

    /// How many of the oldest pages may go, with entries up to `allowed` out of use; never the newest.
    pub(super) fn droppable(&self, allowed: LogIndex) -> usize {
        let head = self.head();
        let gone = |number: &usize| {
            let page = self.get(*number);
            Some(*number) != head && (page.is_empty() || page.end <= allowed)
        };
        self.in_order().take_while(gone).count()
    }

    /// The first live entry, if there is one.
    pub(super) fn first_entry(&self) -> Option<LogIndex> {
        self.in_order().map(|number| self.get(number)).find(|page| !page.is_empty()).map(|page| page.begin)
    }

    fn live(&self) -> impl Iterator<Item = (usize, &Page)> {
        self.all().iter().enumerate().filter(|(_, page)| page.is(State::Live))
    }

    fn lowest(&self, which: impl Fn(&Page) -> bool) -> Option<usize> {
        self.live().filter(|(_, page)| which(page)).min_by_key(|(_, page)| page.first).map(|(number, _)| number)
    }
}
