//! Runs tasks in thread mode and sleeps when there is nothing to do.
//!
//! On silicon `embassy_executor::Executor` does the same with WFE. QEMU takes WFE for an invitation to come again at once, so this one
//! sleeps with WFI.

use core::sync::atomic::{AtomicBool, Ordering};

use cortex_m::{asm, interrupt};
use embassy_executor::Spawner;
use embassy_executor::raw::Executor;
use static_cell::StaticCell;

use crate::interrupt_executor;

/// A task was woken since the executor last looked.
static WOKEN: AtomicBool = AtomicBool::new(false);

/// Runs what `start` spawns, and what that spawns, for ever. To be called once.
pub fn run(start: impl FnOnce(Spawner)) -> ! {
    static EXECUTOR: StaticCell<Executor> = StaticCell::new();
    let executor: &'static Executor = EXECUTOR.init(Executor::new(core::ptr::null_mut()));
    start(executor.spawner());
    loop {
        // SAFETY: this is the only place that polls it, and it is not called from a task.
        unsafe { executor.poll() };
        // With interrupts off none can come between the look and the sleep; WFI ends all the same when one is pending.
        interrupt::disable();
        if !WOKEN.load(Ordering::Relaxed) {
            asm::wfi();
        }
        WOKEN.store(false, Ordering::Relaxed);
        // SAFETY: no critical section is open here.
        unsafe { interrupt::enable() };
    }
}

/// Each executor calls it when one of its tasks is woken, from any interrupt.
#[unsafe(export_name = "__pender")]
fn pend(context: *mut ()) {
    if context.is_null() {
        WOKEN.store(true, Ordering::Relaxed);
    } else {
        interrupt_executor::pend();
    }
}
