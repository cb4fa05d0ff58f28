//! The chip's own flash, behind the program: what the log lies on, and which node this is.

use core::fmt;
use core::ops::Range;

use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use quoring::{NodeId, NodeSet};

use quoring_mmio::Register;

use crate::mmio::registers;

registers! {
    READY = 0x4001_E400,
    CONFIG = 0x4001_E504,
    ERASEPAGE = 0x4001_E508,
}

/// Bytes of a page.
const PAGE: usize = 1024;
/// Bytes of a word.
const WORD: usize = 4;
/// The pages of the log begin here, at an address: `memory.x` keeps the program below.
const LOG: usize = 0x3_DC00;
/// Bytes of the log.
const CAPACITY: usize = 8 * PAGE;
/// The last page. Its first word is the number of the node; the next one has a bit for each node that votes.
const IDENTITY: usize = 0x3_FC00;

/// Pages 247 to 254 of the flash. While a page is erased, some 20 ms, the processor stands still.
#[derive(Debug)]
pub struct Flash(());

/// What was asked for does not lie in [`Flash`], or not on words or pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outside(NorFlashErrorKind);

/// What the controller lets happen.
#[derive(Clone, Copy)]
enum Mode {
    Read = 0,
    Write = 1,
    Erase = 2,
}

impl Flash {
    /// To be called once.
    pub(crate) const fn take() -> Self {
        Self(())
    }

    /// The addresses of `len` bytes from `offset` on, both multiples of `unit`.
    fn range(offset: u32, len: usize, unit: usize) -> Result<Range<usize>, Outside> {
        let offset = offset as usize;
        if !offset.is_multiple_of(unit) || !len.is_multiple_of(unit) {
            return Err(Outside(NorFlashErrorKind::NotAligned));
        }
        match offset.checked_add(len) {
            Some(end) if end <= CAPACITY => Ok(LOG + offset..LOG + end),
            _ => Err(Outside(NorFlashErrorKind::OutOfBounds)),
        }
    }
}

/// Which node this is, and who votes: written to the last page of the flash when the board was made. An erased page is a node of no cluster.
pub(crate) fn identity() -> (NodeId, NodeSet) {
    let node = NodeId::new(word(IDENTITY).read().to_le_bytes()[0]);
    let voters = NodeSet::from_bits(word(IDENTITY + WORD).read());
    node.map_or((NodeId::default(), NodeSet::EMPTY), |node| (node, voters))
}

/// A word of the flash.
fn word(address: usize) -> Register {
    // SAFETY: behind the program, as `memory.x` has it, so nothing of Rust's lies there; all callers stay within the last nine pages.
    unsafe { Register::at(address) }
}

/// Does this in that mode, to its end.
fn program(mode: Mode, act: impl FnOnce()) {
    CONFIG.write(mode as u32);
    act();
    while READY.read() & 1 == 0 {}
    CONFIG.write(Mode::Read as u32);
}

impl NorFlashError for Outside {
    fn kind(&self) -> NorFlashErrorKind {
        self.0
    }
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ErrorType for Flash {
    type Error = Outside;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Outside> {
        for (at, byte) in Self::range(offset, bytes.len(), 1)?.zip(bytes) {
            let word = word(at - at % WORD).read();
            *byte = (word >> (at % WORD * 8)) as u8;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        CAPACITY
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = PAGE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Outside> {
        for page in Self::range(from, to.saturating_sub(from) as usize, PAGE)?.step_by(PAGE) {
            program(Mode::Erase, || ERASEPAGE.write(page as u32));
        }
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Outside> {
        let words = Self::range(offset, bytes.len(), WORD)?.step_by(WORD);
        for (at, bytes) in words.zip(bytes.as_chunks::<WORD>().0) {
            program(Mode::Write, || word(at).write(u32::from_le_bytes(*bytes)));
        }
        Ok(())
    }
}
