//! The board's first serial line.

use core::convert::Infallible;
use core::fmt::{self, Write as _};
use core::future::poll_fn;
use core::task::Poll;

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::pipe::Pipe;
use embassy_sync::waitqueue::AtomicWaker;
use embedded_io_async::{ErrorType, Read, Write};

use crate::interrupts::Interrupt;
use quoring_mmio::Register;

const BASE: usize = 0x4000_4000;

// SAFETY: the board's first UART is there, and only this module drives it.
const DATA: Register = unsafe { Register::at(BASE) };
// SAFETY: as above.
const STATE: Register = unsafe { Register::at(BASE + 4) };
// SAFETY: as above.
const CONTROL: Register = unsafe { Register::at(BASE + 8) };
// SAFETY: as above.
const INTERRUPTS: Register = unsafe { Register::at(BASE + 12) };
// SAFETY: as above.
const DIVISOR: Register = unsafe { Register::at(BASE + 16) };

/// In [`STATE`].
const TRANSMIT_FULL: u32 = 1;
const RECEIVE_FULL: u32 = 1 << 1;

/// In [`CONTROL`].
const TRANSMIT: u32 = 1;
const RECEIVE: u32 = 1 << 1;
const TRANSMIT_INTERRUPT: u32 = 1 << 2;
const RECEIVE_INTERRUPT: u32 = 1 << 3;

/// In [`INTERRUPTS`].
const TRANSMITTED: u32 = 1;
const RECEIVED: u32 = 1 << 1;

/// What has come in and was not read yet. More is lost, as on any line.
static INPUT: Pipe<CriticalSectionRawMutex, 128> = Pipe::new();

/// Who waits to send the next byte.
static SENDER: AtomicWaker = AtomicWaker::new();

/// The line, both ways.
#[derive(Debug)]
pub struct Uart(());

impl Uart {
    /// To be called once.
    pub(crate) fn take() -> Self {
        DIVISOR.write(25_000_000 / 115_200);
        CONTROL.write(TRANSMIT | RECEIVE | RECEIVE_INTERRUPT);
        // A byte that came before would keep the next from raising an interrupt.
        DATA.read();
        Interrupt::Uart0Receive.enable();
        Interrupt::Uart0Transmit.enable();
        Self(())
    }

    /// Writes a line.
    pub async fn print(&mut self, line: fmt::Arguments<'_>) {
        let mut text = heapless::String::<160>::new();
        // What is longer is cut.
        let _ = text.write_fmt(line);
        let Ok(()) = self.write_all(text.as_bytes()).await;
        let Ok(()) = self.write_all(b"\n").await;
    }
}

pub(crate) extern "C" fn on_receive() {
    INTERRUPTS.write(RECEIVED);
    while STATE.read() & RECEIVE_FULL != 0 {
        let _ = INPUT.try_write(&[DATA.read() as u8]);
    }
}

pub(crate) extern "C" fn on_transmit() {
    INTERRUPTS.write(TRANSMITTED);
    CONTROL.modify(|control| control & !TRANSMIT_INTERRUPT);
    SENDER.wake();
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl Read for Uart {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        Ok(INPUT.read(bytes).await)
    }
}

impl Write for Uart {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for byte in bytes {
            poll_fn(|cx| {
                if STATE.read() & TRANSMIT_FULL == 0 {
                    return Poll::Ready(());
                }
                SENDER.register(cx.waker());
                critical_section::with(|_| CONTROL.modify(|control| control | TRANSMIT_INTERRUPT));
                // It may have become free before the interrupt was let in.
                if STATE.read() & TRANSMIT_FULL == 0 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            DATA.write(u32::from(*byte));
        }
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
