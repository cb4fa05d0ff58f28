//! Time for `embassy-time`: microseconds on TIMER0, the chip's only timer of 32 bits.

use core::cell::RefCell;
use core::task::Waker;

use critical_section::{CriticalSection, Mutex};
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

use crate::interrupts::Interrupt;
use crate::mmio::registers;

registers! {
    HFCLKSTART = 0x4000_0000,
    START = 0x4000_8000,
    CAPTURE_1 = 0x4000_8044,
    COMPARE_0 = 0x4000_8140,
    INTENSET = 0x4000_8304,
    BITMODE = 0x4000_8508,
    PRESCALER = 0x4000_8510,
    CC_0 = 0x4000_8540,
    CC_1 = 0x4000_8544,
}

/// 32 bits.
const WIDE: u32 = 3;
/// 16 MHz / 2^4.
const MICROSECONDS: u32 = 4;
/// An alarm at least this often: the upper half of the time is counted by looking. A quarter of what the counter counts.
const LOOK: u64 = 1 << 30;

struct Timer {
    state: Mutex<RefCell<State>>,
}

struct State {
    queue: Queue,
    /// The time when the counter was read last.
    now: u64,
}

embassy_time_driver::time_driver_impl!(static TIMER: Timer = Timer {
    state: Mutex::new(RefCell::new(State { queue: Queue::new(), now: 0 })),
});

/// Starts the clock at 0.
pub(crate) fn start() {
    // The crystal: the other oscillator may be off by a hundredth.
    HFCLKSTART.write(1);
    BITMODE.write(WIDE);
    PRESCALER.write(MICROSECONDS);
    START.write(1);
    INTENSET.write(1 << 16);
    Interrupt::Timer0.enable();
    critical_section::with(|cs| TIMER.with(cs, State::expire));
}

impl Driver for Timer {
    fn now(&self) -> u64 {
        critical_section::with(|cs| self.with(cs, State::now))
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| {
            self.with(cs, |state| {
                if state.queue.schedule_wake(at, waker) {
                    state.expire();
                }
            });
        });
    }
}

impl Timer {
    fn with<R>(&self, cs: CriticalSection<'_>, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.state.borrow(cs).borrow_mut())
    }
}

impl State {
    fn now(&mut self) -> u64 {
        CAPTURE_1.write(1);
        let passed = CC_1.read().wrapping_sub(self.now as u32);
        self.now += u64::from(passed);
        self.now
    }

    /// Wakes those whose time has come, and sets the alarm for the next.
    fn expire(&mut self) {
        loop {
            let now = self.now();
            let next = self.queue.next_expiration(now).min(now + LOOK);
            COMPARE_0.write(0);
            CC_0.write(next as u32);
            // A counter that has passed the alarm before it was set would come round to it only after an hour.
            if self.now() < next {
                return;
            }
        }
    }
}

pub(crate) extern "C" fn on_alarm() {
    critical_section::with(|cs| TIMER.with(cs, State::expire));
}
