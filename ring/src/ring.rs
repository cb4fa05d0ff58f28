//! What all ends of a ring see of it.

use crate::arena::Arena;
use crate::position::Position;
use crate::sync::{AtomicU32, Ordering};
use crate::watermark::Watermarks;

/// The content of a slot that leads nowhere. Any odd value would do: records lie on even positions.
pub(crate) const EMPTY: u32 = 1;

/// The ring behind its ends: slices, so that no end carries the sizes in its type.
#[derive(Clone, Copy)]
pub(crate) struct Ring<'r> {
    pub(crate) arena: Arena<'r>,
    /// By index modulo their number: the position of the index's live record.
    pub(crate) slots: &'r [AtomicU32],
    pub(crate) marks: &'r Watermarks,
}

impl<'r> Ring<'r> {
    /// The slot of `index`.
    pub(crate) fn slot(self, index: u64) -> Option<&'r AtomicU32> {
        self.slots.get(index as usize & (self.slots.len() - 1))
    }

    /// Where the slot of `index` leads, whether that still is in the ring or not.
    pub(crate) fn find(self, index: u64, order: Ordering) -> Option<Position> {
        let position = self.slot(index)?.load(order);
        (position & 1 == 0).then_some(Position::new(position))
    }

    /// Whether a record that begins at `at` is in the ring whose oldest byte is at `tail`. Nothing
    /// outside has a slot.
    pub(crate) fn holds(self, at: Position, tail: Position) -> bool {
        at.since(tail) < self.arena.units()
    }
}

impl core::fmt::Debug for Ring<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (tail, flushed, accepted) = (self.marks.tail(), self.marks.flushed(), self.marks.accepted());
        write!(f, "tail {} flushed {} accepted {}", tail.get(), flushed.get(), accepted.get())
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Ring<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        let (tail, flushed, accepted) = (self.marks.tail(), self.marks.flushed(), self.marks.accepted());
        defmt::write!(f, "tail {=u32} flushed {=u32} accepted {=u32}", tail.get(), flushed.get(), accepted.get());
    }
}
