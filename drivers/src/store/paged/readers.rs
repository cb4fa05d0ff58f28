//! Where those stand who read the log entry by entry.

use quoring_core::LogIndex;

use super::pages::Pages;
use super::walk::Place;

/// The followers of a cluster of three that are behind, and an application that is: each goes on where it stopped, whoever reads in between.
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

    /// The place from which it is not far to this entry.
    pub(super) fn find<const PAGES: usize>(&self, index: LogIndex, pages: &Pages<PAGES>) -> Option<&Place> {
        let leads = |place: &&Place| {
            let page = pages.get(usize::from(place.page));
            place.next <= index && page.holds(index) && !page.falls
        };
        self.places.iter().filter(leads).max_by_key(|place| place.next)
    }

    /// Entry `index` was read, and here it goes on.
    pub(super) fn note(&mut self, index: LogIndex, place: Place) {
        // Who stood nearest went on, from the page before perhaps; who comes from nowhere near is another one.
        let near = |other: &&mut Place| other.next == index || other.page == place.page && other.next <= index;
        let reader = self.places.iter_mut().filter(near).max_by_key(|other| other.next);
        if let Some(reader) = reader {
            *reader = place;
        } else if let Some(last) = self.places.iter_mut().min_by_key(|other| other.next.next()) {
            // Nobody, or who is furthest behind: it may have stopped long ago.
            *last = place;
        }
    }
}
