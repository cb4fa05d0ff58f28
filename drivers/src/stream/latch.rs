//! What is known of a stream in one word, so that an interrupt can read it (C5).
//!
//! ```text
//!  31      16 15     8 7      0
//!  +---------+--------+--------+
//!  | number  | reason | code   |      number: which stream; reason: 0 if it is not broken; code: the application's, if that is the reason
//!  +---------+--------+--------+
//! ```

use quoring_core::Rejection;

use super::Broken;

/// What the latch says of stream `number`: readable from anywhere, because it is one word.
pub(super) const fn latch(number: u16, broken: Option<Broken>) -> u32 {
    let (reason, code) = match broken {
        None => (0, 0),
        Some(Broken::LeaderLost) => (1, 0),
        Some(Broken::Rejected(Rejection(code))) => (2, code),
        Some(Broken::TooLarge) => (3, 0),
        Some(Broken::Unsupported) => (4, 0),
        Some(Broken::Owner) => (5, 0),
        Some(Broken::Halted) => (6, 0),
    };
    u32::from_le_bytes([code, reason, number.to_le_bytes()[0], number.to_le_bytes()[1]])
}

/// Why stream `number` is broken, if it is.
pub(super) const fn unlatch(word: u32, number: u16) -> Option<Broken> {
    let [code, reason, low, high] = word.to_le_bytes();
    if u16::from_le_bytes([low, high]) != number {
        return Some(Broken::Owner);
    }
    match reason {
        0 => None,
        1 => Some(Broken::LeaderLost),
        2 => Some(Broken::Rejected(Rejection(code))),
        3 => Some(Broken::TooLarge),
        4 => Some(Broken::Unsupported),
        6 => Some(Broken::Halted),
        _ => Some(Broken::Owner),
    }
}
