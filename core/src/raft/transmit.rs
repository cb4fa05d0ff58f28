//! What a peer should be sent, derived from due-bits, pointers and progress when its replicator asks.

use quoring_ring::{Position, Span, record_size};

use super::snapshot::ChunkBatch;
use super::{Raft, Recorded, Rule, STRANGER, count};
use crate::event::Role;
use crate::progress::{Due, Mode, Peer};
use crate::types::{Instant, LogIndex, NodeId, Term};
use crate::wire::{APPEND_HEADER, Append, Confirm, Message, VoteAnswer};

/// What to send next to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub enum Transmit {
    /// The first bytes of the buffer are a whole frame.
    Frame(usize),
    /// The buffer begins with the frame's header: copy these entries from the ring behind it, then check that this node still leads
    /// (ring rule 5), then send. If the copy fails, say [`Raft::unsent`].
    FromRing(RingBatch),
    /// The entries have left the ring: read them from the store behind the place of the header, then ask [`Raft::seal`] for it.
    FromStore(StoreBatch),
    /// The peer needs what has been purged: read this piece of the snapshot from the store behind the place of the header, then ask
    /// [`Raft::seal_chunk`] for it.
    FromSnapshot(ChunkBatch),
}

/// Entries to copy from the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RingBatch {
    /// The term in which they may leave.
    pub term: Term,
    /// Where they begin in the ring.
    pub start: Position,
    /// Where they begin in the frame.
    pub offset: usize,
    /// Bytes of the whole frame.
    pub len: usize,
    /// The first entry.
    pub first: LogIndex,
    peer: NodeId,
    session: u32,
}

/// Entries to read from the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
    peer: NodeId,
    session: u32,
}

/// What every append to a peer says, entries apart.
#[derive(Clone, Copy)]
struct News {
    /// The pipeline.
    session: u32,
    /// What is committed, at most what the peer is known to hold (L6).
    commit: LogIndex,
    /// Whether an answer is wanted at once.
    respond: bool,
}

impl News {
    const fn append(self, prev: LogIndex, prev_term: Term, bytes: u16) -> Append<'static> {
        let Self { session, commit, respond } = self;
        Append { prev, prev_term, commit, session, respond, bytes, records: &[] }
    }
}

impl Peer {
    fn news(&self, committed: LogIndex) -> News {
        let commit = self.commit_for(committed);
        News { session: self.session, commit, respond: self.due.has(Due::HEARTBEAT) }
    }

    /// Books an append that is about to leave, with entries up to `last`.
    #[cfg_attr(target_pointer_width = "64", inline)]
    fn send(&mut self, now: Instant, append: &Append<'_>, last: LogIndex) {
        self.sent = true;
        self.commit_sent = append.commit;
        self.due.clear(Due::HEARTBEAT);
        if append.bytes == 0 {
            return;
        }
        match self.mode {
            Mode::Replicate => self.sending(last, append.bytes.into()),
            Mode::Probe | Mode::Snapshot => {
                self.probed = true;
                self.retry_at = now + self.backoff;
            }
        }
    }
}

impl Raft<'_> {
    /// What to send to `peer` now, `None` if nothing is due. Ask whenever [`take_ready`](Self::take_ready) names the peer, as it does after an answer that was
    /// not the last.
    ///
    /// `frame` is as large as a frame of the transport may be.
    pub fn poll_transmit(&mut self, now: Instant, peer: NodeId, frame: &mut [u8]) -> Option<Transmit> {
        let place = usize::from(*self.places.get(usize::from(peer.get()))?);
        if self.peers.get(place)?.due.has(Due::RARE)
            && let Some(transmit) = self.poll_rare(peer, frame)
        {
            self.ready.insert(peer);
            return Some(transmit);
        }
        match self.role {
            Role::Leader => self.poll_append(now, place, frame),
            Role::Follower if self.leader == Some(peer) && self.may_speak() => self.poll_answer(peer, frame),
            _ => None,
        }
    }

    /// Whether a commit index is all that is due to `peer`: who expects more for it at once may let that go with it.
    pub fn owes_only_commit(&self, peer: NodeId) -> bool {
        let place = self.places.get(usize::from(peer.get())).copied().unwrap_or(STRANGER);
        self.role == Role::Leader
            && self.peers.get(usize::from(place)).is_some_and(|peer| peer.due == Due::NONE && peer.next > self.last())
    }

    /// The entries of a [`RingBatch`] left the ring before they could be copied: they will be read from the store.
    pub fn unsent(&mut self, now: Instant, batch: &RingBatch) {
        if let Some(peer) = self.of_pipeline(batch.peer, batch.term, batch.session) {
            peer.probe(batch.first.max(peer.matched.next()), now);
            peer.credit = peer.credit.saturating_add((batch.len - batch.offset) as u32);
            self.ready.insert(batch.peer);
        }
    }

    /// Not even the first entry of a [`StoreBatch`] fits what the peer can take: try again later.
    pub fn postpone(&mut self, now: Instant, batch: &StoreBatch) {
        if let Some(peer) = self.of_pipeline(batch.peer, batch.term, batch.session) {
            peer.probe(batch.first.max(peer.matched.next()), now);
            peer.probed = true;
            peer.retry_at = now + peer.backoff;
        }
    }

    /// The entries of a [`StoreBatch`] up to `last`, `bytes` in all, are in the frame: puts the header before them. The frame's length, or `None` if they
    /// should not be sent any more.
    #[inline(never)]
    pub fn seal(
        &mut self,
        now: Instant,
        batch: &StoreBatch,
        prev_term: Term,
        last: LogIndex,
        bytes: usize,
        frame: &mut [u8],
    ) -> Option<usize> {
        if self.role != Role::Leader
            || self.term != batch.term
            || bytes > batch.limit
            || last > batch.last
            || last < batch.first
        {
            return None;
        }
        let committed = self.committed();
        let peer = self.peer(batch.peer)?;
        if peer.session != batch.session || peer.next != batch.first {
            return None;
        }
        let append = peer.news(committed).append(batch.first.previous(), prev_term, u16::try_from(bytes).ok()?);
        let header = append.seal(&self.envelope, batch.peer, self.term, frame)?;
        self.peer(batch.peer)?.send(now, &append, last);
        Some(header + bytes)
    }

    /// The peer, if this node still leads in that term and the peer's pipeline is still that one.
    #[inline(never)]
    pub(super) fn of_pipeline(&mut self, peer: NodeId, term: Term, session: u32) -> Option<&mut Peer> {
        let leads = self.leads() == Some(term);
        self.peer(peer).filter(|peer| leads && peer.session == session)
    }

    /// What has to do with elections and with clients, in this order.
    #[cold]
    fn poll_rare(&mut self, to: NodeId, frame: &mut [u8]) -> Option<Transmit> {
        if let Some(message) = self.poll_vote(to) {
            return self.frame(to, &message, frame);
        }
        match self.role {
            Role::Leader => {
                let message = self.poll_for_leader(to)?;
                self.frame(to, &message, frame)
            }
            Role::Follower if self.leader == Some(to) && self.may_speak() => {
                if let Some(message) = self.poll_for_follower(to) {
                    return self.frame(to, &message, frame);
                }
                if self.booted == Recorded::Durable && self.takes_due(to, Due::FORWARD) {
                    return self.poll_forward(to, frame).map(Transmit::Frame);
                }
                None
            }
            _ => None,
        }
    }

    /// What a leader says for clients' sake.
    fn poll_for_leader(&mut self, to: NodeId) -> Option<Message<'static>> {
        if self.takes_due(to, Due::CAMPAIGN)
            && let Some(leave) = self.campaign_now()
        {
            return Some(Message::CampaignNow(leave));
        }
        if self.takes_due(to, Due::CONFIRM)
            && let Some(confirm) = self.confirm()
        {
            return Some(Message::Confirm(confirm));
        }
        if self.takes_due(to, Due::READ_ANSWER)
            && let Some(answer) = self.read_answer(to)
        {
            return Some(Message::ReadAnswer(answer));
        }
        if self.takes_due(to, Due::FORWARD_ANSWER) {
            return self.forward_answer(to).map(Message::ForwardAnswer);
        }
        None
    }

    /// What a follower says to its leader for clients' sake.
    fn poll_for_follower(&mut self, to: NodeId) -> Option<Message<'static>> {
        if self.takes_due(to, Due::CONFIRM_ANSWER) {
            let (round, capabilities) = (self.following.confirm, self.capabilities());
            return Some(Message::ConfirmAnswer(Confirm { round, capabilities }));
        }
        if self.booted == Recorded::Durable
            && self.takes_due(to, Due::READ)
            && let Some(read) = self.read_request()
        {
            return Some(Message::Read(read));
        }
        None
    }

    /// Whether this is due to the peer, which it then is no more.
    #[inline(never)]
    fn takes_due(&mut self, to: NodeId, due: Due) -> bool {
        self.peer(to).is_some_and(|peer| {
            let is_due = peer.due.has(due);
            peer.due.clear(due);
            is_due
        })
    }

    /// Requests for votes and answers to them. A grant of an earlier term is not due any more (E2).
    #[cold]
    fn poll_vote(&mut self, to: NodeId) -> Option<Message<'static>> {
        let (term, may_speak, role, by_leave) = (self.term, self.may_speak(), self.role, self.by_leave);
        if role == Role::Halted {
            return None;
        }
        let request = self.vote_request();
        let peer = self.peer(to)?;
        let answer = VoteAnswer { term: peer.answer_term, granted: peer.due.has(Due::GRANT) };
        if peer.due.has(Due::REQUEST) && (role == Role::PreCandidate || role == Role::Candidate && may_speak) {
            peer.due.clear(Due::REQUEST);
            return Some(match role {
                Role::PreCandidate => Message::PreVote(request),
                _ if by_leave => Message::VoteByLeave(request),
                _ => Message::Vote(request),
            });
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

    /// Entries if there are any and they may go, else a heartbeat or a commit index if one is due. A leader's term is durable, so it may speak.
    fn poll_append(&mut self, now: Instant, place: usize, frame: &mut [u8]) -> Option<Transmit> {
        let (last, committed, overstates) = (self.last(), self.committed(), self.breaks(Rule::CommitUnmatched));
        let peer = self.peers.get(place)?;
        let mut news = peer.news(committed);
        if overstates {
            news.commit = committed;
        }
        let due = news.respond || news.commit > peer.commit_sent;
        if peer.next <= last
            && let Some(transmit) = self.poll_entries(now, place, news, frame)
        {
            return Some(transmit);
        }
        if due { self.poll_empty(now, place, news, frame) } else { None }
    }

    /// The entries that the peer needs, from wherever they are.
    #[cfg_attr(target_pointer_width = "64", inline)]
    fn poll_entries(&mut self, now: Instant, place: usize, news: News, frame: &mut [u8]) -> Option<Transmit> {
        let peer = self.peers.get(place)?;
        let (to, first) = (peer.node, peer.next);
        if first <= self.start.index.next() && first <= self.purged() {
            let chunk = self.poll_chunk(now, to, frame)?;
            self.ready.insert(to);
            return Some(chunk);
        }
        let window = peer.window(self.config.max_in_flight, self.config.max_in_flight_bytes) as usize;
        let limit = window.min(frame.len().saturating_sub(APPEND_HEADER)).min(usize::from(u16::MAX));
        if limit == 0 {
            return None;
        }
        let prev = first.previous();
        let span = self.ring.span(first.0, self.ring.last(), limit);
        let (Some(Span { start, count, bytes }), Some(prev_term)) = (span, self.term_of(prev)) else {
            return self.poll_store(place, limit);
        };
        if count == 0 {
            // The next record waits for more room at the peer.
            return None;
        }
        let append = news.append(prev, prev_term, bytes as u16);
        let offset = append.seal(&self.envelope, to, self.term, frame)?;
        let last = LogIndex(prev.0 + u64::from(count));
        self.peers.get_mut(place)?.send(now, &append, last);
        if last < self.last() {
            self.ready.insert(to);
        }
        let (term, len) = (self.term, offset + bytes);
        Some(Transmit::FromRing(RingBatch { term, start, offset, len, first, peer: to, session: news.session }))
    }

    /// Entries that have left the ring.
    #[cold]
    fn poll_store(&mut self, place: usize, limit: usize) -> Option<Transmit> {
        let peer = self.peers.get(place)?;
        let alone = peer.in_flight.is_empty();
        if limit < record_size(self.command_limit) && !alone {
            // Sizes are known only when the store has been read: wait until any record would fit, if there is an answer to wait for.
            return None;
        }
        self.ready.insert(peer.node);
        Some(Transmit::FromStore(StoreBatch {
            term: self.term,
            first: peer.next,
            last: self.last(),
            offset: APPEND_HEADER,
            limit,
            prev_term: self.term_of(peer.next.previous()),
            peer: peer.node,
            session: peer.session,
        }))
    }

    /// An append without entries takes no place in flight (L9).
    #[cold]
    fn poll_empty(&mut self, now: Instant, place: usize, news: News, frame: &mut [u8]) -> Option<Transmit> {
        let peer = self.peers.get(place)?;
        // Behind the last entry sent, so that a lost append shows. If the term there is forgotten, before the whole log, which always matches.
        let (prev, to) = (peer.next.previous(), peer.node);
        let (prev, prev_term) = self.term_of(prev).map_or((LogIndex::ZERO, Term::ZERO), |term| (prev, term));
        let append = news.append(prev, prev_term, 0);
        let len = append.seal(&self.envelope, to, self.term, frame)?;
        self.peers.get_mut(place)?.send(now, &append, prev);
        Some(Transmit::Frame(len))
    }

    pub(super) fn frame(&mut self, to: NodeId, message: &Message<'_>, frame: &mut [u8]) -> Option<Transmit> {
        let len = self.envelope.seal(to, self.term, message, frame);
        if len.is_none() {
            // The buffer is shorter than the smallest frame; construction checks that it is not.
            count(&mut self.refusals.unable);
        }
        len.map(Transmit::Frame)
    }
}
