//! The log in memory that contenders store their entries in, where they leave that to the application.

use std::collections::VecDeque;

/// Entries that it has room for from the start.
const ROOM: usize = 1024;
/// How many are let go at once, when it is full: all nodes have applied them long before.
const SURPLUS: usize = ROOM / 2;

/// The newest entries, in order. Nothing is allocated after the start.
#[derive(Debug)]
pub(crate) struct Log<T> {
    /// Position of the first entry that is still here.
    first: u64,
    entries: VecDeque<T>,
}

impl<T> Log<T> {
    /// An empty log whose first entry will be at this position.
    #[must_use]
    pub(crate) fn new(first: u64) -> Self {
        Self { first, entries: VecDeque::with_capacity(ROOM) }
    }

    /// Position of the first entry that is still here.
    #[must_use]
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Position of the next entry.
    #[must_use]
    pub(crate) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Whether the next entry takes the last room.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() == ROOM
    }

    /// Stores an entry, and lets the oldest go if there is no room for it.
    pub(crate) fn push(&mut self, entry: T) {
        if self.is_full() {
            self.purge(self.first + SURPLUS as u64);
        }
        self.entries.push_back(entry);
    }

    /// Lets go of what lies below a position.
    pub(crate) fn purge(&mut self, below: u64) {
        let gone = below.saturating_sub(self.first).min(self.entries.len() as u64);
        self.entries.drain(..gone as usize);
        self.first += gone;
    }

    /// Lets go of this position and what follows.
    pub(crate) fn truncate(&mut self, from: u64) {
        self.entries.truncate(from.saturating_sub(self.first) as usize);
    }

    /// The entry at a position.
    #[must_use]
    pub(crate) fn get(&self, position: u64) -> Option<&T> {
        self.entries.get(position.checked_sub(self.first)? as usize)
    }

    /// The entries from one position up to another.
    pub(crate) fn range(&self, from: u64, to: u64) -> impl Iterator<Item = &T> {
        let place = |position: u64| position.saturating_sub(self.first).min(self.entries.len() as u64) as usize;
        self.entries.range(place(from)..place(to))
    }
}
