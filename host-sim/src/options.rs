//! What a run is told.

use std::fmt;
use std::str::FromStr;

use crate::faults::FaultSet;
use crate::workload::Workload;

/// How much memory a node has, and so what it can take at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RingSize {
    /// 2 KiB, 64 slots, frames of 256 bytes: everything is short of room.
    Small,
    /// 16 KiB, 256 slots, frames of 1 KiB.
    Medium,
    /// 16 KiB, 256 slots, frames of a little more than 8 KiB: the largest record fits a frame.
    Wide,
}

impl RingSize {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Wide => "wide",
        }
    }
}

impl FromStr for RingSize {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let sizes = [Self::Small, Self::Medium, Self::Wide];
        sizes.into_iter().find(|size| size.name() == name).ok_or_else(|| "it is small, medium or wide".into())
    }
}

/// A run. The same options give the same run, to the last byte of its trace.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where all chance comes from.
    pub seed: u64,
    /// 1 to 32.
    pub nodes: usize,
    /// What to replicate.
    pub workload: Workload,
    /// Which faults to draw from.
    pub faults: FaultSet,
    /// The nodes' memory.
    pub ring: RingSize,
    /// A fault in what is tested, which the checkers must find.
    pub planted: Option<Planted>,
}

/// A fault in the code, for tests of the checkers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// A fault of the protocol.
    #[cfg(feature = "planted-faults")]
    Core(quoring_core::Planted),
    /// The application allocates.
    Allocate,
    /// The application panics.
    Panic,
    /// The application is not shown an entry.
    SkipEntry,
    /// The application gives each entry the answer of the one before.
    AnswerOfAnother,
    /// The node gives each item of a stream the answer of the item before.
    AnswerOfAnotherItem,
    /// The desk tells a client that its command is applied when it is only accepted.
    EagerDesk,
    /// The store says that a write is durable before it is.
    LyingStore,
    /// The store does not find its last record again.
    ForgetfulStore,
    /// The store begins a write that hangs again.
    ImpatientStore,
    /// The store says that a snapshot is finished and does not finish it.
    ForgetfulSnapshot,
    /// The store finds a record that nobody wrote.
    PhantomRecord,
}

impl Options {
    /// A run through all faults.
    pub const fn new(seed: u64, nodes: usize, workload: Workload) -> Self {
        Self { seed, nodes, workload, faults: FaultSet::All, ring: RingSize::Medium, planted: None }
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--seed {} {}", self.seed, crate::report::options(self))
    }
}
