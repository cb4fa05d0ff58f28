//! Log matching (Raft section 5.3): two logs with an entry of the same index and term are the same up to that entry. Held against
//! everything that ever was durable anywhere, and everything that was ever sent.

use std::collections::HashMap;

use quoring_ring::{Kind, Records, extend};

use super::Verdict;
use crate::application::digest;

/// What tells an entry from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) term: u32,
    pub(crate) kind: Kind,
    digest: u64,
}

impl Entry {
    pub(crate) fn new(term: u32, kind: Kind, payload: &[u8]) -> Self {
        Self { term, kind, digest: digest(kind as u64, payload) }
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

/// What is durable on one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    entries: Vec<Entry>,
    chains: Vec<u64>,
    /// The highest term of any record.
    pub(crate) term: u32,
    /// The flags of its vote record; 0 for no vote.
    pub(crate) vote: u8,
}

impl Log {
    /// The last index.
    pub(crate) fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The entry `index`.
    pub(crate) fn get(&self, index: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(index.checked_sub(1)?).ok()?)
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

    /// A vote record is durable.
    pub(crate) fn vote(&mut self, node: usize, term: u32, flags: u8) {
        let log = &mut self.nodes[node];
        log.sees_term(term);
        if term == log.term && flags != 0 {
            log.vote = flags;
        }
    }

    /// An entry is durable; it replaces everything from its index on.
    pub(crate) fn append(&mut self, node: usize, index: u64, entry: Entry) -> Verdict {
        let log = &mut self.nodes[node];
        if index == 0 || index > log.last() + 1 {
            return Err(format!("entry {index} was written on a log of {} entries", log.last()));
        }
        log.sees_term(entry.term);
        let place = (index - 1) as usize;
        self.replaced += (log.entries.len() - place) as u64;
        log.entries.truncate(place);
        log.chains.truncate(place);
        let chain = entry.chain(log.chains.last().copied().unwrap_or(0));
        log.entries.push(entry);
        log.chains.push(chain);
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

    /// A command that is told from others by its text.
    pub(in super::super) fn command(term: u32, text: &str) -> Entry {
        Entry::new(term, Kind::Command, text.as_bytes())
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
        logs.vote(0, 3, 0x80);
        assert_eq!((logs.of(0).term, logs.of(0).vote), (3, 0x80));
        logs.vote(0, 3, 0);
        assert_eq!(logs.of(0).vote, 0x80);
        logs.append(0, 2, command(4, "x")).unwrap();
        assert_eq!((logs.of(0).term, logs.of(0).vote), (4, 0));
    }
}
