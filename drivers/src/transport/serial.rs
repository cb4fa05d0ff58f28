//! Frames over a serial line: any pair of byte streams of `embedded-io-async`. The bytes are drawn in `LINKS.md`.

mod cobs;

use core::cell::Cell;
use core::fmt;
use core::iter::once;

use embassy_futures::yield_now;
use embassy_sync::blocking_mutex;
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_sync::mutex::Mutex;
use embedded_io_async::{Read, Write};
use quoring_core::NodeId;
use quoring_ring::{Crc32c, DEFAULT_CRC32C};

use self::cobs::{DELIMITER, Decoded, Decoder, Encoder};
use super::{Transport, fill};

/// Bytes of the checksum behind a frame.
const SUM: usize = 4;

/// Bytes that are read or written at a time.
const CHUNK: usize = 64;

/// A line to a peer, or to a switch or bus with several: every frame goes onto the line whoever it is for, and bytes 6 and 7 of a frame say from whom and
/// to whom it is. A node drops what is not for it.
///
/// A frame stands between two zeros, has none within (COBS), and a CRC-32C at its end: noise costs the frames it hits, and never makes one of two.
/// The writer is held for one frame at a time. It must come to an end: with flow control by a peer that may be dead, give the writer a timeout.
///
/// `M` guards the line: `NoopRawMutex` on one executor, `CriticalSectionRawMutex` between threads or interrupts.
pub struct Serial<M: RawMutex, R, W> {
    input: Mutex<M, Input<R>>,
    output: Mutex<M, W>,
    dropped: blocking_mutex::Mutex<M, Cell<Dropped>>,
    crc: Crc32c,
}

/// Frames that came in and were not handed up. The counters wrap.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Dropped {
    /// Cut, damaged, or never a frame.
    pub broken: u32,
    /// Longer than the receiver's buffer.
    pub overlong: u32,
}

/// Why a frame was not sent or received: the errors of the reader and the writer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error<R, W> {
    /// The reader failed twice without a byte in between. A single failure, as of a byte without its stop bit, costs only the frame it hits.
    Read(R),
    /// The writer failed. The frame is lost, and the next one begins afresh.
    Write(W),
    /// The stream has come to its end.
    Closed,
}

impl<M: RawMutex, R: Read, W: Write> Serial<M, R, W> {
    /// The line of these two.
    pub const fn new(reader: R, writer: W) -> Self {
        Self {
            input: Mutex::new(Input { reader, chunk: [0; CHUNK], next: 0, end: 0, inside: false, failed: false }),
            output: Mutex::new(writer),
            dropped: blocking_mutex::Mutex::new(Cell::new(Dropped { broken: 0, overlong: 0 })),
            crc: DEFAULT_CRC32C,
        }
    }

    /// Computes checksums with this function: all nodes' functions give the same results.
    #[must_use]
    pub const fn with_crc(mut self, crc: Crc32c) -> Self {
        self.crc = crc;
        self
    }

    /// What came in and was dropped since the start.
    pub fn dropped(&self) -> Dropped {
        self.dropped.lock(Cell::get)
    }

    fn count(&self, fault: Fault) {
        self.dropped.lock(|dropped| {
            let mut counts = dropped.get();
            let count = match fault {
                Fault::Broken => &mut counts.broken,
                Fault::Overlong => &mut counts.overlong,
            };
            *count = count.wrapping_add(1);
            dropped.set(counts);
        });
    }
}

impl<M: RawMutex, R: Read, W: Write> Transport for Serial<M, R, W> {
    type Error = Error<R::Error, W::Error>;

    /// Cancel-safe: half a frame may be on the line, and the delimiter before the next one ends it.
    async fn send(&self, _: NodeId, frame: &[u8]) -> Result<(), Self::Error> {
        let sum = (self.crc)(0, frame).to_le_bytes();
        let stuffed = Encoder::new(frame.iter().chain(&sum).copied());
        let mut bytes = once(DELIMITER).chain(stuffed).chain(once(DELIMITER));
        let mut writer = self.output.lock().await;
        let mut chunk = [0; CHUNK];
        loop {
            let len = fill(&mut chunk, &mut bytes);
            if len == 0 {
                return writer.flush().await.map_err(Error::Write);
            }
            let mut rest = chunk.get(..len).unwrap_or_default();
            while !rest.is_empty() {
                match writer.write(rest).await.map_err(Error::Write)? {
                    0 => return Err(Error::Closed),
                    written => rest = rest.get(written..).unwrap_or_default(),
                }
            }
        }
    }

    /// Cancel-safe: a frame that was coming in is lost.
    async fn receive(&self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        let mut input = self.input.lock().await;
        let mut frame = Frame::new(buffer);
        if input.inside {
            // Its beginning is in the buffer of a receiver that went away.
            frame.fail(Fault::Broken);
        }
        loop {
            let byte = match input.next().await {
                Next::Byte(byte) => byte,
                Next::Gap => {
                    frame.fail(Fault::Broken);
                    continue;
                }
                Next::Failed(error) => return Err(error.map_or(Error::Closed, Error::Read)),
            };
            let begun = core::mem::replace(&mut input.inside, byte != DELIMITER);
            if let Some(ended) = frame.feed(byte, self.crc) {
                match ended {
                    Ok(len) => return Ok(len),
                    // Zeros between frames are no frames.
                    Err(_) if !begun => {}
                    Err(fault) => self.count(fault),
                }
                frame.restart();
            }
        }
    }
}

/// The reader and what it has read.
struct Input<R> {
    reader: R,
    chunk: [u8; CHUNK],
    /// The bytes of the chunk that were not looked at are those from here
    next: usize,
    /// to here.
    end: usize,
    /// The last byte was not a delimiter.
    inside: bool,
    /// The last read failed.
    failed: bool,
}

/// What comes next on the line.
enum Next<E> {
    Byte(u8),
    /// Bytes may be missing here.
    Gap,
    /// The reader is of no use now: its error, or none at the end of the stream.
    Failed(Option<E>),
}

impl<R: Read> Input<R> {
    async fn next(&mut self) -> Next<R::Error> {
        while self.next >= self.end {
            // A line that always has another byte must not keep the others from running.
            yield_now().await;
            match self.reader.read(&mut self.chunk).await {
                Ok(0) => return Next::Failed(None),
                Ok(len) => (self.next, self.end, self.failed) = (0, len.min(CHUNK), false),
                Err(error) if self.failed => return Next::Failed(Some(error)),
                Err(_) => {
                    (self.inside, self.failed) = (true, true);
                    return Next::Gap;
                }
            }
        }
        let byte = self.chunk.get(self.next).copied().unwrap_or(DELIMITER);
        self.next += 1;
        Next::Byte(byte)
    }
}

/// Why a frame is dropped.
#[derive(Clone, Copy)]
enum Fault {
    Broken,
    Overlong,
}

/// The frame that is coming in.
struct Frame<'b> {
    buffer: &'b mut [u8],
    decoder: Decoder,
    /// How many bytes came in, with the checksum.
    count: usize,
    /// The last four of them, which are not in the buffer: if the frame ends here, they are its checksum.
    tail: u32,
    fault: Option<Fault>,
}

impl<'b> Frame<'b> {
    fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, decoder: Decoder::default(), count: 0, tail: 0, fault: None }
    }

    fn restart(&mut self) {
        (self.decoder, self.count, self.tail, self.fault) = (Decoder::default(), 0, 0, None);
    }

    fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    /// Takes a byte of the line; the length of the frame if it ends here, or what is wrong with it.
    fn feed(&mut self, byte: u8, crc: Crc32c) -> Option<Result<usize, Fault>> {
        match self.decoder.feed(byte) {
            Decoded::Nothing => return None,
            Decoded::Byte(byte) => {
                self.push(byte);
                return None;
            }
            Decoded::Broken => self.fail(Fault::Broken),
            Decoded::End => {}
        }
        if let Some(fault) = self.fault {
            return Some(Err(fault));
        }
        let frame = self.count.checked_sub(SUM).and_then(|len| self.buffer.get(..len));
        Some(frame.filter(|frame| crc(0, frame) == self.tail).map(<[u8]>::len).ok_or(Fault::Broken))
    }

    fn push(&mut self, byte: u8) {
        if self.fault.is_some() {
            return;
        }
        if let Some(at) = self.count.checked_sub(SUM) {
            match self.buffer.get_mut(at) {
                Some(place) => *place = self.tail as u8,
                None => return self.fail(Fault::Overlong),
            }
        }
        self.tail = self.tail >> 8 | u32::from(byte) << 24;
        self.count += 1;
    }
}

impl<M: RawMutex, R, W> fmt::Debug for Serial<M, R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serial").field("dropped", &self.dropped.lock(Cell::get)).finish_non_exhaustive()
    }
}

impl<R: fmt::Debug, W: fmt::Debug> fmt::Display for Error<R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(cause) => write!(f, "the line cannot be read: {cause:?}"),
            Self::Write(cause) => write!(f, "the line cannot be written: {cause:?}"),
            Self::Closed => f.write_str("the line has come to its end"),
        }
    }
}

impl<R: fmt::Debug, W: fmt::Debug> core::error::Error for Error<R, W> {}
