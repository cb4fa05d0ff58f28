//! A ring alone: one end of it preempts the other at any instruction.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use quoring_mps2::dual_timer::{self, Work};
use quoring_mps2::ticks;
use quoring_ring::{
    AppendError, Applier, Checksum, CopyError, Flusher, HEADER, Handles, Kind, Origin, Position, Reader, Storage,
    Writer,
};
use static_cell::{ConstStaticCell, StaticCell};

use crate::findings::{Finding, check};
use crate::records::{LARGEST, Random, is_payload, payload};

/// Of each way round, or as many as come within this time.
const INTERRUPTS: u32 = 40_000;
const TICKS: u32 = 2 * 25_000_000;

/// Ticks between two of them at most. Looks may come several times in an append; what writes takes so long itself that it must leave time for copies.
const LOOK: u32 = 2_048;
const WRITE: u32 = 16_384;

const SLOTS: usize = 64;
type Memory = Storage<256, SLOTS>;

/// Soon after the start positions wrap, and the low halves of indices.
const BEGIN: u64 = u32::MAX as u64 - 2_000;
const ORIGIN: Origin =
    Origin { position: Position::new(u32::MAX - 999), last: BEGIN, committed: BEGIN, applied: BEGIN };

/// By index, of what is committed: the entry's term. Noted before `committed` moves; so many that it outlasts all copies.
static COMMITTED: [AtomicU32; 1024] = [const { AtomicU32::new(0) }; 1024];

/// Thread mode writes, interrupts read.
pub(crate) fn read_in_interrupts(priority: u8) -> &'static Counts {
    static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::new());
    static READING: StaticCell<Reading> = StaticCell::new();
    static COUNTS: Counts = Counts::new();
    let (mut writing, reading) = ends(MEMORY.take(), &COUNTS);
    dual_timer::start(priority, READING.init(reading));
    while dual_timer::is_busy() {
        writing.step();
    }
    &COUNTS
}

/// Interrupts write, thread mode reads.
pub(crate) fn write_in_interrupts(priority: u8) -> &'static Counts {
    static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::new());
    static WRITING: StaticCell<Writing> = StaticCell::new();
    static COUNTS: Counts = Counts::new();
    let (writing, mut reading) = ends(MEMORY.take(), &COUNTS);
    dual_timer::start(priority, WRITING.init(writing));
    while dual_timer::is_busy() {
        reading.look();
    }
    &COUNTS
}

/// What happened.
pub(crate) struct Counts {
    interrupts: AtomicU32,
    /// That preempted an append, or a copy.
    amid: AtomicU32,
    appended: AtomicU32,
    replaced: AtomicU32,
    copied: AtomicU32,
    gone: AtomicU32,
    /// Copies that were preempted and are whole,
    overtaken: AtomicU32,
    /// and that came to nothing.
    lost: AtomicU32,
    /// An append or a copy is going on.
    busy: AtomicBool,
    /// When all this began.
    begun: AtomicU32,
}

fn ends(memory: &'static mut Memory, counts: &'static Counts) -> (Writing, Reading) {
    counts.begun.store(ticks(), Ordering::Relaxed);
    // Nobody looks at checksums, and without them an append is little more than what has to be in order.
    let Handles { writer, flusher, applier, reader } = memory.split(ORIGIN, Checksum::new(0, |_, _| 0));
    let writing = Writing { writer, flusher, applier, term: 1, terms: [0; 128], random: Random(2), counts };
    (writing, Reading { reader, marks: Marks::of(reader, BEGIN), random: Random(3), counts })
}

/// The ends that move something.
struct Writing {
    writer: Writer<'static>,
    flusher: Flusher<'static>,
    applier: Applier<'static>,
    term: u32,
    /// By index, of what is not committed.
    terms: [u32; 128],
    random: Random,
    counts: &'static Counts,
}

impl Writing {
    /// What a core and its tasks do, in any order.
    fn step(&mut self) {
        if self.random.below(8) == 0 {
            self.elect();
        }
        self.append();
        if self.random.below(3) == 0 {
            self.flush();
        }
        let (last, committed) = (self.writer.last(), self.writer.committed());
        if self.random.below(3) == 0 || last - committed > 40 {
            let more = self.random.below((last - committed) as u32 + 1);
            self.commit(committed + u64::from(more));
        }
        let unapplied = self.writer.committed() - self.applier.applied();
        self.applier.publish(self.applier.applied() + u64::from(self.random.below(unapplied as u32 + 1)));
    }

    /// In odd terms.
    const fn leads(&self) -> bool {
        self.term % 2 == 1
    }

    fn elect(&mut self) {
        self.term += 1;
        if self.leads() { self.writer.lead(self.term) } else { self.writer.follow() }
    }

    /// The next entry; from another leader, maybe one in place of what is not committed.
    fn append(&mut self) {
        let (last, uncommitted) = (self.writer.last(), self.writer.last() - self.writer.committed());
        let replaces = !self.leads() && uncommitted > 0 && self.random.below(4) == 0;
        let index = if replaces { last - u64::from(self.random.below(uncommitted as u32)) } else { last + 1 };
        // The same index in the same term is the same entry.
        self.term += 2 * u32::from(replaces);
        let (bytes, len) = payload(self.term, index);
        let bytes = bytes.get(..len).unwrap_or_default();
        self.counts.busy.store(true, Ordering::Relaxed);
        let appended = self.writer.append(Kind::Command, self.term, index, bytes);
        self.counts.busy.store(false, Ordering::Relaxed);
        match appended {
            Ok(_) => {
                if let Some(term) = self.terms.get_mut(index as usize % 128) {
                    *term = self.term;
                }
                count(&self.counts.appended, true);
                count(&self.counts.replaced, replaces);
            }
            Err(error) => {
                check(error == AppendError::Full, Finding::NotAppended);
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        let mut page = [0; 512];
        let batch = self.flusher.gather(&mut page);
        self.flusher.publish(batch.end);
    }

    fn commit(&mut self, to: u64) {
        for index in self.writer.committed() + 1..=to {
            let term = self.terms.get(index as usize % 128).copied().unwrap_or_default();
            note(index).store(term, Ordering::Relaxed);
        }
        self.writer.commit(to);
    }
}

impl Work for Writing {
    fn run(&mut self) -> Option<u32> {
        self.counts.interrupt();
        for _ in 0..self.random.below(16) {
            self.step();
        }
        self.counts.next(&mut self.random, WRITE)
    }
}

/// Who only looks.
struct Reading {
    reader: Reader<'static>,
    marks: Marks,
    random: Random,
    counts: &'static Counts,
}

impl Reading {
    /// Looks at the watermarks, and copies any record.
    fn look(&mut self) {
        let leading = self.reader.leading();
        let marks = Marks::of(self.reader, self.marks.committed);
        marks.check(&self.marks);
        self.marks = marks;
        // Too new, in the ring, or gone.
        let newest = self.reader.last(marks.committed) + 2;
        let index = newest - u64::from(self.random.below(SLOTS as u32));
        self.copy(index, leading);
    }

    fn copy(&mut self, index: u64, leading: u32) {
        let mut record = [0; HEADER + LARGEST];
        let before = self.counts.interrupts.load(Ordering::Relaxed);
        self.counts.busy.store(true, Ordering::Relaxed);
        let copied = self.reader.copy(index, &mut record);
        self.counts.busy.store(false, Ordering::Relaxed);
        let preempted = self.counts.interrupts.load(Ordering::Relaxed) != before;
        match copied {
            Ok(copied) => {
                let term = copied.header.term;
                let payload = record.get(HEADER..HEADER + usize::from(copied.header.len)).unwrap_or_default();
                check(is_payload(payload, term, index), Finding::Torn);
                let committed = index <= self.marks.committed;
                let right = !committed || note(index).load(Ordering::Relaxed) == term;
                // What is found while one leads all along is not from after that.
                let in_office = leading != 0 && self.reader.leading() == leading;
                check(right && !(in_office && term > leading), Finding::NotWhatWasCommitted);
            }
            Err(error) => check(error == CopyError::Gone, Finding::TooSmall),
        }
        count(if copied.is_ok() { &self.counts.copied } else { &self.counts.gone }, true);
        count(if copied.is_ok() { &self.counts.overtaken } else { &self.counts.lost }, preempted);
    }
}

impl Work for Reading {
    fn run(&mut self) -> Option<u32> {
        // A copy of its own is not what is preempted.
        let appending = self.counts.busy.load(Ordering::Relaxed);
        self.counts.interrupt();
        self.look();
        self.counts.busy.store(appending, Ordering::Relaxed);
        self.counts.next(&mut self.random, LOOK)
    }
}

/// The watermarks, in the order in which none of a pair may be ahead of the other.
#[derive(Clone, Copy)]
struct Marks {
    flushed: Position,
    accepted: Position,
    applied: u64,
    committed: u64,
}

impl Marks {
    fn of(reader: Reader<'_>, base: u64) -> Self {
        Self {
            flushed: reader.flushed(),
            accepted: reader.accepted(),
            applied: reader.applied(base),
            committed: reader.committed(base),
        }
    }

    fn check(&self, before: &Self) {
        check(!self.accepted.precedes(self.flushed), Finding::FlushedBeforeAccepted);
        check(self.applied <= self.committed, Finding::AppliedBeforeCommitted);
        let forward = !self.flushed.precedes(before.flushed) && !self.accepted.precedes(before.accepted);
        check(forward && self.applied >= before.applied && self.committed >= before.committed, Finding::WentBack);
    }
}

impl Counts {
    const fn new() -> Self {
        const fn zero() -> AtomicU32 {
            AtomicU32::new(0)
        }
        Self {
            interrupts: zero(),
            amid: zero(),
            appended: zero(),
            replaced: zero(),
            copied: zero(),
            gone: zero(),
            overtaken: zero(),
            lost: zero(),
            busy: AtomicBool::new(false),
            begun: zero(),
        }
    }

    fn interrupt(&self) {
        count(&self.interrupts, true);
        count(&self.amid, self.busy.load(Ordering::Relaxed));
    }

    /// When the next one comes.
    fn next(&self, random: &mut Random, most: u32) -> Option<u32> {
        let over = ticks().wrapping_sub(self.begun.load(Ordering::Relaxed)) > TICKS
            || self.interrupts.load(Ordering::Relaxed) >= INTERRUPTS;
        (!over).then(|| random.interval(most))
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interrupts, amid, appended, replaced, copied, gone, overtaken, lost, .. } = self;
        let counts = [interrupts, amid, appended, replaced, copied, gone, overtaken, lost];
        let [interrupts, amid, appended, replaced, copied, gone, overtaken, lost] =
            counts.map(|counter| counter.load(Ordering::Relaxed));
        write!(f, "interrupts={interrupts} amid={amid} appended={appended} replaced={replaced} ")?;
        write!(f, "copied={copied} gone={gone} overtaken={overtaken} lost={lost}")
    }
}

/// Where the term of a committed entry is noted.
fn note(index: u64) -> &'static AtomicU32 {
    let [first, ..] = &COMMITTED;
    COMMITTED.get(index as usize % COMMITTED.len()).unwrap_or(first)
}

fn count(counter: &AtomicU32, happened: bool) {
    counter.fetch_add(u32::from(happened), Ordering::Relaxed);
}
