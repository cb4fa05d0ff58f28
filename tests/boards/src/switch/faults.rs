//! What a switch does to frames.

use std::time::Duration;

/// The faults of a switch, each drawn anew for every frame and receiver.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Faults {
    /// Of a thousand frames, so many are lost.
    pub lost: u32,
    /// Of a thousand, so many arrive twice.
    pub duplicated: u32,
    /// Of a thousand, so many arrive with one to three bits flipped.
    pub corrupted: u32,
    /// Every frame is held back for a time up to this, in order.
    pub delay: Duration,
    /// Of a thousand, so many are held back once more, and others overtake them.
    pub reordered: u32,
}

/// What a switch did, in frames and receivers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Came in.
    pub received: u64,
    /// Went out.
    pub delivered: u64,
    /// Were lost by chance.
    pub lost: u64,
    /// Were sent twice.
    pub duplicated: u64,
    /// Had bits flipped.
    pub corrupted: u64,
    /// Were held back so that others could overtake.
    pub reordered: u64,
    /// Found no way between the two ports.
    pub cut: u64,
    /// Found the queue of the receiver full.
    pub overflowed: u64,
    /// Were for a station that is not connected, or that no port has.
    pub undeliverable: u64,
}

/// Which ports reach which.
#[derive(Clone, Debug)]
pub(super) struct Ways {
    /// `cut[from][to]`.
    cut: Vec<Vec<bool>>,
}

impl Ways {
    pub(super) fn new(ports: usize) -> Self {
        Self { cut: vec![vec![false; ports]; ports] }
    }

    pub(super) fn is_open(&self, from: usize, to: usize) -> bool {
        !self.cut[from][to]
    }

    pub(super) fn cut(&mut self, from: usize, to: usize) {
        self.cut[from][to] = true;
    }

    /// All ways are open.
    pub(super) fn open(&mut self) {
        self.cut.iter_mut().flatten().for_each(|cut| *cut = false);
    }
}
