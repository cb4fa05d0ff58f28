//! What a node keeps about each peer: what is due to it, and, while leading, how far its log has come.

use heapless::Deque;

use crate::capabilities::Capabilities;
use crate::raft::{PeerIntake, Reading};
use crate::types::{Duration, Instant, LogIndex, NodeId, Term};

/// How many appends with entries are tracked on their way to one peer.
pub const IN_FLIGHT: usize = 16;

/// A peer, in about 450 bytes. Its initial image is all zero. The fields lie in this order: those that are used most where short instructions reach them.
#[derive(Debug)]
#[repr(C)]
pub struct Peer {
    /// Who it is.
    pub(crate) node: NodeId,
    /// How entries are sent.
    pub(crate) mode: Mode,
    /// Whether anything was sent since the last heartbeat tick (L13).
    pub(crate) sent: bool,
    /// Whether a probe with entries, or a chunk, is on its way.
    pub(crate) probed: bool,
    /// Frames that should leave as soon as they may.
    pub(crate) due: Due,
    /// How often the peer had to begin it anew: it may be damaged.
    pub(crate) broken: u8,
    /// The pipeline answers must belong to (L8). Rises with each new pipeline.
    pub(crate) session: u32,
    /// Bytes the peer can still take (P11).
    pub(crate) credit: u32,
    /// Sum of `in_flight`'s bytes.
    pub(crate) in_flight_bytes: u32,
    /// The term of the vote answer that is due.
    pub(crate) answer_term: Term,
    /// The last entry known to be the same as ours and durable there.
    pub(crate) matched: LogIndex,
    /// The next entry to send. Above `matched`.
    pub(crate) next: LogIndex,
    /// The commit index last sent.
    pub(crate) commit_sent: LogIndex,
    /// When it last answered.
    pub(crate) heard_at: Instant,
    /// When entries may be sent again while probing.
    pub(crate) retry_at: Instant,
    /// How long the next wait will be; the one place that holds the backoff (L14).
    pub(crate) backoff: Duration,
    /// The last entry of the snapshot that is being sent.
    pub(crate) sending: LogIndex,
    /// How many bytes of it the peer has.
    pub(crate) offset: u64,
    /// What it has said that it can do.
    pub(crate) capabilities: Option<Capabilities>,
    /// What it wants to read.
    pub(crate) reading: Option<Reading>,
    /// What its clients want appended.
    pub(crate) intake: PeerIntake,
    /// Appends with entries on their way, oldest first.
    pub(crate) in_flight: Deque<InFlight, IN_FLIGHT>,
}

/// One append with entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct InFlight {
    /// Its last entry.
    pub(crate) last: LogIndex,
    /// The bytes of its records.
    pub(crate) bytes: u32,
}

/// How entries go to a peer.
///
/// ```text
///                   answered                      refused, or left the ring
///   Probe -------------------------> Replicate ----------------------------> Probe
///     | one append at a time          appends follow each other                ^
///     |                                                                        |
///     '--------------------> Snapshot -----------------------------------------'
///        the entries it needs  one chunk at a time     installed
///        have been purged
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Where the logs meet is not known.
    Probe = 0,
    /// The peer follows.
    Replicate = 1,
    /// The peer gets a snapshot, because the entries it needs have been purged (P8, S7).
    Snapshot = 2,
}

/// Due-bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Due(u16);

impl Due {
    pub(crate) const NONE: Self = Self(0);
    /// A pre-vote or vote request.
    pub(crate) const REQUEST: Self = Self(1);
    /// An answer to a vote request, and whether it is a grant; the newest replaces an older one (P9).
    pub(crate) const VOTE: Self = Self(2);
    pub(crate) const PRE_VOTE: Self = Self(4);
    pub(crate) const GRANT: Self = Self(8);
    /// An append, with entries or without, that asks for an answer.
    pub(crate) const HEARTBEAT: Self = Self(16);
    /// The term of this node, for a peer that lives in an earlier one.
    pub(crate) const TERM: Self = Self(32);

    /// The round under way, to be confirmed; and the answer.
    pub(crate) const CONFIRM: Self = Self(64);
    pub(crate) const CONFIRM_ANSWER: Self = Self(128);
    /// A follower's question what its clients must see applied; and the answer.
    pub(crate) const READ: Self = Self(256);
    pub(crate) const READ_ANSWER: Self = Self(512);
    /// What a follower's clients want appended; and how much of it is.
    pub(crate) const FORWARD: Self = Self(1024);
    pub(crate) const FORWARD_ANSWER: Self = Self(2048);
    /// The leave to campaign.
    pub(crate) const CAMPAIGN: Self = Self(4096);

    /// What is due for clients' sake, between a leader and its followers.
    pub(crate) const CLIENTS: Self = Self(0x1FC0);
    /// All that is not part of replication.
    pub(crate) const RARE: Self = Self(Self::ELECTION.0 | Self::CLIENTS.0);
    /// What is due in elections.
    pub(crate) const ELECTION: Self = Self(Self::REQUEST.0 | Self::VOTE.0 | Self::PRE_VOTE.0 | Self::TERM.0);

    /// Whether any of these bits is set.
    pub(crate) const fn has(self, bit: Self) -> bool {
        self.0 & bit.0 != 0
    }

    pub(crate) const fn set(&mut self, bit: Self) {
        self.0 |= bit.0;
    }

    pub(crate) const fn clear(&mut self, bit: Self) {
        self.0 &= !bit.0;
    }
}

impl Peer {
    /// Nothing known, nothing due.
    pub const EMPTY: Self = Self {
        node: NodeId::ZERO,
        due: Due::NONE,
        answer_term: Term::ZERO,
        mode: Mode::Probe,
        sent: false,
        probed: false,
        session: 0,
        matched: LogIndex::ZERO,
        next: LogIndex::ZERO,
        commit_sent: LogIndex::ZERO,
        sending: LogIndex::ZERO,
        offset: 0,
        broken: 0,
        credit: 0,
        in_flight_bytes: 0,
        in_flight: Deque::new(),
        capabilities: None,
        reading: None,
        intake: PeerIntake::NONE,
        heard_at: Instant(0),
        retry_at: Instant(0),
        backoff: Duration::ZERO,
    };

    /// Nothing is known about `node`, and nothing due to it.
    #[inline(never)]
    pub(crate) fn empty(&mut self, node: NodeId) {
        *self = Self { node, ..Self::EMPTY };
    }

    /// A new leader begins with the peer where its own log ends.
    pub(crate) fn lead(&mut self, session: u32, last: LogIndex, now: Instant, backoff: Duration) {
        self.empty(self.node);
        self.session = session;
        self.next = last.next();
        self.credit = u32::MAX;
        (self.heard_at, self.retry_at, self.backoff) = (now, now, backoff);
    }

    /// A new pipeline from `next` on. Answers of the old one count for nothing any more (L8).
    #[inline(never)]
    pub(crate) fn probe(&mut self, next: LogIndex, now: Instant) {
        self.mode = Mode::Probe;
        self.session = self.session.wrapping_add(1);
        self.next = next;
        self.probed = false;
        self.retry_at = now;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
    }

    /// The peer needs entries that are gone: from now on it gets the snapshot up to `last` instead. It tells where to go on if it has a part of it.
    pub(crate) fn send_snapshot(&mut self, last: LogIndex, now: Instant) {
        self.probe(self.next, now);
        self.mode = Mode::Snapshot;
        self.sending = last;
        self.offset = 0;
        self.broken = 0;
    }

    /// Whether a snapshot is on its way to it, and somebody takes it.
    pub(crate) fn takes_snapshot(&self, patience: Duration) -> bool {
        self.mode == Mode::Snapshot && self.backoff < patience && self.broken == 0
    }

    /// The snapshot must begin anew, each time after twice as long.
    pub(crate) fn begin_anew(&mut self, now: Instant, beat: Duration) {
        const LONGEST: u8 = 8;
        self.broken = self.broken.saturating_add(1).min(LONGEST);
        self.offset = 0;
        self.probed = true;
        self.retry_at = now + beat.times(1 << self.broken);
    }

    /// Whether there are entries for it, or a commit index that it holds (L6).
    pub(crate) fn is_behind(&self, last: LogIndex, committed: LogIndex) -> bool {
        self.next <= last || self.commit_for(committed) > self.commit_sent
    }

    /// What it may be told is committed: at most what it is known to hold (L6).
    pub(crate) fn commit_for(&self, committed: LogIndex) -> LogIndex {
        committed.min(self.matched)
    }

    /// How many bytes of entries may leave now: what the peer can take, and what may be on its way. One append may always be, however small the window.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(crate) fn window(&self, max_in_flight: usize, max_in_flight_bytes: u32) -> u32 {
        let unsent = match self.mode {
            Mode::Probe if self.probed => 0,
            Mode::Replicate if self.in_flight.is_empty() => u32::MAX,
            Mode::Replicate if self.in_flight.len() >= max_in_flight => 0,
            Mode::Replicate => max_in_flight_bytes.saturating_sub(self.in_flight_bytes),
            Mode::Probe | Mode::Snapshot => u32::MAX,
        };
        self.credit.min(unsent)
    }

    /// Entries up to `last` are leaving.
    pub(crate) fn sending(&mut self, last: LogIndex, bytes: u32) {
        // The caller looked for room in the ring of appends in flight.
        let _ = self.in_flight.push_back(InFlight { last, bytes });
        self.in_flight_bytes = self.in_flight_bytes.saturating_add(bytes);
        self.credit = self.credit.saturating_sub(bytes);
        self.next = last.next();
    }

    /// The peer has `received` in its ring and room for `room` bytes more.
    pub(crate) fn received(&mut self, received: LogIndex, room: u32) {
        while let Some(append) = self.in_flight.front().filter(|append| append.last <= received) {
            self.in_flight_bytes = self.in_flight_bytes.saturating_sub(append.bytes);
            self.in_flight.pop_front();
        }
        self.credit = room.saturating_sub(self.in_flight_bytes);
    }

    pub(crate) fn assert_invariants(&self, last: LogIndex) {
        assert!(self.matched < self.next, "matched below next: {self:?}");
        assert!(self.next <= last.next(), "nothing is sent that is not there: {self:?}");
        let bytes: u32 = self.in_flight.iter().map(|append| append.bytes).sum();
        assert_eq!(bytes, self.in_flight_bytes, "bytes in flight");
        assert!(self.in_flight.iter().all(|append| append.last < self.next), "in flight below next: {self:?}");
    }
}
