//! What is known of each page in RAM.

use heapless::Vec;
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
    /// It may hold an entry that replaced one before it on the page.
    pub(super) falls: bool,
    /// It holds the beginning of something whose writing was interrupted.
    pub(super) torn: bool,
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

impl State {
    const COUNT: usize = 4;
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
        falls: false,
        torn: false,
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

    /// The entries from `first` to `last`, of so many bytes, were written to it.
    pub(super) fn add(&mut self, first: LogIndex, last: LogIndex, bytes: u32) {
        if self.is_empty() || first < self.begin {
            self.begin = first;
        }
        self.falls |= first <= self.end;
        self.trimmed |= first <= self.end;
        self.end = last;
        self.live = self.live.saturating_add(bytes);
    }

    /// Whether this is one of its live entries.
    pub(super) fn holds(&self, index: LogIndex) -> bool {
        self.begin <= index && index <= self.end
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
    /// The numbers of the live pages, by the places they take.
    order: Vec<u16, PAGES, u16>,
    /// How many pages are in each state.
    states: [u16; State::COUNT],
    /// Entries up to this one may go.
    allowed: LogIndex,
    /// How many of the oldest pages hold nothing but what may go, and how many of these nothing at all. The newest is not counted.
    droppable: u16,
    empty: u16,
    /// Some page may be [trimmed](Page::trimmed).
    recount: bool,
}

impl<const PAGES: usize> Pages<PAGES> {
    pub(super) const fn new(count: usize) -> Self {
        let mut states = [0; State::COUNT];
        states[State::Dirty as usize] = count as u16;
        Self {
            table: [Page::NONE; PAGES],
            count,
            order: Vec::new(),
            states,
            allowed: LogIndex::ZERO,
            droppable: 0,
            empty: 0,
            recount: false,
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.count);
    }

    pub(super) fn get(&self, number: usize) -> &Page {
        self.all().get(number).unwrap_or(&Page::NONE)
    }

    pub(super) fn set(&mut self, number: usize, page: Page) {
        let Some(place) = self.table.get_mut(..self.count).and_then(|pages| pages.get_mut(number)) else { return };
        let before = core::mem::replace(place, page);
        self.recount |= page.trimmed;
        if let Some(count) = self.states.get_mut(before.state as usize) {
            *count -= 1;
        }
        if let Some(count) = self.states.get_mut(page.state as usize) {
            *count += 1;
        }
        if before.is(State::Live) {
            self.order.retain(|other| usize::from(*other) != number);
        }
        if page.is(State::Live) {
            let before = |other: &&u16| {
                let other = usize::from(**other);
                (self.get(other).first, other) < (page.first, number)
            };
            let place = self.order.iter().take_while(before).count();
            // There is room for all.
            let _ = self.order.insert(place, number as u16);
        }
        self.count_oldest();
    }

    pub(super) fn set_state(&mut self, number: usize, state: State) {
        self.set(number, Page { state, ..*self.get(number) });
    }

    /// Changes what is in a page; not its state nor its place, and only in the newest which entries these are. Else the oldest are
    /// to be [counted](Self::count_oldest) again.
    pub(super) fn update(&mut self, number: usize, change: impl FnOnce(&mut Page)) {
        if let Some(page) = self.table.get_mut(number) {
            change(page);
            self.recount |= page.trimmed;
        }
    }

    /// Changes what is in each live page; not their states nor their places.
    pub(super) fn update_live(&mut self, mut change: impl FnMut(&mut Page)) {
        for number in &self.order {
            if let Some(page) = self.table.get_mut(usize::from(*number)) {
                change(page);
                self.recount |= page.trimmed;
            }
        }
        self.count_oldest();
    }

    pub(super) fn all(&self) -> &[Page] {
        self.table.get(..self.count).unwrap_or_default()
    }

    /// Panics if the account contradicts itself. For tests.
    pub(super) fn assert_invariants(&self) {
        let place = |number: &u16| (self.get(usize::from(*number)).first, *number);
        assert!(self.order.is_sorted_by(|before, next| place(before) < place(next)), "in the order of places");
        assert!(self.order.iter().all(|number| self.get(usize::from(*number)).is(State::Live)), "live pages only");
        for state in [State::Dirty, State::Stale, State::Clean, State::Live] {
            let count = self.all().iter().filter(|page| page.is(state)).count();
            assert_eq!(self.states.get(state as usize).copied().map(usize::from), Some(count), "{state:?}");
        }
        assert_eq!(self.free(), self.all().iter().filter(|page| !page.is(State::Live)).count(), "all live pages");
        let trimmed = self.all().iter().any(|page| page.is(State::Live) && page.trimmed);
        assert!(self.recount || !trimmed, "what is trimmed is counted again");
        let head = self.head();
        let older = || self.in_order().filter(|number| Some(*number) != head).map(|number| self.get(number));
        let gone = older().take_while(|page| page.is_empty() || page.end <= self.allowed).count();
        let empty = older().take_while(|page| page.is_empty()).count();
        assert_eq!((self.droppable(), usize::from(self.empty)), (gone, empty), "of the oldest pages");
        let begin = self.in_order().map(|number| self.get(number)).find(|page| !page.is_empty()).map(|page| page.begin);
        assert_eq!(self.first_entry(), begin, "where the log begins");
    }

    /// A page in this state.
    pub(super) fn find(&self, state: State) -> Option<usize> {
        if !self.has(state) {
            return None;
        }
        self.all().iter().position(|page| page.is(state))
    }

    /// Whether a page is in this state.
    pub(super) fn has(&self, state: State) -> bool {
        self.states.get(state as usize).is_some_and(|count| *count > 0)
    }

    /// A live page of which too much is counted.
    pub(super) fn trimmed(&mut self) -> Option<usize> {
        if self.recount {
            let mut live = self.order.iter().map(|number| usize::from(*number));
            let found = live.find(|number| self.get(*number).trimmed);
            self.recount = found.is_some();
            return found;
        }
        None
    }

    /// Pages that are not part of the log.
    pub(super) fn free(&self) -> usize {
        self.count - self.order.len()
    }

    /// The page with which the log begins.
    pub(super) fn oldest(&self) -> Option<usize> {
        self.order.first().map(|number| usize::from(*number))
    }

    /// The numbers of the live pages, oldest first.
    pub(super) fn in_order(&self) -> impl Iterator<Item = usize> {
        let mut end = None;
        let places = self.order.iter().map(|number| usize::from(*number));
        // Those that a merged one stands for are passed over.
        places.filter(move |number| {
            let Page { first, last, .. } = *self.get(*number);
            let behind = end.is_none_or(|end| first > end);
            if behind {
                end = Some(last);
            }
            behind
        })
    }

    /// The live page that stands behind this one.
    pub(super) fn next(&self, number: usize) -> Option<usize> {
        let last = self.get(number).last;
        self.order.iter().map(|number| usize::from(*number)).find(|number| self.get(*number).first > last)
    }

    /// The live page that stands before this one.
    pub(super) fn previous(&self, number: usize) -> Option<usize> {
        let first = self.get(number).first;
        self.order.iter().rev().map(|number| usize::from(*number)).find(|number| self.get(*number).last < first)
    }

    /// The newest page, the one that is written.
    pub(super) fn head(&self) -> Option<usize> {
        self.order.last().map(|number| usize::from(*number))
    }

    /// Entries up to this one may go.
    pub(super) const fn allowed(&self) -> LogIndex {
        self.allowed
    }

    pub(super) fn allow(&mut self, index: LogIndex) {
        let counted = if index >= self.allowed { self.droppable } else { self.empty };
        self.allowed = index;
        self.droppable = self.count_droppable(counted, index);
    }

    /// How many of the oldest pages may go; never the newest.
    pub(super) const fn droppable(&self) -> usize {
        self.droppable as usize
    }

    /// How many there were, if entries up to `index` might go.
    pub(super) fn droppable_below(&self, index: LogIndex) -> usize {
        usize::from(self.count_droppable(self.empty, index))
    }

    /// The first live entry, if there is one.
    pub(super) fn first_entry(&self) -> Option<LogIndex> {
        let page = self.get(usize::from(*self.order.get(usize::from(self.empty))?));
        (!page.is_empty()).then_some(page.begin)
    }

    /// Counts again which of the oldest pages may go.
    pub(super) fn count_oldest(&mut self) {
        self.empty = self.count_more(0, Page::is_empty);
        self.droppable = self.count_droppable(self.empty, self.allowed);
    }

    /// How many of the oldest pages may go, with entries up to `index` out of use, when so many are known.
    fn count_droppable(&self, known: u16, index: LogIndex) -> u16 {
        self.count_more(known, |page| page.is_empty() || page.end <= index)
    }

    fn count_more(&self, known: u16, counts: impl Fn(&Page) -> bool) -> u16 {
        let older = self.order.iter().take(self.order.len().saturating_sub(1)).skip(usize::from(known));
        let more = older.take_while(|number| counts(self.get(usize::from(**number)))).count();
        known + more as u16
    }
}
