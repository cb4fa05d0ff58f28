//! The atomics, real or loom's, and the list of the steps whose order of memory carries the
//! protocol.
//!
//! Each step has a loom model (`tests/loom.rs`) that passes, and that fails when this one step is
//! weakened: the same code runs in both.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence as plain_fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence as plain_fence};

/// A step that is ordered against what comes before or after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(loom), expect(unreachable_pub, reason = "only the models name steps"))]
pub enum Step {
    /// Writer: bytes before the slot that leads to them.
    Enter,
    /// Reader: the slot before the bytes it leads to.
    Find,
    /// Writer: bytes before `accepted`.
    Accept,
    /// Log writer: `accepted` before the bytes below it.
    SeeAccepted,
    /// Log writer: its reads before `flushed`, which gives their space away.
    Flush,
    /// Writer: `flushed` before the overwriting of what lies below.
    SeeFlushed,
    /// Writer: `tail` before the overwriting of what lies below.
    Reclaim,
    /// Reader: its copy before the look at `tail` that judges it.
    Judge,
    /// Writer: `leading` and the entries before the `committed` that depends on them.
    Commit,
    /// Reader: `committed` before the look at `leading` that judges it.
    SeeCommitted,
    /// Publisher: the watermark before the look at `want`.
    Notify,
    /// Watcher: `want` before the last look at the watermark.
    Want,
}

/// `Release`, unless this step is weakened.
pub(crate) fn release(step: Step) -> Ordering {
    if weakened(step) { Ordering::Relaxed } else { Ordering::Release }
}

/// `Acquire`, unless this step is weakened.
pub(crate) fn acquire(step: Step) -> Ordering {
    if weakened(step) { Ordering::Relaxed } else { Ordering::Acquire }
}

/// A fence, unless this step is weakened.
pub(crate) fn fence(step: Step, order: Ordering) {
    if !weakened(step) {
        plain_fence(order);
    }
}

#[cfg(not(loom))]
const fn weakened(_: Step) -> bool {
    false
}

#[cfg(loom)]
std::thread_local! {
    static WEAKENED: core::cell::Cell<Option<Step>> = const { core::cell::Cell::new(None) };
}

#[cfg(loom)]
fn weakened(step: Step) -> bool {
    WEAKENED.get() == Some(step)
}

/// Takes the order away from one step, for the models of this thread.
#[cfg(loom)]
pub fn weaken(step: Option<Step>) {
    WEAKENED.set(step);
}
