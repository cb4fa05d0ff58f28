//! Log matching (Raft section 5.3): two logs with an entry of the same index and term are the same up to that entry. Held against
//! everything that ever was durable anywhere, and everything that was ever sent.

use std::collections::HashMap;

use quoring_core::{EntryId, LogIndex, RequestId, Snapshot, Term};
use quoring_ring::{Kind, Records, extend};

use super::Verdict;
use crate::application::digest;
use crate::store::Durable;

/// What tells an entry from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) term: u32,
    pub(crate) kind: Kind,
    /// The session's request, if it is one of a session.
    pub(crate) request: Option<RequestId>,
    digest: u64,
}

impl Entry {
    pub(crate) fn new(term: u32, kind: Kind, payload: &[u8]) -> Self {
        let request = if kind == Kind::Session { RequestId::decode(payload) } else { None };
        Self { term, kind, request: request.map(|(request, _)| request), digest: digest(kind as u64, payload) }
    }

    /// A digest of the log up to this entry, given that of the log before it.
    fn chain(&self, before: u64) -> u64 {
        digest(before, &[self.digest.to_le_bytes(), u64::from(self.term).to_le_bytes()].concat())
    }
}

/// What is durable on each node, and every log that was ever seen.
pub(crate) struct Logs {
    nodes: Vec<Log>,
    /// The digest of the log up to the entry with this index and term.
    chains: HashMap<(u64, u32), u64>,
    /// Durable entries that were replaced by others.
    replaced: u64,
}

/// What is durable on one node: its log, what of it has been purged included, and its snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    /// The log was started anew behind this entry.
    base: EntryId,
    /// The digest of the log up to there.
    before: u64,
    /// The entries behind it.
    entries: Vec<Entry>,
    chains: Vec<u64>,
    /// The highest term of any record.
    term: u32,
    /// The flags of its vote record; 0 for no vote.
    vote: u8,
    /// The highest boot number of any vote record.
    pub(crate) boot: u32,
    /// Entries up to this one are gone from the medium.
    pub(crate) start: u64,
    /// The newest one.
    pub(crate) snapshot: Option<Snapshot>,
}

impl Log {
    /// The last index.
    pub(crate) fn last(&self) -> u64 {
        self.base.index.0 + self.entries.len() as u64
    }

    /// The entry `index`, unless the log was started anew behind it.
    pub(crate) fn get(&self, index: u64) -> Option<&Entry> {
        let place = index.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(place).ok()?)
    }

    /// The last entry that the snapshot covers.
    pub(crate) fn covered(&self) -> EntryId {
        self.snapshot.map_or(EntryId::ZERO, |snapshot| snapshot.last)
    }

    /// Whether the effect of this entry is durable here.
    pub(crate) fn holds(&self, index: u64, entry: Option<&Entry>) -> bool {
        index <= self.covered().index.0 || self.get(index) == entry
    }

    /// The end of all that is durable here.
    pub(crate) fn end(&self) -> u64 {
        self.last().max(self.covered().index.0)
    }

    /// The last entry of a node that starts with this: that of its snapshot, if the log ends before it or contradicts it.
    pub(crate) fn resumes(&self) -> u64 {
        let covered = self.covered();
        let term = if covered.index == self.base.index {
            Some(self.base.term.0)
        } else {
            self.get(covered.index.0).map(|entry| entry.term)
        };
        if term == Some(covered.term.0) { self.last() } else { covered.index.0 }
    }

    /// The highest term that is durable here.
    pub(crate) fn term(&self) -> u32 {
        self.term.max(self.covered().term.0)
    }

    /// The vote in that term, as the flags of a vote record say it; 0 for none.
    pub(crate) fn vote(&self) -> u8 {
        if self.term == self.term() { self.vote } else { 0 }
    }

    /// The log after this record. Entries that do not follow on it are not taken.
    pub(crate) fn record(&mut self, record: &Durable<'_>) {
        match *record {
            Durable::Vote { term, flags, boot } => {
                self.boot = self.boot.max(boot);
                self.sees_term(term);
                if term == self.term && flags != 0 {
                    self.vote = flags;
                }
            }
            Durable::Entry { index, term, kind, payload } => self.put(index, Entry::new(term, kind, payload)),
            Durable::Start { index, term } => self.begin(index, term, 0),
        }
    }

    fn put(&mut self, index: u64, entry: Entry) {
        self.sees_term(entry.term);
        let Some(place) = index.checked_sub(self.base.index.0 + 1) else { return };
        self.entries.truncate(place as usize);
        self.chains.truncate(place as usize);
        let chain = entry.chain(self.chains.last().copied().unwrap_or(self.before));
        self.entries.push(entry);
        self.chains.push(chain);
        self.start = self.start.min(index - 1);
    }

    fn begin(&mut self, index: u64, term: u32, before: u64) {
        self.sees_term(term);
        (self.base, self.before) = (EntryId { term: Term(term), index: LogIndex(index) }, before);
        self.entries.clear();
        self.chains.clear();
        self.start = index;
    }

    fn sees_term(&mut self, term: u32) {
        if term > self.term {
            (self.term, self.vote) = (term, 0);
        }
    }
}

impl Logs {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { nodes: vec![Log::default(); nodes], chains: HashMap::new(), replaced: 0 }
    }

    /// How many durable entries, on all nodes, were replaced by those of another leader.
    pub(crate) const fn replaced(&self) -> u64 {
        self.replaced
    }

    pub(crate) fn of(&self, node: usize) -> &Log {
        &self.nodes[node]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Log> {
        self.nodes.iter()
    }

    pub(crate) fn of_mut(&mut self, node: usize) -> &mut Log {
        &mut self.nodes[node]
    }

    /// A vote record is durable.
    pub(crate) fn vote(&mut self, node: usize, term: u32, flags: u8, boot: u32) {
        self.nodes[node].record(&Durable::Vote { term, flags, boot });
    }

    /// The log starts anew behind this entry.
    pub(crate) fn begin(&mut self, node: usize, index: u64, term: u32) -> Verdict {
        let before = self.chains.get(&(index, term)).copied();
        self.nodes[node].begin(index, term, before.unwrap_or(0));
        match before {
            Some(_) => Ok(()),
            None => Err(format!("started its log behind entry {index} of term {term}, which nobody ever had")),
        }
    }

    /// An entry is durable; it replaces everything from its index on.
    pub(crate) fn append(&mut self, node: usize, index: u64, entry: Entry) -> Verdict {
        let log = &mut self.nodes[node];
        if index <= log.base.index.0 || index > log.last() + 1 {
            return Err(format!("wrote entry {index} on a log from {} to {}", log.base.index, log.last()));
        }
        self.replaced += log.last() + 1 - index;
        log.put(index, entry);
        let chain = log.chains.last().copied().unwrap_or(0);
        self.meet(index, &entry, chain)
    }

    /// These records were sent as what follows entry `prev` of `prev_term`.
    pub(crate) fn send(&mut self, prev: u64, prev_term: u32, records: &[u8]) -> Verdict {
        let known = if prev == 0 { Some(0) } else { self.chains.get(&(prev, prev_term)).copied() };
        let Some(mut chain) = known else { return Ok(()) };
        for (place, record) in (prev + 1..).zip(Records::new(records)) {
            let record = record.map_err(|error| format!("sent something other than a record: {error}"))?;
            let index = extend(place, record.header.index_low);
            if index != place {
                return Err(format!("sent entry {index} in the place of entry {place}"));
            }
            let entry = Entry::new(record.header.term, record.header.kind, record.payload);
            chain = entry.chain(chain);
            self.meet(index, &entry, chain)?;
        }
        Ok(())
    }

    fn meet(&mut self, index: u64, entry: &Entry, chain: u64) -> Verdict {
        let known = *self.chains.entry((index, entry.term)).or_insert(chain);
        if known == chain {
            return Ok(());
        }
        Err(format!(
            "entry {index} of term {} is not the same, or follows on another log, than one seen before",
            entry.term
        ))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use quoring_core::NodeSet;

    /// A command that is told from others by its text.
    pub(in super::super) fn command(term: u32, text: &str) -> Entry {
        Entry::new(term, Kind::Command, text.as_bytes())
    }

    /// One up to this entry.
    pub(in super::super) fn snapshot(index: u64, term: u32) -> Snapshot {
        let last = EntryId { term: Term(term), index: LogIndex(index) };
        Snapshot { last, length: 0, checksum: 0, voters: NodeSet::EMPTY }
    }

    /// The durable logs of nodes, given the terms of their entries; entries with the same index and term are the same.
    pub(in super::super) fn logs(nodes: &[&[u32]]) -> Logs {
        let mut logs = Logs::new(nodes.len());
        for (node, terms) in nodes.iter().enumerate() {
            for (place, &term) in terms.iter().enumerate() {
                logs.append(node, place as u64 + 1, command(term, "x")).unwrap();
            }
        }
        logs
    }

    #[test]
    fn logs_may_differ_until_they_share_an_entry() {
        let mut logs = logs(&[&[1, 1, 2], &[1, 1, 3], &[1, 4]]);
        assert_eq!(logs.append(2, 2, command(1, "x")), Ok(()));
        assert_eq!(logs.append(2, 3, command(3, "x")), Ok(()));
        assert!(logs.append(2, 5, command(3, "x")).is_err(), "a gap");
    }

    #[test]
    fn the_same_index_and_term_with_another_command_is_refused() {
        assert!(logs(&[&[1, 1], &[1]]).append(1, 2, command(1, "y")).is_err());
    }

    #[test]
    fn the_same_entry_on_another_past_is_refused() {
        assert!(logs(&[&[1, 2, 3], &[1, 1]]).append(1, 3, command(3, "x")).is_err());
    }

    #[test]
    fn a_vote_and_a_term_are_remembered_together() {
        let mut logs = logs(&[&[1]]);
        logs.vote(0, 3, 0x80, 0);
        assert_eq!((logs.of(0).term(), logs.of(0).vote()), (3, 0x80));
        logs.vote(0, 3, 0, 7);
        assert_eq!(logs.of(0).vote(), 0x80);
        logs.append(0, 2, command(4, "x")).unwrap();
        assert_eq!((logs.of(0).term(), logs.of(0).vote()), (4, 0));
        logs.vote(0, 4, 0x81, 3);
        logs.of_mut(0).snapshot = Some(snapshot(1, 4));
        assert_eq!((logs.of(0).term(), logs.of(0).vote()), (4, 0x81));
        logs.of_mut(0).snapshot = Some(snapshot(1, 5));
        assert_eq!((logs.of(0).term(), logs.of(0).vote(), logs.of(0).boot), (5, 0, 7));
    }

    #[test]
    fn a_log_that_is_started_anew_goes_on_behind_an_entry_that_somebody_had() {
        let mut logs = logs(&[&[1, 1, 2], &[1]]);
        assert_eq!(logs.begin(1, 3, 2), Ok(()));
        assert_eq!((logs.of(1).last(), logs.of(1).start, logs.of(1).get(1)), (3, 3, None));
        assert_eq!(logs.append(1, 4, command(2, "x")), Ok(()));
        assert!(logs.append(1, 3, command(2, "x")).is_err(), "before its beginning");
        assert!(logs.begin(1, 3, 7).is_err());
    }

    #[test]
    fn a_node_resumes_behind_its_snapshot_if_its_log_does_not_reach_it_or_contradicts_it() {
        let resumes = |last, term| {
            let mut logs = logs(&[&[1, 1, 2, 2]]);
            logs.of_mut(0).snapshot = Some(snapshot(last, term));
            logs.of(0).resumes()
        };
        assert_eq!([resumes(3, 2), resumes(2, 1), resumes(5, 2), resumes(3, 3)], [4, 4, 5, 3]);
    }
}
