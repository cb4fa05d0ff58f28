//! Which interrupt is whose.

use cortex_m::peripheral::NVIC;

use crate::{dual_timer, ethernet, interrupt_executor, time, uart};

/// A place in the table of interrupts.
#[derive(Clone, Copy)]
#[repr(u16)]
pub(crate) enum Interrupt {
    Uart0Receive = 0,
    Uart0Transmit = 1,
    Timer1 = 9,
    DualTimer = 10,
    Ethernet = 13,
    /// The last pin of the first port, which is connected to nothing.
    Spare = 31,
}

// SAFETY: each number is the board's for that device (Application Note AN385, table 3-5), below the 32 that it has.
unsafe impl cortex_m::interrupt::InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self as u16
    }
}

impl Interrupt {
    /// Sets its priority, 0 being the highest. Before it is let in.
    pub(crate) fn prioritize(self, priority: u8) {
        // SAFETY: the register holds nothing else, and a critical section that goes by priorities is not open when a board is set up.
        unsafe { (*NVIC::PTR).ipr[self as usize].write(priority) };
    }

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
    handlers[Interrupt::Uart0Receive as usize] = uart::on_receive;
    handlers[Interrupt::Uart0Transmit as usize] = uart::on_transmit;
    handlers[Interrupt::Timer1 as usize] = time::on_alarm;
    handlers[Interrupt::DualTimer as usize] = dual_timer::on_end;
    handlers[Interrupt::Ethernet as usize] = ethernet::on_frame;
    handlers[Interrupt::Spare as usize] = interrupt_executor::on_woken;
    handlers
};
