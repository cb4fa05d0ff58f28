//! The commit path of a whole cluster.

use super::{OPERATIONS, Part};
use crate::cluster::{Cluster, Load, Memory};
use crate::record;

/// A command is proposed, replicated, committed, and applied on every node.
#[derive(Debug)]
pub struct Commit {
    cluster: Cluster<'static>,
    load: Load,
    command: Vec<u8>,
}

impl Commit {
    /// So many nodes, and commands of so many bytes. The memory of the nodes lives as long as the process.
    #[must_use]
    pub fn new(nodes: usize, load: Load, bytes: usize) -> Self {
        let memory = Box::leak(Box::new(Memory::new(nodes)));
        let mut commit = Self { cluster: Cluster::new(memory), load, command: record::command(bytes) };
        // The pipelines have opened when it is measured.
        commit.run();
        commit
    }
}

impl Part for Commit {
    fn run(&mut self) {
        self.cluster.replicate(OPERATIONS, self.load, &self.command);
    }

    /// The cluster has made sure that all nodes applied the same.
    fn check(&mut self) {}
}
