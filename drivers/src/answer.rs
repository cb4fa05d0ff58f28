//! What the application says to an entry.

use core::ops::Deref;

/// The largest answer in bytes.
pub const ANSWER: usize = 32;

/// The application's answer to an entry, at most [`ANSWER`] bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Answer {
    bytes: [u8; ANSWER],
    len: u8,
}

impl Answer {
    /// No bytes: the application applied the entry and had nothing to say.
    pub const EMPTY: Self = Self { bytes: [0; ANSWER], len: 0 };

    /// These bytes, or `None` if they are more than [`ANSWER`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut answer = Self::EMPTY;
        answer.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        answer.len = bytes.len() as u8;
        Some(answer)
    }
}

impl Deref for Answer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}
