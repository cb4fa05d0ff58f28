//! One node: the core, its ring, what it writes, and what it has durable.

use std::collections::VecDeque;

use quoring_core::{
    Chunk, Config, EntryId, Event, Handled, Instant, LogIndex, News, NodeId, NodeSet, Peer, ProposeError, Raft,
    Recovered, Refusals, Role, Snapshot, Status, Stored, Term,
};
use quoring_ring::{Applier, Checksum, Flusher, Handles, Position, Reader, Record, Records};

use crate::disk::{Disk, Log, chain, name};
use crate::memory::{RingSize, ring};
use crate::snapshots::{Refused, State};

/// The memory of a follower for what its clients forward.
#[derive(Clone, Copy, Debug)]
pub struct WindowSize {
    /// Bytes of it.
    pub bytes: usize,
    /// Whether a second frame may leave before the first is answered.
    pub pipelines: bool,
}

/// A node, running or without power.
pub struct Node {
    /// Who it is.
    pub id: NodeId,
    /// What survives a crash.
    pub disk: Disk,
    /// What does not.
    pub running: Option<Running>,
}

/// What drivers do not look at after each input, since news tells when it has changed.
struct Watched {
    deadline: Option<Instant>,
    leads: Option<Term>,
    leader: (Term, Option<NodeId>),
}

impl Watched {
    fn of(raft: &Raft<'_>) -> Self {
        Self { deadline: raft.poll_timeout(), leads: raft.leads(), leader: (raft.term(), raft.leader()) }
    }

    fn assert_told(&self, before: &Self, news: News) {
        let sooner = self.deadline.is_some_and(|deadline| before.deadline.is_some_and(|armed| deadline < armed));
        assert!(!sooner || news.has(News::DEADLINE), "the ticker would sleep too long: {news:?}");
        let resigned = before.leads.is_some() && self.leads != before.leads;
        assert!(!resigned || news.has(News::OFFICE), "clients would wait for a leader of the past: {news:?}");
        assert!(self.leader == before.leader || news.has(News::LEADER), "nobody hears who leads: {news:?}");
    }
}

/// A node with power.
pub struct Running {
    /// The core.
    pub raft: Raft<'static>,
    /// A view of its ring.
    pub reader: Reader<'static>,
    /// Peers whose replicators have something to do.
    pub owed: NodeSet,
    /// How often the core had news for clients,
    pub client_news: u32,
    /// and for the owner of the window.
    pub window_news: u32,
    /// What drivers are told of by its news, as it was before this input.
    watched: Watched,
    flusher: Flusher<'static>,
    applier: Applier<'static>,
    /// Everything accepted.
    log: Log,
    /// The accepted records whose durability nobody was told of, oldest first.
    pending: VecDeque<Vec<u8>>,
    /// How many records were flushed since the start: the number of the first pending one.
    flushed: u64,
    writes: Vec<Write>,
    /// A piece of a leader's snapshot that the core was not told of yet.
    chunk: Option<HeldChunk>,
    scratch: Vec<u8>,
    /// What the application knows.
    application: State,
    /// Entries the application had to read from the disk.
    read_back: u64,
    /// Snapshots the application has restored.
    restored: u64,
}

/// A piece of a leader's snapshot on its way to the disk: first it is handed out by the core, then stored, then the core is told.
struct HeldChunk {
    chunk: Chunk,
    bytes: Vec<u8>,
    stored: Option<Stored>,
}

/// A write whose completion is outstanding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Write {
    /// How a script calls it.
    pub name: u32,
    /// What its completion publishes.
    pub end: Position,
    /// The number of the record after its last one.
    until: u64,
}

/// What an application was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Applied {
    /// What it knows by it.
    pub state: State,
    /// Whether that came as a snapshot.
    pub restored: bool,
}

impl Node {
    /// A node that has not started.
    #[must_use]
    pub const fn new(id: NodeId, disk: Disk) -> Self {
        Self { id, disk, running: None }
    }

    /// Starts from what the disk holds.
    ///
    /// # Panics
    /// The configuration is refused, or there is no such ring.
    pub fn start(&mut self, config: Config, size: RingSize, frame: usize, window: WindowSize, now: Instant) {
        let recovered: Recovered = self.disk.recover(config.cluster);
        let found = ((recovered.term, recovered.vote), recovered.last);
        assert_eq!(found, (self.disk.vote(), self.recovers()), "recovery finds what is durable");
        let checksum = Checksum::new(config.cluster.0, config.crc);
        let origin = recovered.origin(config.origin);
        let Handles { writer, flusher, applier, reader } = ring(size, origin, checksum).expect("a ring of this size");
        let peers: &'static mut [Peer] = Vec::leak((0..config.voters.len()).map(|_| Peer::EMPTY).collect());
        let mut raft = Raft::new(config, frame, recovered, writer, peers, now).expect("a sane configuration");
        raft.handle_space(&self.disk.space());
        raft.lend_window(Vec::leak(vec![0; window.bytes]), window.pipelines);
        let watched = Watched::of(&raft);
        let running = self.running.insert(Running {
            raft,
            reader,
            owed: NodeSet::EMPTY,
            client_news: 0,
            window_news: 0,
            watched,
            flusher,
            applier,
            log: self.disk.log().clone(),
            pending: VecDeque::new(),
            flushed: 0,
            writes: Vec::new(),
            chunk: None,
            scratch: vec![0; size.units * 8 + 64],
            application: State::default(),
            read_back: 0,
            restored: 0,
        });
        running.absorb(&self.disk);
    }

    /// The last entry that a restart finds: that of the log, or of the snapshot if the log lacks what that covers.
    fn recovers(&self) -> LogIndex {
        let (log, covered) = (self.disk.log(), self.disk.snapshots().covered());
        let goes_on = log.base() >= covered.index || log.term(covered.index) == Some(covered.term);
        if goes_on { log.last() } else { covered.index }
    }

    /// The power goes. `kept` of the records whose durability nobody was told of are durable nevertheless, and `torn` bytes of the next one.
    pub fn crash(&mut self, kept: usize, torn: usize) {
        let Some(running) = self.running.take() else { return };
        let mut pending = running.pending.into_iter();
        pending.by_ref().take(kept).for_each(|record| self.disk.push(record));
        let next = pending.next().unwrap_or_default();
        self.disk.tear(&next[..torn.min(next.len().saturating_sub(1))]);
    }

    /// A frame came in. Terms that the core has forgotten are read from the disk; a piece of a snapshot waits for [`store`](Self::store).
    ///
    /// # Panics
    /// The core asks for a term that is not there, or without end.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) {
        let Some(running) = &mut self.running else { return };
        for _ in 0..bytes.len() + 2 {
            match running.raft.handle_message(now, bytes) {
                Ok(Handled::NeedsTerm(index)) => match self.disk.term_of(index) {
                    Some(term) => running.raft.recall(index, term),
                    None => assert!(index <= running.raft.start(), "forgotten terms are on the disk, or purged"),
                },
                Ok(Handled::Chunk(chunk)) => {
                    let bytes = bytes[chunk.at..][..chunk.len].to_vec();
                    running.chunk = Some(HeldChunk { chunk, bytes, stored: None });
                    return running.absorb(&self.disk);
                }
                _ => return running.absorb(&self.disk),
            }
        }
        panic!("node {} asks for terms without end", self.id);
    }

    /// The piece of a snapshot that waits is written to the disk, and is durable; `None` if none waits for that.
    pub fn store(&mut self) -> Option<Stored> {
        let held = self.running.as_mut()?.chunk.as_mut().filter(|held| held.stored.is_none())?;
        let written = self.disk.write_chunk(&held.chunk.snapshot, held.chunk.offset, &held.bytes);
        let stored = match written {
            Ok(()) => Stored::Yes,
            Err(Refused::Superseded | Refused::Mismatch) => Stored::Broken,
        };
        held.stored = Some(stored);
        held.stored
    }

    /// The core is told what became of the piece of a snapshot that was written; the piece, `None` if there is none.
    pub fn tell_stored(&mut self, now: Instant) -> Option<(Chunk, Stored)> {
        let running = self.running.as_mut()?;
        let stored = running.chunk.as_ref()?.stored?;
        let HeldChunk { chunk, .. } = running.chunk.take()?;
        running.raft.handle_chunk(now, &chunk, stored);
        running.absorb(&self.disk);
        Some((chunk, stored))
    }

    /// The application makes a snapshot of at least `length` bytes, those beyond its state being `filler`. `None` if it knows nothing new.
    pub fn save(&mut self, length: usize, filler: u8) -> Option<Snapshot> {
        let running = self.running.as_mut()?;
        let (state, voters) = (running.application, running.raft.config().voters);
        if state.after.index <= self.disk.snapshots().covered().index {
            return None;
        }
        let snapshot = self.disk.save(&state, voters, &state.encode(length, filler)).ok()?;
        running.raft.handle_saved(&snapshot);
        running.absorb(&self.disk);
        Some(snapshot)
    }

    /// The disk drops up to `count` records of what may go.
    pub fn purge(&mut self, count: usize) {
        let Some(running) = &mut self.running else { return };
        self.disk.purge(running.raft.may_purge(), count);
        running.raft.handle_space(&self.disk.space());
        running.absorb(&self.disk);
    }

    /// The deadline has come.
    pub fn time_out(&mut self, now: Instant) {
        if let Some(running) = &mut self.running {
            running.raft.handle_timeout(now);
            running.absorb(&self.disk);
        }
    }

    /// A client proposes.
    ///
    /// # Errors
    /// As the core says; also without power.
    pub fn propose(&mut self, command: &[u8]) -> Result<EntryId, ProposeError> {
        let Some(running) = &mut self.running else { return Err(ProposeError::Halted) };
        let result = running.raft.propose(command);
        running.absorb(&self.disk);
        result
    }

    /// A client of the node does something with its core; `None` without power.
    pub fn ask<T>(&mut self, ask: impl FnOnce(&mut Raft<'static>) -> T) -> Option<T> {
        let running = self.running.as_mut()?;
        let answer = ask(&mut running.raft);
        running.absorb(&self.disk);
        Some(answer)
    }

    /// The log writer takes up to `records` pending ones, and is not done with them; `None` if there are none.
    pub fn write(&mut self, name: u32, records: usize) -> Option<Write> {
        let running = self.running.as_mut()?;
        let bytes: usize = running.pending.iter().take(records).map(Vec::len).sum();
        let batch = running.flusher.gather(&mut running.scratch[..bytes]);
        assert_eq!(batch.bytes, bytes, "whole records are gathered");
        let gathered = records.min(running.pending.len());
        if gathered == 0 {
            return None;
        }
        let write = Write { name, end: batch.end, until: running.flushed + gathered as u64 };
        running.writes.push(write);
        Some(write)
    }

    /// A write has become durable, and the core learns so. Returns how many records became so by it; `None` if there is no such write.
    pub fn complete(&mut self, now: Instant, name: u32) -> Option<usize> {
        let running = self.running.as_mut()?;
        let place = running.writes.iter().position(|write| write.name == name)?;
        let write = running.writes.remove(place);
        let before = running.reader.flushed();
        running.flusher.publish(write.end);
        let done = write.until.saturating_sub(running.flushed);
        assert_eq!(
            running.reader.flushed() != before,
            done > 0,
            "a completion moves `flushed` if it is news, else not"
        );
        running.flushed += done;
        running.pending.drain(..done as usize).for_each(|record| self.disk.push(record));
        running.raft.handle_space(&self.disk.space());
        running.raft.handle_flushed(now);
        running.absorb(&self.disk);
        Some(done as usize)
    }

    /// Writes up to `records` pending ones at once. Returns how many.
    pub fn flush(&mut self, now: Instant, records: usize) -> usize {
        const AT_ONCE: u32 = u32::MAX;
        self.write(AT_ONCE, records).and_then(|_| self.complete(now, AT_ONCE)).unwrap_or(0)
    }

    /// The application takes what it may: the newest snapshot if that is ahead of it, and entries that are committed and durable.
    ///
    /// # Panics
    /// What it is given is in neither ring nor disk.
    pub fn apply(&mut self) -> Vec<Applied> {
        let Some(running) = &mut self.running else { return Vec::new() };
        let mut applied = Vec::new();
        while let Some(next) = running.next_applied(&self.disk) {
            applied.push(next);
        }
        if !applied.is_empty() {
            running.raft.resume_intakes();
            running.absorb(&self.disk);
        }
        applied
    }

    /// The core's view of itself.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.running.as_ref().map(|running| running.raft.status())
    }

    /// What the core refused.
    #[must_use]
    pub fn refusals(&self) -> Option<Refusals> {
        self.running.as_ref().map(|running| *running.raft.refusals())
    }

    /// Whether it leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.status().is_some_and(|status| status.role == Role::Leader)
    }
}

impl Running {
    /// Everything accepted, durable or not.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// How many accepted records nobody was told to be durable.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The names of those records.
    #[must_use]
    pub fn pending_names(&self, disk: &Disk) -> Vec<String> {
        let mut log = disk.log().clone();
        let name = |bytes: &Vec<u8>| {
            let record = Record::parse(bytes).expect("whole records");
            if let Some(state) = disk.started(&record) {
                log = Log::after(state);
            }
            name(&record, log.put(&record))
        };
        self.pending.iter().map(name).collect()
    }

    /// The pending records.
    pub fn pending_records(&self) -> impl Iterator<Item = &[u8]> {
        self.pending.iter().map(Vec::as_slice)
    }

    /// Entries the application had to read from the disk.
    #[must_use]
    pub const fn read_back(&self) -> u64 {
        self.read_back
    }

    /// Snapshots the application has restored.
    #[must_use]
    pub const fn restored(&self) -> u64 {
        self.restored
    }

    /// What the application knows.
    #[must_use]
    pub const fn application(&self) -> &State {
        &self.application
    }

    /// Whether a piece of a snapshot waits, and no frame may come in.
    #[must_use]
    pub const fn holds_chunk(&self) -> bool {
        self.chunk.is_some()
    }

    /// What happened.
    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.raft.poll_event()).collect()
    }

    /// One step of the application.
    fn next_applied(&mut self, disk: &Disk) -> Option<Applied> {
        let before = self.application;
        if let Some(snapshot) = self.raft.snapshot().copied().filter(|newest| newest.last.index > before.after.index) {
            let bytes = disk.snapshots().read(&snapshot).expect("the newest snapshot is on the disk");
            self.application = State::decode(bytes).expect("a state of this application");
            self.raft.handle_restored(snapshot.last.index);
            self.applier.publish(snapshot.last.index.0);
            self.restored += 1;
            return Some(Applied { state: self.application, restored: true });
        }
        let (index, mut buffer) = (before.after.index.next(), [0; 8192]);
        if self.reader.committed(index.0) < index.0 {
            return None;
        }
        let record = match self.applier.reader().copy(index.0, &mut buffer) {
            Ok(copied) if copied.position.precedes(self.reader.flushed()) => &buffer[..copied.size],
            Ok(_) => return None,
            Err(_) => {
                self.read_back += 1;
                disk.read(index).expect("what left the ring is on the disk")
            }
        };
        let record = Record::parse(record).expect("a whole record");
        let after = EntryId { term: Term(record.header.term), index };
        self.application = State { after, chain: chain(before.chain, &record) };
        self.applier.publish(index.0);
        Some(Applied { state: self.application, restored: false })
    }

    /// Takes note of what the core has accepted. What was accepted before must not have changed.
    fn absorb(&mut self, disk: &Disk) {
        self.owed = NodeSet::from_bits(self.owed.bits() | self.raft.take_ready().bits());
        let news = self.raft.take_news();
        let watched = Watched::of(&self.raft);
        watched.assert_told(&self.watched, news);
        self.watched = watched;
        self.client_news += u32::from(news.has(News::CLIENTS));
        self.window_news += u32::from(news.has(News::WINDOW));
        let batch = self.flusher.gather(&mut self.scratch);
        for (place, record) in Records::new(&self.scratch[..batch.bytes]).enumerate() {
            let record = record.expect("the ring holds whole records");
            match self.pending.get(place) {
                Some(known) => assert_eq!(known, record.bytes, "what is not durable stays as it is"),
                None => {
                    if let Some(state) = disk.started(&record) {
                        self.log = Log::after(state);
                    }
                    self.log.put(&record);
                    self.pending.push_back(record.bytes.to_vec());
                }
            }
        }
        assert_eq!(self.log.last(), self.raft.status().last, "the log is what was accepted");
    }
}
