//! One serial line for everything: the frames of the nodes, and those of a client, which has an address but is no node.
//!
//! ```text
//!  0        1      2        3       6      7    8
//! +--------+------+--------+-------+------+----+----------+
//! | number | last | answer | zeros | from | to | text ..  |     in a frame of `quoring::transport::serial`
//! +--------+------+--------+-------+------+----+----------+
//! ```
//!
//! A request travels in one frame, an answer in as many as it needs: `number` counts them from 0, `last` is 1 in the last one, `answer` counts
//! answers. Who misses a frame has no answer.

use core::convert::Infallible;
use core::fmt::{self, Write as _};
use core::sync::atomic::{AtomicU8, Ordering};

use cortex_m::asm;
use embassy_futures::block_on;
use embassy_sync::blocking_mutex::raw::ThreadModeRawMutex;
use embassy_sync::pipe::Pipe;
use embedded_io_async::{ErrorType, Read, Write};
use heapless::{String, Vec};
use quoring::transport::serial::{Error, Serial};
use quoring::{NodeId, Transport};
use quoring_registers::LINE;

use crate::uart;

/// The client's address. Those of nodes are below 32.
const CLIENT: u8 = 0xFF;
/// What stands before its text.
const HEADER: usize = 8;
/// Bytes of text in a frame.
const PIECE: usize = 56;
/// Bytes of requests that wait. What does not fit is lost, as anything is on this line.
const WAITING: usize = 64;

/// The line of one board.
pub struct Line {
    serial: Serial<ThreadModeRawMutex, uart::Receiver, uart::Sender>,
    node: NodeId,
    requests: Pipe<ThreadModeRawMutex, WAITING>,
    /// Answers so far.
    answers: AtomicU8,
}

impl Line {
    pub(crate) const fn new(node: NodeId, receiver: uart::Receiver, sender: uart::Sender) -> Self {
        Self { serial: Serial::new(receiver, sender), node, requests: Pipe::new(), answers: AtomicU8::new(0) }
    }

    /// The line as the client's requests and answers have it.
    pub const fn client(&'static self) -> Client {
        Client { line: self }
    }

    /// Tells the client that there is no node, and why.
    pub fn fail(&'static self, reason: &dyn fmt::Display) -> ! {
        let mut text = String::<LINE>::new();
        let _ = writeln!(text, "0 failed {reason}");
        let mut client = self.client();
        let Ok(()) = block_on(client.write_all(text.as_bytes()));
        loop {
            asm::wfi();
        }
    }

    /// Takes a request, if there is room for all of it: what is lost on this line is lost whole.
    fn accept(&self, mut text: &[u8]) {
        if text.len() > self.requests.free_capacity() {
            return;
        }
        // A pipe takes what lies behind its end in a second piece.
        while let Ok(taken @ 1..) = self.requests.try_write(text) {
            text = text.get(taken..).unwrap_or_default();
        }
    }

    /// Goes on with the client's requests when there is no node to receive frames.
    pub async fn attend(&self) -> ! {
        loop {
            let _ = self.receive(&mut [0; HEADER + WAITING]).await;
        }
    }
}

impl Transport for Line {
    type Error = Error<Infallible, Infallible>;

    async fn send(&self, peer: NodeId, frame: &[u8]) -> Result<(), Self::Error> {
        self.serial.send(peer, frame).await
    }

    async fn receive(&self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        loop {
            let len = self.serial.receive(buffer).await?;
            match buffer.get(..len) {
                Some([_, _, _, _, _, _, CLIENT, to, text @ ..]) if *to == self.node.get() => {
                    self.accept(text);
                }
                _ => return Ok(len),
            }
        }
    }
}

/// What a client says, and what it is told.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    line: &'static Line,
}

impl ErrorType for Client {
    type Error = Infallible;
}

impl Read for Client {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        Ok(self.line.requests.read(buffer).await)
    }
}

impl Write for Client {
    /// Sends it at once: an answer is written in one go.
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let answer = self.line.answers.load(Ordering::Relaxed);
        self.line.answers.store(answer.wrapping_add(1), Ordering::Relaxed);
        let pieces = bytes.chunks(PIECE);
        for (number, piece) in pieces.enumerate() {
            let last = u8::from((number + 1) * PIECE >= bytes.len());
            let mut frame = Vec::<u8, { HEADER + PIECE }>::new();
            let _ = frame.extend_from_slice(&[number as u8, last, answer, 0, 0, 0, self.line.node.get(), CLIENT]);
            let _ = frame.extend_from_slice(piece);
            // The address is in the frame.
            let _ = self.line.serial.send(self.line.node, &frame).await;
        }
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serial.fmt(f)
    }
}
