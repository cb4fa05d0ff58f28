//! Runs tasks in thread mode and sleeps when there is nothing to do.
//!
//! On silicon `embassy_executor::Executor` does the same with WFE. QEMU takes WFE for an invitation to come again at once, so this one
//! sleeps with WFI.

use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use cortex_m::{asm, interrupt};
use embassy_executor::{Spawner, raw};
use static_cell::StaticCell;

/// Whether a task is to be polled.
static PENDING: AtomicBool = AtomicBool::new(false);

/// Runs what `start` spawns, for ever. To be called once.
pub fn run(start: impl FnOnce(Spawner)) -> ! {
    static EXECUTOR: StaticCell<raw::Executor> = StaticCell::new();
    let executor: &'static raw::Executor = EXECUTOR.init(raw::Executor::new(ptr::null_mut()));
    start(executor.spawner());
    loop {
        PENDING.store(false, Ordering::Relaxed);
        // SAFETY: nothing else polls this executor, and no task does.
        unsafe { executor.poll() };
        // With interrupts off, what comes between the look and the sleep ends the sleep.
        interrupt::free(|_| {
            if !PENDING.load(Ordering::Relaxed) {
                asm::wfi();
            }
        });
    }
}

/// What lies on the stack of a function that never returns: it is there for ever.
///
/// # Safety
/// The function that owns `place` never returns, and never gives it up.
pub const unsafe fn forever<T>(place: &T) -> &'static T {
    // SAFETY: the caller's promise.
    unsafe { &*ptr::from_ref(place) }
}

/// A task was woken, by an interrupt or by another task.
#[unsafe(export_name = "__pender")]
fn pender(_: *mut ()) {
    PENDING.store(true, Ordering::Relaxed);
}
