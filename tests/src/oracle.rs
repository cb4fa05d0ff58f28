//! What must be true of a cluster after every step, whatever the network, the disks and the clocks did.

use std::collections::{BTreeMap, HashMap};

use quoring_core::wire::{Append, AppendAnswer, Message};
use quoring_core::{ClusterId, LogIndex, NodeId, Role, Status, Term};
use quoring_ring::{Header, Records};

use crate::disk::{Entry, Log};
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
}

impl Oracle {
    /// Nothing has happened yet; logs go on after `base`.
    #[must_use]
    pub fn new(cluster: ClusterId, voters: usize, base: LogIndex) -> Self {
        let (chains, leaders, seen) = Default::default();
        Self { cluster, voters, chains, committed: Vec::new(), base, leaders, seen }
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
            status.applied <= status.committed.min(status.durable),
            "applied is committed and durable (P5): {status:?}"
        );
        assert_eq!(
            node.disk.log().chain(status.durable),
            log.chain(status.durable),
            "node {id}: what is called durable is on the disk"
        );
        self.commit(id, status.committed, log, nodes);
        if status.role == Role::Leader {
            let commits =
                before.is_some_and(|before| before.role == Role::Leader && before.committed < status.committed);
            assert!(
                !commits || log.term(status.committed) == Some(status.term),
                "entry {} is committed by counting (L5)",
                status.committed
            );
            self.lead(id, status.term, log);
        }
    }

    /// The application was given entries.
    ///
    /// # Panics
    /// They are not the committed ones.
    pub fn applied(&self, entries: &[Applied]) {
        for applied in entries {
            assert_eq!(
                self.committed_entry(applied.index).map(|entry| entry.term),
                Some(applied.term),
                "only committed entries are applied"
            );
        }
    }

    /// The strongest invariant: what is committed is durable on a quorum.
    ///
    /// # Panics
    /// It is not.
    pub fn is_durable_on_a_quorum(&self, nodes: &BTreeMap<NodeId, Node>) {
        let (last, chain) = (self.committed(), self.committed.last().map_or(0, |entry| entry.chain));
        let holders = nodes.values().filter(|node| node.disk.log().chain(last) == Some(chain)).count();
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
            Message::Vote(request) => {
                assert_eq!((request.term, vote), (term, Some(frame.from)), "a candidate's own vote is durable (E3)")
            }
            Message::VoteAnswer(answer) if answer.granted => {
                assert_eq!((answer.term, vote), (term, Some(frame.to)), "a granted vote is durable (E2)");
            }
            Message::Append(append) => self.append(term, append, frame, nodes),
            Message::AppendAnswer(answer) => self.answer(term, answer, frame, nodes),
            _ => {}
        }
    }

    /// An append holds entries of one leader's log only, and no commit index above what is committed and what the peer holds.
    fn append(&self, term: Term, append: &Append<'_>, frame: &InFlight, nodes: &BTreeMap<NodeId, Node>) {
        let what = || frame.describe(self.cluster);
        let (leader, log) = self.leaders.get(&term).unwrap_or_else(|| panic!("nobody leads term {term}: {}", what()));
        assert_eq!(*leader, frame.from, "only the leader appends: {}", what());
        assert_eq!(
            log.term(append.prev).filter(|_| append.prev != LogIndex::ZERO).unwrap_or_default(),
            append.prev_term,
            "term of prev: {}",
            what()
        );
        for (index, record) in (append.prev.0 + 1..).map(LogIndex).zip(Records::new(append.records)) {
            let Header { term, index_low, .. } = record.expect("whole records").header;
            assert_eq!(
                (Some(Term(term)), index_low),
                (log.term(index), index.0 as u32),
                "entries of two logs: {}",
                what()
            );
        }
        assert!(append.commit <= self.committed(), "not committed: {}", what());
        let held = nodes[&frame.to].disk.log().chain(append.commit);
        assert_eq!(
            held,
            log.chain(append.commit),
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
        assert_eq!(
            node.disk.log().chain(answer.matched),
            log.chain(answer.matched),
            "acknowledged is durable (L4): {}",
            frame.describe(self.cluster)
        );
        let received = node.running.as_ref().and_then(|running| running.log().chain(answer.received));
        assert_eq!(received, log.chain(answer.received), "received is the leader's: {}", frame.describe(self.cluster));
    }

    fn match_logs(&mut self, log: &Log) {
        for (index, entry) in log.iter() {
            let known = *self.chains.entry((index, entry.term)).or_insert(entry.chain);
            assert_eq!(known, entry.chain, "two logs differ at or below {}-{index} (log matching)", entry.term);
        }
    }

    fn commit(&mut self, id: NodeId, committed: LogIndex, log: &Log, nodes: &BTreeMap<NodeId, Node>) {
        while self.committed() < committed {
            let entry = *log.get(self.committed().next()).expect("what is committed is in the log");
            self.committed.push(entry);
        }
        let known = self.committed_entry(committed).map_or(0, |entry| entry.chain);
        assert_eq!(
            log.chain(committed),
            Some(known),
            "node {id} commits another entry {committed} than others (state machine safety)"
        );
        self.is_durable_on_a_quorum(nodes);
    }

    fn lead(&mut self, id: NodeId, term: Term, log: &Log) {
        let chain = self.committed.last().map_or(0, |entry| entry.chain);
        if let Some((leader, before)) = self.leaders.get(&term) {
            assert_eq!(*leader, id, "term {term} has two leaders (election safety)");
            assert_eq!(log.chain(before.last()), before.chain(before.last()), "a leader only appends");
        } else {
            assert_eq!(
                log.chain(self.committed()),
                Some(chain),
                "the leader of term {term} lacks a committed entry (leader completeness)"
            );
        }
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
        before.committed <= now.committed && before.applied <= now.applied,
        "an index goes back: {before:?} {now:?}"
    );
    assert!(before.term <= now.term, "the term goes back: {before:?} {now:?}");
}
