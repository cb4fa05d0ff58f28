//! What a log store tells the core after a restart: the records it holds, oldest first.

use core::fmt;

use quoring_ring::{Checksum, Crc32c, Kind, Record, RecordError, extend};

use crate::term_runs::TermRuns;
use crate::types::{ClusterId, LogIndex, NodeId, Term};

/// Gathers the durable state of a node from the records of its log, in the order they were written.
///
/// A store calls [`record`](Self::record) for each record it finds and may use the answer to build its own index.
#[derive(Debug)]
pub struct Recovery {
    checksum: Checksum,
    state: Recovered,
}

/// What was durable when the node stopped.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The highest term seen.
    pub term: Term,
    /// Whom the node voted for in that term.
    pub vote: Option<NodeId>,
    /// The last entry.
    pub last: LogIndex,
    /// The newest runs of equal terms.
    pub runs: TermRuns,
}

/// What a recovered record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RecoveredRecord {
    /// An entry with this index; it replaces that index and everything above.
    Entry(LogIndex),
    /// A vote or a new term; it has no index.
    Vote,
}

/// Why a record does not continue the log: the log is not valid from here on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RecoveryError {
    /// It is damaged, or of another cluster.
    Record(RecordError),
    /// The entry before it is missing.
    Gap,
    /// Pads lie in rings, not in logs.
    NotOfALog,
}

impl Recovery {
    /// Nothing recovered yet.
    pub fn new(cluster: ClusterId, crc: Crc32c) -> Self {
        Self { checksum: Checksum::new(cluster.0, crc), state: Recovered::default() }
    }

    /// A log whose first entry follows `index`, which was committed in `term`; what lies below is gone.
    pub fn starting_at(cluster: ClusterId, crc: Crc32c, index: LogIndex, term: Term) -> Self {
        let mut recovery = Self::new(cluster, crc);
        recovery.state.last = index;
        recovery.state.term = term;
        if index > LogIndex::ZERO {
            recovery.state.runs.append(index, term);
        }
        recovery
    }

    /// The next record of the log.
    ///
    /// # Errors
    /// See [`RecoveryError`]. Nothing of the record was taken.
    pub fn record(&mut self, record: &Record<'_>) -> Result<RecoveredRecord, RecoveryError> {
        match record.header.kind {
            Kind::Vote => self.vote(record),
            kind if kind.is_entry() => self.entry(record),
            _ => Err(RecoveryError::NotOfALog),
        }
    }

    /// The last entry so far.
    pub fn last(&self) -> LogIndex {
        self.state.last
    }

    /// The durable state, to start the core with.
    pub fn finish(self) -> Recovered {
        self.state
    }

    fn vote(&mut self, record: &Record<'_>) -> Result<RecoveredRecord, RecoveryError> {
        self.checksum.verify(record, 0).map_err(RecoveryError::Record)?;
        let (term, vote) = (Term(record.header.term), crate::vote::from_flags(record.header.flags));
        if term > self.state.term {
            (self.state.term, self.state.vote) = (term, vote);
        } else if term == self.state.term && vote.is_some() {
            self.state.vote = vote;
        }
        Ok(RecoveredRecord::Vote)
    }

    fn entry(&mut self, record: &Record<'_>) -> Result<RecoveredRecord, RecoveryError> {
        let state = &mut self.state;
        let index = LogIndex(extend(state.last.0, record.header.index_low));
        self.checksum.verify(record, (index.0 >> 32) as u32).map_err(RecoveryError::Record)?;
        if index == LogIndex::ZERO || index > state.last.next() {
            return Err(RecoveryError::Gap);
        }
        let term = Term(record.header.term);
        if term > state.term {
            (state.term, state.vote) = (term, None);
        }
        state.runs.append(index, term);
        state.last = index;
        Ok(RecoveredRecord::Entry(index))
    }
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(error) => error.fmt(f),
            Self::Gap => f.write_str("the entry before this one is missing"),
            Self::NotOfALog => f.write_str("a record that belongs in no log"),
        }
    }
}

impl core::error::Error for RecoveryError {}
