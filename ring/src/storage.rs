//! The memory of a ring, and its division into the ends that work on it.

use crate::applier::Applier;
use crate::arena::{Arena, Unit};
use crate::checksum::Checksum;
use crate::flusher::Flusher;
use crate::position::Position;
use crate::reader::Reader;
use crate::ring::{EMPTY, Ring};
use crate::sync::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use crate::watermark::Watermarks;
use crate::writer::Writer;

/// The memory of a ring of `UNITS` times 8 bytes, in which the latest `SLOTS` indices can be found.
///
/// Both are powers of two. Its initial image is all zero, so that a static one lies in `.bss` (F4):
///
/// ```
/// use quoring_ring::{Checksum, DEFAULT_CRC32C, Kind, Origin, Storage};
///
/// let mut storage: Storage<256, 64> = Storage::new(); // 2 KiB
/// let mut ring = storage.split(Origin::default(), Checksum::new(7, DEFAULT_CRC32C));
///
/// ring.writer.append(Kind::Command, 1, 1, b"on").unwrap();
///
/// let mut page = [0; 128];
/// let batch = ring.flusher.gather(&mut page);
/// // ... store page[..batch.bytes] ...
/// ring.flusher.publish(batch.end);
/// assert!(ring.writer.is_durable(1));
/// ```
pub struct Storage<const UNITS: usize, const SLOTS: usize> {
    arena: [Unit; UNITS],
    slots: [AtomicU32; SLOTS],
    marks: Watermarks,
}

/// Where a node goes on: the ring is empty, and everything up to `last` is in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Origin {
    /// Where the first record will lie; rounded up to the alignment of records.
    pub position: Position,
    /// Index of the last entry in the store.
    pub last: u64,
    /// Index up to which entries are known to be committed; at most `last`.
    pub committed: u64,
    /// Index up to which the application has finished.
    pub applied: u64,
}

/// The ends of a ring, one for each task. Each of them moves its own watermarks, and nobody else
/// does (P2).
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Handles<'r> {
    /// Appends records, truncates, commits.
    pub writer: Writer<'r>,
    /// Takes records to the store.
    pub flusher: Flusher<'r>,
    /// Tells how far the application is.
    pub applier: Applier<'r>,
    /// Looks on; `Copy`.
    pub reader: Reader<'r>,
}

impl<const UNITS: usize, const SLOTS: usize> Storage<UNITS, SLOTS> {
    const CHECKED: () = {
        assert!(UNITS.is_power_of_two(), "positions wrap at 2^32: the arena's length must divide it");
        assert!(UNITS >= 4, "half of the arena must take a header");
        assert!(UNITS <= 1 << 29, "positions must be comparable across several arenas");
        assert!(SLOTS.is_power_of_two(), "indices wrap at 2^32: the number of slots must divide it");
        assert!(SLOTS <= 1 << 29, "slots must be fewer than half of the low indices");
    };

    /// Zeros.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        const { Self::CHECKED };
        Self {
            arena: [const { [const { AtomicUsize::new(0) }; crate::arena::WORDS] }; UNITS],
            slots: [const { AtomicU32::new(0) }; SLOTS],
            marks: Watermarks::new(),
        }
    }

    /// Zeros.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        const { Self::CHECKED };
        Self {
            arena: core::array::from_fn(|_| core::array::from_fn(|_| AtomicUsize::new(0))),
            slots: core::array::from_fn(|_| AtomicU32::new(0)),
            marks: Watermarks::new(),
        }
    }

    /// Empties the ring, sets it to `origin` and hands out its ends.
    pub fn split(&mut self, origin: Origin, checksum: Checksum) -> Handles<'_> {
        self.share(origin, checksum)
    }

    /// As [`split`](Self::split), but by a shared reference: loom's threads have no scope to borrow
    /// from.
    #[cfg(loom)]
    pub fn split_shared(&self, origin: Origin, checksum: Checksum) -> Handles<'_> {
        self.share(origin, checksum)
    }

    /// The ends again, without touching the memory: each thread of a model takes the one that is
    /// its own.
    #[cfg(loom)]
    pub fn rejoin(&self, origin: Origin, checksum: Checksum) -> Handles<'_> {
        self.handles(origin.sane(), checksum)
    }

    fn share(&self, origin: Origin, checksum: Checksum) -> Handles<'_> {
        let origin = origin.sane();
        for slot in &self.slots {
            slot.store(EMPTY, Relaxed);
        }
        self.marks.reset(&origin);
        self.handles(origin, checksum)
    }

    fn handles(&self, origin: Origin, checksum: Checksum) -> Handles<'_> {
        let ring = Ring { arena: Arena::new(&self.arena), slots: &self.slots, marks: &self.marks };
        Handles {
            writer: Writer::new(ring, &origin, checksum),
            flusher: Flusher::new(ring, origin.position),
            applier: Applier::new(ring, origin.applied),
            reader: Reader::new(ring),
        }
    }
}

impl<const UNITS: usize, const SLOTS: usize> Default for Storage<UNITS, SLOTS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const UNITS: usize, const SLOTS: usize> core::fmt::Debug for Storage<UNITS, SLOTS> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Storage<{UNITS}, {SLOTS}>")
    }
}

#[cfg(feature = "defmt")]
impl<const UNITS: usize, const SLOTS: usize> defmt::Format for Storage<UNITS, SLOTS> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Storage<{=usize}, {=usize}>", UNITS, SLOTS);
    }
}

impl Origin {
    /// What a store says may be anything: records lie on even positions, and nothing is committed
    /// above `last`.
    fn sane(self) -> Self {
        Self {
            position: Position::new(self.position.get().wrapping_add(1) & !1),
            committed: self.committed.min(self.last),
            ..self
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    // covers: F4
    #[test]
    fn new_storage_is_all_zero() {
        static STORAGE: Storage<64, 16> = Storage::new();
        let Storage { arena, slots, marks } = &STORAGE;
        assert!(arena.as_flattened().iter().all(|word| word.load(Relaxed) == 0));
        assert!(slots.iter().chain(marks.all()).all(|word| word.load(Relaxed) == 0));
    }

    /// The arena, a word per slot, and seven watermarks.
    #[cfg(not(feature = "std"))]
    #[test]
    fn storage_has_no_more_bytes_than_it_must() {
        assert_eq!(size_of::<Storage<64, 16>>(), (64 * 8 + 16 * 4 + 7 * 4_usize).next_multiple_of(8));
    }
}
