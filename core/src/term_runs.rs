//! Which term each entry has, in constant memory: the log is a short list of runs of equal terms.

use heapless::Vec;

use crate::types::{EntryId, LogIndex, Term};

/// How many runs are kept. An older term is looked up in the ring or in the log store.
pub const RUNS: usize = 16;

/// The newest runs of the log. A cache: when it is full the oldest run is forgotten, never an election
/// refused, so any number of elections without a commit leaves the node able (P12).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TermRuns {
    /// The run that the log ends with, which is almost always the one that is asked for.
    newest: Run,
    /// Those before it, oldest first. Strictly rising in both fields.
    older: Vec<Run, { RUNS - 1 }>,
    /// A single older entry whose term was looked up; below the first run.
    recalled: Option<Run>,
}

/// The entries from `first` up to the next run, or to the end of the log, have this term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Run {
    first: LogIndex,
    term: Term,
}

impl Default for Run {
    /// No run: it begins nowhere.
    fn default() -> Self {
        Self { first: LogIndex(u64::MAX), term: Term::ZERO }
    }
}

impl TermRuns {
    /// The runs of a log that begins behind `before`; if the term of that is 0, it is not known.
    pub(crate) fn behind(before: EntryId) -> Self {
        let mut runs = Self::default();
        if before.term > Term::ZERO {
            runs.append(before.index, before.term);
        }
        runs
    }

    /// The entry `index` of `term` was appended; all entries from `index` on are replaced by it.
    pub(crate) fn append(&mut self, index: LogIndex, term: Term) {
        while self.newest.first >= index && self.newest != Run::default() {
            self.newest = self.older.pop().unwrap_or_default();
        }
        if self.recalled.is_some_and(|entry| entry.first >= index) {
            self.recalled = None;
        }
        let is_first = self.newest == Run::default();
        if is_first || self.newest.term != term {
            if self.older.is_full() {
                self.older.remove(0);
            }
            if !is_first {
                // There is room: one was just forgotten if there was none.
                let _ = self.older.push(self.newest);
            }
            self.newest = Run { first: index, term };
        }
    }

    /// The term of `index`, which is not above the last entry; `None` when its run has been forgotten. Index 0 has term 0.
    pub(crate) fn term(&self, index: LogIndex) -> Option<Term> {
        if index >= self.newest.first { Some(self.newest.term) } else { self.older_term(index) }
    }

    /// The same for an entry before the newest run.
    fn older_term(&self, index: LogIndex) -> Option<Term> {
        if index == LogIndex::ZERO {
            return Some(Term::ZERO);
        }
        let run = self.older.iter().rev().find(|run| run.first <= index);
        run.or(self.recalled.as_ref().filter(|entry| entry.first == index)).map(|run| run.term)
    }

    /// The term of the last entry; 0 for an empty log.
    pub(crate) const fn last_term(&self) -> Term {
        self.newest.term
    }

    /// The last index at or below `index` whose term is at most `term`; `None` if that lies in a forgotten run.
    #[inline(never)]
    pub(crate) fn last_at_most(&self, index: LogIndex, term: Term) -> Option<LogIndex> {
        let mut end = index;
        for run in core::iter::once(&self.newest).chain(self.older.iter().rev()) {
            if run.first <= end {
                if run.term <= term {
                    return Some(end);
                }
                end = run.first.previous();
            }
        }
        (end == LogIndex::ZERO).then_some(end)
    }

    /// Remembers one term that was looked up.
    pub(crate) fn recall(&mut self, index: LogIndex, term: Term) {
        self.recalled = Some(Run { first: index, term });
    }

    /// Runs rise strictly; what was recalled lies below them.
    pub(crate) fn assert_invariants(&self) {
        let later = self.older.iter().skip(1).chain([&self.newest]);
        assert!(
            self.older.iter().zip(later).all(|(a, b)| a.first < b.first && a.term < b.term),
            "term runs rise: {self:?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(terms: &[u32]) -> TermRuns {
        let mut runs = TermRuns::default();
        for (i, &term) in terms.iter().enumerate() {
            runs.append(LogIndex(i as u64 + 1), Term(term));
        }
        runs
    }

    #[test]
    fn every_entry_has_the_term_it_was_appended_with() {
        let terms = [1, 1, 4, 4, 4, 5, 6, 6];
        let runs = log(&terms);
        for (i, &term) in terms.iter().enumerate() {
            assert_eq!(runs.term(LogIndex(i as u64 + 1)), Some(Term(term)));
        }
        assert_eq!((runs.term(LogIndex(0)), runs.last_term()), (Some(Term(0)), Term(6)));
    }

    #[test]
    fn an_entry_replaces_everything_from_its_index_on() {
        let mut runs = log(&[1, 1, 2, 3]);
        runs.append(LogIndex(3), Term(5));
        assert_eq!(runs, log(&[1, 1, 5]));
        runs.append(LogIndex(1), Term(6));
        assert_eq!(runs, log(&[6]));
    }

    #[test]
    fn a_conflict_hint_skips_whole_terms() {
        // covers: L7
        let runs = log(&[1, 1, 1, 4, 4, 5, 5, 6, 6]);
        assert_eq!(runs.last_at_most(LogIndex(9), Term(4)), Some(LogIndex(5)));
        assert_eq!(runs.last_at_most(LogIndex(9), Term(3)), Some(LogIndex(3)));
        assert_eq!(runs.last_at_most(LogIndex(2), Term(9)), Some(LogIndex(2)));
        assert_eq!(runs.last_at_most(LogIndex(9), Term(0)), Some(LogIndex(0)));
    }

    #[test]
    fn any_number_of_elections_forgets_old_runs_and_refuses_none() {
        // covers: P12
        let terms: std::vec::Vec<u32> = (1..=1000).collect();
        let mut runs = log(&terms);
        assert_eq!(runs.last_term(), Term(1000));
        assert_eq!(runs.term(LogIndex(985)), Some(Term(985)));
        assert_eq!(runs.term(LogIndex(984)), None);
        assert_eq!(runs.last_at_most(LogIndex(1000), Term(3)), None);
        runs.recall(LogIndex(7), Term(7));
        assert_eq!(runs.term(LogIndex(7)), Some(Term(7)));
        runs.append(LogIndex(7), Term(2000));
        assert_eq!(runs.term(LogIndex(7)), Some(Term(2000)));
        runs.assert_invariants();
    }
}
