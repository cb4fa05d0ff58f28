//! What must not be.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

/// What was checked, and did not hold.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Finding {
    /// Of any two readings of a pointer the later one is not smaller.
    WentBack = 1,
    /// What is durable was accepted before.
    FlushedBeforeAccepted,
    /// What is applied was committed before.
    AppliedBeforeCommitted,
    /// The only voter leads, in a term that only grows.
    NotLeading,
    /// The pointers were behind the node's own status, which was asked before.
    BehindStatus,
    /// A command has its effect once it is answered.
    NoEffect,
    /// Nothing is refused, or lost, with one voter and as many places as clients.
    NoAnswer,
    /// A copy is a whole record of the entry that was asked for.
    Torn,
    /// What is committed is what is found.
    NotWhatWasCommitted,
    /// What was copied fits into a buffer for the largest record.
    TooSmall,
    /// The writer is refused only what it may be refused.
    NotAppended,
}

impl Finding {
    const ALL: [Self; 11] = [
        Self::WentBack,
        Self::FlushedBeforeAccepted,
        Self::AppliedBeforeCommitted,
        Self::NotLeading,
        Self::BehindStatus,
        Self::NoEffect,
        Self::NoAnswer,
        Self::Torn,
        Self::NotWhatWasCommitted,
        Self::TooSmall,
        Self::NotAppended,
    ];
}

static COUNT: AtomicU32 = AtomicU32::new(0);
static FIRST: AtomicU32 = AtomicU32::new(0);

/// Counts a finding, unless `holds`.
pub(crate) fn check(holds: bool, otherwise: Finding) {
    if !holds && COUNT.fetch_add(1, Ordering::Relaxed) == 0 {
        FIRST.store(otherwise as u32, Ordering::Relaxed);
    }
}

/// All findings so far: their number, and the first one's name.
pub(crate) struct Found;

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = FIRST.load(Ordering::Relaxed);
        let first = Finding::ALL.iter().find(|finding| **finding as u32 == first);
        write!(f, "count={}", COUNT.load(Ordering::Relaxed))?;
        first.map_or(Ok(()), |first| write!(f, " {first:?}"))
    }
}
