//! Critical sections that hold back what has a lower priority than the dual timer, and are timed.
//!
//! With those of `cortex-m`, which hold back all, an interrupt would never come while the core is stepped.

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::register::{basepri, basepri_max};
use critical_section::{Impl, RawRestoreState, set_impl};
use quoring_mps2::ticks;

/// From this priority on.
const HELD_BACK: u8 = 0x20;

static BEGUN: AtomicU32 = AtomicU32::new(0);
static LONGEST: AtomicU32 = AtomicU32::new(0);
static COUNT: AtomicU32 = AtomicU32::new(0);

struct Sections;

set_impl!(Sections);

// SAFETY: on one core, who shares data by critical sections runs below `HELD_BACK`, and is held back by whoever else is in one. The highest priority takes none.
unsafe impl Impl for Sections {
    unsafe fn acquire() -> RawRestoreState {
        let before = basepri::read();
        basepri_max::write(HELD_BACK);
        if before == 0 {
            BEGUN.store(ticks(), Ordering::Relaxed);
        }
        before
    }

    unsafe fn release(before: RawRestoreState) {
        if before == 0 {
            let lasted = ticks().wrapping_sub(BEGUN.load(Ordering::Relaxed));
            LONGEST.fetch_max(lasted, Ordering::Relaxed);
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: what it was before.
        unsafe { basepri::write(before) };
    }
}

/// Whether one was interrupted.
pub(crate) fn is_open() -> bool {
    basepri::read() != 0
}

/// How many there were, and how many ticks the longest one lasted, since this was last asked.
pub(crate) fn take() -> (u32, u32) {
    (COUNT.swap(0, Ordering::Relaxed), LONGEST.swap(0, Ordering::Relaxed))
}
