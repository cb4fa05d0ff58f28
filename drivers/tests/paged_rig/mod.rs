//! A log on a mock medium, the records to write to it, and a model of what it must hold.

#![allow(dead_code)] // Each test uses its part.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use quoring::store::ReadError;
use quoring::store::medium::Geometry;
use quoring::store::mock::{self, MockFlash};
use quoring::store::paged::{Error, Layout, Owner, PagedLog};
use quoring::{ClusterId, EntryId, LogIndex, LogStore, NodeId, NodeSet, Recovery, Snapshot, Term};
use quoring_ring::{Checksum, DEFAULT_CRC32C, HEADER, Header, Kind, Record, Records};

/// The largest record of these tests.
pub(crate) const RECORD: usize = 64;
/// A log on up to eight pages of any word.
pub(crate) type Log = PagedLog<MockFlash, 8, 256, RECORD>;
pub(crate) type Failure = Error<mock::Error>;

pub(crate) const CLUSTER: ClusterId = ClusterId(0xC1A5_7E12);
pub(crate) const LAYOUT: Layout = Layout { log_pages: 4, slot_pages: 2 };

pub(crate) fn owner() -> Owner {
    Owner { cluster: CLUSTER, node: NodeId::new(3).unwrap() }
}

/// A medium for [`LAYOUT`].
pub(crate) const fn geometry(word: u32, erased: Option<u8>) -> Geometry {
    let page = if word > 32 { 3072 } else { 768 };
    Geometry { word, page, pages: 8, erased, ordered: true }
}

/// What is ready at once: everything on a mock medium is.
pub(crate) fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a mock medium never waits"),
    }
}

pub(crate) fn open(flash: MockFlash, layout: Layout) -> Log {
    PagedLog::new(flash, owner(), layout).unwrap()
}

/// Random numbers below a bound.
pub(crate) fn random(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    }
}

pub(crate) fn record(kind: Kind, term: u32, index: u64, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = Header { checksum: 0, term, index_low: index as u32, len: payload.len() as u16, kind, flags };
    header.checksum = Checksum::new(CLUSTER.0, DEFAULT_CRC32C).of(&header, (index >> 32) as u32, payload);
    let mut bytes = [&header.encode(), payload].concat();
    bytes.resize(header.size(), 0);
    bytes
}

pub(crate) fn entry(term: u32, index: u64, payload: &[u8]) -> Vec<u8> {
    record(Kind::Command, term, index, 0, payload)
}

pub(crate) fn vote(term: u32, flags: u8) -> Vec<u8> {
    booted(term, flags, 0)
}

/// A vote with a boot number.
pub(crate) fn booted(term: u32, flags: u8, boot: u32) -> Vec<u8> {
    record(Kind::Vote, term, boot.into(), flags, b"")
}

pub(crate) fn start(term: u32, index: u64) -> Vec<u8> {
    record(Kind::Start, term, 0, 0, &index.to_le_bytes())
}

pub(crate) fn snapshot(last: (u32, u64), bytes: &[u8]) -> Snapshot {
    Snapshot {
        last: EntryId { term: Term(last.0), index: LogIndex(last.1) },
        length: bytes.len() as u64,
        checksum: DEFAULT_CRC32C(0, bytes),
        voters: NodeSet::first(3),
    }
}

/// What a log must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    /// By index: term and whole record.
    pub(crate) entries: BTreeMap<u64, (u32, Vec<u8>)>,
    /// The entry behind which the log began last.
    pub(crate) begin: (u32, u64),
    pub(crate) last: u64,
    pub(crate) term: u32,
    pub(crate) vote: u8,
    /// The highest of all that were written: it never falls.
    pub(crate) boot: u32,
    pub(crate) snapshot: Option<(Snapshot, Vec<u8>)>,
    /// Up to here entries may be gone.
    pub(crate) allowed: u64,
}

impl Model {
    pub(crate) fn apply(&mut self, bytes: &[u8]) {
        for record in Records::new(bytes) {
            self.apply_record(&record.unwrap());
        }
    }

    fn apply_record(&mut self, record: &Record<'_>) {
        let term = record.header.term;
        if term > self.term {
            (self.term, self.vote) = (term, 0);
        }
        match record.header.kind {
            Kind::Vote => {
                self.boot = self.boot.max(record.header.index_low);
                if term == self.term && record.header.flags != 0 {
                    self.vote = record.header.flags;
                }
            }
            Kind::Start => {
                self.begin = (term, record.start().unwrap());
                self.last = self.begin.1;
                self.entries.clear();
            }
            _ => {
                let index = quoring_ring::extend(self.last, record.header.index_low);
                drop(self.entries.split_off(&index));
                self.entries.insert(index, (term, record.bytes.to_vec()));
                self.last = index;
            }
        }
    }

    pub(crate) fn last_term(&self) -> u32 {
        self.entries.get(&self.last).map_or(self.begin.0, |entry| entry.0)
    }

    /// Whether recovery found this; why not, else.
    pub(crate) fn agrees(&self, found: &Found) -> Result<(), String> {
        let state = (found.term, found.vote, found.boot, found.snapshot);
        let snapshot = self.snapshot.as_ref().map(|(snapshot, _)| *snapshot);
        let covered = snapshot.map_or(0, |snapshot| snapshot.last.term.0);
        let (term, vote) = if covered > self.term { (covered, 0) } else { (self.term, self.vote) };
        let expected = (term, vote, self.boot, snapshot);
        if state != expected {
            return Err(format!("found {state:?}, not {expected:?}"));
        }
        if let Some((snapshot, bytes)) = &self.snapshot {
            if found.snapshot_bytes != *bytes {
                return Err("other bytes of the snapshot".into());
            }
            let (last, term) = (snapshot.last.index.0, snapshot.last.term.0);
            let here = if last == self.begin.1 { Some(self.begin.0) } else { self.entries.get(&last).map(|e| e.0) };
            if here != Some(term) && last > found.start || last > self.last {
                // The log is started anew behind it.
                return if found.last == last { Ok(()) } else { Err(format!("last {} behind {last}", found.last)) };
            }
        }
        if found.last != self.last {
            return Err(format!("last entry {}, not {}", found.last, self.last));
        }
        if found.start > self.allowed.max(self.begin.1) {
            return Err(format!("begins behind {}, though only {} may be gone", found.start, self.allowed));
        }
        for index in found.start + 1..=self.last {
            if found.entries.get(&index) != self.entries.get(&index).map(|(_, bytes)| bytes) {
                return Err(format!("another entry {index}"));
            }
        }
        Ok(())
    }
}

/// What recovery and the reads after it found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) start: u64,
    pub(crate) last: u64,
    pub(crate) term: u32,
    pub(crate) vote: u8,
    pub(crate) boot: u32,
    pub(crate) entries: BTreeMap<u64, Vec<u8>>,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) snapshot_bytes: Vec<u8>,
}

/// Why a log was not recovered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    Store(Failure),
    Hole,
}

/// Recovers the log and reads all of it.
pub(crate) fn recover(log: &mut Log) -> Result<Found, Refusal> {
    let mut recovery = Recovery::new(CLUSTER, DEFAULT_CRC32C);
    now(log.recover(&mut recovery)).map_err(Refusal::Store)?;
    let recovered = recovery.finish().map_err(|_| Refusal::Hole)?;
    // As a node does at its start.
    log.purge(recovered.purgeable());
    log.assert_invariants();
    let mut found = Found {
        start: recovered.start.index.0,
        last: recovered.last.0,
        term: recovered.term.0,
        vote: recovered.vote.map_or(0, |node| 0x80 | node.get()),
        boot: recovered.boot,
        entries: BTreeMap::new(),
        snapshot: recovered.snapshot,
        snapshot_bytes: Vec::new(),
    };
    if !recovered.restart {
        assert_eq!(log.space().start.0, found.start);
        for index in found.start + 1..=found.last {
            let bytes = read(log, index).map_err(|error| match error {
                ReadError::Store(error) => Refusal::Store(error),
                other => panic!("entry {index} of {found:?}: {other:?}"),
            })?;
            found.entries.insert(index, bytes);
        }
    }
    if let Some(snapshot) = found.snapshot {
        found.snapshot_bytes = read_snapshot(log, &snapshot);
    }
    Ok(found)
}

pub(crate) fn read(log: &mut Log, index: u64) -> Result<Vec<u8>, ReadError<Failure>> {
    let mut buffer = [0; RECORD];
    let size = now(log.read(LogIndex(index), &mut buffer))?;
    Ok(buffer[..size].to_vec())
}

pub(crate) fn read_snapshot(log: &mut Log, snapshot: &Snapshot) -> Vec<u8> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 50]);
    loop {
        match now(log.read_snapshot(snapshot, bytes.len() as u64, &mut buffer)).unwrap() {
            0 => return bytes,
            count => bytes.extend(&buffer[..count]),
        }
    }
}

/// One thing that is done to a log.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Append(Vec<u8>),
    Purge(u64),
    Tidy,
    Begin(Snapshot),
    Chunk(Snapshot, u64, Vec<u8>),
    Finish(Snapshot, Vec<u8>),
}

impl Op {
    pub(crate) fn run(&self, log: &mut Log) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Debug| format!("{error:?}");
        match self {
            Self::Append(batch) => now(log.append(batch)).map_err(|e| text(&e)),
            Self::Purge(index) => {
                log.purge(LogIndex(*index));
                Ok(())
            }
            Self::Tidy => now(log.tidy()).map(drop).map_err(|e| text(&e)),
            Self::Begin(snapshot) => now(log.begin_snapshot(snapshot.last)).map_err(|e| text(&e)),
            Self::Chunk(snapshot, offset, bytes) => {
                now(log.write_snapshot(snapshot.last, *offset, bytes)).map_err(|e| text(&e))
            }
            Self::Finish(snapshot, _) => now(log.finish_snapshot(snapshot)).map_err(|e| text(&e)),
        }
    }

    /// Once it is done.
    pub(crate) fn apply(&self, model: &mut Model) {
        match self {
            Self::Append(batch) => model.apply(batch),
            Self::Purge(index) => model.allowed = model.allowed.max(*index),
            Self::Finish(snapshot, bytes) => {
                model.snapshot = Some((*snapshot, bytes.clone()));
                model.allowed = model.allowed.max(snapshot.last.index.0);
            }
            Self::Tidy | Self::Begin(_) | Self::Chunk(..) => {}
        }
    }

    /// What may be found when it was interrupted: before it, after it, and, of a batch, after each record.
    pub(crate) fn outcomes(&self, model: &Model) -> Vec<Model> {
        let mut outcomes = vec![model.clone()];
        match self {
            Self::Append(batch) => {
                let mut next = model.clone();
                for record in Records::new(batch) {
                    next.apply_record(&record.unwrap());
                    outcomes.push(next.clone());
                }
            }
            _ => {
                let mut next = model.clone();
                self.apply(&mut next);
                outcomes.push(next);
            }
        }
        outcomes
    }
}

/// Makes a history up as it goes: appends of all shapes, votes, truncations, snapshots of the own state and of others', purges, and tidying.
pub(crate) struct Author<R> {
    random: R,
    ops: std::collections::VecDeque<Op>,
    /// Nothing may go for a while, so that what is dead must be merged away.
    hoards: bool,
}

impl<R: FnMut(u64) -> u64> Author<R> {
    pub(crate) fn new(random: R) -> Self {
        Self { random, ops: std::collections::VecDeque::new(), hoards: true }
    }

    /// What is done next to a log that holds `model` and says how much is free.
    pub(crate) fn next(&mut self, model: &Model, free: u64) -> Op {
        if self.ops.is_empty() {
            self.think(model, free);
        }
        self.ops.pop_front().unwrap_or(Op::Tidy)
    }

    /// Forgets what it was in the middle of, as a node does at a restart, and starts a log anew that its snapshot is ahead of.
    pub(crate) fn restart(&mut self, model: &Model) {
        self.ops.clear();
        if let Some((snapshot, _)) = &model.snapshot
            && snapshot.last.index.0 > model.last
        {
            self.ops.push_back(Op::Append(start(snapshot.last.term.0, snapshot.last.index.0)));
        }
    }

    fn think(&mut self, model: &Model, free: u64) {
        let random = &mut self.random;
        self.hoards ^= random(40) == 0;
        let hoards = self.hoards;
        let low = free < 400;
        match random(20) {
            0..2 => self.ops.push_back(Op::Tidy),
            5..9 if hoards => self.ops.push_back(Op::Tidy),
            10.. if hoards && low => {
                // Some restate the newest boot number, some have none.
                let boot = |more| (more % 2) * model.boot;
                let votes = (1..=8).map(|more| Op::Append(booted(model.term + more, 0x80, boot(more))));
                self.ops.extend(votes);
            }
            9 if hoards && low && free < 64 => self.ops.push_back(Op::Tidy),
            2..5 => {
                let term = model.term + 1;
                self.ops.push_back(Op::Append(booted(term, 0x80 | random(3) as u8, model.boot + term % 2)));
            }
            5 => {
                let term = model.term + 1;
                let last = (term, model.last + 1 + random(50));
                self.snapshot(last);
                self.ops.push_back(Op::Append([vote(term, 0), start(last.0, last.1)].concat()));
            }
            6..8 => self.save(model),
            8 => self.ops.push_back(Op::Purge(model.snapshot.as_ref().map_or(0, |(s, _)| s.last.index.0))),
            _ if low => {
                self.save(model);
                self.ops.push_back(Op::Tidy);
            }
            kind => {
                let committed = model.snapshot.as_ref().map_or(0, |(s, _)| s.last.index.0).max(model.begin.1);
                let (mut next, mut term) = (model.last + 1, model.term.max(1));
                if kind == 9 && model.last > committed {
                    next = committed + 1 + random(model.last - committed);
                    term += 1;
                }
                let mut batch = Vec::new();
                for number in 0..1 + random(4) {
                    if batch.len() as u64 + 80 > free {
                        break;
                    }
                    if random(6) == 0 && number > 0 {
                        // A boot number counts even if the term of its record does not any more.
                        let (older, boot) = (term % 2, model.boot + number as u32);
                        batch.extend(booted(term - older, 0x81, boot));
                    }
                    let payload: Vec<u8> = match random(4) {
                        0 => vec![0xFF; random(49) as usize],
                        1 => vec![0; random(49) as usize],
                        _ => (0..random(49)).map(|_| random(256) as u8).collect(),
                    };
                    batch.extend(entry(term, next, &payload));
                    next += 1;
                }
                self.ops.push_back(if batch.is_empty() { Op::Tidy } else { Op::Append(batch) });
            }
        }
    }

    /// A snapshot of what the log holds, and the allowance that comes of it.
    fn save(&mut self, model: &Model) {
        let newest = model.snapshot.as_ref().map_or(0, |(snapshot, _)| snapshot.last.index.0);
        if model.last > newest {
            self.snapshot((model.last_term(), model.last));
            self.ops.push_back(Op::Purge(model.last));
        }
    }

    fn snapshot(&mut self, last: (u32, u64)) {
        let random = &mut self.random;
        let length = random(400);
        let bytes: Vec<u8> = (0..length).map(|_| random(256) as u8).collect();
        let snapshot = snapshot(last, &bytes);
        self.ops.push_back(Op::Begin(snapshot));
        for (number, chunk) in bytes.chunks(90).enumerate() {
            self.ops.push_back(Op::Chunk(snapshot, number as u64 * 90, chunk.to_vec()));
        }
        self.ops.push_back(Op::Finish(snapshot, bytes));
    }
}

/// Bytes of a record's header.
pub(crate) const RECORD_HEADER: usize = HEADER;
