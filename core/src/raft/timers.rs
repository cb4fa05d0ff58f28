//! Deadlines instead of ticks (F3): what the node waits for, and what happens when it has waited long enough.

use super::{Raft, Recorded, count};
use crate::event::Role;
use crate::news::News;
use crate::types::{Duration, Instant, NodeId};

/// The deadlines of a node, and the chance in them.
#[derive(Debug)]
pub(super) struct Timers {
    /// When the leader was last heard, or the wait for one began.
    pub(super) heard_at: Instant,
    /// How long to wait from then on; drawn anew for each wait (E1, E6).
    pub(super) patience: Duration,
    /// Waits that ended without a leader; the range of the next one grows with them, so that chance outgrows the grain of any clock (E6).
    pub(super) rounds: u8,
    /// When a leader next looks after its peers, or a candidate repeats its requests.
    pub(super) tick_at: Instant,
    random: u64,
}

impl Timers {
    pub(super) fn new(seed: u64, node: NodeId) -> Self {
        // Every bit of the number depends on the node, so that equal seeds do not give equal timeouts (the finalizer of splitmix64).
        let mixed = seed.wrapping_add((u64::from(node.get()) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self {
            heard_at: Instant(0),
            patience: Duration::ZERO,
            rounds: 0,
            tick_at: Instant(0),
            // Xorshift must not start at zero.
            random: (mixed ^ mixed >> 31) | 1,
        }
    }

    /// The next number of an xorshift generator.
    #[inline(never)]
    pub(super) fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

impl Raft<'_> {
    /// When [`handle_timeout`](Self::handle_timeout) is next due. Ask again after every input; it may be earlier then. A node that halted waits for
    /// nothing.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.role {
            Role::Halted => None,
            Role::Leader => Some(self.timers.tick_at),
            Role::Follower if self.awaits_leader() => Some(self.election_at().min(self.timers.tick_at)),
            Role::Follower => Some(self.election_at()),
            Role::PreCandidate | Role::Candidate => Some(self.election_at().min(self.timers.tick_at)),
        }
    }

    /// Time has passed. May be called at any time; does nothing before the deadline.
    #[inline(never)]
    pub fn handle_timeout(&mut self, now: Instant) {
        self.retry_snapshot(now);
        match self.role {
            Role::Leader if now >= self.timers.tick_at => {
                self.arm_tick(now);
                self.look_after_peers(now);
            }
            Role::Leader | Role::Halted => {}
            _ if now >= self.election_at() => self.ask_pre_vote(now),
            Role::Follower if now >= self.timers.tick_at && self.awaits_leader() => {
                self.arm_tick(now);
                self.repeat_to_leader(now);
            }
            Role::PreCandidate | Role::Candidate if now >= self.timers.tick_at => {
                self.arm_tick(now);
                self.repeat_requests();
            }
            _ => {}
        }
    }

    /// Waits for a leader for one to two election timeouts from now, longer after waits in vain. Also after stepping down (E5).
    #[cold]
    #[inline(never)]
    pub(super) fn await_leader(&mut self, now: Instant) {
        const LONGEST: u8 = 4;
        let timeout = self.config.election_timeout;
        let rounds = self.timers.rounds.clamp(1, LONGEST);
        // Only a checked configuration has a range, which the compiler does not know: zero would panic.
        let range = timeout.times(rounds.into()).0.max(1);
        self.news.add(News::DEADLINE);
        self.timers.heard_at = now;
        self.timers.patience = Duration(timeout.0.saturating_add(self.timers.random() % range));
    }

    #[inline(never)]
    pub(super) fn arm_tick(&mut self, now: Instant) {
        self.news.add(News::DEADLINE);
        self.timers.tick_at = now + self.config.heartbeat_interval;
    }

    /// Whether a leader has been heard within the shortest election timeout, so that nobody else is needed (E1).
    pub(super) fn hears_leader(&self, now: Instant) -> bool {
        let heard = self.leader.is_some() && now - self.timers.heard_at < self.config.election_timeout;
        // A leader hears itself, until it steps down for want of a quorum.
        heard || self.role == Role::Leader
    }

    /// Whether the node could lead: its term can rise, its medium keeps up, its log is not being started anew, and vote and no-op find room (E7, P12).
    pub(super) fn can_campaign(&mut self) -> bool {
        const VOTE_AND_NO_OP: usize = 2 * quoring_ring::HEADER;
        let able = self.term.next().is_some()
            && self.recorded == Recorded::Durable
            && !self.is_installing()
            && self.ring.room() >= VOTE_AND_NO_OP
            && self.store_takes_no_op();
        if !able {
            count(&mut self.refusals.unable);
        }
        able
    }

    fn election_at(&self) -> Instant {
        self.timers.heard_at + self.timers.patience
    }
}
