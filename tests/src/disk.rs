//! What a node has durable: whole records in the order they were written, perhaps a torn one, and snapshots.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use quoring_core::{
    ClientId, ClusterId, EntryId, LogIndex, NodeId, NodeSet, Recovered, Recovery, RequestId, Snapshot, Space, Term,
};
use quoring_ring::{DEFAULT_CRC32C, Header, Kind, Record, Records, extend};

use crate::snapshots::{Refused, Snapshots, State};

/// An entry, known by its term and by everything up to it: two logs that agree on one chain agree on all before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The term it was appended in.
    pub term: Term,
    /// What it is.
    pub kind: Kind,
    /// A hash of it and all entries before it.
    pub chain: u64,
    /// Which item of which stream it is, and a hash of its command.
    pub item: Option<(ClientId, u32, u64)>,
}

/// Entries after `base`, by index. Also those that were purged: it is what a log says, not what a disk holds.
#[derive(Clone, Default, Debug)]
pub struct Log {
    base: State,
    entries: Vec<Entry>,
}

impl Log {
    /// An empty log that goes on from a state.
    #[must_use]
    pub const fn after(base: State) -> Self {
        Self { base, entries: Vec::new() }
    }

    /// What it goes on after.
    #[must_use]
    pub const fn base(&self) -> LogIndex {
        self.base.after.index
    }

    /// The last index.
    #[must_use]
    pub const fn last(&self) -> LogIndex {
        LogIndex(self.base().0 + self.entries.len() as u64)
    }

    /// The entry of `index`.
    #[must_use]
    pub fn get(&self, index: LogIndex) -> Option<&Entry> {
        self.entries.get(usize::try_from(index.0.checked_sub(self.base().0)?.checked_sub(1)?).ok()?)
    }

    /// The hash of everything up to `index`; `None` below the base and above the last entry.
    #[must_use]
    pub fn chain(&self, index: LogIndex) -> Option<u64> {
        if index == self.base() { Some(self.base.chain) } else { self.get(index).map(|entry| entry.chain) }
    }

    /// The term of `index`; `None` below the base and above the last entry.
    #[must_use]
    pub fn term(&self, index: LogIndex) -> Option<Term> {
        if index == self.base() { Some(self.base.after.term) } else { self.get(index).map(|entry| entry.term) }
    }

    /// What an application says that has applied everything up to `index`.
    #[must_use]
    pub fn state(&self, index: LogIndex) -> Option<State> {
        Some(State { after: EntryId { term: self.term(index)?, index }, chain: self.chain(index)? })
    }

    /// All entries with their indices.
    pub fn iter(&self) -> impl Iterator<Item = (LogIndex, &Entry)> {
        (0..).map(|place| LogIndex(self.base().0 + place).next()).zip(&self.entries)
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
        assert!(index > self.base() && index <= self.last().next(), "entry {index} after {}", self.last());
        self.entries.truncate((index.0 - self.base().0 - 1) as usize);
        let chain = chain(self.chain(index.previous()).unwrap_or_default(), record);
        let (term, kind) = (Term(record.header.term), record.header.kind);
        let request = RequestId::decode(record.payload).filter(|_| kind == Kind::Stream);
        let item = request.map(|(request, command)| (request.client, request.sequence, digest(command)));
        self.entries.push(Entry { term, kind, chain, item });
        Some(index)
    }
}

/// The hash of an entry and of everything before it.
#[must_use]
pub fn chain(before: u64, record: &Record<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (before, record.header.term, record.header.kind, record.payload).hash(&mut hasher);
    hasher.finish()
}

/// A hash of a command.
#[must_use]
pub fn digest(command: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    command.hash(&mut hasher);
    hasher.finish()
}

/// The durable records and snapshots of one node.
#[derive(Clone, Default, Debug)]
pub struct Disk {
    /// Capacity and free bytes that it tells, if it does not tell that it never fills.
    pub tells: Option<(u64, u64)>,
    /// Oldest first.
    records: VecDeque<Stored>,
    /// How many have been dropped before those.
    dropped: usize,
    /// The number of the newest record of each entry that is there.
    newest: BTreeMap<LogIndex, usize>,
    torn: Vec<u8>,
    log: Log,
    term: Term,
    vote: Option<NodeId>,
    boot: u32,
    snapshots: Snapshots,
    /// Every state a snapshot of which was ever whole here.
    states: HashMap<EntryId, State>,
}

/// A record, and what a page that begins with it would say.
#[derive(Clone, Debug)]
struct Stored {
    bytes: Vec<u8>,
    index: Option<LogIndex>,
    /// The last entry when it was written.
    before: EntryId,
    /// Term and flags of the newest vote then, and the boot number.
    vote: (Term, u8, u32),
}

impl Disk {
    /// A disk whose log goes on after an entry of which it has a snapshot.
    #[must_use]
    pub fn after(base: EntryId, voters: NodeSet) -> Self {
        let mut disk = Self::default();
        if base.index > LogIndex::ZERO {
            let state = State { after: base, chain: 0 };
            disk.save(&state, voters, &state.encode(0, 0)).expect("nothing comes between");
            (disk.log, disk.term) = (Log::after(state), base.term);
        }
        disk
    }

    /// Adds a whole record.
    ///
    /// # Panics
    /// It does not continue the log.
    pub fn push(&mut self, bytes: Vec<u8>) {
        let record = Record::parse(&bytes).expect("whole records");
        let term = Term(record.header.term);
        let (before, vote) = (self.last(), (self.term, flags(self.vote), self.boot));
        if record.header.kind == Kind::Vote {
            // Bit 7 says that there is a vote, bits 0..=4 for whom.
            let vote = NodeId::new(record.header.flags & 0x7F).filter(|_| record.header.flags & 0x80 != 0);
            assert!(
                term > self.term || term == self.term && (self.vote.is_none() || self.vote == vote),
                "a vote is never taken back"
            );
            (self.term, self.vote) = (term, vote);
            let boot = record.header.index_low;
            assert!(boot >= self.boot, "boot {boot} after {}", self.boot);
            self.boot = boot;
        } else {
            self.note_term(term);
        }
        let index = self.log.put(&record);
        let number = self.dropped + self.records.len();
        if let Some(state) = self.started(&record) {
            self.log = Log::after(state);
            self.newest.clear();
        } else if let Some(index) = index {
            self.newest.split_off(&index);
            self.newest.insert(index, number);
        }
        self.records.push_back(Stored { bytes, index, before, vote });
    }

    /// The state behind which the log starts anew, if the record says so.
    ///
    /// # Panics
    /// No snapshot of it was ever whole here.
    #[must_use]
    pub fn started(&self, record: &Record<'_>) -> Option<State> {
        let entry = EntryId { term: Term(record.header.term), index: LogIndex(record.start()?) };
        Some(*self.states.get(&entry).unwrap_or_else(|| panic!("no snapshot covers what is dropped up to {entry:?}")))
    }

    /// The first bytes of a record that was being written when the power went.
    pub fn tear(&mut self, bytes: &[u8]) {
        self.torn = bytes.to_vec();
        self.snapshots.cut();
    }

    /// Drops up to `count` records of what may go: entries up to `allowed`, what was replaced, and votes, oldest first.
    pub fn purge(&mut self, allowed: LogIndex, count: usize) {
        for _ in 0..count {
            let Some(oldest) = self.records.front() else { return };
            let live = oldest.index.filter(|index| self.newest.get(index) == Some(&self.dropped));
            match live {
                Some(index) if index > allowed => return,
                Some(index) => drop(self.newest.remove(&index)),
                None => {}
            }
            self.records.pop_front();
            self.dropped += 1;
        }
    }

    /// The log holds what is behind this one.
    #[must_use]
    pub fn start(&self) -> LogIndex {
        self.newest.first_key_value().map_or(self.log.last(), |(first, _)| first.previous())
    }

    /// What the core is told after each write.
    #[must_use]
    pub fn space(&self) -> Space {
        let (capacity, free) = self.tells.unwrap_or((u64::MAX, u64::MAX));
        Space { capacity, free, start: self.start() }
    }

    /// What the records say, as a core is told after a restart. The torn tail is dropped for good.
    ///
    /// # Panics
    /// A whole record does not continue the log, or entries are lost.
    pub fn recover(&mut self, cluster: ClusterId) -> Recovered {
        let mut recovery = Recovery::new(cluster, DEFAULT_CRC32C);
        if let Some(saved) = self.snapshots.newest() {
            recovery.snapshot(&saved.snapshot);
        }
        let (before, (term, flags, boot)) = self
            .records
            .front()
            .map_or((self.last(), (self.term, flags(self.vote), self.boot)), |first| (first.before, first.vote));
        if before.index > LogIndex::ZERO || self.dropped > 0 {
            recovery.start(before, term, flags, boot);
        }
        for stored in &self.records {
            recovery.record(&Record::parse(&stored.bytes).expect("whole records")).expect("records in order");
        }
        assert!(!Records::new(&std::mem::take(&mut self.torn)).any(|record| record.is_ok()), "a torn record is none");
        let recovered = recovery.finish().expect("what was purged is covered (S3, S5)");
        assert_eq!(recovered.boot, self.boot, "boot numbers never fall (R15)");
        recovered
    }

    /// The newest record of an entry.
    #[must_use]
    pub fn read(&self, index: LogIndex) -> Option<&[u8]> {
        let place = self.newest.get(&index)?.checked_sub(self.dropped)?;
        self.records.get(place).map(|stored| stored.bytes.as_slice())
    }

    /// The term of an entry that is there.
    #[must_use]
    pub fn term_of(&self, index: LogIndex) -> Option<Term> {
        Record::parse(self.read(index)?).ok().map(|record| Term(record.header.term))
    }

    /// Writes a whole snapshot of the own application.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn save(&mut self, state: &State, voters: NodeSet, bytes: &[u8]) -> Result<Snapshot, Refused> {
        let snapshot = state.describe(bytes, voters);
        self.snapshots.begin(snapshot.last);
        self.snapshots.write(snapshot.last, 0, bytes)?;
        self.finish_snapshot(&snapshot)?;
        Ok(snapshot)
    }

    /// Writes a piece of a leader's snapshot.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn write_chunk(&mut self, snapshot: &Snapshot, offset: u64, bytes: &[u8]) -> Result<(), Refused> {
        if offset == 0 {
            self.snapshots.begin(snapshot.last);
        }
        self.snapshots.write(snapshot.last, offset, bytes)?;
        if offset + bytes.len() as u64 == snapshot.length { self.finish_snapshot(snapshot) } else { Ok(()) }
    }

    fn finish_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), Refused> {
        self.snapshots.finish(snapshot)?;
        // A hostile leader's snapshot may be of anything.
        let chain = self.saved().map_or(0, |state| state.chain);
        self.states.insert(snapshot.last, State { after: snapshot.last, chain });
        Ok(())
    }

    /// The snapshots.
    #[must_use]
    pub const fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// What the newest snapshot says; `None` also if that is nothing.
    #[must_use]
    pub fn saved(&self) -> Option<State> {
        State::decode(&self.snapshots.newest()?.bytes)
    }

    /// The durable log.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// The durable term and vote; a snapshot may be of a later term than the records.
    #[must_use]
    pub fn vote(&self) -> (Term, Option<NodeId>) {
        let term = self.snapshots.covered().term;
        if term > self.term { (term, None) } else { (self.term, self.vote) }
    }

    /// The newest durable boot number.
    #[must_use]
    pub const fn boot(&self) -> u32 {
        self.boot
    }

    /// All records that are there.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter().map(|stored| stored.bytes.as_slice())
    }

    fn last(&self) -> EntryId {
        let index = self.log.last();
        EntryId { term: self.log.term(index).unwrap_or_default(), index }
    }

    fn note_term(&mut self, term: Term) {
        if term > self.term {
            (self.term, self.vote) = (term, None);
        }
    }
}

/// A vote as records have it.
const fn flags(vote: Option<NodeId>) -> u8 {
    match vote {
        Some(node) => 0x80 | node.get(),
        None => 0,
    }
}

/// How a record reads in scripts: `3-1` is the entry of term 3 at index 1, `vote 3 for 1` a vote, `term 3 boot 2` a term and a boot number, `start 3-1` the
/// start of a log behind that entry.
#[must_use]
pub fn name(record: &Record<'_>, index: Option<LogIndex>) -> String {
    let header: &Header = &record.header;
    match index.or(record.start().map(LogIndex)) {
        Some(index) if header.kind == Kind::Start => format!("start {}-{index}", header.term),
        Some(index) => format!("{}-{index}", header.term),
        None => {
            let boot = if header.index_low > 0 { format!(" boot {}", header.index_low) } else { String::new() };
            match header.flags & 0x80 {
                0 => format!("term {}{boot}", header.term),
                _ => format!("vote {} for {}{boot}", header.term, header.flags & 0x1F),
            }
        }
    }
}
