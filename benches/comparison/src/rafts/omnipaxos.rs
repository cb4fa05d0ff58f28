//! `omnipaxos`: Sequence Paxos, which is as Raft is in what it costs here, with appends merged until they are taken.

use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::Message;
use omnipaxos::storage::{Entry, NoSnapshot, StopSign, Storage, StorageOp, StorageResult};
use omnipaxos::util::LogEntry;
use omnipaxos::{ClusterConfig, OmniPaxos, ServerConfig};

use crate::rafts::cluster::{Applied, Cluster, Command, NODES};
use crate::rafts::log::Log;

/// Messages that fit in the buffers of a node from the start.
const MESSAGES: usize = 64;

/// Entries after which the leader has the log trimmed.
const TRIM: u64 = 512;
/// Applied entries that stay then.
const KEEP: usize = 256;

/// Three nodes and what is under way between them.
pub(crate) struct Omni {
    nodes: [Node; NODES],
    link: Vec<Message<Item>>,
    proposed: u64,
}

struct Node {
    paxos: OmniPaxos<Item, Store>,
    next: usize,
    applied: Applied,
}

/// A command as an entry of its log.
#[derive(Clone, Debug)]
struct Item(Command);

impl Entry for Item {
    type Snapshot = NoSnapshot;
}

/// Its log store.
struct Store {
    log: Log<Item>,
    promise: Option<Ballot>,
    accepted: Option<Ballot>,
    decided: usize,
    compacted: usize,
    stop: Option<StopSign>,
}

impl Omni {
    /// Elects the first node. Appends wait until there are `batch` of them.
    ///
    /// # Panics
    /// It is not elected.
    #[must_use]
    pub(crate) fn new(batch: usize) -> Self {
        let node = |pid| Node::new(pid, batch);
        let mut cluster = Self { nodes: [1, 2, 3].map(node), link: Vec::with_capacity(MESSAGES), proposed: 0 };
        cluster.nodes[0].paxos.try_become_leader();
        while cluster.nodes.iter().any(|node| node.paxos.get_current_leader() != Some((1, true))) {
            cluster.round();
        }
        cluster
    }
}

impl Node {
    fn new(pid: u64, batch_size: usize) -> Self {
        let cluster = ClusterConfig { configuration_id: 1, nodes: vec![1, 2, 3], flexible_quorum: None };
        let server = ServerConfig { pid, batch_size, buffer_size: MESSAGES, ..ServerConfig::default() };
        let paxos = cluster.build_for_server(server, Store::new()).expect("configuration");
        Self { paxos, next: 0, applied: Applied::default() }
    }

    fn apply(&mut self) {
        if self.paxos.get_decided_idx() == self.next {
            return;
        }
        let decided = self.paxos.read_decided_suffix(self.next).unwrap_or_default();
        self.next += decided.len();
        for entry in decided {
            let LogEntry::Decided(Item(command)) = entry else {
                unreachable!("commands alone, and none trimmed unread")
            };
            self.applied.apply(&command);
        }
    }
}

impl Store {
    fn new() -> Self {
        Self { log: Log::new(0), promise: None, accepted: None, decided: 0, compacted: 0, stop: None }
    }

    fn write(&mut self, operation: StorageOp<Item>) -> StorageResult<()> {
        match operation {
            StorageOp::AppendEntry(entry) => self.append_entry(entry),
            StorageOp::AppendEntries(entries) => self.append_entries(entries),
            StorageOp::AppendOnPrefix(from, entries) => self.append_on_prefix(from, entries),
            StorageOp::SetPromise(ballot) => self.set_promise(ballot),
            StorageOp::SetDecidedIndex(index) => self.set_decided_idx(index),
            StorageOp::SetAcceptedRound(ballot) => self.set_accepted_round(ballot),
            StorageOp::SetCompactedIdx(index) => self.set_compacted_idx(index),
            StorageOp::Trim(index) => self.trim(index),
            StorageOp::SetStopsign(stop) => self.set_stopsign(stop),
            StorageOp::SetSnapshot(snapshot) => self.set_snapshot(snapshot),
        }
    }
}

impl Storage<Item> for Store {
    fn write_atomically(&mut self, operations: Vec<StorageOp<Item>>) -> StorageResult<()> {
        operations.into_iter().try_for_each(|operation| self.write(operation))
    }

    fn append_entry(&mut self, entry: Item) -> StorageResult<()> {
        self.log.push(entry);
        Ok(())
    }

    fn append_entries(&mut self, entries: Vec<Item>) -> StorageResult<()> {
        entries.into_iter().for_each(|entry| self.log.push(entry));
        Ok(())
    }

    fn append_on_prefix(&mut self, from: usize, entries: Vec<Item>) -> StorageResult<()> {
        self.log.truncate(from as u64);
        self.append_entries(entries)
    }

    fn set_promise(&mut self, ballot: Ballot) -> StorageResult<()> {
        self.promise = Some(ballot);
        Ok(())
    }

    fn set_decided_idx(&mut self, index: usize) -> StorageResult<()> {
        self.decided = index;
        Ok(())
    }

    fn get_decided_idx(&self) -> StorageResult<usize> {
        Ok(self.decided)
    }

    fn set_accepted_round(&mut self, ballot: Ballot) -> StorageResult<()> {
        self.accepted = Some(ballot);
        Ok(())
    }

    fn get_accepted_round(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.accepted)
    }

    fn get_entries(&self, from: usize, to: usize) -> StorageResult<Vec<Item>> {
        Ok(self.log.range(from as u64, to as u64).cloned().collect())
    }

    fn get_log_len(&self) -> StorageResult<usize> {
        Ok((self.log.end() - self.log.first()) as usize)
    }

    fn get_suffix(&self, from: usize) -> StorageResult<Vec<Item>> {
        self.get_entries(from, self.log.end() as usize)
    }

    fn get_promise(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.promise)
    }

    fn set_stopsign(&mut self, stop: Option<StopSign>) -> StorageResult<()> {
        self.stop = stop;
        Ok(())
    }

    fn get_stopsign(&self) -> StorageResult<Option<StopSign>> {
        Ok(self.stop.clone())
    }

    fn trim(&mut self, index: usize) -> StorageResult<()> {
        self.log.purge(index as u64);
        Ok(())
    }

    fn set_compacted_idx(&mut self, index: usize) -> StorageResult<()> {
        self.compacted = index;
        Ok(())
    }

    fn get_compacted_idx(&self) -> StorageResult<usize> {
        Ok(self.compacted)
    }

    fn set_snapshot(&mut self, _snapshot: Option<NoSnapshot>) -> StorageResult<()> {
        Ok(())
    }

    fn get_snapshot(&self) -> StorageResult<Option<NoSnapshot>> {
        Ok(None)
    }
}

impl Cluster for Omni {
    fn propose(&mut self, commands: &[Command]) {
        let [leader, ..] = &mut self.nodes;
        for command in commands {
            leader.paxos.append(Item(*command)).expect("no new configuration");
            self.proposed += 1;
            if self.proposed.is_multiple_of(TRIM) {
                leader.paxos.trim(Some(leader.next.saturating_sub(KEEP))).expect("all have it");
            }
        }
    }

    fn round(&mut self) {
        let [leader, followers @ ..] = &mut self.nodes;
        leader.paxos.take_outgoing_messages(&mut self.link);
        for message in self.link.drain(..) {
            followers[message.get_receiver() as usize - 2].paxos.handle_incoming(message);
        }
        for follower in followers {
            follower.paxos.take_outgoing_messages(&mut self.link);
            for message in self.link.drain(..).filter(|message| message.get_receiver() == 1) {
                leader.paxos.handle_incoming(message);
            }
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
