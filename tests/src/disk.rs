//! What a node has durable: whole records in the order they were written, and perhaps a torn one.

use std::hash::{DefaultHasher, Hash, Hasher};

use quoring_core::{ClusterId, LogIndex, NodeId, Recovered, Recovery, Term};
use quoring_ring::{DEFAULT_CRC32C, Header, Kind, Record, Records, extend};

/// An entry, known by its term and by everything up to it: two logs that agree on one chain agree on all before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The term it was appended in.
    pub term: Term,
    /// What it is.
    pub kind: Kind,
    /// A hash of it and all entries before it.
    pub chain: u64,
}

/// Entries after `base`, by index.
#[derive(Clone, Default, Debug)]
pub struct Log {
    base: LogIndex,
    base_term: Term,
    entries: Vec<Entry>,
}

impl Log {
    /// An empty log that goes on after `base`.
    #[must_use]
    pub const fn after(base: LogIndex, base_term: Term) -> Self {
        Self { base, base_term, entries: Vec::new() }
    }

    /// What it goes on after.
    #[must_use]
    pub const fn base(&self) -> LogIndex {
        self.base
    }

    /// The last index.
    #[must_use]
    pub const fn last(&self) -> LogIndex {
        LogIndex(self.base.0 + self.entries.len() as u64)
    }

    /// The entry of `index`.
    #[must_use]
    pub fn get(&self, index: LogIndex) -> Option<&Entry> {
        self.entries.get(usize::try_from(index.0.checked_sub(self.base.0 + 1)?).ok()?)
    }

    /// The hash of everything up to `index`; `None` above the last entry.
    #[must_use]
    pub fn chain(&self, index: LogIndex) -> Option<u64> {
        if index <= self.base { Some(0) } else { self.get(index).map(|entry| entry.chain) }
    }

    /// The term of `index`; of everything up to the base, the base's.
    #[must_use]
    pub fn term(&self, index: LogIndex) -> Option<Term> {
        if index <= self.base { Some(self.base_term) } else { self.get(index).map(|entry| entry.term) }
    }

    /// All entries with their indices.
    pub fn iter(&self) -> impl Iterator<Item = (LogIndex, &Entry)> {
        (self.base.0 + 1..).map(LogIndex).zip(&self.entries)
    }

    /// Puts the record's entry in its place, which truncates what was there and above; its index. `None` for a vote.
    ///
    /// # Panics
    /// The entry would leave a gap.
    pub fn put(&mut self, record: &Record<'_>) -> Option<LogIndex> {
        if !record.header.kind.is_entry() {
            return None;
        }
        let index = LogIndex(extend(self.last().0, record.header.index_low));
        assert!(index > self.base && index <= self.last().next(), "entry {index} after {}", self.last());
        self.entries.truncate((index.0 - self.base.0 - 1) as usize);
        let mut hasher = DefaultHasher::new();
        (self.entries.last().map(|entry| entry.chain), record.header.term, record.header.kind, record.payload)
            .hash(&mut hasher);
        self.entries.push(Entry { term: Term(record.header.term), kind: record.header.kind, chain: hasher.finish() });
        Some(index)
    }
}

/// The durable records of one node.
#[derive(Clone, Default, Debug)]
pub struct Disk {
    records: Vec<Vec<u8>>,
    /// By index after the base: the newest record.
    newest: Vec<usize>,
    torn: Vec<u8>,
    log: Log,
    term: Term,
    vote: Option<NodeId>,
}

impl Disk {
    /// A disk whose log goes on after `base`, which is durable but no longer there.
    #[must_use]
    pub fn after(base: LogIndex, base_term: Term) -> Self {
        Self { log: Log::after(base, base_term), term: base_term, ..Self::default() }
    }

    /// Adds a whole record.
    ///
    /// # Panics
    /// It does not continue the log.
    pub fn push(&mut self, bytes: Vec<u8>) {
        let record = Record::parse(&bytes).expect("whole records");
        let term = Term(record.header.term);
        if record.header.kind == Kind::Vote {
            // Bit 7 says that there is a vote, bits 0..=4 for whom.
            let vote = NodeId::new(record.header.flags & 0x7F).filter(|_| record.header.flags & 0x80 != 0);
            assert!(
                term > self.term || term == self.term && (self.vote.is_none() || self.vote == vote),
                "a vote is never taken back"
            );
            (self.term, self.vote) = (term, vote);
        } else if term > self.term {
            (self.term, self.vote) = (term, None);
        }
        if let Some(index) = self.log.put(&record) {
            self.newest.truncate((index.0 - self.log.base.0 - 1) as usize);
            self.newest.push(self.records.len());
        }
        self.records.push(bytes);
    }

    /// The first bytes of a record that was being written when the power went.
    pub fn tear(&mut self, bytes: &[u8]) {
        self.torn = bytes.to_vec();
    }

    /// What the records say, as a core is told after a restart. The torn tail is dropped for good.
    ///
    /// # Panics
    /// A whole record does not continue the log.
    pub fn recover(&mut self, cluster: ClusterId) -> Recovered {
        if self.log.base != LogIndex::ZERO {
            assert!(self.records.is_empty(), "a log that starts high restarts only where it starts");
            return Recovered { term: self.term, last: self.log.base, ..Recovered::default() };
        }
        let mut recovery = Recovery::new(cluster, DEFAULT_CRC32C);
        for bytes in &self.records {
            recovery.record(&Record::parse(bytes).expect("whole records")).expect("records in order");
        }
        assert!(!Records::new(&std::mem::take(&mut self.torn)).any(|record| record.is_ok()), "a torn record is none");
        recovery.finish().expect("nothing was purged")
    }

    /// The newest record of an entry.
    #[must_use]
    pub fn read(&self, index: LogIndex) -> Option<&[u8]> {
        let place = usize::try_from(index.0.checked_sub(self.log.base.0 + 1)?).ok()?;
        self.records.get(*self.newest.get(place)?).map(Vec::as_slice)
    }

    /// The term of an entry, also of the base.
    #[must_use]
    pub fn term_of(&self, index: LogIndex) -> Option<Term> {
        self.log.term(index)
    }

    /// The durable log.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// The durable term and vote.
    #[must_use]
    pub const fn vote(&self) -> (Term, Option<NodeId>) {
        (self.term, self.vote)
    }

    /// All records.
    #[must_use]
    pub fn records(&self) -> &[Vec<u8>] {
        &self.records
    }
}

/// How a record reads in scripts: `3-1` is the entry of term 3 at index 1, `vote 3 for 1` a vote.
#[must_use]
pub fn name(header: &Header, index: Option<LogIndex>) -> String {
    match index {
        Some(index) => format!("{}-{index}", header.term),
        None if header.flags & 0x80 != 0 => format!("vote {} for {}", header.term, header.flags & 0x1F),
        None => format!("term {}", header.term),
    }
}
