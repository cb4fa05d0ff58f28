//! The checksum of a record, and what it is seeded with.

use crate::record::{HEADER, Header, Record, RecordError};

/// Bytes of the checksum itself, which come first in a header.
const SUM: usize = 4;

/// A CRC-32C that goes on where another ended: `crc(crc(0, a), b) == crc(0, ab)`, `crc(0,
/// b"123456789") == 0xE306_9283`.
///
/// A plain function, so that a hardware unit is one function away.
pub type Crc32c = fn(u32, &[u8]) -> u32;

/// The best [`Crc32c`] that is known at compile time: the host's with feature `std`, else the
/// software one.
#[cfg(feature = "std")]
pub const DEFAULT_CRC32C: Crc32c = host_crc32c;
/// The best [`Crc32c`] that is known at compile time: the host's with feature `std`, else the
/// software one.
#[cfg(not(feature = "std"))]
pub const DEFAULT_CRC32C: Crc32c = software_crc32c;

/// CRC-32C by a table of 1 KiB, a word at a time: half the instructions of a byte at a time, where loads are what costs.
#[must_use]
pub fn software_crc32c(crc: u32, bytes: &[u8]) -> u32 {
    /// What a byte that leaves at the low end does to the rest.
    const fn step(state: u32) -> u32 {
        (state >> 8) ^ TABLE[(state & 0xFF) as usize]
    }
    let (words, rest) = bytes.as_chunks();
    let state = words.iter().fold(!crc, |state, word| step(step(step(step(state ^ u32::from_le_bytes(*word))))));
    !rest.iter().fold(state, |state, byte| step(state ^ u32::from(*byte)))
}

/// The remainders of all bytes by the Castagnoli polynomial, bits in the order in which they are sent.
static TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut state = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            state = (state >> 1) ^ (0x82F6_3B78 * (state & 1));
            bit += 1;
        }
        table[byte] = state;
        byte += 1;
    }
    table
};

/// CRC-32C by the host's instructions, where it has them: inlined if the build says so (`target-cpu=x86-64-v2` and later), else
/// found at run time.
#[cfg(feature = "std")]
#[must_use]
pub fn host_crc32c(crc: u32, bytes: &[u8]) -> u32 {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse4.2"))]
    {
        // Records and frames are short: behind the first loop, no block comes twice.
        let (state, rest) = words::<64>(u64::from(!crc), bytes);
        let (state, rest) = words::<32>(state, rest);
        let (state, rest) = words::<16>(state, rest);
        let (state, rest) = words::<8>(state, rest);
        let (halves, rest) = rest.as_chunks();
        let half = |state, half: &[u8; 4]| safe_arch::crc32_u32(state, u32::from_le_bytes(*half));
        let state = halves.iter().fold(state as u32, half);
        !rest.iter().fold(state, |state, byte| safe_arch::crc32_u8(state, *byte))
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse4.2")))]
    crc32c::crc32c_append(crc, bytes)
}

/// Goes on over whole blocks of `N` bytes; what is left.
#[cfg(all(feature = "std", target_arch = "x86_64", target_feature = "sse4.2"))]
#[inline(always)]
fn words<const N: usize>(state: u64, bytes: &[u8]) -> (u64, &[u8]) {
    let (blocks, rest) = bytes.as_chunks::<N>();
    let word = |state, word: &[u8; 8]| safe_arch::crc32_u64(state, u64::from_le_bytes(*word));
    (blocks.iter().fold(state, |state, block| block.as_chunks().0.iter().fold(state, word)), rest)
}

/// What every record's checksum is seeded with: the cluster, and the high half of the index.
///
/// A record of another cluster (T3) or of another 2^32 of the index (L15) therefore never passes,
/// though its header holds neither.
///
/// ```text
/// crc32c( term u32 | header[8..16] | payload )   starting from   seed(cluster) ^ index-high * odd constant
/// ```
///
/// Only what a record does not hold stands in the start value. That is XORed into the first bytes that follow: if the term stood
/// there too, a flip in it and the same flip in the index would cancel.
///
/// CRC-32C finds any 5 flipped bits in records of up to 655 bytes, and hosts have an instruction
/// for it.
#[derive(Clone, Copy)]
pub struct Checksum {
    crc: Crc32c,
    seed: u32,
}

impl Checksum {
    /// The checksum of the records of `cluster`.
    #[must_use]
    pub fn new(cluster: u32, crc: Crc32c) -> Self {
        Self { crc, seed: crc(0, &cluster.to_le_bytes()) }
    }

    /// The checksum that belongs into `header`, whose own `checksum` is ignored. `index_high` is
    /// the high half of an entry's index, zero for a vote.
    #[must_use]
    pub fn of(&self, header: &Header, index_high: u32, payload: &[u8]) -> u32 {
        let head = header.encode();
        let (_, counted) = head.split_at(SUM);
        (self.crc)((self.crc)(self.start(index_high), counted), payload)
    }

    /// The checksum of a record whose payload is `head` and `body`, end to end.
    pub(crate) fn of_parts(&self, header: &Header, index_high: u32, head: &[u8], body: &[u8]) -> u32 {
        (self.crc)(self.of(header, index_high, head), body)
    }

    /// The term and the size of the entry of `index` at the beginning of `bytes`, which came from outside: everything about it is looked at, once.
    ///
    /// # Errors
    /// Any [`RecordError`]; [`UnknownKind`](RecordError::UnknownKind) also if the record is no entry, or of another index.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub fn entry(&self, bytes: &[u8], index: u64) -> Result<(u32, usize), RecordError> {
        let header = Header::decode(bytes)?;
        if !header.is_entry_of(index) {
            return Err(RecordError::UnknownKind);
        }
        let (size, end) = (header.size(), HEADER + usize::from(header.len));
        let record = bytes.get(..size).ok_or(RecordError::Truncated)?;
        if size > end && record.get(end..).unwrap_or_default().iter().any(|&byte| byte != 0) {
            return Err(RecordError::NonZeroPadding);
        }
        let counted = record.get(SUM..end).unwrap_or_default();
        if (self.crc)(self.start((index >> 32) as u32), counted) == header.checksum {
            Ok((header.term, size))
        } else {
            Err(RecordError::BadChecksum)
        }
    }

    /// Checks a record that came from outside.
    ///
    /// # Errors
    /// [`RecordError::BadChecksum`].
    #[inline(never)]
    pub fn verify(&self, record: &Record<'_>, index_high: u32) -> Result<(), RecordError> {
        let counted = record.bytes.get(SUM..HEADER + usize::from(record.header.len)).unwrap_or_default();
        if (self.crc)(self.start(index_high), counted) == record.header.checksum {
            Ok(())
        } else {
            Err(RecordError::BadChecksum)
        }
    }

    /// An odd factor maps different high halves to different starts.
    const fn start(&self, index_high: u32) -> u32 {
        self.seed ^ index_high.wrapping_mul(0x9E37_79B1)
    }
}

impl core::fmt::Debug for Checksum {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Checksum").field("seed", &self.seed).finish_non_exhaustive()
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Checksum {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Checksum {{ seed: {=u32:x} }}", self.seed);
    }
}
