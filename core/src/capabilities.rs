//! What a node is able to do, as nodes tell each other before they rely on it (C9).

/// A set of abilities, one bit each. A bit that a node does not know it does not look at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Capabilities(u32);

impl Capabilities {
    /// None.
    pub const NONE: Self = Self(0);
    /// Takes commands that clients of other nodes forward, and entries that name their client.
    pub const CLIENTS: Self = Self(1);
    /// Elects nobody for an election timeout after it has confirmed a leader: said only in a confirmation, by who has leases switched on.
    pub(crate) const PROMISES: Self = Self(2);
    /// All that this version can do for clients.
    pub const ALL: Self = Self::CLIENTS;

    /// The set with these bits.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The set with all of `other`.
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are among them.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::ALL
    }
}
