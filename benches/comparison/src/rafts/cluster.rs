//! The work that every contender does: commands that are all different, proposed in one of three ways, stored and applied by three nodes.

use std::array::from_fn;
use std::mem::forget;

use quoring_benches::cluster::{Load, fold};

/// What is replicated.
pub(crate) type Command = [u8; 32];

/// Nodes of a cluster.
pub(crate) const NODES: usize = 3;
/// Commands in flight, or proposed at once.
pub(crate) const WINDOW: usize = 64;
/// Rounds after which nothing is under way any more.
const PATIENCE: usize = 64;

/// The command of this number.
#[must_use]
pub(crate) fn command(number: u64) -> Command {
    let mut command = [0x5A; 32];
    let (head, _) = command.split_at_mut(8);
    head.copy_from_slice(&number.to_le_bytes());
    command
}

/// What a node has applied.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Applied {
    /// How many commands.
    pub(crate) count: u64,
    /// What they fold to.
    pub(crate) sum: u64,
}

impl Applied {
    /// Applies the next command.
    pub(crate) fn apply(&mut self, command: &Command) {
        self.count += 1;
        self.sum = fold(self.sum, command);
    }

    /// What a node has applied that has applied so many commands.
    #[must_use]
    pub(crate) fn after(entries: u64) -> Self {
        let mut applied = Self::default();
        (0..entries).for_each(|number| applied.apply(&command(number)));
        applied
    }
}

/// Three nodes that are driven by turns, the first of them elected.
pub(crate) trait Cluster {
    /// Proposes one command, or [`WINDOW`] with one call if there is such a call.
    fn propose(&mut self, commands: &[Command]);

    /// Each node does what it has to do; what the leader sends is answered, and the answers are taken.
    fn round(&mut self);

    /// What the leader has applied.
    fn leader(&self) -> Applied;

    /// What all nodes have applied.
    fn applied(&self) -> [Applied; NODES];

    /// Lets followers know what is committed, where the leader tells it with its next entry or heartbeat only.
    fn heartbeat(&mut self) {}
}

/// Replicates so many commands, a multiple of [`WINDOW`]; what every node has applied then. The cluster stays in memory, so that what it holds can be
/// counted at the end of the program.
///
/// # Panics
/// Not all nodes have applied the same, or not as much.
pub(crate) fn replicate(mut cluster: impl Cluster, load: Load, entries: u64) -> Applied {
    let (window, mut proposed) = (load.window(), 0);
    while cluster.leader().count < entries {
        let outstanding = proposed - cluster.leader().count;
        if load != Load::Batch {
            for _ in outstanding..window.min(entries - proposed + outstanding) {
                cluster.propose(&[command(proposed)]);
                proposed += 1;
            }
        } else if outstanding == 0 {
            let first = proposed;
            cluster.propose(&from_fn::<Command, WINDOW, _>(|at| command(first + at as u64)));
            proposed += window;
        }
        cluster.round();
    }
    cluster.heartbeat();
    for _ in 0..PATIENCE {
        cluster.round();
    }
    let applied = agreed(cluster.applied(), entries);
    forget(cluster);
    applied
}

/// What all nodes have applied.
///
/// # Panics
/// It is not the same, or not so many commands.
#[must_use]
pub(crate) fn agreed([leader, followers @ ..]: [Applied; NODES], entries: u64) -> Applied {
    assert_eq!(leader.count, entries, "the leader has applied all");
    assert_eq!(followers, [leader; NODES - 1], "followers have applied the same");
    leader
}
