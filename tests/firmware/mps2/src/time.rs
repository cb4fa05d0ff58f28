//! Time for `embassy-time`: timer 0 counts, timer 1 wakes.
//!
//! Both count down at 25 MHz. Timer 0 runs round all 32 bits, which takes 171 seconds: it must be looked at more often, so an alarm is never further off
//! than [`LONGEST`].

use core::cell::{Cell, RefCell};
use core::task::Waker;

use critical_section::{CriticalSection, Mutex};
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

use crate::interrupts::Interrupt;
use quoring_mmio::Register;

/// Ticks of the timers in a microsecond.
const TICKS: u32 = 25;

/// Microseconds.
const LONGEST: u64 = 100_000_000;

/// A timer of the CMSDK.
struct Timer {
    control: Register,
    value: Register,
    reload: Register,
    clear: Register,
}

const ENABLE: u32 = 1;
const INTERRUPT: u32 = 1 << 3;

impl Timer {
    /// # Safety
    /// As for [`Register::at`].
    const unsafe fn at(base: usize) -> Self {
        // SAFETY: the caller's promise, and the four registers of the timer.
        unsafe {
            Self {
                control: Register::at(base),
                value: Register::at(base + 4),
                reload: Register::at(base + 8),
                clear: Register::at(base + 12),
            }
        }
    }
}

// SAFETY: the board's first two timers are there, and only this module drives them.
const COUNTER: Timer = unsafe { Timer::at(0x4000_0000) };
// SAFETY: as above.
const ALARM: Timer = unsafe { Timer::at(0x4000_1000) };

struct Time {
    now: Mutex<Cell<Now>>,
    queue: Mutex<RefCell<Queue>>,
}

/// What was counted when the counter was last looked at.
#[derive(Clone, Copy)]
struct Now {
    micros: u64,
    /// Ticks beyond `micros`.
    rest: u32,
    counter: u32,
}

embassy_time_driver::time_driver_impl!(static TIME: Time = Time {
    now: Mutex::new(Cell::new(Now { micros: 0, rest: 0, counter: u32::MAX })),
    queue: Mutex::new(RefCell::new(Queue::new())),
});

impl Driver for Time {
    fn now(&self) -> u64 {
        critical_section::with(|cs| self.look(cs))
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| {
            if self.queue.borrow(cs).borrow_mut().schedule_wake(at, waker) {
                self.arm(cs);
            }
        });
    }
}

impl Time {
    /// Microseconds since the start.
    fn look(&self, cs: CriticalSection<'_>) -> u64 {
        let cell = self.now.borrow(cs);
        let (before, counter) = (cell.get(), COUNTER.value.read());
        // More than a turn cannot have passed, so neither sum is too large but for the one that may wrap by `rest`.
        let ticks = u64::from(before.counter.wrapping_sub(counter)) + u64::from(before.rest);
        let (micros, rest) = match u32::try_from(ticks) {
            Ok(ticks) => (u64::from(ticks / TICKS), ticks % TICKS),
            Err(_) => (ticks / u64::from(TICKS), (ticks % u64::from(TICKS)) as u32),
        };
        let now = Now { micros: before.micros + micros, rest, counter };
        cell.set(now);
        now.micros
    }

    /// Wakes who is due, and sets the alarm for who is next.
    fn arm(&self, cs: CriticalSection<'_>) {
        let now = self.look(cs);
        let next = self.queue.borrow(cs).borrow_mut().next_expiration(now);
        // What became due meanwhile is woken a microsecond later.
        let ticks = next.saturating_sub(now).clamp(1, LONGEST) as u32 * TICKS;
        ALARM.control.write(0);
        // The value goes before the control, or QEMU's timer takes its old one.
        ALARM.value.write(ticks);
        ALARM.control.write(ENABLE | INTERRUPT);
    }
}

/// Ticks of 25 MHz, wrapping. To be read from any interrupt.
#[must_use]
pub fn ticks() -> u32 {
    // It counts down.
    !COUNTER.value.read()
}

/// Starts to count.
pub(crate) fn start() {
    COUNTER.reload.write(u32::MAX);
    COUNTER.value.write(u32::MAX);
    COUNTER.control.write(ENABLE);
    // Once, then it stands still.
    ALARM.reload.write(0);
    Interrupt::Timer1.enable();
    critical_section::with(|cs| TIME.arm(cs));
}

pub(crate) extern "C" fn on_alarm() {
    ALARM.clear.write(1);
    critical_section::with(|cs| TIME.arm(cs));
}
