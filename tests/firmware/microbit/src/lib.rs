//! The BBC micro:bit: what a node stands on. Nothing here knows of consensus.
#![no_std]

mod executor;
mod flash;
mod interrupts;
mod line;
mod mmio;
mod time;
mod uart;

use quoring::{NodeId, NodeSet};
use static_cell::StaticCell;

pub use self::executor::{forever, run};
pub use self::flash::{Flash, Outside};
pub use self::line::{Client, Line};

/// The parts of the board that a node uses.
#[derive(Debug)]
pub struct Board {
    /// Which node this is.
    pub node: NodeId,
    /// Who votes.
    pub voters: NodeSet,
    /// Keeps what is written without power.
    pub flash: Flash,
    /// To the other nodes, and to a client.
    pub line: &'static Line,
}

impl Board {
    /// Takes the board into service; once.
    #[must_use]
    pub fn take() -> Self {
        static LINE: StaticCell<Line> = StaticCell::new();
        time::start();
        let (node, voters) = flash::identity();
        let (receiver, sender) = uart::start();
        Self { node, voters, flash: Flash::take(), line: LINE.init(Line::new(node, receiver, sender)) }
    }
}
