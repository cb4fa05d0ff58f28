//! Models of the ring's concurrency, explored exhaustively:
//! `RUSTFLAGS="--cfg loom" cargo test -p quoring-ring --release --test loom`.
//!
//! Each model passes, and has twins that must fail: one per step whose order of memory is taken
//! away in the very code that runs elsewhere, and one per check that its reader leaves out.
#![cfg(loom)]

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use loom::thread;
use quoring_ring::*;
use std::pin::pin;
use std::sync::Arc; // loom's would panic in the drop of a thread that a failed model never started
use std::task::{Context, Waker};

/// A ring that the threads of a model share, each taking the end that is its own.
struct Shared<const UNITS: usize, const SLOTS: usize> {
    storage: Storage<UNITS, SLOTS>,
    origin: Origin,
}

impl<const UNITS: usize, const SLOTS: usize> Shared<UNITS, SLOTS> {
    /// An empty ring, near the wrap of its positions and low indices.
    fn new() -> Arc<Self> {
        let origin = Origin { position: Position::new(u32::MAX - 3), ..Origin::default() };
        let storage = Storage::new();
        storage.split_shared(origin, checksum());
        Arc::new(Self { storage, origin })
    }

    fn ends(&self) -> Handles<'_> {
        self.storage.rejoin(self.origin, checksum())
    }
}

fn checksum() -> Checksum {
    Checksum::new(0, |crc, bytes| bytes.iter().fold(crc, |crc, &byte| crc.rotate_left(5) ^ u32::from(byte)))
}

fn put(writer: &mut Writer<'_>, term: u32, index: u64) {
    writer.append(Kind::NoOp, term, index, &[]).expect("room");
}

/// The term of entry `index`, if it is in the ring.
fn term_of(reader: Reader<'_>, index: u64) -> Option<u32> {
    let mut buf = [0; 16];
    let copied = reader.copy(index, &mut buf).ok()?;
    let record = Record::parse(&buf).expect("torn: no record");
    checksum().verify(&record, 0).expect("torn: not intact");
    assert_eq!(record.header, copied.header, "torn: two readings");
    Some(copied.header.term)
}

/// Runs a model with one step weakened, or none.
fn explore(weakened: Option<Step>, model: impl Fn() + Sync + Send + 'static) {
    weaken(weakened);
    loom::model(model);
}

/// A module with the model as it is, and a twin for each thing it must not do without.
macro_rules! model {
    ($name:ident($($argument:expr),*): $($twin:ident($step:expr $(, $other:expr)*) => $failure:literal,)*) => {
        mod $name {
            use super::*;
            #[test]
            fn holds() {
                explore(None, || super::$name($($argument),*));
            }
            $(
                #[test]
                #[should_panic(expected = $failure)]
                fn $twin() {
                    explore($step, || super::$name($($other),*));
                }
            )*
        }
    };
}

// A copy finds all bytes or no record.

fn publish_and_copy() {
    let ring = Shared::<4, 4>::new();
    let reader = thread::spawn({
        let ring = ring.clone();
        move || assert!(matches!(term_of(ring.ends().reader, 1), None | Some(7)))
    });
    let mut ends = ring.ends();
    put(&mut ends.writer, 7, 1);
    reader.join().unwrap();
    assert_eq!(term_of(ends.reader, 1), Some(7));
}

model! { publish_and_copy():
    fails_without_order_of_bytes_and_slot(Some(Step::Enter)) => "torn",
    fails_without_order_of_slot_and_bytes(Some(Step::Find)) => "torn",
}

// The log writer finds all bytes below `accepted`, and what is flushed is in the store.

fn gather_and_flush() {
    let ring = Shared::<4, 4>::new();
    let store = Arc::new(AtomicU32::new(0));
    let log_writer = thread::spawn({
        let (ring, store) = (ring.clone(), store.clone());
        move || {
            let mut flusher = ring.ends().flusher;
            let mut buf = [0; 32];
            let batch = flusher.gather(&mut buf);
            for record in Records::new(&buf[..batch.bytes]) {
                let record = record.expect("torn: no record");
                checksum().verify(&record, 0).expect("torn: not intact");
                store.store(record.header.index_low, Relaxed);
            }
            flusher.publish(batch.end);
        }
    });
    let mut writer = ring.ends().writer;
    put(&mut writer, 7, 1);
    put(&mut writer, 7, 2);
    for index in 1..=2 {
        if writer.is_durable(index) {
            assert!(store.load(Relaxed) >= index as u32, "not in the store");
        }
    }
    log_writer.join().unwrap();
}

model! { gather_and_flush():
    fails_without_order_of_bytes_and_accepted(Some(Step::Accept)) => "torn",
    fails_without_order_of_accepted_and_bytes(Some(Step::SeeAccepted)) => "torn",
    fails_without_order_of_store_and_flushed(Some(Step::Flush)) => "not in the store",
    fails_without_order_of_flushed_and_store(Some(Step::SeeFlushed)) => "not in the store",
}

// A copy is intact or refused, whatever is overwritten meanwhile.

fn copy_against_reclaim() {
    let ring = Shared::<4, 4>::new();
    let mut ends = ring.ends();
    put(&mut ends.writer, 1, 1);
    put(&mut ends.writer, 1, 2);
    ends.flusher.publish(ends.writer.accepted());
    let reader = thread::spawn({
        let ring = ring.clone();
        move || assert!(matches!(term_of(ring.ends().reader, 1), None | Some(1)))
    });
    put(&mut ends.writer, 2, 3);
    reader.join().unwrap();
    assert_eq!(term_of(ends.reader, 1), None);
}

model! { copy_against_reclaim():
    fails_without_order_of_tail_and_overwriting(Some(Step::Reclaim)) => "torn",
    fails_without_order_of_copy_and_judgement(Some(Step::Judge)) => "torn",
}

// A span that the writer told is copied whole, or refused.

fn copy_span_against_reclaim() {
    let ring = Shared::<4, 4>::new();
    let mut ends = ring.ends();
    put(&mut ends.writer, 1, 1);
    put(&mut ends.writer, 1, 2);
    ends.flusher.publish(ends.writer.accepted());
    let span = ends.writer.span(1, 2, 32).expect("in the ring");
    assert_eq!((span.count, span.bytes), (2, 32));
    let reader = thread::spawn({
        let ring = ring.clone();
        move || {
            let mut buf = [0; 32];
            if ring.ends().reader.copy_span(span.start, &mut buf).is_ok() {
                for (record, index) in Records::new(&buf).zip(1..) {
                    let record = record.expect("torn: no record");
                    checksum().verify(&record, 0).expect("torn: not intact");
                    assert_eq!((record.header.term, record.header.index_low), (1, index), "torn: another record");
                }
            }
        }
    });
    put(&mut ends.writer, 2, 3);
    reader.join().unwrap();
    assert_eq!(ends.reader.copy_span(span.start, &mut [0; 32]), Err(CopyError::Gone));
}

model! { copy_span_against_reclaim():
    fails_without_order_of_tail_and_overwriting(Some(Step::Reclaim)) => "torn",
    fails_without_order_of_copy_and_judgement(Some(Step::Judge)) => "torn",
}

// Slots that are taken over, emptied and taken again never lead to a record of another index.

fn truncate_and_append_again() {
    let ring = Shared::<8, 2>::new();
    let mut ends = ring.ends();
    put(&mut ends.writer, 1, 1);
    put(&mut ends.writer, 1, 2);
    ends.flusher.publish(ends.writer.accepted());
    let replicator = thread::spawn({
        let ring = ring.clone();
        move || {
            let reader = ring.ends().reader;
            assert!(matches!(term_of(reader, 1), None | Some(1 | 2)), "an entry of another index");
            assert!(matches!(term_of(reader, 2), None | Some(1 | 2)), "an entry of another index");
        }
    });
    put(&mut ends.writer, 2, 1); // clears the slot of 2
    put(&mut ends.writer, 2, 2);
    ends.flusher.publish(ends.writer.accepted());
    put(&mut ends.writer, 3, 3); // takes the slot of 1, and the space of the old 1
    replicator.join().unwrap();
    assert_eq!((term_of(ends.reader, 1), term_of(ends.reader, 2)), (None, Some(2)));
}

model! { truncate_and_append_again():
    fails_without_order_of_bytes_and_slot(Some(Step::Enter)) => "torn",
    fails_without_order_of_tail_and_overwriting(Some(Step::Reclaim)) => "torn",
    fails_without_order_of_copy_and_judgement(Some(Step::Judge)) => "torn",
}

// Behind a start record, whoever sees what it commits finds no entry from before.

fn start_anew() {
    let ring = Shared::<8, 2>::new();
    let mut ends = ring.ends();
    put(&mut ends.writer, 1, 1);
    put(&mut ends.writer, 1, 2);
    ends.writer.commit(1);
    let applier = thread::spawn({
        let ring = ring.clone();
        move || {
            let reader = ring.ends().reader;
            if reader.committed(0) >= 2 {
                assert_eq!(term_of(reader, 2), None, "an entry that was never committed");
            }
        }
    });
    ends.flusher.publish(ends.writer.accepted());
    ends.writer.append_start(2, 3).unwrap();
    applier.join().unwrap();
}

model! { start_anew():
    fails_without_order_of_slots_and_committed(Some(Step::Commit)) => "never committed",
    fails_without_order_of_committed_and_find(Some(Step::SeeCommitted)) => "never committed",
}

// Rule 5: a message is of one log, or is not sent.

/// What a replicator may leave out, or a core do in the wrong order.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Sends without a look at `leading`.
    Unchecked,
    /// Looks at `leading` before the copies.
    CheckedEarly,
    /// Loads `committed` after the look at `leading`.
    CommittedLate,
    /// The core appends the other leader's entry before it says that it leads no more.
    FollowsLate,
}

/// A leader of term 1 has 1 and 2, and is deposed by one of term 2 that replaces 2 and commits it.
fn message_of_one_log(fault: Fault) {
    let ring = Shared::<8, 2>::new();
    let mut ends = ring.ends();
    ends.writer.lead(1);
    put(&mut ends.writer, 1, 1);
    put(&mut ends.writer, 1, 2);
    let replicator = thread::spawn({
        let ring = ring.clone();
        move || replicate(ring.ends().reader, fault)
    });
    if fault != Fault::FollowsLate {
        ends.writer.follow();
    }
    put(&mut ends.writer, 2, 2);
    ends.writer.follow();
    ends.writer.commit(2);
    replicator.join().unwrap();
}

fn replicate(reader: Reader<'_>, fault: Fault) {
    let early = reader.leading();
    let mut late = 0;
    let terms = [1, 2].map(|index| term_of(reader, index));
    if fault == Fault::CommittedLate {
        late = reader.leading();
    }
    let committed = reader.committed(0);
    let led = match fault {
        Fault::Unchecked => 1,
        Fault::CheckedEarly => early,
        Fault::CommittedLate => late,
        Fault::None | Fault::FollowsLate => reader.leading(),
    };
    if led == 1 {
        assert_eq!(terms, [Some(1), Some(1)], "two leaders: a mixture of their logs");
        assert_eq!(committed, 0, "two leaders: the commit index of the other");
    }
}

model! { message_of_one_log(Fault::None):
    fails_without_the_check(None, Fault::Unchecked) => "two leaders",
    fails_with_the_check_before_the_copies(None, Fault::CheckedEarly) => "two leaders",
    fails_with_the_check_before_committed(None, Fault::CommittedLate) => "two leaders: the commit index of the other",
    fails_when_the_core_follows_late(None, Fault::FollowsLate) => "two leaders: a mixture of their logs",
    fails_without_order_of_leading_and_committed(Some(Step::Commit), Fault::None) => "two leaders: the commit index of the other",
    fails_without_order_of_committed_and_leading(Some(Step::SeeCommitted), Fault::None) => "two leaders: the commit index of the other",
}

// No wake-up is lost: otherwise loom finds the deadlock.

/// A cell for one task, the thread that made it. Loom's own cells and locks cost a hundred times more.
struct Cell {
    registered: AtomicBool,
    watcher: thread::Thread,
}

impl WakerCell for Cell {
    fn register(&self, _: &Waker) {
        self.registered.swap(true, AcqRel);
    }

    fn wake(&self) {
        if self.registered.swap(false, AcqRel) {
            self.watcher.unpark();
        }
    }
}

/// One watcher waits for what each of the publishers brings.
fn wake_ups(publishers: usize) {
    let cell = Cell { registered: AtomicBool::new(false), watcher: thread::current() };
    let watched = Arc::new((Wake::new(cell), [AtomicU32::new(0), AtomicU32::new(0)]));
    for mark in 0..publishers {
        let watched = watched.clone();
        thread::spawn(move || {
            watched.1[mark].store(1, Release);
            watched.0.notify();
        });
    }
    let brought = || watched.1.iter().map(|mark| mark.load(Acquire) as usize).sum::<usize>();
    let mut waiting = pin!(watched.0.until(|| (brought() == publishers).then_some(())));
    while waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        thread::park();
    }
}

model! { wake_ups(2):
    fails_without_the_publishers_fence(Some(Step::Notify), 2) => "deadlock",
    fails_without_the_watchers_fence(Some(Step::Want), 2) => "deadlock",
}
