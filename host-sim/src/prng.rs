//! The simulator's only source of chance: splitmix64, with an independent stream for each purpose, so that one more
//! draw of the network does not change what the store does.

/// A stream of pseudo-random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Prng(u64);

impl Prng {
    /// The stream of `seed` for this purpose.
    pub(crate) fn new(seed: u64, purpose: &str) -> Self {
        let label = purpose.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
        Self(mix(seed) ^ label)
    }

    /// 64 random bits.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Uniform in `0..bound`; 0 when `bound` is.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        ((self.next() as u128 * bound as u128) >> 64) as u64
    }

    /// Uniform in `low..=high`.
    pub(crate) const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// In `low..=high`, every octave as likely as the next: most are small, some are large. `low` is above zero, `high` below 2^63.
    pub(crate) const fn octaves(&mut self, low: u64, high: u64) -> u64 {
        let ceiling = 2 << self.between(low.ilog2() as u64, high.ilog2() as u64);
        let draw = self.between(low, ceiling);
        if draw < high { draw } else { high }
    }

    /// True this many times in a million.
    pub(crate) const fn chance(&mut self, per_million: u32) -> bool {
        self.below(1_000_000) < per_million as u64
    }

    /// The number of one of the set bits of `mask`; `None` of 0.
    pub(crate) fn pick_bit(&mut self, mut mask: u64) -> Option<u32> {
        for _ in 0..self.below(u64::from(mask.count_ones())) {
            mask &= mask - 1;
        }
        (mask != 0).then(|| mask.trailing_zeros())
    }
}

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_its_seed_and_its_purpose_and_on_nothing_else() {
        let first = |seed, purpose| Prng::new(seed, purpose).next();
        assert_eq!(first(1, "network"), first(1, "network"));
        assert_ne!(first(1, "network"), first(2, "network"));
        assert_ne!(first(1, "network"), first(1, "store"));
    }

    #[test]
    fn draws_keep_their_bounds_and_reach_them() {
        let mut prng = Prng::new(7, "test");
        let draws: Vec<u64> = (0..1000).map(|_| prng.between(3, 6)).collect();
        assert!((3..=6).all(|n| draws.contains(&n)) && draws.iter().all(|n| (3..=6).contains(n)));
        let octaves: Vec<u64> = (0..1000).map(|_| prng.octaves(10, 100_000)).collect();
        assert!(octaves.iter().all(|n| (10..=100_000).contains(n)));
        assert!(octaves.iter().any(|&n| n < 100) && octaves.iter().any(|&n| n > 50_000));
        assert_eq!(prng.below(0), 0);
    }

    #[test]
    fn every_set_bit_is_picked_and_no_other() {
        let mut prng = Prng::new(7, "test");
        let picked = (0..200).filter_map(|_| prng.pick_bit(0b1010_0001)).fold(0u64, |set, bit| set | 1 << bit);
        assert_eq!(picked, 0b1010_0001);
        assert_eq!(prng.pick_bit(0), None);
    }
}
