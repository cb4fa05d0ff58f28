//! What is measured of whoever keeps entries on flash, and how.

use std::ops::Range;
use std::time::Instant;

use quoring::store::medium::Geometry;
use quoring::store::mock::{Counters, MockFlash};

use crate::flash::entry::Form;

/// Keeps entries on flash, and lets go of the oldest ones when it needs their room.
pub(crate) trait Contender {
    /// Takes the flash as it is; nothing is read yet.
    fn open(flash: MockFlash, form: Form) -> Self;

    /// Finds the end of the log, reading every entry on the way; which entries there are.
    fn recover(&mut self) -> Range<u64>;

    /// Makes entries durable, all of them with one call.
    fn append(&mut self, entries: Range<u64>);

    /// What it works on.
    fn flash(&mut self) -> &MockFlash;
}

/// What a contender did to the flash, and how long recovery took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Bytes programmed for an entry, in the steady state.
    pub(crate) programmed: f64,
    /// Erases for a thousand entries, in the steady state.
    pub(crate) erases: f64,
    /// Bytes read for an entry that is appended, in the steady state.
    pub(crate) read: f64,
    /// Entries in the region when it is as full as it gets.
    pub(crate) entries: u64,
    /// Bytes that recovery reads then.
    pub(crate) recovery_bytes: u64,
    /// In so many calls.
    pub(crate) recovery_reads: u64,
    /// Median time of it on this host.
    pub(crate) recovery_micros: f64,
}

/// Laps around the region before the steady state.
const WARM_UP: u64 = 2;
/// Laps in it.
pub(crate) const LAPS: u64 = 10;
/// Recoveries of which the median counts.
pub(crate) const REPEATS: usize = 101;

/// Measures a contender whose entries come `batch` at a time.
///
/// # Panics
/// It breaks a rule of the flash, or does not find what it wrote.
#[must_use]
pub(crate) fn measure<C: Contender>(geometry: Geometry, form: Form, batch: u64) -> Cost {
    let mut contender = C::open(MockFlash::new(geometry), form);
    assert!(contender.recover().is_empty(), "erased flash holds nothing");
    let (mut next, pages) = (1, u64::from(geometry.pages));
    // Whole laps, from one erase to another.
    fill(&mut contender, &mut next, batch, WARM_UP * pages);
    let (before, first) = (contender.flash().counters(), next);
    fill(&mut contender, &mut next, batch, LAPS * pages);
    let used = since(contender.flash().counters(), before);
    let entries = (next - first) as f64;
    let full = last_before_an_erase(&mut contender, &mut next, batch);
    assert_eq!(contender.flash().counters().violations, 0, "the rules of flash are kept");

    let mut reopened = C::open(full.clone(), form);
    let found = reopened.recover();
    assert_eq!(found.end, next, "all is found that was written");
    let recovery = since(reopened.flash().counters(), full.counters());
    assert_eq!((recovery.words, recovery.erases), (0, 0), "recovery writes nothing");
    Cost {
        programmed: (used.words * u64::from(geometry.word)) as f64 / entries,
        erases: used.erases as f64 * 1000.0 / entries,
        read: used.bytes_read as f64 / entries,
        entries: found.end - found.start,
        recovery_bytes: recovery.bytes_read,
        recovery_reads: recovery.reads,
        recovery_micros: time::<C>(&full, form),
    }
}

/// Appends until so many more pages were erased.
fn fill<C: Contender>(contender: &mut C, next: &mut u64, batch: u64, erases: u64) {
    let until = contender.flash().counters().erases + erases;
    while contender.flash().counters().erases < until {
        contender.append(*next..*next + batch);
        *next += batch;
    }
}

/// Appends up to the batch that would erase a page; the flash as it is before that, and `next` is what would have come.
fn last_before_an_erase<C: Contender>(contender: &mut C, next: &mut u64, batch: u64) -> MockFlash {
    let erases = contender.flash().counters().erases;
    loop {
        let before = contender.flash().clone();
        contender.append(*next..*next + batch);
        if contender.flash().counters().erases > erases {
            return before;
        }
        *next += batch;
    }
}

fn since(now: Counters, before: Counters) -> Counters {
    Counters {
        words: now.words - before.words,
        erases: now.erases - before.erases,
        reads: now.reads - before.reads,
        bytes_read: now.bytes_read - before.bytes_read,
        ..now
    }
}

fn time<C: Contender>(full: &MockFlash, form: Form) -> f64 {
    let mut times: Vec<_> = (0..REPEATS)
        .map(|_| {
            let mut contender = C::open(full.clone(), form);
            let start = Instant::now();
            std::hint::black_box(contender.recover());
            start.elapsed()
        })
        .collect();
    times.sort();
    times[REPEATS / 2].as_secs_f64() * 1e6
}
