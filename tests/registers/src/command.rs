//! What a client proposes.

/// Sets a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Command {
    /// Which register.
    pub key: u8,
    /// Its new value.
    pub value: u32,
}

impl Command {
    /// Bytes of a command. Longer ones are padded, to measure.
    pub const SIZE: usize = 8;

    /// Key and value, each in 4 bytes, little-endian.
    #[must_use]
    pub const fn encode(self) -> [u8; Self::SIZE] {
        (self.key as u64 | (self.value as u64) << 32).to_le_bytes()
    }

    /// `None` for what is no command.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let bytes = u64::from_le_bytes(*payload.first_chunk()?);
        Some(Self { key: u8::try_from(bytes as u32).ok()?, value: (bytes >> 32) as u32 })
    }
}
