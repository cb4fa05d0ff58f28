//! Leading: the no-op, the commit rule, the peers' progress.

use quoring_ring::{Kind, Position};

use super::propose::ClientRoom;
use super::transfer::Transfer;
use super::turn::Turn;
use super::{Raft, Rule, count};
use crate::event::{Event, Role, StepDown};
use crate::members::NodeSet;
use crate::progress::{Due, Mode, Peer};
use crate::types::{Instant, LogIndex, NodeId};
use crate::wire::{AppendAnswer, AppendRefusal};

/// What a leader keeps about its own term.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leading {
    /// The no-op that began the term: entries below are of earlier terms.
    pub(super) first: LogIndex,
    /// `flushed` when it was last seen to move.
    flushed: Position,
    /// When that was.
    flushed_at: Instant,
    /// To whom the office is being handed over.
    pub(super) transfer: Option<Transfer>,
    /// Whether anybody was ever given leave to campaign in this term.
    gave_leave: bool,
    /// The round in which the peers say what they can do, once somebody needs to know (C9).
    pub(super) introduced: Option<u64>,
}

impl Leading {
    pub(super) const fn give_leave(&mut self, transfer: Transfer) {
        self.transfer = Some(transfer);
        self.gave_leave = true;
    }

    /// Whether the promises that leases stand on may be overridden.
    pub(super) const fn has_given_leave(&self) -> bool {
        self.gave_leave
    }
}

impl Raft<'_> {
    /// Elected: this node leads its term and begins it with a no-op, so that it can commit what it inherited (Raft section 8).
    pub(super) fn lead(&mut self, now: Instant) {
        self.role = Role::Leader;
        self.by_leave = false;
        self.know_leader(Some(self.config.id));
        self.timers.rounds = 0;
        self.ring.lead(self.term.0);
        let (last, beat) = (self.last(), self.config.heartbeat_interval);
        for peer in self.peers.iter_mut() {
            peer.lead(self.timers.random() as u32, last, now, beat);
        }
        self.intakes_wait = false;
        self.turn = Turn::default();
        self.client_room = ClientRoom::default();
        self.leading = Leading {
            first: last.next(),
            flushed: self.ring.flushed(),
            flushed_at: now,
            transfer: None,
            gave_leave: false,
            introduced: None,
        };
        self.tell(Event::Leads { term: self.term });
        self.arm_tick(now);
        // There was room when the campaign began, and only a leader's entries could have taken it since.
        if self.append_own(Kind::NoOp, &[]).is_err() {
            self.step_down(now, StepDown::NoRoom);
        }
    }

    /// Gives up the office without knowing a successor.
    fn step_down(&mut self, now: Instant, reason: StepDown) {
        self.tell(Event::StepsDown { term: self.term, reason });
        self.follow(now, None);
    }

    /// The heartbeat tick: CheckQuorum, the own medium, heartbeats, lost probes.
    pub(super) fn look_after_peers(&mut self, now: Instant) {
        if let Some(reason) = self.is_unfit(now) {
            return self.step_down(now, reason);
        }
        let (interval, longest) = (self.config.heartbeat_interval, self.config.election_timeout);
        let never_retry = self.breaks(Rule::NeverRetry);
        for peer in self.peers.iter_mut() {
            // A successful append counts as a heartbeat (L13).
            if !peer.sent || now - peer.heard_at > interval {
                peer.due.set(Due::HEARTBEAT);
            }
            peer.sent = false;
            if peer.mode != Mode::Replicate && peer.probed && now >= peer.retry_at && !never_retry {
                peer.probed = false;
                peer.backoff = peer.backoff.times(2).min(longest);
            }
        }
        self.ready = self.config.peers();
        self.look_after_rounds(now);
        self.look_after_transfer(now);
        self.tick_turn();
        self.call_peers();
    }

    /// Why this node should lead no longer: nobody hears it, or its medium hangs while its radio still sends.
    fn is_unfit(&mut self, now: Instant) -> Option<StepDown> {
        let timeout = self.config.election_timeout;
        let (flushed, accepted) = (self.ring.flushed(), self.ring.accepted());
        if flushed != self.leading.flushed || flushed == accepted {
            (self.leading.flushed, self.leading.flushed_at) = (flushed, now);
        } else if now - self.leading.flushed_at > timeout {
            return Some(StepDown::StoreStalled);
        }
        let heard = self.holders(|peer| now - peer.heard_at <= timeout, true);
        (!heard.is_quorum_of(self.config.voters)).then_some(StepDown::NoQuorum)
    }

    /// A node holds `index` now, and nothing above it: commits up to there or less, whatever a quorum holds of this term (Raft section 5.4.2, figure 8;
    /// L5). What lies above has no more holders than before. The own node is one voter among others (P6).
    pub(super) fn advance_commit(&mut self, now: Instant, index: LogIndex) {
        let committed = self.committed();
        if index <= committed {
            return;
        }
        let best = if self.is_held(index) { index } else { self.best_below(index) };
        if best > committed && (best >= self.leading.first || self.breaks(Rule::CommitByCounting)) {
            self.ring.commit(best.0);
            // Commit-only updates travel at once (L13), to those that hold what they tell of.
            let last = self.last();
            let behind = self.peers.iter().filter(|peer| peer.is_behind(last, best)).map(|peer| peer.node);
            behind.for_each(|peer| self.ready.insert(peer));
            self.may_begin_rounds(now);
        }
    }

    /// Whether a quorum holds `index`.
    fn is_held(&self, index: LogIndex) -> bool {
        self.holders(|peer| peer.matched >= index, self.durable >= index).is_quorum_of(self.config.voters)
    }

    /// The last entry below `index` that a quorum holds; what is committed, if that is not above it.
    #[cold]
    fn best_below(&self, index: LogIndex) -> LogIndex {
        let mut best = self.committed();
        for place in 0..=self.peers.len() {
            let end = self.peers.get(place).map_or(self.durable, |peer| peer.matched);
            if end < index && end > best && self.is_held(end) {
                best = end;
            }
        }
        best
    }

    /// The peers for which `test` holds, and this node if `own`.
    fn holders(&self, test: impl Fn(&Peer) -> bool, own: bool) -> NodeSet {
        let set: NodeSet = self.peers.iter().filter(|peer| test(peer)).map(|peer| peer.node).collect();
        if own { set.with(self.config.id) } else { set }
    }

    pub(super) fn handle_append_answer(&mut self, now: Instant, from: NodeId, answer: &AppendAnswer) {
        let (last, committed, beat) = (self.last(), self.committed(), self.config.heartbeat_interval);
        if answer.matched > answer.received || answer.received > last {
            // R12
            return count(&mut self.refusals.impossible);
        }
        let purged = self.purged();
        let Some(peer) = self.answering(now, from, answer.session) else { return };
        peer.backoff = beat;
        peer.received(answer.received, answer.room);
        peer.next = peer.next.max(answer.received.next());
        match peer.mode {
            Mode::Probe if answer.received.next() >= peer.next => peer.mode = Mode::Replicate,
            // The snapshot is installed, or late entries have made up for it: on with entries.
            Mode::Snapshot if peer.next > purged => peer.probe(peer.next, now),
            _ => {}
        }
        let progress = answer.matched > peer.matched;
        peer.matched = peer.matched.max(answer.matched);
        if peer.is_behind(last, committed) {
            self.ready.insert(from);
        }
        if progress {
            self.advance_commit(now, answer.matched);
        }
        if self.leading.transfer.is_some() {
            self.look_after_transfer(now);
        }
    }

    /// The logs meet at or below the hint. A refusal of what has matched since, or of another than the last probe, is old (L7, R4).
    pub(super) fn handle_append_refusal(&mut self, now: Instant, from: NodeId, refusal: &AppendRefusal) {
        let below = refusal.hint.min(refusal.rejected.previous()).min(self.last());
        // If the run is forgotten, the hint itself is tried: the follower never goes below what it knows to be committed.
        let meet = self.runs.last_at_most(below, refusal.hint_term).unwrap_or(below);
        let Some(peer) = self.answering(now, from, refusal.session) else { return };
        let stale = refusal.rejected <= peer.matched || refusal.rejected >= peer.next;
        if stale || peer.mode == Mode::Probe && refusal.rejected != peer.next.previous() {
            return count(&mut self.refusals.stale_answer);
        }
        peer.probe(meet.max(peer.matched).next(), now);
        peer.credit = refusal.room;
        if refusal.room == 0 {
            // The peer's room comes back with an answer of this pipeline, so it must hear of it.
            peer.due.set(Due::HEARTBEAT);
        }
        self.ready.insert(from);
    }

    /// The peer, if this node leads and the answer belongs to the peer's pipeline (L8).
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub(super) fn answering(&mut self, now: Instant, from: NodeId, session: u32) -> Option<&mut Peer> {
        let place = usize::from(*self.places.get(usize::from(from.get()))?);
        match self.peers.get_mut(place).filter(|peer| self.role == Role::Leader && peer.session == session) {
            Some(peer) => {
                peer.heard_at = now;
                Some(peer)
            }
            None => {
                count(&mut self.refusals.stale_answer);
                None
            }
        }
    }
}
