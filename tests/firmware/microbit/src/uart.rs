//! The serial line: 115200 baud, a byte an interrupt, each way through a buffer.

use core::cell::RefCell;
use core::convert::Infallible;
use core::future::poll_fn;
use core::task::Poll;

use critical_section::Mutex;
use embassy_sync::waitqueue::AtomicWaker;
use embedded_io_async::{ErrorType, Read, Write};
use heapless::Deque;

use crate::interrupts::Interrupt;
use crate::mmio::registers;

registers! {
    STARTRX = 0x4000_2000,
    STARTTX = 0x4000_2008,
    RXDRDY = 0x4000_2108,
    TXDRDY = 0x4000_211C,
    INTENSET = 0x4000_2304,
    INTENCLR = 0x4000_2308,
    ENABLE = 0x4000_2500,
    PSELTXD = 0x4000_250C,
    PSELRXD = 0x4000_2514,
    RXD = 0x4000_2518,
    TXD = 0x4000_251C,
    BAUDRATE = 0x4000_2524,
    OUTSET = 0x5000_0508,
    DIRSET = 0x5000_0518,
    PIN_CNF_RX = 0x5000_0764,
}

const ON: u32 = 4;
const BAUD_115200: u32 = 0x01D7_E000;
/// The pins that go to the board's USB.
const TX_PIN: u32 = 24;
const RX_PIN: u32 = 25;
/// Bits of the interrupts' registers.
const ON_RXDRDY: u32 = 1 << 2;
const ON_TXDRDY: u32 = 1 << 7;

/// Bytes that came in and were not read; while it is full, the line waits.
const RECEIVED: usize = 192;
/// Bytes that are yet to be sent.
const SENDING: usize = 64;
/// Frames end with it.
const DELIMITER: u8 = 0;

static LINE: Mutex<RefCell<Line>> =
    Mutex::new(RefCell::new(Line { received: Deque::new(), sending: Deque::new(), sends: false }));
static READER: AtomicWaker = AtomicWaker::new();
static WRITER: AtomicWaker = AtomicWaker::new();

struct Line {
    received: Deque<u8, RECEIVED>,
    sending: Deque<u8, SENDING>,
    /// A byte is on its way.
    sends: bool,
}

/// What comes in.
#[derive(Debug)]
pub(crate) struct Receiver(());

/// What goes out.
#[derive(Debug)]
pub(crate) struct Sender(());

/// Starts the line.
pub(crate) fn start() -> (Receiver, Sender) {
    // An output that idles high, and an input.
    OUTSET.write(1 << TX_PIN);
    DIRSET.write(1 << TX_PIN);
    PIN_CNF_RX.write(0);
    PSELTXD.write(TX_PIN);
    PSELRXD.write(RX_PIN);
    BAUDRATE.write(BAUD_115200);
    ENABLE.write(ON);
    STARTTX.write(1);
    STARTRX.write(1);
    INTENSET.write(ON_RXDRDY | ON_TXDRDY);
    Interrupt::Uart0.enable();
    (Receiver(()), Sender(()))
}

fn with<R>(act: impl FnOnce(&mut Line) -> R) -> R {
    critical_section::with(|cs| act(&mut LINE.borrow(cs).borrow_mut()))
}

impl Line {
    /// Takes the bytes that are there; whether the reader should look.
    fn receive(&mut self) -> bool {
        let mut ready = false;
        while RXDRDY.read() != 0 {
            if self.received.is_full() {
                // The next bytes wait in the chip, and then on the other side.
                INTENCLR.write(ON_RXDRDY);
                return true;
            }
            RXDRDY.write(0);
            let byte = RXD.read() as u8;
            let _ = self.received.push_back(byte);
            // Not for each byte: a frame has some fifty, and whoever is woken looks at all that it watches.
            ready |= byte == DELIMITER || self.received.len() >= RECEIVED / 2;
        }
        ready
    }

    /// The byte before is sent: sends the next one. Whether the writer should go on.
    fn sent(&mut self) -> bool {
        if TXDRDY.read() == 0 {
            return false;
        }
        TXDRDY.write(0);
        self.sends = false;
        self.send();
        self.sending.len() == SENDING / 2 || self.sending.is_empty()
    }

    fn send(&mut self) {
        if self.sends {
            return;
        }
        if let Some(byte) = self.sending.pop_front() {
            self.sends = true;
            TXD.write(byte.into());
        }
    }
}

pub(crate) extern "C" fn on_byte() {
    let (received, sent) = with(|line| (line.receive(), line.sent()));
    if received {
        READER.wake();
    }
    if sent {
        WRITER.wake();
    }
}

impl ErrorType for Receiver {
    type Error = Infallible;
}

impl Read for Receiver {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let read = poll_fn(|cx| {
            READER.register(cx.waker());
            let read = with(|line| {
                let mut read = 0;
                for place in buffer.iter_mut() {
                    let Some(byte) = line.received.pop_front() else { break };
                    *place = byte;
                    read += 1;
                }
                if read > 0 {
                    INTENSET.write(ON_RXDRDY);
                }
                read
            });
            if read > 0 { Poll::Ready(read) } else { Poll::Pending }
        });
        Ok(read.await)
    }
}

impl ErrorType for Sender {
    type Error = Infallible;
}

impl Write for Sender {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let written = poll_fn(|cx| {
            WRITER.register(cx.waker());
            let written = with(|line| {
                let taken = bytes.iter().take_while(|byte| line.sending.push_back(**byte).is_ok()).count();
                line.send();
                taken
            });
            if written > 0 || bytes.is_empty() { Poll::Ready(written) } else { Poll::Pending }
        });
        Ok(written.await)
    }

    /// What is buffered is as good as sent: the line does not wait for anybody.
    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
