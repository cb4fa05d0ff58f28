//! The MPS2 board with the AN385 image: what a node stands on. Nothing here knows of consensus.
#![no_std]

pub mod dual_timer;
mod ethernet;
mod executor;
mod flash;
pub mod interrupt_executor;
mod interrupts;
mod time;
mod uart;

pub use self::ethernet::{Lan9118, Received, Room};
pub use self::executor::run;
pub use self::flash::{Flash, Refused};
pub use self::time::ticks;
pub use self::uart::Uart;

/// The parts of the board that a node uses.
#[derive(Debug)]
pub struct Board {
    /// The network chip. Its address tells which node this is.
    pub ethernet: Lan9118,
    /// Keeps what is written without power.
    pub flash: Flash,
    /// The client line.
    pub line: Uart,
}

/// Tells a debugger that watches instructions where the program is: a hint that the processor passes over.
pub fn mark() {
    // SAFETY: it does nothing.
    unsafe { core::arch::asm!("hint.w #0x51", options(nomem, nostack, preserves_flags)) };
}

impl Board {
    /// Takes the board into service; once.
    #[must_use]
    pub fn take() -> Self {
        time::start();
        Self { ethernet: Lan9118::take(), flash: Flash::take(), line: Uart::take() }
    }
}
