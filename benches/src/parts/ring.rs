//! The ring: records in, pointers on, records out, and the wake-up of who waits for a pointer.

use std::hint::black_box;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{self, Context, Poll, Waker};

use atomic_waker::AtomicWaker;
use quoring_ring::{
    Checksum, DEFAULT_CRC32C, Handles, Kind, Origin, Position, Record, Records, Storage, Wake, WakerCell,
};

use super::{OPERATIONS, Part};
use crate::record::{self, CLUSTER};

/// Room for the records of a run, whatever their size.
const UNITS: usize = 16384;
const SLOTS: usize = 256;
/// Bytes of the largest record there is here.
const LARGEST: usize = 2048;
const TERM: u32 = 1;

/// The ends of a ring that lives as long as the process, and what was appended to it last.
#[derive(Debug)]
struct Log {
    ends: Handles<'static>,
    command: Vec<u8>,
}

impl Log {
    fn new(bytes: usize) -> Self {
        let storage = Box::leak(Box::new(Storage::<UNITS, SLOTS>::new()));
        let ends = storage.split(Origin::default(), Checksum::new(CLUSTER.0, DEFAULT_CRC32C));
        Self { ends, command: record::command(bytes) }
    }

    /// Appends the entry after the last one; where it begins.
    #[inline]
    fn append(&mut self) -> Position {
        let index = self.ends.writer.last() + 1;
        self.ends.writer.append(Kind::Command, TERM, index, black_box(&self.command)).expect("room for a run")
    }

    /// Makes sure that the entries of the last run are in the ring.
    fn check(&self) {
        let mut copy = vec![0; LARGEST];
        for index in self.indices() {
            let size = self.ends.reader.copy(index, &mut copy).expect("in the ring").size;
            assert_eq!(copy[..size], record::entry(index, &self.command), "as it is on every medium");
        }
    }

    /// The indices of the entries of the last run.
    fn indices(&self) -> RangeInclusive<u64> {
        let last = self.ends.writer.last();
        last - OPERATIONS + 1..=last
    }

    /// Moves all pointers up.
    fn publish(&mut self) {
        let last = self.ends.writer.last();
        self.ends.flusher.publish(self.ends.writer.accepted());
        self.ends.writer.commit(last);
        self.ends.applier.publish(last);
    }
}

/// An entry is encoded, its checksum made, and `accepted` moved.
#[derive(Debug)]
pub struct Append {
    log: Log,
    runs: u64,
}

impl Append {
    /// Commands of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { log: Log::new(bytes), runs: 0 }
    }
}

impl Part for Append {
    fn run(&mut self) {
        for _ in 0..OPERATIONS {
            self.log.append();
        }
    }

    fn check(&mut self) {
        self.runs += 1;
        assert_eq!(self.log.ends.writer.last(), self.runs * OPERATIONS, "all were appended");
        self.log.check();
        self.log.publish();
    }
}

/// A follower checks an entry that came with others, and takes them into its ring as they are.
#[derive(Debug)]
pub struct Receive {
    log: Log,
    checksum: Checksum,
    /// The records of a frame, and the first index.
    records: Vec<u8>,
    first: u64,
}

impl Receive {
    /// Commands of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let checksum = Checksum::new(CLUSTER.0, DEFAULT_CRC32C);
        let mut receive = Self { log: Log::new(bytes), checksum, records: Vec::new(), first: 1 };
        receive.encode();
        receive
    }

    /// The records of the next run.
    fn encode(&mut self) {
        let indices = self.first..self.first + OPERATIONS;
        self.records = indices.flat_map(|index| record::entry(index, &self.log.command)).collect();
    }
}

impl Part for Receive {
    fn run(&mut self) {
        let mut rest = black_box(&self.records[..]);
        let sound = |record: Record<'_>| self.checksum.verify(&record, 0).is_ok();
        let all = Records::new(rest).all(|record| record.is_ok_and(sound));
        assert!(all, "all are sound");
        let mut next = self.first;
        while !rest.is_empty() {
            // At the end of the arena the first one goes alone.
            let left = (self.first + OPERATIONS - next) as u32;
            let span = self.log.ends.writer.append_span(rest, next, left).expect("room for a run");
            next += u64::from(span.count);
            rest = &rest[span.bytes..];
        }
    }

    fn check(&mut self) {
        self.first += OPERATIONS;
        assert_eq!(self.log.ends.writer.last(), self.first - 1, "all were taken");
        self.log.check();
        self.log.publish();
        self.encode();
    }
}

/// A reader copies an entry out of the ring, and makes sure that it was still there.
#[derive(Debug)]
pub struct Copy {
    log: Log,
    buffer: Vec<u8>,
    copied: usize,
}

impl Copy {
    /// Commands of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let mut log = Log::new(bytes);
        (0..OPERATIONS).for_each(|_| _ = log.append());
        Self { log, buffer: vec![0; LARGEST], copied: 0 }
    }
}

impl Part for Copy {
    fn run(&mut self) {
        for index in self.log.indices() {
            let copied = self.log.ends.reader.copy(black_box(index), &mut self.buffer).expect("in the ring");
            self.copied += copied.size;
            black_box(&mut self.buffer);
        }
    }

    fn check(&mut self) {
        let expected = record::entry(*self.log.indices().end(), &self.log.command);
        assert_eq!(self.copied, expected.len() * OPERATIONS as usize, "all were copied");
        assert_eq!(self.buffer[..expected.len()], expected, "the newest was the last");
        self.copied = 0;
        self.buffer.fill(0);
    }
}

/// The log writer copies all that is not durable yet out of the ring.
#[derive(Debug)]
pub struct Gather {
    log: Log,
    buffer: Vec<u8>,
    gathered: usize,
}

impl Gather {
    /// Commands of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let mut log = Log::new(bytes);
        (0..OPERATIONS).for_each(|_| _ = log.append());
        Self { log, buffer: vec![0; UNITS * 8], gathered: 0 }
    }
}

impl Part for Gather {
    fn run(&mut self) {
        self.gathered = self.log.ends.flusher.gather(black_box(&mut self.buffer)).bytes;
    }

    fn check(&mut self) {
        let mut rest = &self.buffer[..self.gathered];
        for index in self.log.indices() {
            let expected = record::entry(index, &self.log.command);
            assert_eq!(rest[..expected.len()], expected, "end to end");
            rest = &rest[expected.len()..];
        }
        assert!(rest.is_empty(), "all at once, and nothing else");
        self.gathered = 0;
        self.buffer.fill(0);
    }
}

/// Entries that wait for their pointers: where each of them ends, and its index.
#[derive(Debug)]
struct Pending {
    log: Log,
    ends: Vec<(Position, u64)>,
}

impl Pending {
    fn new() -> Self {
        let mut pending = Self { log: Log::new(8), ends: Vec::new() };
        pending.append();
        pending
    }

    fn append(&mut self) {
        self.ends.clear();
        for _ in 0..OPERATIONS {
            self.log.append();
            self.ends.push((self.log.ends.writer.accepted(), self.log.ends.writer.last()));
        }
    }

    fn check_flushed(&self) {
        assert_eq!(self.log.ends.reader.flushed(), self.log.ends.reader.accepted(), "all is durable");
    }
}

/// Three pointers move by one entry: `flushed`, `committed` and `applied`. Whatever the size of the entry: its bytes are not looked at.
#[derive(Debug)]
pub struct Publish {
    pending: Pending,
}

impl Publish {
    /// Of the smallest entries.
    #[must_use]
    pub fn new() -> Self {
        Self { pending: Pending::new() }
    }
}

impl Default for Publish {
    fn default() -> Self {
        Self::new()
    }
}

impl Part for Publish {
    fn run(&mut self) {
        let ends = &mut self.pending.log.ends;
        for &(end, index) in black_box(&self.pending.ends) {
            ends.flusher.publish(end);
            ends.writer.commit(index);
            ends.applier.publish(index);
        }
    }

    fn check(&mut self) {
        self.pending.check_flushed();
        let Handles { reader, writer, .. } = &self.pending.log.ends;
        let last = writer.last();
        assert_eq!((reader.committed(last), reader.applied(last)), (last, last), "all is committed and applied");
        self.pending.append();
    }
}

/// Where a task on a host leaves its waker.
#[derive(Debug, Default)]
struct Cell(AtomicWaker);

impl WakerCell for Cell {
    fn register(&self, waker: &Waker) {
        self.0.register(waker);
    }

    fn wake(&self) {
        self.0.wake();
    }
}

/// What an executor does when it is told that a task should run: here it counts.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl task::Wake for Count {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// A task looks at `flushed`, goes to sleep, is woken by who moves it, and finds that it has moved.
#[derive(Debug)]
pub struct Watched {
    pending: Pending,
    wake: Wake<Cell>,
    count: Arc<Count>,
    waker: Waker,
    found: u64,
}

impl Watched {
    /// Nobody sleeps yet.
    #[must_use]
    pub fn new() -> Self {
        let count = Arc::<Count>::default();
        let waker = Waker::from(Arc::clone(&count));
        Self { pending: Pending::new(), wake: Wake::default(), count, waker, found: 0 }
    }
}

impl Default for Watched {
    fn default() -> Self {
        Self::new()
    }
}

impl Part for Watched {
    fn run(&mut self) {
        let Handles { flusher, reader, .. } = &mut self.pending.log.ends;
        let mut cx = Context::from_waker(&self.waker);
        for &(end, _) in black_box(&self.pending.ends) {
            let mut look = || self.wake.poll_until(&mut cx, || (reader.flushed() == end).then_some(()));
            let before = look();
            flusher.publish(end);
            self.wake.notify();
            self.found += u64::from((before, look()) == (Poll::Pending, Poll::Ready(())));
        }
    }

    fn check(&mut self) {
        self.pending.check_flushed();
        let woken = self.count.0.swap(0, Relaxed);
        assert_eq!((woken, self.found), (OPERATIONS, OPERATIONS), "each was woken for, and found");
        self.found = 0;
        self.pending.append();
    }
}

/// Somebody moves `flushed` and tells of it, and nobody waits.
#[derive(Debug)]
pub struct Unwatched {
    pending: Pending,
    wake: Wake<Cell>,
}

impl Unwatched {
    /// Nobody watches.
    #[must_use]
    pub fn new() -> Self {
        Self { pending: Pending::new(), wake: Wake::default() }
    }
}

impl Default for Unwatched {
    fn default() -> Self {
        Self::new()
    }
}

impl Part for Unwatched {
    fn run(&mut self) {
        for &(end, _) in black_box(&self.pending.ends) {
            self.pending.log.ends.flusher.publish(end);
            self.wake.notify();
        }
    }

    fn check(&mut self) {
        self.pending.check_flushed();
        self.pending.append();
    }
}
