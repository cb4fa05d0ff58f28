//! What must be true of a cluster after every step, whatever the network, the disks and the clocks did.

use std::collections::{BTreeMap, HashMap};

use quoring_core::wire::{Append, AppendAnswer, InstallSnapshot, Message};
use quoring_core::{ClientId, ClusterId, LogIndex, NodeId, Role, Status, Term, WindowStatus};
use quoring_ring::{Header, Records};

use crate::disk::{Disk, Entry, Log};
use crate::network::InFlight;
use crate::node::{Applied, Node};

/// The memory of everything that was ever true.
pub struct Oracle {
    cluster: ClusterId,
    voters: usize,
    /// Log matching: an entry's term and index tell it and everything before it.
    chains: HashMap<(LogIndex, Term), u64>,
    /// State machine safety: what is committed anywhere.
    committed: Vec<Entry>,
    base: LogIndex,
    /// Election safety: who led each term, and its log when it last did.
    leaders: BTreeMap<Term, (NodeId, Log)>,
    /// Pointers only forward: each node's status after its previous step, while it has power.
    seen: BTreeMap<NodeId, Status>,
    /// Also across losses of power: where each node's log begins, and what its newest snapshot covers.
    kept: BTreeMap<NodeId, (LogIndex, LogIndex)>,
    /// What was put into each window: a hash of each item, and whether the next one is of the same batch.
    put: HashMap<(ClientId, u32), (u64, bool)>,
}

impl Oracle {
    /// Nothing has happened yet; logs go on after `base`.
    #[must_use]
    pub fn new(cluster: ClusterId, voters: usize, base: LogIndex) -> Self {
        let (chains, leaders, seen, kept) = Default::default();
        Self { cluster, voters, chains, committed: Vec::new(), base, leaders, seen, kept, put: HashMap::new() }
    }

    /// The last entry that is committed anywhere.
    #[must_use]
    pub const fn committed(&self) -> LogIndex {
        LogIndex(self.base.0 + self.committed.len() as u64)
    }

    /// The terms that had a leader, and who it was.
    pub fn leaders(&self) -> impl Iterator<Item = (Term, NodeId)> {
        self.leaders.iter().map(|(&term, &(node, _))| (term, node))
    }

    /// The node was stepped. All nodes are looked at where an entry is newly committed.
    ///
    /// # Panics
    /// Something is wrong with it.
    pub fn stepped(&mut self, id: NodeId, nodes: &BTreeMap<NodeId, Node>) {
        let node = &nodes[&id];
        self.keeps(id, &node.disk);
        let Some(running) = &node.running else {
            self.seen.remove(&id);
            return;
        };
        running.raft.assert_invariants();
        let (status, log) = (running.raft.status(), running.log());
        let before = self.seen.insert(id, status);
        if before == Some(status) {
            return;
        }
        self.match_logs(log);
        if let Some(before) = before {
            move_forward(&before, &status);
        }
        assert!(
            status.applied <= status.committed.min(status.durable).max(status.snapshot),
            "applied is committed and durable (P5), or was restored (S4): {status:?}"
        );
        let own = self.chain(log, status.durable);
        assert!(
            // A snapshot may be on the disk that contradicts the log, and the core was not told of it yet.
            self.is_durable(&node.disk, status.durable, own)
                || running.holds_chunk() && self.chain(node.disk.log(), status.durable) == own,
            "node {id}: what is called durable is on the disk: {status:?}"
        );
        let covered = node.disk.snapshots().covered().index;
        assert!(
            status.snapshot == covered || status.snapshot < covered && running.holds_chunk(),
            "node {id}: the newest snapshot, up to {covered}, is on the disk, and nobody was told of another: {status:?}"
        );
        self.commit(id, status.committed, log, nodes);
        if status.role == Role::Leader {
            let commits =
                before.is_some_and(|before| before.role == Role::Leader && before.committed < status.committed);
            assert!(
                !commits || self.term(log, status.committed) == Some(status.term),
                "entry {} is committed by counting (L5)",
                status.committed
            );
            self.lead(id, status.term, log);
        }
    }

    /// An item was put into a window: its number, a hash of it, and whether the next one is of the same batch.
    pub fn put(&mut self, client: ClientId, number: u32, digest: u64, more: bool) {
        self.put.insert((client, number), (digest, more));
    }

    /// A client that asked when everything up to `asked` was committed may read at `index`.
    ///
    /// # Panics
    /// It would not see that, or see more than is committed.
    pub fn may_read(&self, id: NodeId, asked: LogIndex, index: LogIndex) {
        assert!(asked <= index, "node {id}: a stale read at {index}: {asked} was committed before it began (C12)");
        assert!(index <= self.committed(), "node {id}: a read at {index}, which is not committed");
    }

    /// Whether a leader has committed an entry of its own term, and so knows of all that was committed before.
    #[must_use]
    pub fn commits_own(&self, log: &Log, status: &Status) -> bool {
        self.term(log, status.committed) == Some(status.term)
    }

    /// A window's items from `before` on up to its `accepted` are said to be in the log of the leader of this term.
    ///
    /// # Panics
    /// One is not.
    pub fn accepted(&self, term: Term, window: &WindowStatus, before: u32) {
        let taken = window.accepted.wrapping_sub(before);
        let Some((_, log)) = self.leaders.get(&term).filter(|_| taken > 0) else {
            assert_eq!(taken, 0, "items of {} are accepted, and nobody leads", window.client);
            return;
        };
        let items = log.iter().filter_map(|(_, entry)| entry.item).filter(|item| item.0 == window.client);
        let last = items.map(|item| item.1).last();
        // A window may have brought items of sessions too, which have other numbers; then this says nothing.
        let fine = last.is_none_or(|last| window.accepted.wrapping_sub(last) as i32 <= 1);
        assert!(fine || log.base() > self.base, "{window:?}, but the leader's log has it up to {last:?} only");
    }

    /// The application was given entries and snapshots.
    ///
    /// # Panics
    /// It does not know what the committed log says.
    pub fn applied(&self, steps: &[Applied]) {
        for Applied { state, restored } in steps {
            let known = self.committed_entry(state.after.index).map(|entry| (entry.term, entry.chain));
            let fine = known.map_or(state.after.index == self.base, |known| known == (state.after.term, state.chain));
            let what = if *restored {
                "a snapshot is the state of the committed log (S4)"
            } else {
                "only committed entries are applied"
            };
            assert!(fine, "{what}: {state:?}, the log says {known:?}");
        }
    }

    /// The strongest invariant: what is committed is durable on a quorum, by itself or in a snapshot.
    ///
    /// # Panics
    /// It is not.
    pub fn is_durable_on_a_quorum(&self, nodes: &BTreeMap<NodeId, Node>) {
        let last = self.committed();
        let chain = self.committed_chain(last);
        let holders = nodes.values().filter(|node| self.is_durable(&node.disk, last, chain)).count();
        assert!(
            holders * 2 > self.voters,
            "entry {last} is committed, but durable on {holders} of {} nodes only",
            self.voters
        );
    }

    /// A frame left its node.
    ///
    /// # Panics
    /// It says what is not so, or not yet.
    pub fn sent(&self, frame: &InFlight, nodes: &BTreeMap<NodeId, Node>) {
        let decoded = frame.decode(self.cluster).expect("nodes send whole frames");
        let (term, (durable_term, vote)) = (decoded.term, nodes[&frame.from].disk.vote());
        if !matches!(decoded.message, Message::PreVote(_) | Message::PreVoteAnswer(_)) {
            assert_eq!(durable_term, term, "the term of a frame is durable: {}", frame.describe(self.cluster));
        }
        match &decoded.message {
            Message::Vote(request) | Message::VoteByLeave(request) => {
                assert_eq!((request.term, vote), (term, Some(frame.from)), "a candidate's own vote is durable (E3)")
            }
            Message::VoteAnswer(answer) if answer.granted => {
                assert_eq!((answer.term, vote), (term, Some(frame.to)), "a granted vote is durable (E2)");
            }
            Message::Append(append) => self.append(term, append, frame, nodes),
            Message::AppendAnswer(answer) => self.answer(term, answer, frame, nodes),
            Message::InstallSnapshot(chunk) => self.chunk(term, chunk, frame, nodes),
            Message::SnapshotAnswer(_) => {
                assert_eq!(self.leaders.get(&term).map(|leader| leader.0), Some(frame.to), "answers go to the leader");
            }
            Message::Read(read) => self.asks(read.boot, frame, nodes),
            Message::Forward(forward) => {
                assert_eq!(forward.client.node(), Some(frame.from), "own clients only (C10)");
                self.asks(forward.client.boot(), frame, nodes);
            }
            Message::ReadAnswer(answer) => {
                assert!(answer.index <= self.committed(), "not committed: {}", frame.describe(self.cluster));
                self.leads(term, frame);
            }
            Message::Confirm(_) | Message::CampaignNow(_) | Message::ForwardAnswer(_) => self.leads(term, frame),
            Message::ConfirmAnswer(_) => {
                assert_eq!(self.leaders.get(&term).map(|leader| leader.0), Some(frame.to), "answers go to the leader");
            }
            _ => {}
        }
    }

    /// A question leaves when the boot that asks it is durable, so that no other will have its number.
    fn asks(&self, boot: u32, frame: &InFlight, nodes: &BTreeMap<NodeId, Node>) {
        let durable = nodes[&frame.from].disk.boot();
        assert!(
            durable.wrapping_sub(boot) as i32 >= 0,
            "boot {boot} is durable (R15): {}",
            frame.describe(self.cluster)
        );
    }

    fn leads(&self, term: Term, frame: &InFlight) {
        let leader = self.leaders.get(&term).map(|leader| leader.0);
        assert_eq!(leader, Some(frame.from), "only the leader says so: {}", frame.describe(self.cluster));
    }

    /// An append holds entries of one leader's log only, and no commit index above what is committed and what the peer holds.
    fn append(&self, term: Term, append: &Append<'_>, frame: &InFlight, nodes: &BTreeMap<NodeId, Node>) {
        let what = || frame.describe(self.cluster);
        let (leader, log) = self.leaders.get(&term).unwrap_or_else(|| panic!("nobody leads term {term}: {}", what()));
        assert_eq!(*leader, frame.from, "only the leader appends: {}", what());
        assert_eq!(
            self.term(log, append.prev).filter(|_| append.prev != LogIndex::ZERO).unwrap_or_default(),
            append.prev_term,
            "term of prev: {}",
            what()
        );
        for (index, record) in (append.prev.0 + 1..).map(LogIndex).zip(Records::new(append.records)) {
            let Header { term, index_low, .. } = record.expect("whole records").header;
            assert_eq!(
                (Some(Term(term)), index_low),
                (self.term(log, index), index.0 as u32),
                "entries of two logs: {}",
                what()
            );
        }
        assert!(append.commit <= self.committed(), "not committed: {}", what());
        assert!(
            self.is_durable(&nodes[&frame.to].disk, append.commit, self.chain(log, append.commit)),
            "the peer is not known to hold what it should commit (L6): {}",
            what()
        );
    }

    /// An acknowledgement is of the leader's own entries, and they are durable.
    fn answer(&self, term: Term, answer: &AppendAnswer, frame: &InFlight, nodes: &BTreeMap<NodeId, Node>) {
        let Some((leader, log)) = self.leaders.get(&term) else {
            panic!("an answer to nobody: {}", frame.describe(self.cluster))
        };
        assert_eq!(*leader, frame.to, "answers go to the leader");
        let node = &nodes[&frame.from];
        assert!(
            self.is_durable(&node.disk, answer.matched, self.chain(log, answer.matched)),
            "acknowledged is durable (L4): {}",
            frame.describe(self.cluster)
        );
        let received = node.running.as_ref().and_then(|running| self.chain(running.log(), answer.received));
        let own = self.chain(log, answer.received);
        assert!(received == own && own.is_some(), "received is the leader's: {}", frame.describe(self.cluster));
    }

    /// A piece is of a snapshot that is durable at the leader, byte for byte.
    fn chunk(&self, term: Term, chunk: &InstallSnapshot<'_>, frame: &InFlight, nodes: &BTreeMap<NodeId, Node>) {
        let what = || frame.describe(self.cluster);
        assert_eq!(
            self.leaders.get(&term).map(|leader| leader.0),
            Some(frame.from),
            "only the leader sends snapshots: {}",
            what()
        );
        let bytes = nodes[&frame.from]
            .disk
            .snapshots()
            .read(&chunk.snapshot)
            .unwrap_or_else(|| panic!("a durable snapshot: {}", what()));
        assert_eq!(&bytes[chunk.offset as usize..][..chunk.data.len()], chunk.data, "its own bytes: {}", what());
        assert!(chunk.snapshot.last.index <= self.committed(), "not committed: {}", what());
    }

    /// What a disk holds was never less, is what the committed log says, and what it lacks is in its snapshot (S3).
    fn keeps(&mut self, id: NodeId, disk: &Disk) {
        let now = (disk.start(), disk.snapshots().covered().index);
        assert!(now.0 <= now.1, "node {id}: what is purged, up to {}, is covered, up to {} (S3)", now.0, now.1);
        let before = self.kept.insert(id, now);
        if before == Some(now) {
            return;
        }
        let fell = before.is_some_and(|before| now.0 < before.0 || now.1 < before.1);
        assert!(!fell, "node {id}: start or snapshot goes back: {before:?} {now:?}");
        if let Some(saved) = disk.snapshots().newest() {
            let state = disk.saved().filter(|state| state.after == saved.snapshot.last);
            let state =
                state.unwrap_or_else(|| panic!("node {id}: not a snapshot of what it says: {:?}", saved.snapshot));
            self.applied(&[Applied { state, restored: true }]);
        }
    }

    /// Whether a node that starts from this disk has everything up to `index`, with this hash.
    fn is_durable(&self, disk: &Disk, index: LogIndex, chain: Option<u64>) -> bool {
        let covered = disk.snapshots().covered().index;
        let held = if index <= covered { self.committed_chain(index) } else { disk.log().chain(index) };
        held.is_some() && held == chain
    }

    /// The hash of everything up to `index` in a log. What is below its base is committed.
    fn chain(&self, log: &Log, index: LogIndex) -> Option<u64> {
        if index < log.base() { self.committed_chain(index) } else { log.chain(index) }
    }

    fn term(&self, log: &Log, index: LogIndex) -> Option<Term> {
        if index < log.base() { self.committed_entry(index).map(|entry| entry.term) } else { log.term(index) }
    }

    fn committed_chain(&self, index: LogIndex) -> Option<u64> {
        if index <= self.base { Some(0) } else { self.committed_entry(index).map(|entry| entry.chain) }
    }

    fn match_logs(&mut self, log: &Log) {
        let (mut streams, is_whole) = (HashMap::new(), log.base() == self.base);
        for (index, entry) in log.iter() {
            let known = *self.chains.entry((index, entry.term)).or_insert(entry.chain);
            assert_eq!(known, entry.chain, "two logs differ at or below {}-{index} (log matching)", entry.term);
            let Some((client, number, digest)) = entry.item else { continue };
            let expected = streams.get(&client).copied().unwrap_or(if is_whole { 0 } else { number });
            assert_eq!(number, expected, "entry {index}: stream {client} has a gap, or something twice (C1)");
            let put = self.put.get(&(client, number)).map(|put| put.0);
            assert_eq!(put, Some(digest), "entry {index}: nobody put that into {client}");
            streams.insert(client, number.wrapping_add(1));
        }
    }

    fn commit(&mut self, id: NodeId, committed: LogIndex, log: &Log, nodes: &BTreeMap<NodeId, Node>) {
        while self.committed() < committed {
            let entry = *log.get(self.committed().next()).expect("what is committed is in the log, or was before");
            self.committed.push(entry);
        }
        assert_eq!(
            self.chain(log, committed),
            self.committed_chain(committed),
            "node {id} commits another entry {committed} than others (state machine safety)"
        );
        self.is_durable_on_a_quorum(nodes);
    }

    fn lead(&mut self, id: NodeId, term: Term, log: &Log) {
        if let Some((leader, before)) = self.leaders.get(&term) {
            assert_eq!(*leader, id, "term {term} has two leaders (election safety)");
            assert_eq!(log.chain(before.last()), before.chain(before.last()), "a leader only appends");
        } else {
            assert_eq!(
                self.chain(log, self.committed()),
                self.committed_chain(self.committed()),
                "the leader of term {term} lacks a committed entry (leader completeness)"
            );
        }
        let last = log.get(log.last()).and_then(|entry| entry.item);
        let half = last.and_then(|(client, number, _)| self.put.get(&(client, number))).is_some_and(|put| put.1);
        assert!(!half, "the leader of term {term} takes half of a batch (C4)");
        self.leaders.insert(term, (id, log.clone()));
    }

    fn committed_entry(&self, index: LogIndex) -> Option<&Entry> {
        self.committed.get(usize::try_from(index.0.checked_sub(self.base.0 + 1)?).ok()?)
    }
}

/// Pointers and terms never go back; `last` and with it `durable` may, by truncation (P4).
fn move_forward(before: &Status, now: &Status) {
    let ahead = |a: quoring_ring::Position, b: quoring_ring::Position| !b.precedes(a);
    assert!(ahead(before.accepted, now.accepted), "accepted goes back: {before:?} {now:?}");
    assert!(ahead(before.flushed, now.flushed), "flushed goes back: {before:?} {now:?}");
    assert!(ahead(now.flushed, now.accepted), "flushed is accepted: {now:?}");
    assert!(
        before.committed <= now.committed
            && before.applied <= now.applied
            && before.snapshot <= now.snapshot
            && before.start <= now.start,
        "an index goes back: {before:?} {now:?}"
    );
    assert!(before.term <= now.term, "the term goes back: {before:?} {now:?}");
}
