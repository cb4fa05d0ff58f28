//! Which interrupt is whose.

use cortex_m::peripheral::NVIC;

use crate::{time, uart};

/// A place in the table of interrupts: a peripheral's number is in its address.
#[derive(Clone, Copy)]
#[repr(u16)]
pub(crate) enum Interrupt {
    Uart0 = 2,
    Timer0 = 8,
}

// SAFETY: each number is the chip's for that peripheral, below the 32 that it has.
unsafe impl cortex_m::interrupt::InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self as u16
    }
}

impl Interrupt {
    /// Lets it come, from now on.
    pub(crate) fn enable(self) {
        // SAFETY: handlers share data with tasks only through critical sections, so that an interrupt may come at any time.
        unsafe { NVIC::unmask(self) };
    }
}

unsafe extern "C" {
    fn DefaultHandler();
}

type Handler = unsafe extern "C" fn();

/// The vectors behind the exceptions'. The runtime's script puts them there.
#[used]
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [Handler; 32] = {
    let mut handlers: [Handler; 32] = [DefaultHandler; 32];
    handlers[Interrupt::Uart0 as usize] = uart::on_byte;
    handlers[Interrupt::Timer0 as usize] = time::on_alarm;
    handlers
};
