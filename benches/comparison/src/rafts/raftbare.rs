//! `raftbare`: it orders positions, and leaves commands to the application, which sends them along with its messages and stores them.

use raftbare::{Action, LogEntries, Message, Node as Raft, NodeId};

use crate::rafts::cluster::{Applied, Cluster, Command, NODES};
use crate::rafts::log::Log;

/// Three nodes and what is under way between them.
#[derive(Debug)]
pub(crate) struct Raftbare {
    nodes: [Node; NODES],
    link: Vec<Envelope>,
}

#[derive(Debug)]
struct Node {
    raft: Raft,
    peers: [NodeId; NODES - 1],
    /// The entry of each index; those without a command are Raft's own.
    log: Log<Option<Command>>,
    /// Index of the next entry to apply.
    next: u64,
    applied: Applied,
}

/// A message, with the commands of its entries.
#[derive(Debug)]
struct Envelope {
    to: NodeId,
    message: Message,
    commands: Vec<Option<Command>>,
}

impl Raftbare {
    /// Elects the first node.
    ///
    /// # Panics
    /// It is not elected.
    #[must_use]
    pub(crate) fn new() -> Self {
        let ids = [0, 1, 2].map(NodeId::new);
        let [a, b, c] = ids;
        let nodes = [Node::new(a, [b, c]), Node::new(b, [a, c]), Node::new(c, [a, b])];
        let mut cluster = Self { nodes, link: Vec::new() };
        let created = cluster.nodes[0].raft.create_cluster(&ids);
        while cluster.nodes[0].raft.get_commit_status(created).is_in_progress() {
            cluster.round();
        }
        assert!(cluster.nodes[0].raft.role().is_leader());
        cluster
    }
}

impl Node {
    fn new(id: NodeId, peers: [NodeId; NODES - 1]) -> Self {
        Self { raft: Raft::start(id), peers, log: Log::new(1), next: 1, applied: Applied::default() }
    }

    /// Takes a message; what it appends is stored before it is answered.
    fn take(&mut self, Envelope { message, commands, .. }: Envelope) {
        let sent = match &message {
            Message::AppendEntriesCall { entries, .. } => Some(bounds(entries)),
            _ => None,
        };
        self.raft.handle_message(message);
        let Some((first, _)) = sent else { return };
        if let Some(entries) = self.raft.actions_mut().append_log_entries.take() {
            let (from, to) = bounds(&entries);
            self.log.truncate(from);
            commands[(from - first) as usize..(to - first) as usize].iter().for_each(|command| self.log.push(*command));
        }
    }

    /// Does what the node asks for: stores, then sends.
    fn drive(&mut self, link: &mut Vec<Envelope>) {
        if let Some(entries) = self.raft.actions_mut().append_log_entries.take() {
            // Commands were stored when they were proposed.
            (self.log.end()..bounds(&entries).1).for_each(|_| self.log.push(None));
        }
        while let Some(action) = self.raft.actions_mut().next() {
            match action {
                Action::BroadcastMessage(message) => {
                    let commands = self.commands(&message);
                    let [one, other] = self.peers;
                    link.push(Envelope { to: one, message: message.clone(), commands: commands.clone() });
                    link.push(Envelope { to: other, message, commands });
                }
                Action::SendMessage(to, message) => {
                    let commands = self.commands(&message);
                    link.push(Envelope { to, message, commands });
                }
                Action::InstallSnapshot(_) => unreachable!("nobody lags behind"),
                Action::AppendLogEntries(_)
                | Action::SetElectionTimeout
                | Action::SaveCurrentTerm
                | Action::SaveVotedFor => {}
            }
        }
        self.apply();
    }

    /// The commands of a message's entries.
    fn commands(&self, message: &Message) -> Vec<Option<Command>> {
        let Message::AppendEntriesCall { entries, .. } = message else { return Vec::new() };
        let (from, to) = bounds(entries);
        self.log.range(from, to).copied().collect()
    }

    fn apply(&mut self) {
        let committed = self.raft.commit_index().get() + 1;
        for command in self.log.range(self.next, committed).flatten() {
            self.applied.apply(command);
        }
        self.next = committed;
    }
}

/// First index of the entries, and the first one behind them.
fn bounds(entries: &LogEntries) -> (u64, u64) {
    (entries.prev_position().index.get() + 1, entries.last_position().index.get() + 1)
}

impl Cluster for Raftbare {
    fn propose(&mut self, commands: &[Command]) {
        let [leader, ..] = &mut self.nodes;
        for command in commands {
            let position = leader.raft.propose_command();
            assert_eq!(position.index.get(), leader.log.end(), "a leader");
            leader.log.push(Some(*command));
        }
    }

    fn round(&mut self) {
        let [leader, followers @ ..] = &mut self.nodes;
        leader.drive(&mut self.link);
        for envelope in self.link.drain(..) {
            followers[envelope.to.get() as usize - 1].take(envelope);
        }
        for follower in followers {
            follower.drive(&mut self.link);
            self.link.drain(..).for_each(|envelope| leader.take(envelope));
        }
        leader.apply();
    }

    fn leader(&self) -> Applied {
        self.nodes[0].applied
    }

    fn applied(&self) -> [Applied; NODES] {
        self.nodes.each_ref().map(|node| node.applied)
    }

    fn heartbeat(&mut self) {
        self.nodes[0].raft.heartbeat();
    }
}
