//! Records that tell what they are, and chance.

/// Bytes of the largest payload.
pub(crate) const LARGEST: usize = 64;

/// The payload of entry `index` of `term`: each word of it is told by these two.
pub(crate) fn payload(term: u32, index: u64) -> ([u8; LARGEST], usize) {
    let mut bytes = [0; LARGEST];
    let word = word(term, index).to_le_bytes();
    bytes.as_chunks_mut().0.iter_mut().for_each(|place| *place = word);
    (bytes, length(term, index))
}

/// Whether it is that payload, from its first byte to its last.
pub(crate) fn is_payload(bytes: &[u8], term: u32, index: u64) -> bool {
    let word = word(term, index).to_le_bytes();
    let (words, rest) = bytes.as_chunks();
    bytes.len() == length(term, index) && words.iter().all(|found| *found == word) && rest.is_empty()
}

const fn word(term: u32, index: u64) -> u32 {
    mix(term.wrapping_mul(0x9E37_79B9) ^ mix(index as u32) ^ (index >> 32) as u32)
}

/// Whole words, one at least.
const fn length(term: u32, index: u64) -> usize {
    4 + (word(term, index) as usize % (LARGEST / 4)) * 4
}

/// Xorshift-multiply: a small change of what goes in changes all that comes out.
const fn mix(value: u32) -> u32 {
    let value = (value ^ value >> 16).wrapping_mul(0x7FEB_352D);
    let value = (value ^ value >> 15).wrapping_mul(0x846C_A68B);
    value ^ value >> 16
}

/// Numbers as good as random, the same at each start.
pub(crate) struct Random(pub(crate) u32);

impl Random {
    /// Anything below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9);
        mix(self.0) % bound
    }

    /// Ticks until the next interrupt: mostly few, so that interrupts come between neighbouring instructions, and up to `most`, so that much moves on in between.
    pub(crate) fn interval(&mut self, most: u32) -> u32 {
        let bound = most >> self.below(8);
        1 + self.below(bound.max(1))
    }
}
