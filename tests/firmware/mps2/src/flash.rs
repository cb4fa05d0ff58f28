//! Flash with the rules of NOR, in the board's PSRAM, which QEMU maps from a file: what is stored there outlives the board.
//!
//! Words of 4 bytes are programmed once between two erases, pages of 4096 bytes are erased whole. A word is stored by one instruction, in order: power may fail between
//! any two.

use core::fmt;

use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

use quoring_mmio::Register;

const BASE: usize = 0x2100_0000;

/// Bytes of it that are used.
const SIZE: usize = 10 * PAGE;

const WORD: usize = 4;
const PAGE: usize = 4096;
const ERASED: u32 = u32::MAX;

/// The flash.
#[derive(Debug)]
pub struct Flash(());

/// Why it refused: a word that is not erased was to be programmed, or what was asked is not within the flash or not whole words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused(NorFlashErrorKind);

impl Flash {
    /// To be called once.
    pub(crate) const fn take() -> Self {
        Self(())
    }

    /// The word at `offset`, which is a multiple of 4 below the size.
    fn word(offset: usize) -> Register {
        // SAFETY: the PSRAM has 16 MiB from there on, no other code uses it, and it is only read and written by words.
        unsafe { Register::at(BASE + offset) }
    }

    fn check(offset: u32, len: usize, whole: usize) -> Result<usize, Refused> {
        let offset = offset as usize;
        if !offset.is_multiple_of(whole) || !len.is_multiple_of(whole) {
            return Err(Refused(NorFlashErrorKind::NotAligned));
        }
        match offset.checked_add(len) {
            Some(end) if end <= SIZE => Ok(offset),
            _ => Err(Refused(NorFlashErrorKind::OutOfBounds)),
        }
    }
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Refused> {
        let mut at = Self::check(offset, bytes.len(), 1)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let word = Self::word(at - at % WORD).read().to_le_bytes();
            let part = word.get(at % WORD..).unwrap_or_default();
            let len = part.len().min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(&part[..len]);
            (at, rest) = (at + len, later);
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        SIZE
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = PAGE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Refused> {
        let from = Self::check(from, to.saturating_sub(from) as usize, PAGE)?;
        (from..to as usize).step_by(WORD).for_each(|at| Self::word(at).write(ERASED));
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Refused> {
        let at = Self::check(offset, bytes.len(), WORD)?;
        let (words, _) = bytes.as_chunks::<WORD>();
        for (bytes, at) in words.iter().zip((at..).step_by(WORD)) {
            let word = Self::word(at);
            if word.read() != ERASED {
                return Err(Refused(NorFlashErrorKind::Other));
            }
            word.write(u32::from_le_bytes(*bytes));
        }
        Ok(())
    }
}

impl ErrorType for Flash {
    type Error = Refused;
}

impl NorFlashError for Refused {
    fn kind(&self) -> NorFlashErrorKind {
        self.0
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
