//! What a node is able to do, as nodes tell each other before they rely on it (C9).

/// A set of abilities, one bit each, and how many sessions the node has places for. A bit that a node does not know it does not look at.
///
/// ```text
///  31        16 15      2         1         0
///  +-----------+--------+---------+---------+
///  | sessions  | 0      | promises| clients |
///  +-----------+--------+---------+---------+
/// ```
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
    /// All that this version can do for clients, with places for any number of sessions.
    pub const ALL: Self = Self(Self::CLIENTS.0 | 0xFFFF_0000);

    /// The set with these bits.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other` are among them.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// How many sessions the node has places for.
    pub const fn sessions(self) -> u32 {
        self.0 >> 16
    }

    /// The same, with places for so many sessions.
    #[must_use]
    pub const fn with_sessions(self, sessions: u16) -> Self {
        Self(self.0 & 0xFFFF | (sessions as u32) << 16)
    }

    /// The same, with a promise or without.
    pub(crate) const fn promising(self, promises: bool) -> Self {
        let others = self.0 & !Self::PROMISES.0;
        Self(if promises { others | Self::PROMISES.0 } else { others })
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::ALL
    }
}
