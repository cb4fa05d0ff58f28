//! Rings whose size is known only at run time.

use quoring_ring::{Checksum, Handles, Origin, Storage};

/// The size of a ring: its arena in 8-byte units, and its slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingSize {
    /// 8-byte units of the arena.
    pub units: usize,
    /// Indices that can be found.
    pub slots: usize,
}

/// The ends of a new ring, `None` if no test has needed this size yet. Its memory is never given back: tests end before it does.
#[must_use]
pub fn ring(size: RingSize, origin: Origin, checksum: Checksum) -> Option<Handles<'static>> {
    macro_rules! leak {
        ($($units:literal x $slots:literal),*) => {
            match (size.units, size.slots) {
                $(($units, $slots) => Some(Box::leak(Box::new(Storage::<$units, $slots>::new())).split(origin, checksum)),)*
                _ => None,
            }
        };
    }
    leak!(16 x 8, 32 x 8, 32 x 16, 64 x 8, 64 x 16, 128 x 32, 256 x 64, 1024 x 256)
}
