//! Runs tasks at the priority of an interrupt that no device uses.
//!
//! On silicon `embassy_executor::InterruptExecutor` does the same. It comes with a pender for both kinds of executor, and so with the one that sleeps with WFE.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use cortex_m::peripheral::NVIC;
use embassy_executor::SendSpawner;
use embassy_executor::raw::Executor;
use static_cell::StaticCell;

use crate::interrupts::Interrupt;
use crate::time::ticks;

/// The executor, once it is started.
static EXECUTOR: AtomicPtr<Executor> = AtomicPtr::new(ptr::null_mut());

/// When the first task was woken since the tasks last ran; 0 while none is.
static WOKEN: AtomicU32 = AtomicU32::new(0);

static LONGEST: AtomicU32 = AtomicU32::new(0);

/// Starts it at this priority, 0 being the highest. To be called once.
pub fn start(priority: u8) -> SendSpawner {
    static PLACE: StaticCell<Executor> = StaticCell::new();
    // What tells it from the executor of thread mode.
    let executor: &'static Executor = PLACE.init(Executor::new(ptr::without_provenance_mut(1)));
    EXECUTOR.store(ptr::from_ref(executor).cast_mut(), Ordering::Release);
    Interrupt::Spare.prioritize(priority);
    Interrupt::Spare.enable();
    executor.spawner().make_send()
}

/// Ticks that a woken task waited at most until the tasks ran, since this was last asked.
pub fn take_longest_wait() -> u32 {
    LONGEST.swap(0, Ordering::Relaxed)
}

/// A task was woken.
pub(crate) fn pend() {
    // Should two be woken at once, either time is that of both.
    if WOKEN.load(Ordering::Relaxed) == 0 {
        WOKEN.store(ticks().max(1), Ordering::Relaxed);
    }
    NVIC::pend(Interrupt::Spare);
}

pub(crate) extern "C" fn on_woken() {
    match WOKEN.swap(0, Ordering::Relaxed) {
        0 => {}
        woken => _ = LONGEST.fetch_max(ticks().wrapping_sub(woken), Ordering::Relaxed),
    }
    // SAFETY: what `start` stored is there for ever.
    let executor = unsafe { EXECUTOR.load(Ordering::Acquire).as_ref() };
    if let Some(executor) = executor {
        // SAFETY: this is the only place that polls it, and this interrupt does not interrupt itself.
        unsafe { executor.poll() };
    }
    // Who was woken while others ran waits from now on.
    if WOKEN.load(Ordering::Relaxed) != 0 {
        WOKEN.store(ticks().max(1), Ordering::Relaxed);
    }
}
