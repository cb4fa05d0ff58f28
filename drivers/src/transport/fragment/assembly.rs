//! A frame of one sender, while its pieces come in.

use quoring_ring::Crc32c;

use super::{MESSAGES, PROLOGUE};

/// So many messages before the newest one are late; others are newer. Few: a sender that starts again counts from 0.
const LATE: u8 = 2;

/// The newest message of a sender.
#[derive(Debug)]
pub(super) struct Assembly<const FRAME: usize> {
    /// Its pieces that are here, one bit each. Bit 0 set: `length` and `sum` are known.
    seen: [u32; 8],
    /// How many bits are set.
    count: usize,
    message: u8,
    /// Whether pieces are awaited; if not, the next one begins a message.
    open: bool,
    length: u16,
    sum: u32,
    bytes: [u8; FRAME],
}

/// What became of a piece.
#[derive(Clone, Copy)]
pub(super) struct Added {
    /// It was of no use.
    pub(super) refused: bool,
    /// It began a message, and the one before will never be whole.
    pub(super) displaced: bool,
    /// It was the last that was missing.
    pub(super) whole: bool,
}

impl Added {
    pub(super) const REFUSED: Self = Self { refused: true, displaced: false, whole: false };
}

impl<const FRAME: usize> Assembly<FRAME> {
    pub(super) const EMPTY: Self =
        Self { seen: [0; 8], count: 0, message: 0, open: false, length: 0, sum: 0, bytes: [0; FRAME] };

    /// Takes piece `number` of a message in pieces of `size` bytes.
    pub(super) fn add(&mut self, message: u8, number: u8, payload: &[u8], size: usize) -> Added {
        let ahead = message.wrapping_sub(self.message) % MESSAGES;
        if self.open && ahead >= MESSAGES - LATE {
            return Added::REFUSED;
        }
        let displaced = self.open && ahead != 0;
        if !self.open || displaced {
            (self.seen, self.count, self.message, self.open) = ([0; 8], 0, message, true);
        }
        let refused = self.has(number) || self.put(number, payload, size).is_none();
        let whole = !refused && self.is_whole(size);
        if whole {
            self.open = false;
        }
        Added { refused, displaced, whole }
    }

    /// Copies the whole frame; its length, if it is what was sent and fits.
    pub(super) fn copy(&self, buffer: &mut [u8], crc: Crc32c) -> Option<usize> {
        let frame = self.bytes.get(..self.length.into())?;
        if crc(crc(0, &self.length.to_le_bytes()), frame) != self.sum {
            return None;
        }
        buffer.get_mut(..frame.len())?.copy_from_slice(frame);
        Some(frame.len())
    }

    fn put(&mut self, number: u8, payload: &[u8], size: usize) -> Option<()> {
        let (at, bytes) = if number == 0 {
            let (&[l0, l1, s0, s1, s2, s3], bytes) = payload.split_first_chunk::<PROLOGUE>()?;
            let length = u16::from_le_bytes([l0, l1]);
            if usize::from(length) > FRAME {
                return None;
            }
            (self.length, self.sum) = (length, u32::from_le_bytes([s0, s1, s2, s3]));
            (0, bytes)
        } else {
            (usize::from(number) * size - PROLOGUE, payload)
        };
        let place = self.bytes.get_mut(at..)?;
        // What is behind the frame's end is the link's padding.
        place.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
        *self.seen.get_mut(usize::from(number / 32))? |= 1 << (number % 32);
        self.count += 1;
        Some(())
    }

    fn has(&self, number: u8) -> bool {
        self.seen.get(usize::from(number / 32)).is_some_and(|bits| bits >> (number % 32) & 1 == 1)
    }

    fn is_whole(&self, size: usize) -> bool {
        let pieces = (PROLOGUE + usize::from(self.length)).div_ceil(size);
        self.has(0) && self.count >= pieces && (0..=u8::MAX).take(pieces).all(|number| self.has(number))
    }
}
