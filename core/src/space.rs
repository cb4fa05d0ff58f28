//! What the core must know of the store.

use crate::types::LogIndex;

/// How much room a log has, and where it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Space {
    /// Bytes of records that an empty log takes, however they are batched.
    pub capacity: u64,
    /// Bytes of records that can still be appended, however they are batched, with everything dropped that may go.
    pub free: u64,
    /// Entries up to this one are gone.
    pub start: LogIndex,
}

impl Space {
    /// A log that never fills and keeps everything.
    pub const UNLIMITED: Self = Self { capacity: u64::MAX, free: u64::MAX, start: LogIndex::ZERO };
}
