//! Where those stand who read the log entry by entry.

use quoring_core::LogIndex;

use super::pages::{Pages, State};
use super::walk::Place;

/// The followers of a cluster of three, and an application: each that is behind goes on where it stopped, whoever reads in between.
const READERS: usize = 3;

/// Where the last reads ended.
#[derive(Clone, Debug)]
pub(super) struct Readers {
    places: [Place; READERS],
}

impl Readers {
    pub(super) const NONE: Self = Self { places: [Place::NONE; READERS] };

    /// Forgets them: something has changed that they rely on.
    pub(super) const fn forget(&mut self) {
        *self = Self::NONE;
    }

    /// Who has come nearest to this entry, and stands on its page.
    pub(super) fn find<const PAGES: usize>(&self, index: LogIndex, pages: &Pages<PAGES>) -> Option<Place> {
        let mut nearest: Option<&Place> = None;
        for place in self.places.iter().filter(|place| place.next <= index) {
            let page = pages.get(usize::from(place.page));
            let leads = page.is(State::Live) && page.holds(index) && !page.falls;
            if leads && nearest.is_none_or(|other| place.next > other.next) {
                nearest = Some(place);
            }
        }
        nearest.copied()
    }

    /// Who was to find entry `from` next has found another one, and goes on at `place`. It may be nobody whom this knows.
    pub(super) fn note(&mut self, from: LogIndex, place: Place) {
        let rank = |other: &Place| if other.next == from { LogIndex::ZERO } else { other.next.next() };
        // Nobody is there, or who is furthest behind: it may have stopped long ago.
        if let Some(reader) = self.places.iter_mut().min_by_key(|other| rank(other)) {
            *reader = place;
        }
    }
}
