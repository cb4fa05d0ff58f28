//! The ring against a slow model of it that counts in 64 bits, forgets nothing and knows no wrap.
//!
//! covers: P2, P4, P8, L15, R2, R3
#![cfg(not(loom))]

mod common;

use common::{Random, checksum, verified};
use quoring_ring::*;
use std::collections::BTreeMap;

const UNITS: usize = 64;
const SLOTS: usize = 8;
/// The arena's bytes.
const W: u64 = UNITS as u64 * 8;

/// All there is to know, in bytes from the origin of the axis.
struct Model {
    /// Every record ever appended, by its begin.
    records: BTreeMap<u64, Written>,
    /// Begin of the record of each index that is in the log and was appended since the origin.
    log: BTreeMap<u64, u64>,
    /// Latest index that took each slot, if it still is in the log.
    slots: BTreeMap<u64, u64>,
    tail: u64,
    accepted: u64,
    flushed: u64,
    last: u64,
    committed: u64,
    applied: u64,
}

#[derive(Clone)]
struct Written {
    kind: Kind,
    term: u32,
    index: u64,
    payload: Vec<u8>,
}

impl Written {
    fn size(&self) -> u64 {
        record_size(self.payload.len()) as u64
    }
}

impl Model {
    fn new(at: u64, origin: &Origin) -> Self {
        let Origin { last, committed, applied, .. } = *origin;
        let (records, log, slots) = Default::default();
        Self { records, log, slots, tail: at, accepted: at, flushed: at, last, committed, applied }
    }

    /// Where a record of `size` bytes would begin.
    fn next_start(&self, size: u64) -> u64 {
        let to_end = W - self.accepted % W;
        if size <= to_end { self.accepted } else { self.accepted + to_end }
    }

    fn refusal(&self, record: &Written) -> Option<AppendError> {
        if record.kind.is_entry() {
            let owner = self.slots.get(&(record.index % SLOTS as u64));
            let unflushed = |owner: &u64| record.index > self.last && self.log[owner] >= self.flushed;
            if record.index <= self.committed {
                return Some(AppendError::Committed);
            } else if record.index > self.last + 1 {
                return Some(AppendError::Gap);
            } else if owner.is_some_and(unflushed) {
                return Some(AppendError::Full);
            }
        }
        if record.kind == Kind::Start && record.index < self.committed {
            return Some(AppendError::Committed);
        }
        if record.size() > W / 2 {
            return Some(AppendError::TooLarge);
        }
        let end = self.next_start(record.size()) + record.size();
        (end - self.flushed > W).then_some(AppendError::Full)
    }

    fn append(&mut self, record: Written) -> u64 {
        let start = self.next_start(record.size());
        self.accepted = start + record.size();
        self.tail = self.tail.max(self.accepted.saturating_sub(W));
        if record.kind.is_entry() {
            self.log.split_off(&record.index);
            self.slots.retain(|_, owner| *owner < record.index);
            self.log.insert(record.index, start);
            self.slots.insert(record.index % SLOTS as u64, record.index);
            self.last = record.index;
        }
        if record.kind == Kind::Start {
            self.log.clear();
            self.slots.clear();
            (self.last, self.committed) = (record.index, record.index);
        }
        self.records.insert(start, record);
        start
    }

    /// Begin of the record of `index`, if it is in the ring.
    fn find(&self, index: u64) -> Option<u64> {
        let owns_slot = self.slots.get(&(index % SLOTS as u64)) == Some(&index);
        self.log.get(&index).copied().filter(|&start| owns_slot && start >= self.tail)
    }

    /// What `gather` must give for a buffer of `room` bytes: records, and their end.
    fn pending(&self, room: u64) -> (Vec<&Written>, u64) {
        let (mut pending, mut end, mut bytes) = (vec![], self.flushed, 0);
        for (start, record) in self.records.range(self.flushed..) {
            bytes += record.size();
            if bytes > room {
                break;
            }
            pending.push(record);
            end = start + record.size();
        }
        (pending, end)
    }
}

/// The ring and its model, stepped together.
struct Pair<'r> {
    ring: Handles<'r>,
    model: Model,
    random: Random,
    term: u32,
    /// Ends of batches that are being written: completed in any order, or twice.
    in_flight: Vec<(u64, Position)>,
    /// How often each thing happened: a run in which it did not happen shows nothing.
    seen: BTreeMap<&'static str, u32>,
}

/// Wrapped units from bytes of the unwrapped axis.
fn position(at: u64) -> Position {
    Position::new((at / 8) as u32)
}

impl Pair<'_> {
    fn step(&mut self) {
        match self.random.below(12) {
            5 if self.random.once_in(4) => self.start(),
            0..=1 => self.append(self.model.last + 1),
            2..=3 => self.append_span(),
            4 => {
                let behind = self.random.below(6);
                self.append((self.model.last + 2).saturating_sub(behind));
            }
            5 => self.vote(),
            6 | 7 => self.gather(),
            8 | 9 => self.complete(),
            10 => self.commit(),
            _ => self.apply(),
        }
        self.compare_marks();
        for index in (self.model.last + 3).saturating_sub(2 * SLOTS as u64)..self.model.last + 3 {
            self.compare_entry(index);
        }
        self.compare_span();
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn append(&mut self, index: u64) {
        self.term += u32::from(index <= self.model.last);
        let len = if self.random.once_in(3) { self.random.below(260) } else { self.random.below(24) };
        let payload: Vec<u8> = (0..len).map(|_| self.random.next() as u8).collect();
        let kinds = [Kind::Command, Kind::NoOp, Kind::Configuration, Kind::Session];
        let kind = kinds[self.random.below(4) as usize];
        let record = Written { kind, term: self.term, index, payload };

        let room = self.ring.writer.room() as u64;
        let appended = if self.random.once_in(2) {
            self.ring.writer.append(kind, self.term, index, &record.payload)
        } else {
            let bytes = encoded(&record);
            self.ring.writer.append_record(&Record::parse(&bytes).unwrap(), index)
        };
        let refusal = self.model.refusal(&record);
        if index == self.model.last + 1 {
            assert_eq!(refusal.is_none(), record.size() <= room, "room for the next entry");
        }
        self.saw(match refusal {
            None if index <= self.model.last => "truncated",
            None if self.model.next_start(record.size()) > self.model.accepted => "padded",
            None => "appended",
            Some(AppendError::Full) => "full",
            Some(AppendError::Committed) => "committed",
            Some(AppendError::Gap) => "gap",
            Some(_) => "too large",
        });
        self.check_appended(appended, refusal, record);
    }

    /// A span lies where its records would lie if they were appended one by one; where not all fit in one piece, the first goes alone.
    fn append_span(&mut self) {
        let first = self.model.last + 1;
        let records: Vec<Written> = (first..first + 1 + self.random.below(6))
            .map(|index| {
                let payload = (0..self.random.below(60)).map(|_| self.random.next() as u8).collect();
                Written { kind: Kind::Command, term: self.term, index, payload }
            })
            .collect();
        let bytes: Vec<u8> = records.iter().flat_map(encoded).collect();
        let appended = self.ring.writer.append_span(&bytes, first, records.len() as u32);
        let Ok(span) = appended else {
            self.saw("appended no span");
            return assert_eq!(appended.err(), self.model.refusal(&records[0]));
        };
        self.saw(if span.count > 1 { "appended a span" } else { "appended a span of one" });
        assert!(span.count == 1 || span.count as usize == records.len());
        for (nth, record) in records.into_iter().take(span.count as usize).enumerate() {
            assert_eq!(self.model.refusal(&record), None);
            let begin = position(self.model.append(record));
            assert!(nth > 0 || span.start == begin);
        }
    }

    fn vote(&mut self) {
        self.term += 1;
        // What stands in the place of an index could be that of the next entry.
        let boot = (self.model.last as u32).wrapping_add(1);
        let record = Written { kind: Kind::Vote, term: self.term, index: boot.into(), payload: vec![] };
        let refusal = self.model.refusal(&record);
        let appended = self.ring.writer.append_vote(self.term, 0, boot);
        self.check_appended(appended, refusal, record);
    }

    /// The log starts anew behind an entry that a snapshot covers, ahead of the log, or in it.
    fn start(&mut self) {
        self.term += 1;
        let index = (self.model.last + self.random.below(20)).saturating_sub(self.random.below(8));
        let record = Written { kind: Kind::Start, term: self.term, index, payload: index.to_le_bytes().to_vec() };
        let refusal = self.model.refusal(&record);
        self.saw(if refusal.is_none() { "started anew" } else { "not started anew" });
        let appended = self.ring.writer.append_start(self.term, index);
        self.check_appended(appended, refusal, record);
    }

    fn check_appended(
        &mut self,
        appended: Result<Position, AppendError>,
        refusal: Option<AppendError>,
        record: Written,
    ) {
        match refusal {
            Some(refusal) => assert_eq!(appended, Err(refusal)),
            None => assert_eq!(appended, Ok(position(self.model.append(record)))),
        }
    }

    fn gather(&mut self) {
        let room = self.random.below(2 * W);
        let mut buf = vec![0; room as usize];
        let batch = self.ring.flusher.gather(&mut buf);
        let (expected, end) = self.model.pending(room);
        let gathered: Vec<_> = Records::new(&buf[..batch.bytes]).map(Result::unwrap).collect();
        assert_eq!(gathered.len(), expected.len());
        for (record, expected) in gathered.into_iter().zip(expected) {
            let record = verified(record.bytes, if expected.kind == Kind::Start { 0 } else { expected.index });
            assert_eq!(record.start(), (expected.kind == Kind::Start).then_some(expected.index));
            let Header { kind, term, index_low, .. } = record.header;
            assert_eq!((kind, term, index_low), (expected.kind, expected.term, expected.index as u32));
            assert_eq!(record.payload, expected.payload);
        }
        let skipped = batch.end.since(position(end));
        assert!(skipped == 0 || (end + u64::from(skipped) * 8).is_multiple_of(W), "pads may be skipped");
        self.in_flight.push((end + u64::from(skipped) * 8, batch.end));
    }

    fn complete(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let which = self.random.below(self.in_flight.len() as u64) as usize;
        let (end, at) = self.in_flight[which];
        if !self.random.once_in(4) {
            self.in_flight.swap_remove(which);
        }
        self.saw(if end < self.model.flushed { "late completion" } else { "completion" });
        self.ring.flusher.publish(at);
        self.model.flushed = self.model.flushed.max(end);
    }

    fn commit(&mut self) {
        let index = (self.model.last + 2).saturating_sub(self.random.below(8));
        self.ring.writer.commit(index);
        self.model.committed = self.model.committed.max(index.min(self.model.last));
    }

    fn apply(&mut self) {
        let index = self.model.committed.saturating_sub(self.random.below(4));
        self.ring.applier.publish(index);
        self.model.applied = self.model.applied.max(index);
    }

    fn compare_marks(&self) {
        let (model, writer, reader) = (&self.model, &self.ring.writer, self.ring.reader);
        let positions = (position(model.accepted), position(model.flushed));
        assert_eq!((writer.accepted(), writer.flushed()), positions);
        assert_eq!((reader.accepted(), reader.flushed()), positions);
        assert_eq!(self.ring.flusher.pending(), model.accepted != model.flushed);
        let indices = (model.last, model.committed, model.applied);
        assert_eq!((writer.last(), writer.committed(), writer.applied()), indices);
        let base = model.last.saturating_sub(100);
        assert_eq!((reader.last(base), reader.committed(base), reader.applied(base)), indices);
        assert_eq!(self.ring.applier.applied(), model.applied);
    }

    fn compare_entry(&self, index: u64) {
        let (model, writer) = (&self.model, &self.ring.writer);
        let found = model.find(index);
        assert_eq!(writer.position(index), found.map(position), "index {index}");
        let durable = index <= model.last && model.log.get(&index).is_none_or(|&at| at < model.flushed);
        assert_eq!(writer.is_durable(index), durable, "index {index}");

        let mut buf = [0xA5; W as usize];
        let copied = self.ring.reader.copy(index, &mut buf);
        let Some(start) = found else {
            assert_eq!(copied, Err(CopyError::Gone), "index {index}");
            return;
        };
        let (copied, expected) = (copied.unwrap(), &model.records[&start]);
        let record = verified(&buf[..copied.size], index);
        assert_eq!((copied.position, Some(copied.header)), (position(start), writer.header(index)));
        assert_eq!((record.header.kind, record.header.term), (expected.kind, expected.term));
        assert_eq!(record.payload, expected.payload);
    }

    fn compare_span(&mut self) {
        let first = self.model.last.saturating_sub(self.random.below(SLOTS as u64));
        let (last, limit) = (first + self.random.below(9), self.random.below(2 * W));
        let Some(span) = self.ring.writer.span(first, last, limit as usize) else {
            return assert_eq!(self.model.find(first), None);
        };
        let mut at = self.ring.writer.position(first).expect("a span has a start");
        assert_eq!(span.start, at);
        let mut bytes = 0;
        for index in first..first + u64::from(span.count) {
            let record = &self.model.records[&self.model.find(index).expect("a span holds what can be found")];
            assert_eq!(self.ring.writer.position(index), Some(at), "end to end");
            at = at.advanced((record.size() / 8) as u32);
            bytes += record.size() as usize;
        }
        assert_eq!(span.bytes, bytes);
        assert!(bytes as u64 <= limit);
        // It ends for a reason, and never runs over the arena's end, where it could not be copied.
        let begin = span.start.get() as u64 * 8 % W;
        assert!(begin + bytes as u64 <= W, "a span lies in one piece");
        let next = first + u64::from(span.count);
        if next <= last && self.ring.writer.position(next) == Some(at) && begin + (bytes as u64) < W {
            let record = &self.model.records[&self.model.find(next).expect("what lies there")];
            assert!(bytes as u64 + record.size() > limit, "the next record would have fitted");
        }
    }
}

/// The bytes of a record as another node would have made them.
fn encoded(record: &Written) -> Vec<u8> {
    let Written { kind, term, index, ref payload } = *record;
    let len = payload.len() as u16;
    let mut header = Header { checksum: 0, term, index_low: index as u32, len, kind, flags: 0 };
    header.checksum = checksum().of(&header, (index >> 32) as u32, payload);
    let mut bytes = [&header.encode(), &payload[..]].concat();
    bytes.resize(header.size(), 0);
    bytes
}

/// Runs `seeds` seeds of `steps` steps each, from `units` on the axis and `last` in the log.
fn run(seeds: u64, steps: u32, units: u32, last: u64) {
    let mut seen = BTreeMap::new();
    for seed in 0..if cfg!(miri) { 1 } else { seeds } {
        let mut storage = Storage::<UNITS, SLOTS>::new();
        let committed = last - last.min(3);
        let origin = Origin { position: Position::new(units), last, committed, applied: committed };
        let ring = storage.split(origin, checksum());
        let model = Model::new(u64::from(units) * 8, &origin);
        let mut pair = Pair { ring, model, random: Random(seed), term: 1, in_flight: vec![], seen: BTreeMap::new() };
        for _ in 0..if cfg!(miri) { 20 } else { steps } {
            pair.step();
        }
        for (what, times) in pair.seen {
            *seen.entry(what).or_insert(0) += times;
        }
    }
    if !cfg!(miri) {
        let all = [
            "appended",
            "appended a span",
            "appended a span of one",
            "appended no span",
            "committed",
            "completion",
            "full",
            "gap",
            "late completion",
            "not started anew",
            "padded",
            "started anew",
            "too large",
            "truncated",
        ];
        assert_eq!(seen.into_keys().collect::<Vec<_>>(), all, "everything must have happened");
    }
}

#[test]
fn the_ring_does_what_its_model_does_from_zero() {
    run(100, 2000, 0, 0);
}

#[test]
fn the_ring_does_what_its_model_does_where_positions_wrap() {
    run(100, 2000, 0u32.wrapping_sub(1000), 5);
    run(20, 2000, (1 << 31) - 1000, 5);
}

#[test]
fn the_ring_does_what_its_model_does_where_low_indices_wrap() {
    run(100, 2000, 0, (1 << 32) - 100);
    run(20, 2000, 0, (7 << 32) + (1 << 31) - 100);
}

#[test]
fn the_ring_does_what_its_model_does_where_everything_wraps() {
    run(100, 2000, 0u32.wrapping_sub(1000), (1 << 32) - 100);
}
