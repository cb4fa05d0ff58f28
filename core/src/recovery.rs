//! What a log store tells the core after a restart: its snapshot, where its log begins, and the records it holds, oldest first.

use core::fmt;

use quoring_ring::{Checksum, Crc32c, Kind, Origin, Position, Record, RecordError, extend};

use crate::snapshot::Snapshot;
use crate::term_runs::TermRuns;
use crate::types::{ClusterId, EntryId, LogIndex, NodeId, Term};

/// Gathers the durable state of a node from the records of its log, in the order they were written.
///
/// A store calls [`snapshot`](Self::snapshot) first if it holds one, then [`start`](Self::start) if the beginning of its log has been purged, then
/// [`record`](Self::record) for each record it finds; it may use the answers to build its own index.
#[derive(Debug)]
pub struct Recovery {
    checksum: Checksum,
    state: Recovered,
    /// The term that the log has at the snapshot's last entry, once that has been passed.
    meets: Option<Term>,
}

/// What was durable when the node stopped.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The highest term seen.
    pub term: Term,
    /// Whom the node voted for in that term.
    pub vote: Option<NodeId>,
    /// The newest boot number that is durable; 0 for none. Boot numbers never fall, whatever becomes of terms (R15).
    pub boot: u32,
    /// The newest snapshot.
    pub snapshot: Option<Snapshot>,
    /// The log begins behind this entry. Its term may be 0 for "not known".
    pub start: EntryId,
    /// The last entry.
    pub last: LogIndex,
    /// The newest runs of equal terms.
    pub runs: TermRuns,
    /// The log ends before the snapshot, or contradicts it: it must be started anew behind it.
    pub restart: bool,
}

impl Recovered {
    /// Entries up to this one may be purged: the snapshot covers them. But for its last one, if the log does not follow on the snapshot: a contradiction must
    /// still be seen until the log is started anew, or what lies behind would seem to follow.
    pub fn purgeable(&self) -> LogIndex {
        let covered = self.snapshot.map_or(LogIndex::ZERO, |snapshot| snapshot.last.index);
        if self.restart { covered.previous() } else { covered }
    }

    /// Where the ring begins: empty, behind the last entry, and with everything committed that the snapshot covers, but nothing applied. No commit index
    /// is persisted but that, which the durable log cannot fall short of (R11).
    pub fn origin(&self, position: Position) -> Origin {
        let committed = self.snapshot.map_or(0, |snapshot| snapshot.last.index.0);
        Origin { position, last: self.last.0, committed, applied: 0 }
    }
}

/// What a recovered record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RecoveredRecord {
    /// An entry with this index; it replaces that index and everything above.
    Entry(LogIndex),
    /// A vote, a new term or a new boot number; it has no index.
    Vote,
    /// The log starts anew behind this entry; everything before counts no more.
    Start(EntryId),
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
    /// The log begins behind this entry, and no snapshot covers what is missing: entries are lost (S5).
    Hole(LogIndex),
}

impl Recovery {
    /// Nothing recovered yet.
    pub fn new(cluster: ClusterId, crc: Crc32c) -> Self {
        Self { checksum: Checksum::new(cluster.0, crc), state: Recovered::default(), meets: None }
    }

    /// The newest durable snapshot.
    pub fn snapshot(&mut self, snapshot: &Snapshot) {
        self.state.snapshot = Some(*snapshot);
        self.state.term = self.state.term.max(snapshot.last.term);
    }

    /// The log begins behind entry `before`; what was below is gone. When that was so, the newest vote record had this term and these flags, and
    /// the newest boot number was `boot`.
    pub fn start(&mut self, before: EntryId, term: Term, flags: u8, boot: u32) {
        self.start_behind(before);
        let state = &mut self.state;
        state.boot = state.boot.max(boot);
        if term >= state.term {
            (state.term, state.vote) = (term, crate::vote::from_flags(flags));
        }
    }

    /// The next record of the log.
    ///
    /// # Errors
    /// See [`RecoveryError`]. Nothing of the record was taken.
    pub fn record(&mut self, record: &Record<'_>) -> Result<RecoveredRecord, RecoveryError> {
        match record.header.kind {
            Kind::Vote => self.vote(record),
            Kind::Start => self.restart(record),
            kind if kind.is_entry() => self.entry(record),
            _ => Err(RecoveryError::NotOfALog),
        }
    }

    /// The last entry so far.
    pub fn last(&self) -> LogIndex {
        self.state.last
    }

    /// The durable state, to start the core with.
    ///
    /// Snapshot and log are written one after the other, and power may go in between. So the snapshot may be *newer* than the log, or contradict a tail
    /// that was never committed: then the log starts anew behind it. It may *overlap* the log, which then goes on. Or the log was purged *past* the
    /// snapshot: then entries are lost, and the node must not start (S5).
    ///
    /// # Errors
    /// [`RecoveryError::Hole`], and [`RecoveryError::NotOfALog`] if the snapshot covers more than there can be.
    pub fn finish(self) -> Result<Recovered, RecoveryError> {
        let mut state = self.state;
        let covered = state.snapshot.map_or(EntryId::ZERO, |snapshot| snapshot.last);
        if state.start.index > covered.index {
            return Err(RecoveryError::Hole(state.start.index));
        }
        if covered.index > LogIndex::CEILING {
            return Err(RecoveryError::NotOfALog);
        }
        // What is purged was covered: a log that begins right behind the snapshot goes on from it, even if it does not know the term there.
        let unknown = state.start.index == covered.index && state.start.term == Term::ZERO;
        let follows = unknown || self.meets == Some(covered.term);
        if unknown {
            state.start = covered;
            if state.last == covered.index {
                // Votes go by the term of the last entry (Raft section 5.4.1).
                state.runs = TermRuns::behind(covered);
            }
        }
        state.restart = !follows;
        if state.restart {
            (state.start, state.last, state.runs) = (covered, covered.index, TermRuns::behind(covered));
        }
        Ok(state)
    }

    fn start_behind(&mut self, before: EntryId) {
        self.state.start = before;
        self.state.last = before.index;
        self.state.runs = TermRuns::behind(before);
        if before.term > self.state.term {
            (self.state.term, self.state.vote) = (before.term, None);
        }
        self.meets = None;
        self.meet(before);
    }

    /// Notes the log's term at the snapshot's last entry, which a later record may replace.
    fn meet(&mut self, entry: EntryId) {
        match self.state.snapshot {
            Some(snapshot) if snapshot.last.index == entry.index => self.meets = Some(entry.term),
            Some(snapshot) if snapshot.last.index > entry.index => self.meets = None,
            _ => {}
        }
    }

    fn restart(&mut self, record: &Record<'_>) -> Result<RecoveredRecord, RecoveryError> {
        self.checksum.verify(record, 0).map_err(RecoveryError::Record)?;
        let index = record.start().map(LogIndex).filter(|&index| index <= LogIndex::CEILING);
        let before = EntryId { term: Term(record.header.term), index: index.ok_or(RecoveryError::NotOfALog)? };
        self.start_behind(before);
        Ok(RecoveredRecord::Start(before))
    }

    fn vote(&mut self, record: &Record<'_>) -> Result<RecoveredRecord, RecoveryError> {
        self.checksum.verify(record, 0).map_err(RecoveryError::Record)?;
        let (term, vote) = (Term(record.header.term), crate::vote::from_flags(record.header.flags));
        // It stands in the place of an index, and counts even if the term does not any more.
        self.state.boot = self.state.boot.max(record.header.index_low);
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
        // A log of which nothing is left below may begin with a replaced entry.
        if index <= state.start.index {
            state.start = EntryId { term: Term::ZERO, index: index.previous() };
        }
        self.meet(EntryId { term, index });
        Ok(RecoveredRecord::Entry(index))
    }
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(error) => error.fmt(f),
            Self::Gap => f.write_str("the entry before this one is missing"),
            Self::NotOfALog => f.write_str("a record that belongs in no log"),
            Self::Hole(index) => {
                write!(f, "the log begins behind entry {index}, and no snapshot covers what is missing")
            }
        }
    }
}

impl core::error::Error for RecoveryError {}

#[cfg(test)]
mod tests {
    use quoring_ring::Header;

    use super::*;
    use crate::members::NodeSet;

    /// Else the node would vote for anybody with as many entries, whatever their terms (Raft section 5.4.1).
    ///
    /// covers: S5
    #[test]
    fn a_log_purged_up_to_the_snapshot_ends_with_the_snapshots_term() {
        let last = EntryId { term: Term(3), index: LogIndex(20) };
        let mut recovery = Recovery::new(ClusterId(1), quoring_ring::DEFAULT_CRC32C);
        recovery.snapshot(&Snapshot { last, length: 0, checksum: 0, voters: NodeSet::first(3) });
        recovery.start(EntryId { term: Term::ZERO, index: last.index }, Term(5), 0x81, 0);
        let recovered = recovery.finish().unwrap();
        assert_eq!((recovered.restart, recovered.start, recovered.last), (false, last, last.index));
        assert_eq!((recovered.runs.last_term(), recovered.term, recovered.vote), (Term(3), Term(5), NodeId::new(1)));
    }

    /// The record of a vote, checksummed.
    fn vote(term: u32, flags: u8, boot: u32) -> [u8; quoring_ring::HEADER] {
        let header = Header { checksum: 0, term, index_low: boot, len: 0, kind: Kind::Vote, flags };
        let checksum = Checksum::new(1, quoring_ring::DEFAULT_CRC32C).of(&header, 0, &[]);
        Header { checksum, ..header }.encode()
    }

    fn take(recovery: &mut Recovery, bytes: &[u8]) -> Result<RecoveredRecord, RecoveryError> {
        recovery.record(&Record::parse(bytes).unwrap())
    }

    /// covers: R15
    #[test]
    fn the_highest_boot_number_counts_even_if_the_term_of_its_record_does_not() {
        let mut recovery = Recovery::new(ClusterId(1), quoring_ring::DEFAULT_CRC32C);
        recovery.start(EntryId { term: Term(5), index: LogIndex(0) }, Term(5), 0x81, 3);
        for (term, boot, highest) in [(4, 0x8000_0009, 0x8000_0009), (6, 2, 0x8000_0009), (5, u32::MAX, u32::MAX)] {
            assert_eq!(take(&mut recovery, &vote(term, 0x82, boot)), Ok(RecoveredRecord::Vote));
            assert_eq!(recovery.state.boot, highest);
        }
        // Told of an older log than what was told before.
        recovery.start(EntryId { term: Term(6), index: LogIndex(0) }, Term(6), 0x83, 4);
        let recovered = recovery.finish().unwrap();
        assert_eq!((recovered.term, recovered.vote, recovered.boot), (Term(6), NodeId::new(3), u32::MAX));
    }

    /// covers: R15
    #[test]
    fn a_boot_number_stays_when_the_log_starts_anew_behind_a_snapshot_and_none_comes_from_a_damaged_record() {
        let last = EntryId { term: Term(3), index: LogIndex(20) };
        let mut recovery = Recovery::new(ClusterId(1), quoring_ring::DEFAULT_CRC32C);
        recovery.snapshot(&Snapshot { last, length: 0, checksum: 0, voters: NodeSet::first(3) });
        take(&mut recovery, &vote(2, 0, 7)).unwrap();
        let mut damaged = vote(2, 0, 8);
        damaged[8] ^= 0x10;
        assert!(take(&mut recovery, &damaged).is_err());
        let recovered = recovery.finish().unwrap();
        assert_eq!((recovered.restart, recovered.start, recovered.boot), (true, last, 7));
    }

    /// covers: E2
    #[test]
    fn a_vote_of_an_earlier_term_is_none_in_a_later_one() {
        let mut recovery = Recovery::new(ClusterId(1), quoring_ring::DEFAULT_CRC32C);
        recovery.start(EntryId { term: Term(5), index: LogIndex(0) }, Term(3), 0x81, 0);
        let recovered = recovery.finish().unwrap();
        assert_eq!((recovered.term, recovered.vote), (Term(5), None));
    }

    /// Else counting on from there would wrap.
    ///
    /// covers: L15
    #[test]
    fn no_log_or_snapshot_begins_above_the_ceiling() {
        for (index, is_believed) in [(LogIndex::CEILING, true), (LogIndex(LogIndex::CEILING.0 + 1), false)] {
            let payload = index.0.to_le_bytes();
            let len = payload.len() as u16;
            let header = Header { checksum: 0, term: 3, index_low: index.0 as u32, len, kind: Kind::Start, flags: 0 };
            let checksum = Checksum::new(1, quoring_ring::DEFAULT_CRC32C).of(&header, 0, &payload);
            let mut bytes = Header { checksum, ..header }.encode().to_vec();
            bytes.extend(payload);
            bytes.resize(header.size(), 0);
            let mut recovery = Recovery::new(ClusterId(1), quoring_ring::DEFAULT_CRC32C);
            assert_eq!(take(&mut recovery, &bytes).is_ok(), is_believed);

            let last = EntryId { term: Term(3), index };
            let mut recovery = Recovery::new(ClusterId(1), quoring_ring::DEFAULT_CRC32C);
            recovery.snapshot(&Snapshot { last, length: 0, checksum: 0, voters: NodeSet::first(3) });
            assert_eq!(recovery.finish().is_ok(), is_believed);
        }
    }
}
