//! Why a node stops for good.

use core::fmt;

use quoring_core::LogIndex;

/// A node that cannot trust its medium falls silent (fail-stop, D6): it neither acknowledges nor votes any more, and the others go on.
/// Restart it once the medium is repaired or replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Halt {
    /// The store failed to append.
    Append,
    /// The store failed to read this entry, which it holds.
    Read(LogIndex),
    /// The store failed to write or to read a snapshot, or what it read is none.
    Snapshot,
    /// The store failed to do work ahead of need.
    Tidy,
    /// The store returned something else than this entry.
    Corrupt(LogIndex),
    /// The cluster keeps more sessions than there are places for in the resources of this node. Nothing is wrong with the medium: build the node with so many (C11).
    Sessions {
        /// How many.
        needed: u32,
    },
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Append => f.write_str("the store failed to append"),
            Self::Read(index) => write!(f, "the store failed to read entry {index}"),
            Self::Snapshot => f.write_str("the store failed to write or to read a snapshot"),
            Self::Tidy => f.write_str("the store failed to make room ahead of need"),
            Self::Corrupt(index) => write!(f, "the store returned something else than entry {index}"),
            Self::Sessions { needed } => {
                write!(f, "the cluster keeps {needed} sessions: build this node with SESSIONS = {needed} or more")
            }
        }
    }
}

impl core::error::Error for Halt {}
