//! The one ordered axis of everything that is written.

/// Bytes of one unit of a [`Position`].
pub const UNIT: usize = 8;

/// Bytes to whose multiple every record is padded; so positions of records are even.
pub const ALIGN: usize = 16;

/// A place on the ring's one ordered axis: a wrapping count of 8-byte units since some origin.
///
/// Positions never go back, although indices do: a record written later lies later, whatever its
/// index (P4). Two positions compare rightly while they are less than 2^31 units (16 GiB) apart; a
/// ring holds at most 2^29.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Position(u32);

impl Position {
    /// The position `units` units after position zero.
    #[must_use]
    pub const fn new(units: u32) -> Self {
        Self(units)
    }

    /// The wrapped count of units.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Units from `earlier` to this one, wrapping.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// The position `units` units later, wrapping.
    #[must_use]
    pub const fn advanced(self, units: u32) -> Self {
        Self(self.0.wrapping_add(units))
    }

    /// Whether this lies strictly before `other`: less than half the axis away.
    #[must_use]
    pub const fn precedes(self, other: Self) -> bool {
        let ahead = other.since(self);
        ahead != 0 && ahead < 1 << 31
    }
}
