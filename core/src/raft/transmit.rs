//! What a peer should be sent, derived from due-bits, pointers and progress when its replicator asks.

use quoring_ring::{Span, record_size};

use super::{Raft, count};
use crate::event::Role;
use crate::progress::{Due, Mode};
use crate::types::{Instant, LogIndex, NodeId, Term};
use crate::wire::{APPEND_HEADER, Append, Message, VoteAnswer};

/// What to send next to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Transmit {
    /// The first bytes of the buffer are a whole frame.
    Frame(usize),
    /// The buffer begins with the frame's header: copy these entries from the ring behind it, then check that this node still leads
    /// (ring rule 5), then send. If a copy fails, say [`Raft::unsent`].
    FromRing(RingBatch),
    /// The entries have left the ring: read them from the store behind the place of the header, then ask [`Raft::seal`] for it.
    FromStore(StoreBatch),
}

/// Entries to copy from the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingBatch {
    /// The term in which they may leave.
    pub term: Term,
    /// The first entry.
    pub first: LogIndex,
    /// How many.
    pub count: u32,
    /// Where the records begin in the frame.
    pub offset: usize,
    /// Bytes of the whole frame.
    pub len: usize,
    session: u32,
}

/// Entries to read from the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreBatch {
    /// The term in which they may leave.
    pub term: Term,
    /// The first entry.
    pub first: LogIndex,
    /// The last entry that may be sent; it need not be reached.
    pub last: LogIndex,
    /// Where the records begin in the frame.
    pub offset: usize,
    /// How many bytes of records may follow.
    pub limit: usize,
    /// The term of the entry before the first one; read it from the store if it is `None`.
    pub prev_term: Option<Term>,
    session: u32,
}

impl Raft<'_> {
    /// What to send to `peer` now, `None` if nothing is due. Ask again until it is; then wait until [`take_ready`](Self::take_ready) names the peer.
    ///
    /// `frame` is as large as a frame of the transport may be.
    pub fn poll_transmit(&mut self, now: Instant, peer: NodeId, frame: &mut [u8]) -> Option<Transmit> {
        if self.role == Role::Halted {
            return None;
        }
        if let Some(message) = self.poll_vote(peer) {
            return self.frame(peer, &message, frame);
        }
        match self.role {
            _ if !self.may_speak() => None,
            Role::Leader => self.poll_append(now, peer, frame),
            Role::Follower if self.leader == Some(peer) => {
                let answer = self.poll_answer()?;
                self.frame(peer, &answer, frame)
            }
            _ => None,
        }
    }

    /// The entries of a [`RingBatch`] left the ring before they could be copied: they will be read from the store.
    pub fn unsent(&mut self, now: Instant, peer: NodeId, batch: &RingBatch) {
        let leads = self.role == Role::Leader && self.term == batch.term;
        if let Some(peer) = self.peer(peer).filter(|peer| leads && peer.session == batch.session) {
            let next = batch.first.max(peer.matched.next());
            peer.probe(next, now);
        }
    }

    /// The entries of a [`StoreBatch`] up to `last`, `bytes` in all, are in the frame: puts the header before them. The frame's length, or `None` if they
    /// should not be sent any more.
    pub fn seal(&mut self, now: Instant, to: NodeId, batch: &StoreBatch, prev_term: Term, last: LogIndex, bytes: usize, frame: &mut [u8]) -> Option<usize> {
        if self.role != Role::Leader || self.term != batch.term || bytes > batch.limit || last > batch.last || last < batch.first {
            return None;
        }
        let committed = self.committed();
        let peer = self.peer(to)?;
        if peer.session != batch.session || peer.next != batch.first {
            return None;
        }
        let append = Append {
            prev: batch.first.previous(),
            prev_term,
            commit: committed.min(peer.matched),
            session: peer.session,
            respond: peer.due.has(Due::HEARTBEAT),
            bytes: u16::try_from(bytes).ok()?,
            records: &[],
        };
        self.sent_append(now, to, last, bytes, &append);
        self.envelope.seal(to, self.term, &Message::Append(append), frame).map(|header| header + bytes)
    }

    /// Requests for votes and answers to them. A grant of an earlier term is not due any more (E2).
    fn poll_vote(&mut self, to: NodeId) -> Option<Message<'static>> {
        let (term, may_speak, role) = (self.term, self.may_speak(), self.role);
        let request = self.vote_request();
        let peer = self.peer(to)?;
        let answer = VoteAnswer { term: peer.answer_term, granted: peer.due.has(Due::GRANT) };
        if peer.due.has(Due::REQUEST) && (role == Role::PreCandidate || may_speak) {
            peer.due.clear(Due::REQUEST);
            return Some(if role == Role::PreCandidate { Message::PreVote(request) } else { Message::Vote(request) });
        }
        if peer.due.has(Due::PRE_VOTE) {
            peer.due.clear(Due::PRE_VOTE);
            return Some(Message::PreVoteAnswer(answer));
        }
        if peer.due.has(Due::VOTE) && may_speak {
            peer.due.clear(Due::VOTE);
            return Some(Message::VoteAnswer(answer));
        }
        if peer.due.has(Due::TERM) && may_speak {
            peer.due.clear(Due::TERM);
            return Some(Message::VoteAnswer(VoteAnswer { term, granted: false }));
        }
        None
    }

    /// Entries if there are any and they may go, else a heartbeat or a commit index if one is due.
    fn poll_append(&mut self, now: Instant, to: NodeId, frame: &mut [u8]) -> Option<Transmit> {
        let last = self.last();
        let (max_in_flight, max_bytes) = (self.config.max_in_flight, self.config.max_in_flight_bytes);
        let peer = self.peer(to)?;
        let open = match peer.mode {
            Mode::Probe => !peer.probed,
            Mode::Replicate => peer.in_flight.len() < max_in_flight,
        };
        let window = peer.credit.min(max_bytes.saturating_sub(peer.in_flight_bytes)) as usize;
        if open && peer.next <= last && window > 0 {
            let limit = window.min(frame.len().saturating_sub(APPEND_HEADER)).min(usize::from(u16::MAX));
            if let Some(transmit) = self.poll_entries(now, to, limit, frame) {
                return Some(transmit);
            }
        }
        self.poll_empty(now, to, frame)
    }

    fn poll_entries(&mut self, now: Instant, to: NodeId, limit: usize, frame: &mut [u8]) -> Option<Transmit> {
        let (term, offset, last, committed) = (self.term, APPEND_HEADER, self.last(), self.committed());
        let peer = self.peer(to)?;
        let (first, session) = (peer.next, peer.session);
        let commit = committed.min(peer.matched);
        let respond = peer.due.has(Due::HEARTBEAT);
        let prev = first.previous();
        let prev_term = self.term_of(prev);
        let span = self.ring.span(first.0, last.0, u32::MAX, limit);
        let (Some(Span { count, bytes }), Some(prev_term)) = (span, prev_term) else {
            if limit < record_size(self.command_limit) {
                // Sizes are known only when the store has been read: wait until any record would fit.
                return None;
            }
            return Some(Transmit::FromStore(StoreBatch { term, first, last, offset, limit, prev_term, session }));
        };
        if count == 0 {
            // The next record waits for more room at the peer.
            return None;
        }
        let last = LogIndex(prev.0 + u64::from(count));
        let append = Append { prev, prev_term, commit, session, respond, bytes: bytes as u16, records: &[] };
        let header = self.envelope.seal(to, term, &Message::Append(append), frame)?;
        self.sent_append(now, to, last, bytes, &append);
        Some(Transmit::FromRing(RingBatch { term, first, count, offset, len: header + bytes, session }))
    }

    /// An append without entries takes no place in flight (L9).
    fn poll_empty(&mut self, now: Instant, to: NodeId, frame: &mut [u8]) -> Option<Transmit> {
        let committed = self.committed();
        let peer = self.peer(to)?;
        let commit = committed.min(peer.matched);
        let respond = peer.due.has(Due::HEARTBEAT);
        if !respond && commit <= peer.commit_sent {
            return None;
        }
        let (next, session) = (peer.next.previous(), peer.session);
        // Behind the last entry sent, so that a lost append shows. If the term there is forgotten, before the whole log, which always matches.
        let (prev, prev_term) = match self.term_of(next) {
            Some(term) => (next, term),
            None => (LogIndex::ZERO, Term::ZERO),
        };
        let append = Append { prev, prev_term, commit, session, respond, bytes: 0, records: &[] };
        self.sent_append(now, to, next, 0, &append);
        self.frame(to, &Message::Append(append), frame)
    }

    /// Books an append that is about to leave.
    fn sent_append(&mut self, now: Instant, to: NodeId, last: LogIndex, bytes: usize, append: &Append<'_>) {
        let Some(peer) = self.peer(to) else { return };
        peer.sent = true;
        peer.commit_sent = append.commit;
        if append.respond {
            peer.due.clear(Due::HEARTBEAT);
        }
        if bytes == 0 {
            return;
        }
        match peer.mode {
            Mode::Replicate => peer.sending(last, bytes as u32),
            Mode::Probe => {
                peer.probed = true;
                peer.retry_at = now + peer.backoff;
            }
        }
    }

    fn frame(&mut self, to: NodeId, message: &Message<'_>, frame: &mut [u8]) -> Option<Transmit> {
        let len = self.envelope.seal(to, self.term, message, frame);
        if len.is_none() {
            // The buffer is shorter than the smallest frame; construction checks that it is not.
            count(&mut self.refusals.unable);
        }
        len.map(Transmit::Frame)
    }
}
