//! No consensus: the first node hands its log over, each node stores and applies it. What the harness itself costs.

use crate::rafts::cluster::{Applied, Cluster, Command, NODES};
use crate::rafts::log::Log;

/// Three logs and a link.
#[derive(Debug)]
pub(crate) struct Floor {
    nodes: [Node; NODES],
    /// What is under way from the first node to another.
    link: Vec<Command>,
}

#[derive(Debug)]
struct Node {
    log: Log<Command>,
    applied: Applied,
}

impl Floor {
    /// An empty log on each node.
    #[must_use]
    pub(crate) fn new() -> Self {
        let node = || Node { log: Log::new(0), applied: Applied::default() };
        Self { nodes: [node(), node(), node()], link: Vec::new() }
    }
}

impl Node {
    fn apply(&mut self) {
        for command in self.log.range(self.applied.count, self.log.end()) {
            self.applied.apply(command);
        }
    }
}

impl Cluster for Floor {
    fn propose(&mut self, commands: &[Command]) {
        let [leader, ..] = &mut self.nodes;
        commands.iter().for_each(|command| leader.log.push(*command));
    }

    fn round(&mut self) {
        let [leader, followers @ ..] = &mut self.nodes;
        for follower in followers {
            self.link.extend(leader.log.range(follower.log.end(), leader.log.end()));
            self.link.drain(..).for_each(|command| follower.log.push(command));
            follower.apply();
        }
        leader.apply();
    }

    fn leader(&self) -> Applied {
        self.nodes[0].applied
    }

    fn applied(&self) -> [Applied; NODES] {
        self.nodes.each_ref().map(|node| node.applied)
    }
}
