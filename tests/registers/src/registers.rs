//! What the commands change.

use crate::command::Command;

/// How many registers there are.
pub const COUNT: usize = 64;

/// Numbers, all 0 at first. The same commands in the same order make the same registers and the same digest on every node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registers {
    values: [u32; COUNT],
    /// Over all commands so far and their order.
    digest: u32,
    /// The index of the last entry that was applied.
    applied: u64,
}

impl Registers {
    /// Words of a snapshot: the values and the digest, each in 4 bytes, little-endian.
    pub(crate) const WORDS: usize = COUNT + 1;

    /// Zeros.
    #[must_use]
    pub const fn new() -> Self {
        Self { values: [0; COUNT], digest: 0, applied: 0 }
    }

    /// The value of register `key`; 0 where there is none.
    #[must_use]
    pub fn get(&self, key: u8) -> u32 {
        self.values.get(usize::from(key)).copied().unwrap_or_default()
    }

    /// A number that is the same on two nodes if they have applied the same commands, and differs else with all but certainty.
    #[must_use]
    pub const fn digest(&self) -> u32 {
        self.digest
    }

    /// The index of the last entry that was applied. Digest and registers are those after it.
    #[must_use]
    pub const fn applied(&self) -> u64 {
        self.applied
    }

    /// Does what the command of entry `index` says. A payload that is none changes only the digest.
    pub fn apply(&mut self, index: u64, payload: &[u8]) {
        self.applied = index;
        self.mix(payload.len() as u32);
        if let Some(Command { key, value }) = Command::decode(payload) {
            self.mix(u32::from(key));
            self.mix(value);
            if let Some(register) = self.values.get_mut(usize::from(key)) {
                *register = value;
            }
        }
    }

    pub(crate) fn word(&self, number: usize) -> u32 {
        self.values.get(number).copied().unwrap_or(self.digest)
    }

    pub(crate) const fn set_applied(&mut self, index: u64) {
        self.applied = index;
    }

    pub(crate) fn set_word(&mut self, number: usize, word: u32) {
        *self.values.get_mut(number).unwrap_or(&mut self.digest) = word;
    }

    /// One step of FNV-1a, a word at a time.
    const fn mix(&mut self, word: u32) {
        self.digest = (self.digest ^ word).rotate_left(13).wrapping_mul(0x0100_0193).wrapping_add(1);
    }
}

impl Default for Registers {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_keeps_the_last_value_and_the_digest_knows_the_order() {
        let (mut one, mut other) = (Registers::new(), Registers::new());
        let (first, second) = (Command { key: 3, value: 7 }.encode(), Command { key: 3, value: 8 }.encode());
        one.apply(1, &first);
        one.apply(2, &second);
        other.apply(1, &second);
        other.apply(2, &first);
        assert_eq!((one.get(3), other.get(3), one.get(4), one.get(200)), (8, 7, 0, 0));
        assert_ne!(one.digest(), other.digest());
    }

    #[test]
    fn what_is_no_command_changes_only_the_digest() {
        let mut registers = Registers::new();
        registers.apply(1, &[1, 2, 3]);
        registers.apply(2, &Command { key: 64, value: 9 }.encode());
        assert!((0..=255).all(|key| registers.get(key) == 0));
        assert_ne!(registers.digest(), 0);
    }

    #[test]
    fn the_words_of_a_snapshot_make_the_same_registers() {
        let (mut registers, mut restored) = (Registers::new(), Registers::new());
        (0..100).for_each(|value| registers.apply(9, &Command { key: (value % 64) as u8, value }.encode()));
        (0..Registers::WORDS).for_each(|number| restored.set_word(number, registers.word(number)));
        restored.set_applied(9);
        assert_eq!(registers, restored);
    }
}
