//! The newtypes of the protocol: who, when in terms, where in the log, when in time.

use core::fmt;
use core::ops::{Add, Sub};

/// A node of the cluster: 0..=31, so that a set of nodes is one word ([`NodeSet`](crate::NodeSet)).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NodeId(u8);

impl NodeId {
    /// How many node ids there are.
    pub const COUNT: usize = 32;

    /// The first node.
    pub(crate) const ZERO: Self = Self(0);

    /// The node with this number, or `None` above 31.
    pub const fn new(id: u8) -> Option<Self> {
        if id < Self::COUNT as u8 { Some(Self(id)) } else { None }
    }

    /// The number, 0..=31.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which cluster a frame or a record belongs to (T3). It seeds every checksum.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ClusterId(pub u32);

/// A term of office (Raft section 5.1). Zero is before the first election.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Term(pub u32);

impl Term {
    /// Before the first election.
    pub const ZERO: Self = Self(0);
    /// The last term there is: nobody campaigns beyond it (E7).
    pub const CEILING: Self = Self(u32::MAX);

    /// The term after this one, or `None` at the ceiling.
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(term) => Some(Self(term)),
            None => None,
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place in the log. The first entry has index 1; 0 stands before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LogIndex(pub u64);

impl LogIndex {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);
    /// The last index that is believed when a peer or a medium tells one, so that counting on from there never wraps.
    pub const CEILING: Self = Self(u64::MAX / 2);

    /// The index after this one.
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// The index before this one; 0 stays 0.
    #[cfg_attr(target_pointer_width = "32", inline(never))] // Half a dozen instructions there, in a dozen places.
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// How many entries lie in `(earlier, self]`; 0 if there are none.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which entry: no two entries of a cluster have the same term and index (Raft figure 3, log matching).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EntryId {
    /// The term of the leader that appended it.
    pub term: Term,
    /// Its place in the log.
    pub index: LogIndex,
}

impl EntryId {
    /// Before the first entry.
    pub const ZERO: Self = Self { term: Term::ZERO, index: LogIndex::ZERO };
}

/// A moment of the node's own monotonic clock, in microseconds from any origin (F3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instant(pub u64);

/// A span of time in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Duration(pub u64);

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// This many microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// This many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// So many times as long; saturates at the end of time.
    #[must_use]
    #[cfg_attr(target_pointer_width = "32", inline(never))] // Two dozen instructions there.
    pub(crate) const fn times(self, factor: u32) -> Self {
        Self(self.0.saturating_mul(factor as u64))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Later by `span`; saturates at the end of time.
    #[cfg_attr(target_pointer_width = "32", inline(never))] // A dozen instructions there, in a dozen places.
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// How long after `earlier`; zero if it is not.
    #[cfg_attr(target_pointer_width = "32", inline(never))] // As the sum.
    fn sub(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}
