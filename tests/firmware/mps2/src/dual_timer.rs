//! Calls what an image gives it from an interrupt, again and again, whenever it asked to be called.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::interrupts::Interrupt;
use quoring_mmio::Register;

const BASE: usize = 0x4000_2000;

// SAFETY: the board's dual timer is there, and only this module drives it.
const LOAD: Register = unsafe { Register::at(BASE) };
// SAFETY: as above.
const CONTROL: Register = unsafe { Register::at(BASE + 8) };
// SAFETY: as above.
const CLEAR: Register = unsafe { Register::at(BASE + 12) };

/// In [`CONTROL`].
const ONE_SHOT: u32 = 1;
const WIDE: u32 = 1 << 1;
const INTERRUPT: u32 = 1 << 5;
const PERIODIC: u32 = 1 << 6;
const ENABLE: u32 = 1 << 7;

/// What an interrupt does.
pub trait Work: Send {
    /// Does it, and tells in how many ticks of 25 MHz to do it again; `None` if no more.
    fn run(&mut self) -> Option<u32>;
}

/// The work, in the hands of either [`start`] or the interrupt.
struct Place(UnsafeCell<Option<&'static mut dyn Work>>);

// SAFETY: `start` looks into it while `BUSY` is false, and the handler while it is true; who has it sets that last.
unsafe impl Sync for Place {}

static WORK: Place = Place(UnsafeCell::new(None));
static BUSY: AtomicBool = AtomicBool::new(false);

/// Whether the work goes on.
pub fn is_busy() -> bool {
    BUSY.load(Ordering::Acquire)
}

/// Begins to do this work, at this priority, 0 being the highest. Nothing happens if other work goes on. To be called from thread mode.
pub fn start(priority: u8, work: &'static mut dyn Work) {
    if is_busy() {
        return;
    }
    // SAFETY: it is not busy, so the handler is not at it; and thread mode does not interrupt itself.
    unsafe { *WORK.0.get() = Some(work) };
    BUSY.store(true, Ordering::Release);
    Interrupt::DualTimer.prioritize(priority);
    Interrupt::DualTimer.enable();
    const MODE: u32 = ENABLE | PERIODIC | ONE_SHOT | WIDE | INTERRUPT;
    // After earlier work it stands at 0, where QEMU warns of being told to go on.
    if CONTROL.read() != MODE {
        CONTROL.write(MODE);
    }
    LOAD.write(1);
}

pub(crate) extern "C" fn on_end() {
    CLEAR.write(1);
    if !is_busy() {
        return;
    }
    // SAFETY: it is busy, so `start` is not at it; and this interrupt does not interrupt itself.
    let work = unsafe { &mut *WORK.0.get() };
    match work.as_mut().and_then(|work| work.run()) {
        Some(ticks) => LOAD.write(ticks.max(1)),
        // One shot was its last: it stands still.
        None => {
            *work = None;
            BUSY.store(false, Ordering::Release);
        }
    }
}
