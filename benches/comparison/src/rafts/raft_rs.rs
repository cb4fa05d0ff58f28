//! `raft`, the Raft of TiKV, driven as its documentation shows, with appends merged and commits told with the next append, as TiKV has it.

use raft::prelude::{ConfState, Entry, HardState, Message, MessageType, Snapshot};
use raft::{
    Config, Error, GetEntriesContext, NO_LIMIT, RaftState, RawNode, Result, Storage, StorageError, util::limit_size,
};
use slog::{Discard, Logger, o};

use crate::rafts::cluster::{Applied, Cluster, Command, NODES};
use crate::rafts::log::Log;

/// Three nodes and what is under way between them.
pub(crate) struct RaftRs {
    nodes: [Node; NODES],
    link: Vec<Message>,
}

struct Node {
    raft: RawNode<Store>,
    applied: Applied,
}

/// Its log store: as much as it asks for, and no lock.
struct Store {
    hard: HardState,
    voters: ConfState,
    log: Log<Entry>,
}

impl RaftRs {
    /// Elects the first node.
    ///
    /// # Panics
    /// It is not elected.
    #[must_use]
    pub(crate) fn new() -> Self {
        let mut cluster = Self { nodes: [1, 2, 3].map(Node::new), link: Vec::new() };
        cluster.nodes[0].raft.campaign().expect("a candidate");
        while cluster.nodes[0].raft.store().log.end() == 1 {
            cluster.round();
        }
        cluster
    }
}

impl Node {
    fn new(id: u64) -> Self {
        let config =
            Config { max_size_per_msg: NO_LIMIT, batch_append: true, skip_bcast_commit: true, ..Config::new(id) };
        let voters = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
        let store = Store { hard: HardState::default(), voters, log: Log::new(1) };
        let raft = RawNode::new(&config, store, &Logger::root(Discard, o!())).expect("configuration");
        Self { raft, applied: Applied::default() }
    }

    fn step(&mut self, message: Message) {
        self.raft.step(message).expect("messages are sound");
    }

    /// Does all that is ready: stores, sends, applies.
    fn drive(&mut self, link: &mut Vec<Message>) {
        if !self.raft.has_ready() {
            return;
        }
        let mut ready = self.raft.ready();
        link.append(&mut ready.take_messages());
        self.apply(ready.take_committed_entries());
        let store = self.raft.mut_store();
        ready.take_entries().into_iter().for_each(|entry| store.append(entry));
        if let Some(hard) = ready.hs() {
            store.hard = hard.clone();
        }
        link.append(&mut ready.take_persisted_messages());
        let mut light = self.raft.advance(ready);
        if let Some(commit) = light.commit_index() {
            self.raft.mut_store().hard.commit = commit;
        }
        link.append(&mut light.take_messages());
        self.apply(light.take_committed_entries());
        self.raft.advance_apply();
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in &entries {
            // A leader's own entry is empty.
            if let Ok(command) = entry.data.as_ref().try_into() {
                self.applied.apply(command);
            }
        }
    }
}

impl Store {
    fn append(&mut self, entry: Entry) {
        self.log.truncate(entry.index);
        self.log.push(entry);
    }
}

impl Storage for Store {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState::new(self.hard.clone(), self.voters.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        let mut entries = self.log.range(low, high).cloned().collect();
        limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> Result<u64> {
        match self.log.get(index) {
            Some(entry) => Ok(entry.term),
            None if index == 0 => Ok(0),
            None => Err(Error::Store(StorageError::Compacted)),
        }
    }

    // One less than what is here: the term of the entry before the first can be asked for.
    fn first_index(&self) -> Result<u64> {
        Ok(if self.log.first() == 1 { 1 } else { self.log.first() + 1 })
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.log.end() - 1)
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> Result<Snapshot> {
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

impl Cluster for RaftRs {
    fn propose(&mut self, commands: &[Command]) {
        let raft = &mut self.nodes[0].raft;
        if let [command] = commands {
            raft.propose(Vec::new(), command.to_vec()).expect("a leader");
            return;
        }
        // What `propose` does, with many entries: its only way to propose them at once.
        let entry = |command: &Command| Entry { data: command.to_vec().into(), ..Entry::default() };
        let mut message = Message { msg_type: MessageType::MsgPropose, from: 1, ..Message::default() };
        message.entries = commands.iter().map(entry).collect();
        raft.step(message).expect("a leader");
    }

    fn round(&mut self) {
        let [leader, followers @ ..] = &mut self.nodes;
        leader.drive(&mut self.link);
        for message in self.link.drain(..) {
            followers[message.to as usize - 2].step(message);
        }
        for follower in followers {
            follower.drive(&mut self.link);
            self.link.drain(..).for_each(|message| leader.step(message));
        }
    }

    fn leader(&self) -> Applied {
        self.nodes[0].applied
    }

    fn applied(&self) -> [Applied; NODES] {
        self.nodes.each_ref().map(|node| node.applied)
    }

    fn heartbeat(&mut self) {
        self.nodes[0].raft.ping();
    }
}
