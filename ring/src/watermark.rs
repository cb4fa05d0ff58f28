//! The watermarks: each has one writer, one meaning and one order.

use crate::position::Position;
use crate::storage::Origin;
use crate::sync::{AtomicU32, Ordering::Relaxed, Step, acquire, release};

/// All watermarks of a ring. Those of one writer lie together; on hosts, those of two writers in
/// different cache lines.
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Watermarks {
    pub(crate) core: Line<CoreMarks>,
    /// End of what is durable here. Writer: the log writer. Forward only, on record boundaries,
    /// never past `accepted`.
    pub(crate) flushed: Line<AtomicU32>,
    /// Low half of the index up to which the application has finished. Writer: the applier. Forward
    /// only.
    pub(crate) applied: Line<AtomicU32>,
}

/// The watermarks that the ring's writer moves.
#[cfg_attr(loom, derive(Default))]
pub(crate) struct CoreMarks {
    /// Oldest byte still in the ring. Forward only, never past `flushed`; stored before what lies
    /// below is overwritten.
    pub(crate) tail: AtomicU32,
    /// End of the last record. Forward only; stored after the record's bytes and slot.
    pub(crate) accepted: AtomicU32,
    /// Low half of the last entry's index. The only mark that goes back: on truncation.
    pub(crate) last: AtomicU32,
    /// Low half of the index up to which entries are committed. Forward only, never past `last`.
    pub(crate) committed: AtomicU32,
    /// The own term while leader, else 0. Zeroed before anything of another leader is written.
    pub(crate) leading: AtomicU32,
}

/// Watermarks of one writer, on cache lines of their own where cores have caches.
#[cfg(feature = "std")]
pub(crate) use crossbeam_utils::CachePadded as Line;

/// Watermarks of one writer. A single core gains nothing from distance.
#[cfg(not(feature = "std"))]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Line<T>(T);

#[cfg(not(feature = "std"))]
impl<T> Line<T> {
    #[cfg(not(loom))]
    pub(crate) const fn new(marks: T) -> Self {
        Self(marks)
    }
}

#[cfg(not(feature = "std"))]
impl<T> core::ops::Deref for Line<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl Watermarks {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        const fn zero() -> AtomicU32 {
            AtomicU32::new(0)
        }
        Self {
            core: Line::new(CoreMarks {
                tail: zero(),
                accepted: zero(),
                last: zero(),
                committed: zero(),
                leading: zero(),
            }),
            flushed: Line::new(zero()),
            applied: Line::new(zero()),
        }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn all(&self) -> [&AtomicU32; 7] {
        let CoreMarks { tail, accepted, last, committed, leading } = &*self.core;
        [tail, accepted, last, committed, leading, &self.flushed, &self.applied]
    }

    /// Sets all marks to where a node goes on.
    pub(crate) fn reset(&self, origin: &Origin) {
        for mark in [&self.core.tail, &self.core.accepted, &self.flushed] {
            mark.store(origin.position.get(), Relaxed);
        }
        self.core.last.store(origin.last as u32, Relaxed);
        self.core.committed.store(origin.committed as u32, Relaxed);
        self.core.leading.store(0, Relaxed);
        self.applied.store(origin.applied as u32, Relaxed);
    }

    pub(crate) fn tail(&self) -> Position {
        Position::new(self.core.tail.load(Relaxed))
    }

    pub(crate) fn accepted(&self) -> Position {
        Position::new(self.core.accepted.load(acquire(Step::SeeAccepted)))
    }

    pub(crate) fn flushed(&self) -> Position {
        Position::new(self.flushed.load(acquire(Step::SeeFlushed)))
    }

    pub(crate) fn publish_flushed(&self, to: Position) {
        self.flushed.store(to.get(), release(Step::Flush));
    }
}

/// The index nearest to `base` whose low half is `low`: right across the wrap, upwards and
/// downwards (L15).
///
/// The reader keeps the base, and refreshes it before the index can have moved by 2^31.
#[must_use]
#[cfg_attr(target_pointer_width = "32", inline(never))] // A dozen instructions there, in a dozen places.
pub const fn extend(base: u64, low: u32) -> u64 {
    let distance = low.wrapping_sub(base as u32).cast_signed();
    match base.checked_add_signed(distance as i64) {
        Some(index) => index,
        // Beyond either end of the axis there is no index: the only candidate is the one in the
        // base's own 2^32.
        None => base & !(u32::MAX as u64) | low as u64,
    }
}
