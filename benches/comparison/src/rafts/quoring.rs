//! Quoring: core and ring, with frames encoded, checksums computed and checked, and a medium that is as fast as memory.

use quoring_benches::cluster::{self, MemoryOf};

use crate::rafts::cluster::{Applied, Cluster, Command, NODES};

/// Rings of 8 KiB: twice 64 commands and more.
pub(crate) type Memory = MemoryOf<1024, 256>;

/// The cluster that the other benches measure too.
#[derive(Debug)]
pub(crate) struct Quoring<'a>(cluster::Cluster<'a>);

impl<'a> Quoring<'a> {
    /// Elects the first node.
    #[must_use]
    pub(crate) fn new(memory: &'a mut Memory) -> Self {
        Self(cluster::Cluster::new(memory))
    }
}

impl Cluster for Quoring<'_> {
    fn propose(&mut self, commands: &[Command]) {
        commands.iter().for_each(|command| self.0.propose(command));
    }

    fn round(&mut self) {
        self.0.round();
    }

    fn leader(&self) -> Applied {
        let [leader, ..] = self.applied();
        leader
    }

    fn applied(&self) -> [Applied; NODES] {
        let mut nodes = self.0.applied().map(|(count, sum)| Applied { count, sum });
        [(); NODES].map(|()| nodes.next().unwrap_or_default())
    }
}
