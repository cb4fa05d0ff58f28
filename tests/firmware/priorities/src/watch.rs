//! Looks at the node's pointers from an interrupt that nothing holds back.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use embassy_time::Timer;
use quoring::{LogIndex, Pointers, Position, Term};
use quoring_mps2::dual_timer::{self, Work};
use static_cell::StaticCell;

use crate::findings::{Finding, check};
use crate::records::Random;
use crate::sections;

/// Ticks between two interrupts at most: what the node takes for a command, some times.
const INTERVAL: u32 = 16_384;

static INTERRUPTS: AtomicU32 = AtomicU32::new(0);
/// While a critical section was open,
static IN_SECTIONS: AtomicU32 = AtomicU32::new(0);
/// between `accepted` and `flushed`,
static UNFLUSHED: AtomicU32 = AtomicU32::new(0);
/// and between `committed` and `applied`.
static UNAPPLIED: AtomicU32 = AtomicU32::new(0);
/// After which any of them had moved.
static MOVED: AtomicU32 = AtomicU32::new(0);
static OVER: AtomicBool = AtomicBool::new(false);

/// Begins to watch, at this priority. Once.
pub(crate) fn start(mut pointers: Pointers<'static>, priority: u8) {
    static PLACE: StaticCell<Watch> = StaticCell::new();
    let last = Reading::of(&mut pointers);
    dual_timer::start(priority, PLACE.init(Watch { pointers, last, random: Random(1) }));
}

/// What was watched, in numbers of interrupts.
pub(crate) struct Watched;

/// Ends it.
pub(crate) async fn stop() -> Watched {
    OVER.store(true, Ordering::Release);
    while dual_timer::is_busy() {
        Timer::after_micros(100).await;
    }
    Watched
}

struct Watch {
    pointers: Pointers<'static>,
    last: Reading,
    random: Random,
}

impl Work for Watch {
    fn run(&mut self) -> Option<u32> {
        for _ in 0..2 {
            let reading = Reading::of(&mut self.pointers);
            reading.check(&self.last);
            count(&MOVED, reading != self.last);
            self.last = reading;
        }
        count(&INTERRUPTS, true);
        count(&IN_SECTIONS, sections::is_open());
        count(&UNFLUSHED, self.last.flushed != self.last.accepted);
        count(&UNAPPLIED, self.last.applied != self.last.committed);
        (!OVER.load(Ordering::Acquire)).then(|| self.random.interval(INTERVAL))
    }
}

/// A reading of each pointer, in the order in which none of a pair may be ahead of the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Reading {
    leading: Option<Term>,
    flushed: Position,
    accepted: Position,
    applied: LogIndex,
    committed: LogIndex,
}

impl Reading {
    fn of(pointers: &mut Pointers<'_>) -> Self {
        Self {
            leading: pointers.leading(),
            flushed: pointers.flushed(),
            accepted: pointers.accepted(),
            applied: pointers.applied(),
            committed: pointers.committed(),
        }
    }

    /// Checks it by itself, and against the one before.
    fn check(&self, before: &Self) {
        let Self { leading, flushed, accepted, applied, committed } = *self;
        check(!accepted.precedes(flushed), Finding::FlushedBeforeAccepted);
        check(applied <= committed, Finding::AppliedBeforeCommitted);
        check(leading.is_some() && leading >= before.leading, Finding::NotLeading);
        let forward = !flushed.precedes(before.flushed) && !accepted.precedes(before.accepted);
        check(forward && applied >= before.applied && committed >= before.committed, Finding::WentBack);
    }
}

fn count(counter: &AtomicU32, happened: bool) {
    counter.fetch_add(u32::from(happened), Ordering::Relaxed);
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [interrupts, sections, unflushed, unapplied, moved] =
            [&INTERRUPTS, &IN_SECTIONS, &UNFLUSHED, &UNAPPLIED, &MOVED].map(|counter| counter.load(Ordering::Relaxed));
        write!(
            f,
            "interrupts={interrupts} in_sections={sections} unflushed={unflushed} unapplied={unapplied} moved={moved}"
        )
    }
}
