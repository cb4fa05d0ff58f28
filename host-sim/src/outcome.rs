//! What came of a run.

use quoring_core::Status;

use crate::checker::Violation;
use crate::options::Options;
use crate::tally::Tally;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was asked for.
    pub options: Options,
    /// Commands that are committed and took effect.
    pub committed: u64,
    /// Commands that took effect on the node where the fewest did.
    pub applied_min: u64,
    /// The last committed entry: commands, repeated ones, and the no-ops of new leaders.
    pub last_index: u64,
    /// Elections that were won.
    pub elections: u64,
    /// Durable entries, on all nodes, that were replaced by those of another leader: how far logs diverged.
    pub replaced: u64,
    /// Snapshots that the nodes' applications made.
    pub snapshots_saved: u64,
    /// Pages of all logs that were erased, to be used again: what was purged of them.
    pub purged_pages: u64,
    /// Pages of all chips that were erased.
    pub erases: u64,
    /// How often one of them was.
    pub most_erases: u32,
    /// Microseconds of virtual time.
    pub virtual_micros: u64,
    /// The memory of each node.
    pub ram_bytes_per_node: usize,
    /// What all nodes allocated after their start ...
    pub allocations: u64,
    /// ... in bytes.
    pub allocated_bytes: u64,
    /// How often each fault took effect.
    pub tally: Tally,
    /// Polls of tasks.
    pub steps: u64,
    /// What was wrong; empty if nothing was.
    pub violations: Vec<Violation>,
    /// Each node at the end; nothing for one that is down.
    pub nodes: Vec<NodeOutcome>,
}

/// A node at the end of a run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeOutcome {
    /// Its status, unless it is down.
    pub status: Option<Status>,
    /// Its medium was damaged beyond what it can start from.
    pub lost: bool,
    /// The lines that it has applied.
    pub text: Vec<u8>,
}

impl Outcome {
    /// Whether nothing was wrong and every command is committed and applied on every node that has not lost its medium.
    pub fn is_clean(&self) -> bool {
        let entries = self.options.workload.entries();
        self.violations.is_empty() && self.committed == entries && self.applied_min == entries
    }
}
