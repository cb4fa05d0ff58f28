//! What has changed for others than peers and the log's readers.

/// A set of changes, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct News(u8);

impl News {
    /// None: almost always.
    pub const NONE: Self = Self(0);
    /// Something that clients wait for may have changed: a round is over or lost, who leads has changed, a transfer has ended.
    pub const CLIENTS: Self = Self(1);
    /// The window has moved, opened or closed.
    pub const WINDOW: Self = Self(2);
    /// Who leads, or the term, may have changed.
    pub const LEADER: Self = Self(4);
    /// This node leads no more, or not in the same term.
    pub const OFFICE: Self = Self(8);
    /// The next deadline may be earlier than it was.
    pub const DEADLINE: Self = Self(16);

    /// Whether all of `other` are among them.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Adds `other`.
    pub(crate) const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
