//! Time for `embassy-time`: the machine's timer counts at 10 MHz, in 64 bits.

use core::cell::RefCell;
use core::task::Waker;

use critical_section::{CriticalSection, Mutex};
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;
use riscv::interrupt::Interrupt;
use riscv::register::{mie, mstatus};

use quoring_mmio::Register;

// SAFETY: the core-local interruptor of the machine is there, and only this module drives it.
const COMPARE: [Register; 2] = unsafe { [Register::at(0x0200_4000), Register::at(0x0200_4004)] };
// SAFETY: as above.
const COUNTER: [Register; 2] = unsafe { [Register::at(0x0200_BFF8), Register::at(0x0200_BFFC)] };

/// Ticks of the counter in a microsecond.
const TICKS: u64 = 10;

struct Time {
    queue: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(static TIME: Time = Time { queue: Mutex::new(RefCell::new(Queue::new())) });

impl Driver for Time {
    fn now(&self) -> u64 {
        let [low, high] = COUNTER;
        loop {
            let (before, counted, after) = (high.read(), low.read(), high.read());
            if before == after {
                return (u64::from(after) << 32 | u64::from(counted)) / TICKS;
            }
        }
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
    /// Wakes who is due, and sets the alarm for who is next; one that lies in the past rings at once.
    fn arm(&self, cs: CriticalSection<'_>) {
        let next = self.queue.borrow(cs).borrow_mut().next_expiration(self.now()).saturating_mul(TICKS);
        let [low, high] = COMPARE;
        // No time in between lies in the past.
        high.write(u32::MAX);
        low.write(next as u32);
        high.write((next >> 32) as u32);
    }
}

pub(crate) fn start() {
    critical_section::with(|cs| TIME.arm(cs));
    // SAFETY: handlers share data with tasks only through critical sections, so that an interrupt may come at any time.
    unsafe {
        mie::set_mtimer();
        mstatus::set_mie();
    }
}

#[riscv_rt::core_interrupt(Interrupt::MachineTimer)]
fn on_alarm() {
    critical_section::with(|cs| TIME.arm(cs));
}
