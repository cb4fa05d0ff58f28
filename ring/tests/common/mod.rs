//! What several test files need.
#![allow(dead_code, reason = "each test file uses its part")]

use quoring_ring::{Checksum, DEFAULT_CRC32C, Record};

pub(crate) const CLUSTER: u32 = 0xC1;

pub(crate) fn checksum() -> Checksum {
    Checksum::new(CLUSTER, DEFAULT_CRC32C)
}

/// The record in `bytes`, whose checksum must be that of `index`.
pub(crate) fn verified(bytes: &[u8], index: u64) -> Record<'_> {
    let record = Record::parse(bytes).expect("a whole record");
    let high = if record.header.kind.is_entry() { (index >> 32) as u32 } else { 0 };
    checksum().verify(&record, high).expect("an intact record");
    record
}

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Anything below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}
