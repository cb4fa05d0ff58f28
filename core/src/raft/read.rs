//! Linearizable reads: what a client must see applied before it reads, on any node (Raft thesis 6.4; C12).
//!
//! ```text
//!   leader        round begins: index = committed       a quorum has said "you are"
//!                 Confirm to all           --> <--      ConfirmAnswer: the round is over, read at `index`
//!
//!   follower      round begins: Read to the leader      ReadAnswer(index): the round is over
//!                                          --> <--      (the leader joined one of its own rounds for it)
//! ```
//!
//! All who want to read while a round is under way share the next one: a few numbers, however many they are.
//!
//! # Why a read sees all that was committed before it
//! A quorum has answered in the leader's term *after* the round began. So no quorum had gone on to a later term by then, and no later leader had been elected:
//! what was committed then was committed by this leader or before it, and it knows that, as soon as an entry of its own term is committed. An answer is
//! tied to the leader's term and to its number of the round; that of a follower's round also to the follower's boot, because a follower that restarts
//! stays in its term, and what was told to it before must not count for what is asked after (R15).
//!
//! # Leases
//! Who answers a leader with a lease promises to vote for nobody for one election timeout, on its own clock, whatever its term does, and after a restart
//! too ([`promised`](Raft::promised)). The leader counts the same time from when the round *began*, less what two clocks can drift apart and less one
//! heartbeat interval for their grain. Nobody can be elected before that has passed, but by its leave: who hands over its office has no lease any more.

use core::fmt;

use super::{Raft, Rule, count};
use crate::capabilities::Capabilities;
use crate::config::Config;
use crate::event::Role;
use crate::members::NodeSet;
use crate::progress::Due;
use crate::types::{Duration, Instant, LogIndex, NodeId};
use crate::wire::{Confirm, Read, ReadAnswer};

/// A round that somebody waits for; see [`Raft::read`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ReadRound(u64);

/// Why nothing can be read now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ReadError {
    /// No leader is known, or the one that was asked leads no longer, or does not answer: ask again.
    NoLeader,
    /// The node has stopped.
    Halted,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLeader => "no leader is known",
            Self::Halted => "the node has stopped",
        })
    }
}

impl core::error::Error for ReadError {}

/// The rounds of this node, as leader and as follower.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rounds {
    /// The newest that has begun.
    begun: u64,
    /// The newest that is over.
    done: u64,
    /// Rounds up to this one, if they are not over, never will be.
    lost: u64,
    /// What must be applied to read in round `done`.
    index: LogIndex,
    /// The number of the one under way, on the wire.
    number: u32,
    under_way: bool,
    /// The rounds that end with it.
    covers: u64,
    /// Somebody waits for the next one.
    wanted: bool,
    /// When it began.
    begun_at: Instant,
    // As leader.
    /// `committed` when it began.
    begun_index: LogIndex,
    confirmed: NodeSet,
    /// Those of them that elect nobody else for a while.
    promised: NodeSet,
    /// Until then no other leader can be elected.
    pub(super) leased_until: Instant,
}

impl Rounds {
    /// Whether a follower waits for its leader's answer.
    pub(super) const fn are_under_way(&self) -> bool {
        self.under_way
    }

    /// How long it has waited.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now - self.begun_at
    }

    /// Whether a peer that waits for `round` can be answered.
    pub(super) const fn is_done(&self, round: u64) -> bool {
        round <= self.done
    }
}

impl Raft<'_> {
    /// A client wants to read: the round it has to wait for.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&mut self, now: Instant) -> Result<ReadRound, ReadError> {
        match self.leader {
            _ if self.role == Role::Halted => Err(ReadError::Halted),
            None => Err(ReadError::NoLeader),
            Some(_) => Ok(ReadRound(self.join_round(now))),
        }
    }

    /// What must be applied here before the client of that round reads: `None` until the round is over. It may be more than was committed when the
    /// client asked, never less.
    pub fn poll_read(&self, round: ReadRound) -> Option<Result<LogIndex, ReadError>> {
        let ReadRound(round) = round;
        if self.rounds.is_done(round) {
            return Some(Ok(self.rounds.index));
        }
        (round <= self.rounds.lost).then_some(Err(match self.role {
            Role::Halted => ReadError::Halted,
            _ => ReadError::NoLeader,
        }))
    }

    /// The round that whoever asks now has to wait for.
    pub(super) fn join_round(&mut self, now: Instant) -> u64 {
        if self.has_lease(now) {
            let round = self.rounds.begun.saturating_add(1);
            self.rounds.begun = round;
            self.rounds.done = round;
            self.rounds.index = self.committed();
            return round;
        }
        // A lease that was found to have ended is gone: who comes later with an earlier moment in its hand must not end the rounds of those who came in time.
        self.rounds.leased_until = Instant(0);
        self.rounds.wanted = true;
        if self.begin_round(now) { self.rounds.covers } else { self.rounds.begun.saturating_add(1) }
    }

    /// Begins a round, if none is under way and the node can.
    pub(super) fn begin_round(&mut self, now: Instant) -> bool {
        let able = match self.role {
            // What earlier leaders committed is known once an own entry is (Raft section 8).
            Role::Leader => self.committed() >= self.leading.first,
            Role::Follower => self.leader.is_some(),
            _ => false,
        };
        if !able || self.rounds.under_way {
            return false;
        }
        self.expect_answer(now);
        let rounds = &mut self.rounds;
        rounds.begun = rounds.begun.saturating_add(1);
        rounds.covers = rounds.begun;
        rounds.number = rounds.number.wrapping_add(1);
        (rounds.under_way, rounds.wanted, rounds.begun_at) = (true, false, now);
        if self.role == Role::Leader {
            self.rounds.begun_index = self.committed();
            self.rounds.confirmed = NodeSet::EMPTY.with(self.config.id);
            self.rounds.promised = self.rounds.confirmed;
            self.ask_to_confirm();
            self.count_confirmed(now);
        } else if let Some(leader) = self.leader {
            self.begin_boot();
            self.owe(leader, Due::READ);
        }
        true
    }

    /// All rounds that are not over are lost: whoever was to end them leads no longer.
    #[inline(never)]
    pub(super) fn lose_rounds(&mut self) {
        let waiting = self.rounds.begun.saturating_add(self.rounds.wanted.into());
        self.rounds.lost = waiting;
        // A number that was lost is not used again.
        self.rounds.begun = waiting;
        (self.rounds.under_way, self.rounds.wanted) = (false, false);
        if !self.breaks(Rule::StaleLease) {
            self.rounds.leased_until = Instant(0);
        }
        self.tell_clients();
    }

    fn complete_round(&mut self, now: Instant, index: LogIndex) {
        self.rounds.under_way = false;
        self.rounds.done = self.rounds.done.max(self.rounds.covers);
        self.rounds.index = self.rounds.index.max(index);
        self.tell_clients();
        if self.rounds.wanted {
            self.begin_round(now);
        }
    }
}

// As a leader.
impl Raft<'_> {
    /// Whether no other leader can have been elected yet (C12).
    fn has_lease(&self, now: Instant) -> bool {
        if self.breaks(Rule::StaleLease) && self.rounds.leased_until > Instant(0) {
            return true;
        }
        self.role == Role::Leader && now < self.rounds.leased_until && self.committed() >= self.leading.first
    }

    /// How long a round is worth a lease, from when it began.
    fn lease(&self) -> Option<Duration> {
        const MILLION: u32 = 1_000_000;
        let drift = self.config.lease_drift?;
        let safe = self.config.election_timeout.times(MILLION.saturating_sub(drift)).0
            / u64::from(MILLION.saturating_add(drift));
        Some(Duration(safe.saturating_sub(self.config.heartbeat_interval.0)))
    }

    /// With leases, each heartbeat begins a round; and who has not answered is asked again.
    pub(super) fn look_after_rounds(&mut self, now: Instant) {
        if self.rounds.under_way {
            self.ask_to_confirm();
        } else if self.rounds.wanted || self.config.lease_drift.is_some() {
            self.begin_round(now);
        }
    }

    /// An own entry is committed now: rounds may begin.
    pub(super) fn may_begin_rounds(&mut self, now: Instant) {
        if self.rounds.wanted {
            self.begin_round(now);
        }
    }

    fn ask_to_confirm(&mut self) {
        let silent = NodeSet::from_bits(self.config.peers().bits() & !self.rounds.confirmed.bits());
        self.owe_all(silent, Due::CONFIRM);
    }

    #[cold]
    pub(super) fn handle_confirm_answer(&mut self, now: Instant, from: NodeId, answer: &Confirm) {
        let leads = self.role == Role::Leader;
        let Some(peer) = self.peer(from).filter(|_| leads) else { return count(&mut self.refusals.stale_answer) };
        peer.heard_at = now;
        peer.capabilities = Some(answer.capabilities);
        if answer.round != self.rounds.number {
            return count(&mut self.refusals.stale_answer);
        }
        if !self.rounds.under_way {
            // The round did not need it any more.
            return;
        }
        self.rounds.confirmed.insert(from);
        if answer.capabilities.has(Capabilities::PROMISES) {
            self.rounds.promised.insert(from);
        }
        self.count_confirmed(now);
    }

    fn count_confirmed(&mut self, now: Instant) {
        if !self.rounds.confirmed.is_quorum_of(self.config.voters) {
            return;
        }
        // A node that does not know leases has promised nothing.
        let promised = self.rounds.promised.is_quorum_of(self.config.voters) && !self.leading.has_given_leave();
        if let Some(lease) = self.lease().filter(|_| promised) {
            self.rounds.leased_until = self.rounds.leased_until.max(self.rounds.begun_at + lease);
        }
        self.complete_round(now, self.rounds.begun_index);
        self.answer_peers();
    }

    /// The peers whose rounds are over hear so.
    fn answer_peers(&mut self) {
        let rounds = self.rounds;
        for peer in self.peers.iter_mut() {
            if peer.reading.is_some_and(|reading| rounds.is_done(reading.round)) {
                peer.due.set(Due::READ_ANSWER);
                self.ready.insert(peer.node);
            }
            if peer.intake.is_opening && rounds.is_done(peer.intake.round) {
                peer.due.set(Due::FORWARD_ANSWER);
                self.ready.insert(peer.node);
            }
        }
    }

    /// Clients of a follower want to read: it joins a round.
    #[cold]
    pub(super) fn handle_read(&mut self, now: Instant, from: NodeId, read: &Read) {
        if self.role != Role::Leader {
            return count(&mut self.refusals.stale_answer);
        }
        let earlier = self.peer(from).and_then(|peer| peer.reading);
        if let Some(earlier) = earlier {
            // Delayed from an earlier boot or round: who asked has an answer, or has gone.
            let age = |of: &Read| {
                (of.boot.wrapping_sub(read.boot).cast_signed(), of.round.wrapping_sub(read.round).cast_signed())
            };
            if age(&earlier.read) > (0, 0) {
                return count(&mut self.refusals.stale_answer);
            }
        }
        let round = match earlier {
            Some(earlier) if earlier.read == *read => earlier.round,
            _ => self.join_round(now),
        };
        let done = self.rounds.is_done(round);
        let Some(peer) = self.peer(from) else { return };
        peer.reading = Some(Reading { read: *read, round });
        if done {
            self.owe(from, Due::READ_ANSWER);
        }
    }

    /// What the peer wanted to know.
    pub(super) fn read_answer(&mut self, to: NodeId) -> Option<ReadAnswer> {
        let rounds = self.rounds;
        let reading = self.peer(to)?.reading.filter(|reading| rounds.is_done(reading.round))?;
        Some(ReadAnswer { read: reading.read, index: rounds.index })
    }

    /// The round under way, to be confirmed.
    pub(super) fn confirm(&self) -> Option<Confirm> {
        let confirm = Confirm { round: self.rounds.number, capabilities: self.config.capabilities };
        self.rounds.under_way.then_some(confirm)
    }
}

/// What a follower asked its leader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    read: Read,
    /// The leader's own round that it waits for.
    round: u64,
}

// As a follower.
impl Raft<'_> {
    /// The leader asks whether it still is one.
    #[cold]
    pub(super) fn handle_confirm(&mut self, now: Instant, from: NodeId, confirm: &Confirm) {
        if !self.obey(now, from) {
            return;
        }
        if self.config.lease_drift.is_some() {
            self.promised = self.promised.max(now + self.config.election_timeout);
        }
        self.following.confirm = confirm.round;
        self.following.capabilities = Some(confirm.capabilities);
        self.owe(from, Due::CONFIRM_ANSWER);
    }

    /// The question that is under way.
    pub(super) fn read_request(&self) -> Option<Read> {
        let read = Read { boot: self.boot, round: self.rounds.number };
        self.rounds.under_way.then_some(read)
    }

    #[cold]
    pub(super) fn handle_read_answer(&mut self, now: Instant, from: NodeId, answer: &ReadAnswer) {
        let asked = Read { boot: self.boot, round: self.rounds.number };
        let expected = self.role == Role::Follower && self.leader == Some(from) && self.rounds.under_way;
        if !expected || answer.read != asked {
            return count(&mut self.refusals.stale_answer);
        }
        self.complete_round(now, answer.index);
    }

    /// What this node can do, and that it has promised to elect nobody else for a while, if it has.
    pub(super) fn capabilities(&self) -> Capabilities {
        let Config { capabilities, lease_drift, .. } = self.config;
        capabilities.promising(lease_drift.is_some())
    }

    /// Whether a leader may rely on this node to elect nobody else.
    pub(super) fn has_promised(&self, now: Instant) -> bool {
        now < self.promised
    }
}
