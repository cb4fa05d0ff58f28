//! The state machine itself. This file holds its state, its inputs and its invariants; `raft/` the rules of each role.
//!
//! What several rules share, and replication does without while all goes well, is never inlined: copies would take flash, and nobody waits for it.

mod boot;
mod election;
mod follower;
mod intake;
mod leader;
mod propose;
mod read;
mod snapshot;
mod store_room;
mod timers;
mod transfer;
mod transmit;
mod turn;
mod window;

use core::fmt;

use heapless::Deque;
use quoring_ring::{Checksum, Crc32c, Position, Writer, record_size};

pub use self::propose::{ProposeError, command_limit};
pub use self::read::{ReadError, ReadRound};
pub use self::snapshot::{Chunk, ChunkBatch, Stored};
pub use self::transfer::TransferError;
pub use self::transmit::{RingBatch, StoreBatch, Transmit};
pub use self::window::{Closed, ForwardError, WindowError, WindowState, WindowStatus};

pub(crate) use self::intake::PeerIntake;
pub(crate) use self::read::Reading;

use self::follower::Following;
use self::leader::Leading;
use self::propose::ClientRoom;
use self::read::Rounds;
use self::snapshot::Snapshots;
use self::store_room::StoreRoom;
use self::timers::Timers;
use self::turn::Turn;
use self::window::Window;
use crate::config::{Config, ConfigError};
use crate::event::{Event, Refusals, Role, Status};
use crate::members::NodeSet;
use crate::news::News;
use crate::progress::{Due, Peer};
use crate::recovery::Recovered;
use crate::space::Space;
use crate::term_runs::TermRuns;
use crate::types::{EntryId, Instant, LogIndex, NodeId, Term};
use crate::vote;
use crate::wire::{self, Append, AppendAnswer, Envelope, FrameError, Message, VoteAnswer};

/// How many events are kept until somebody takes them.
const EVENTS: usize = 8;

/// No place in `peers`.
const STRANGER: u8 = u8::MAX;

/// One node's Raft. The only writer of its ring.
///
/// Durable, since it is in the ring too and soon on the medium, is what `term`, `vote`, `boot`, `runs`, `start` and `snapshots` tell; the rest is volatile.
///
/// The fields lie in this order: those that everybody asks for at the beginning, where short instructions reach them.
#[repr(C)]
pub struct Raft<'a> {
    role: Role,
    /// The leader of `term`, once it has been heard.
    leader: Option<NodeId>,
    /// For whom this node voted in `term`; never changes within a term once it is set.
    vote: Option<NodeId>,
    /// Whether `boot` is this boot's.
    has_booted: bool,
    /// Whether this candidate's leader has told it to campaign.
    by_leave: bool,
    /// Whether a follower's window waits for room.
    intakes_wait: bool,
    turn: Turn,
    /// What has changed since it was last taken.
    news: News,
    /// Never falls.
    term: Term,
    /// Peers for which [`poll_transmit`](Self::poll_transmit) may have something new.
    ready: NodeSet,
    /// One for each other node, by rank.
    peers: &'a mut [Peer],
    /// How far the record of `term` and `vote` has come.
    recorded: Recorded,
    /// How far the record of `boot` has come.
    booted: Recorded,
    refusals: Refusals,
    /// Who granted their (pre-)vote in this campaign.
    votes: NodeSet,
    /// Bytes of the largest frame.
    frame: usize,
    /// The largest command that fits a record of the ring and a frame of the transport.
    command_limit: usize,
    /// The newest boot number.
    boot: u32,
    envelope: Envelope,
    /// The place of each node in `peers`; `STRANGER` for this node and those that are not members.
    places: [u8; NodeId::COUNT],

    /// The last entry that is durable here, by itself or in a snapshot; at most the last one.
    durable: LogIndex,
    /// The log begins behind this entry; term 0 if it is not known. At most what the newest snapshot covers (S3).
    start: EntryId,
    ring: Writer<'a>,
    config: Config,

    rounds: Rounds,
    timers: Timers,
    following: Following,
    leading: Leading,
    client_room: ClientRoom,
    /// Before this moment the node elects nobody: a leader may rely on it (leases).
    promised: Instant,
    store: StoreRoom,
    snapshots: Snapshots,
    window: Window<'a>,
    /// The terms of the log.
    runs: TermRuns,
    events: Deque<Event, EVENTS>,
    checksum: Checksum,
}

/// How far the record of the current term and vote has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Recorded {
    /// It is not in the ring yet: it goes in at the end of this step, before anything else, or if there is no room, when the log writer has
    /// made some (P12).
    Pending,
    /// It ends here in the ring.
    Accepted(Position),
    /// It will be remembered.
    Durable,
}

/// What became of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub enum Handled {
    /// It was taken, or counted among the refusals.
    Done,
    /// The term of this entry is neither in memory nor in the ring: read it from the store, tell it with [`Raft::recall`], and hand in the
    /// same frame again.
    NeedsTerm(LogIndex),
    /// It brought a piece of a snapshot: write it to the store, then say so to [`Raft::handle_chunk`]. No other frame goes in between.
    Chunk(Chunk),
}

impl<'a> Raft<'a> {
    /// A node that goes on where it stopped, as a follower.
    ///
    /// `frame` is the largest frame of the transport in bytes; `peers` has at least one element for each other voter. The ring is empty, and its last
    /// entry and what is committed are those of [`Recovered::origin`].
    ///
    /// # Errors
    /// The configuration makes no sense; see [`ConfigError`].
    #[inline(never)] // Into a task that starts a node: half of the code would go into where its fields lie on that task's stack.
    pub fn new(
        config: Config,
        frame: usize,
        recovered: Recovered,
        ring: Writer<'a>,
        peers: &'a mut [Peer],
        now: Instant,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        if recovered.snapshot.is_some_and(|snapshot| snapshot.voters != config.voters) {
            return Err(ConfigError::Voters);
        }
        let others = config.peers();
        let peers = peers.get_mut(..others.len() as usize).ok_or(ConfigError::Peers)?;
        let mut places = [STRANGER; NodeId::COUNT];
        for (place, (node, peer)) in others.iter().zip(peers.iter_mut()).enumerate() {
            // Nothing of an earlier life may leave in this one.
            peer.empty(node);
            if let Some(entry) = places.get_mut(usize::from(node.get())) {
                *entry = place as u8;
            }
        }
        let command_limit = command_limit(ring.capacity(), frame).ok_or(ConfigError::FrameTooSmall)?;
        let mut raft = Self {
            envelope: Envelope { cluster: config.cluster, node: config.id, crc: config.crc },
            checksum: Checksum::new(config.cluster.0, config.crc),
            boot: recovered.boot,
            has_booted: false,
            booted: Recorded::Durable,
            // What was promised before a restart is not remembered, and so kept for as long as it may have been for; also if leases have been switched off since.
            promised: now + config.election_timeout,
            by_leave: false,
            rounds: Rounds::default(),
            window: Window::default(),
            client_room: ClientRoom::default(),
            intakes_wait: false,
            turn: Turn::default(),
            news: News::NONE,
            store: StoreRoom::new(&Space::UNLIMITED, ring.capacity(), record_size(command_limit)),
            ring,
            frame,
            command_limit,
            term: recovered.term,
            vote: recovered.vote,
            recorded: Recorded::Durable,
            durable: recovered.last,
            start: recovered.start,
            snapshots: Snapshots::new(&recovered),
            runs: recovered.runs,
            role: Role::Follower,
            leader: None,
            votes: NodeSet::EMPTY,
            following: Following::default(),
            leading: Leading::default(),
            timers: Timers::new(config.seed, config.id),
            peers,
            places,
            ready: NodeSet::EMPTY,
            events: Deque::new(),
            refusals: Refusals::default(),
            config,
        };
        raft.restart_log();
        raft.await_leader(now);
        Ok(raft)
    }

    /// A frame came in from the transport.
    ///
    /// # Errors
    /// The frame could not be read; it is counted and changes nothing (T2, T3, T5).
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub fn handle_message(&mut self, now: Instant, bytes: &[u8]) -> Result<Handled, FrameError> {
        if self.role == Role::Halted {
            return Ok(Handled::Done);
        }
        let mut needs = None;
        // Almost all frames are of these two kinds.
        match wire::kind(bytes) {
            wire::APPEND => {
                let append = self.open(bytes, Append::open)?;
                if let Some((from, term)) = self.sender(bytes)?
                    && (term == self.term || self.goes_on_in(now, from, term, &Message::Append(append)))
                {
                    needs = self.handle_append(now, from, &append);
                }
            }
            wire::APPEND_ANSWER => {
                let answer = self.open(bytes, AppendAnswer::open)?;
                if let Some((from, term)) = self.sender(bytes)?
                    && (term == self.term || self.goes_on_in(now, from, term, &Message::AppendAnswer(answer)))
                {
                    self.handle_append_answer(now, from, &answer);
                }
            }
            _ => return self.handle_rare(now, bytes),
        }
        self.record_new_term();
        Ok(needs.map_or(Handled::Done, Handled::NeedsTerm))
    }

    /// A term that was entered is recorded with the vote that was given in it: one record for both.
    fn record_new_term(&mut self) {
        if self.recorded == Recorded::Pending {
            self.record_term();
        }
    }

    /// Reads what a frame says.
    #[inline(always)]
    fn open<'b, M>(
        &mut self,
        bytes: &'b [u8],
        open: impl FnOnce(&'b [u8], Crc32c) -> Result<M, FrameError>,
    ) -> Result<M, FrameError> {
        self.envelope.read(bytes, open).inspect_err(|_| count(&mut self.refusals.frame))
    }

    /// From whom it comes, and in which term; `None` if whoever sent it has nothing to say here.
    fn sender(&mut self, bytes: &[u8]) -> Result<Option<(NodeId, Term)>, FrameError> {
        let sender = self.envelope.sender(bytes).inspect_err(|_| count(&mut self.refusals.frame))?;
        if self.config.voters.contains(sender.0) {
            return Ok(Some(sender));
        }
        count(&mut self.refusals.stranger);
        Ok(None)
    }

    /// A frame that is no part of replication while all goes well.
    #[cold]
    fn handle_rare(&mut self, now: Instant, bytes: &[u8]) -> Result<Handled, FrameError> {
        let message = self.open(bytes, Message::open_rare)?;
        let mut handled = Handled::Done;
        if let Some((from, term)) = self.sender(bytes)?
            && self.goes_on_in(now, from, term, &message)
        {
            handled = self.handle_opened(now, from, &message);
        }
        self.record_new_term();
        Ok(handled)
    }

    /// A message of this term, of any kind but the two that replicate.
    fn handle_opened(&mut self, now: Instant, from: NodeId, message: &Message<'_>) -> Handled {
        match message {
            Message::PreVote(request) => self.handle_pre_vote(now, from, request),
            Message::Vote(request) => self.handle_vote(now, from, request, false),
            Message::PreVoteAnswer(answer) => self.handle_pre_vote_answer(now, from, answer),
            Message::VoteAnswer(answer) => self.handle_vote_answer(now, from, answer),
            // Not rare.
            Message::Append(_) | Message::AppendAnswer(_) => {}
            Message::AppendRefusal(refusal) => self.handle_append_refusal(now, from, refusal),
            Message::InstallSnapshot(chunk) => return self.handle_install_snapshot(now, from, chunk),
            Message::SnapshotAnswer(answer) => self.handle_snapshot_answer(now, from, answer),
            Message::Confirm(confirm) => self.handle_confirm(now, from, confirm),
            Message::ConfirmAnswer(answer) => self.handle_confirm_answer(now, from, answer),
            Message::Read(read) => self.handle_read(now, from, read),
            Message::ReadAnswer(answer) => self.handle_read_answer(now, from, answer),
            Message::CampaignNow(leave) => self.handle_campaign_now(now, from, leave),
            Message::VoteByLeave(request) => self.handle_vote(now, from, request, true),
            Message::Forward(forward) => self.handle_forward(now, from, forward),
            Message::ForwardAnswer(answer) => self.handle_forward_answer(now, from, answer),
        }
        Handled::Done
    }

    /// The log writer has moved `flushed`.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub fn handle_flushed(&mut self, now: Instant) {
        self.advance_durable();
        match self.recorded {
            Recorded::Accepted(end) if !self.ring.flushed().precedes(end) => {
                self.recorded = Recorded::Durable;
                self.term_is_durable(now);
            }
            Recorded::Pending => self.record_term(),
            _ => {}
        }
        match self.booted {
            Recorded::Durable => {}
            Recorded::Accepted(end) if !self.ring.flushed().precedes(end) => self.boot_is_durable(),
            Recorded::Accepted(_) => {}
            Recorded::Pending => self.record_boot(),
        }
        self.follow_restart();
        match self.role {
            Role::Leader => {
                self.advance_commit(now, self.durable);
                self.resume_intakes();
            }
            Role::Follower => self.answer_leader(),
            _ => {}
        }
    }

    /// The term of an entry that [`Handled::NeedsTerm`] asked for.
    pub fn recall(&mut self, index: LogIndex, term: Term) {
        self.runs.recall(index, term);
    }

    /// The store failed: this node falls silent for good (D6).
    pub fn halt(&mut self) {
        if self.role != Role::Halted {
            self.leave_office();
            self.role = Role::Halted;
            self.close_window(Closed::Halted);
            self.know_leader(None);
            self.tell(Event::Halts);
        }
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The peers for which [`poll_transmit`](Self::poll_transmit) may have something since this was asked last, or since it last had something.
    pub fn take_ready(&mut self) -> NodeSet {
        core::mem::take(&mut self.ready)
    }

    /// This moment.
    pub fn status(&self) -> Status {
        Status {
            id: self.config.id,
            role: self.role,
            term: self.term,
            leader: self.leader,
            last: self.last(),
            committed: self.committed(),
            applied: LogIndex(self.ring.applied()),
            durable: self.durable,
            snapshot: self.covered().index,
            start: self.start.index,
            accepted: self.ring.accepted(),
            flushed: self.ring.flushed(),
        }
    }

    /// The end of what the ring has accepted.
    pub fn accepted(&self) -> Position {
        self.ring.accepted()
    }

    /// The last entry known to be committed.
    pub fn committed(&self) -> LogIndex {
        LogIndex(self.ring.committed())
    }

    /// The last entry the application has finished.
    pub fn applied(&self) -> LogIndex {
        LogIndex(self.ring.applied())
    }

    /// What the application must have come to before its state is whole: what it has applied, or more if it has a snapshot to restore.
    pub fn consistent_at(&self) -> LogIndex {
        self.applied().max(self.covered().index)
    }

    /// Whether the node has stopped.
    pub fn has_halted(&self) -> bool {
        self.role == Role::Halted
    }

    /// The term this node leads, if it does.
    pub fn leads(&self) -> Option<Term> {
        (self.role == Role::Leader).then_some(self.term)
    }

    /// What was refused so far.
    pub const fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// The largest command in bytes.
    pub const fn command_limit(&self) -> usize {
        self.command_limit
    }

    /// The configuration.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Checks what must hold between any two inputs.
    ///
    /// # Panics
    /// It does not hold: a bug. For tests and simulation.
    pub fn assert_invariants(&self) {
        let (last, committed) = (self.last(), self.committed());
        assert!(committed <= last, "committed {committed} is in the log, which ends at {last}");
        assert!(self.durable <= last, "durable {} is in the log, which ends at {last}", self.durable);
        assert!(self.runs.last_term() <= self.term, "no entry is of a later term");
        let covered = self.covered().index;
        assert!(self.start.index <= covered, "what is gone, up to {}, is covered, up to {covered}", self.start.index);
        self.runs.assert_invariants();
        if self.role == Role::Leader {
            assert_eq!(
                (self.leader, self.recorded),
                (Some(self.config.id), Recorded::Durable),
                "a leader's term is durable"
            );
            assert!(self.vote == Some(self.config.id), "a leader voted for itself");
            self.peers.iter().for_each(|peer| peer.assert_invariants(last));
            self.assert_turn();
        }
        if self.role == Role::Follower {
            assert!(self.following.matched <= last, "matched is in the log");
        }
        assert_eq!(self.ring.reader().leading() != 0, self.role == Role::Leader, "`leading` tells who leads");
    }

    /// Whether to go on with a message: it is of this node's term, or the node has just entered its term.
    #[cold]
    fn goes_on_in(&mut self, now: Instant, from: NodeId, term: Term, message: &Message<'_>) -> bool {
        if let Message::PreVoteAnswer(VoteAnswer { granted: true, .. }) = message {
            // A grant says nothing about the voter's term, which may be lower or higher (E4).
            return true;
        }
        if term < self.term {
            count(&mut self.refusals.stale_term);
            // A leader or candidate of the past must learn of its successor; an answer needs none.
            if matches!(
                message,
                Message::Append(_)
                    | Message::InstallSnapshot(_)
                    | Message::Confirm(_)
                    | Message::Vote(_)
                    | Message::VoteByLeave(_)
                    | Message::PreVote(_)
            ) {
                self.owe(from, Due::TERM);
            }
            return false;
        }
        if term == self.term {
            return true;
        }
        match message {
            // It asks about a term that may never be.
            Message::PreVote(_) => true,
            Message::Vote(_) if self.hears_leader(now) && self.leader != Some(from) => {
                count(&mut self.refusals.disruptive);
                false
            }
            _ => {
                self.enter_term(now, term);
                true
            }
        }
    }

    /// A later term was heard of: follow in it, whoever leads.
    fn enter_term(&mut self, now: Instant, term: Term) {
        self.term = term;
        self.vote = None;
        self.recorded = Recorded::Pending;
        // Grants of an earlier term are not due any more (E2).
        self.peers.iter_mut().for_each(|peer| peer.due.clear(Due::VOTE));
        self.follow(now, None);
    }

    /// Becomes, or stays, a follower in the current term. `leading` is cleared before anything of another leader is written (ring rule 5).
    fn follow(&mut self, now: Instant, leader: Option<NodeId>) {
        self.leave_office();
        self.role = Role::Follower;
        self.by_leave = false;
        self.intakes_wait = false;
        self.know_leader(leader);
        self.following = Following::default();
        if leader.is_some() {
            self.timers.rounds = 0;
        }
        self.peers.iter_mut().for_each(|peer| peer.due.clear(Due::REQUEST));
        self.await_leader(now);
        self.tell(Event::Follows { term: self.term, leader });
    }

    /// Whatever this node becomes, it leads no more.
    fn leave_office(&mut self) {
        self.ring.follow();
        if self.role == Role::Leader {
            self.news.add(News::OFFICE);
        }
    }

    /// Who leads has changed: what was asked of whoever led before will not be answered.
    fn know_leader(&mut self, leader: Option<NodeId>) {
        self.leader = leader;
        self.news.add(News::LEADER);
        self.close_window(Closed::LeaderLost);
        self.lose_rounds();
        self.peers.iter_mut().for_each(|peer| peer.due.clear(Due::CLIENTS));
    }

    /// Something that clients wait for may have changed.
    fn tell_clients(&mut self) {
        self.news.add(News::CLIENTS);
    }

    /// The window has moved, opened or closed.
    fn tell_window(&mut self) {
        self.news.add(News::WINDOW);
    }

    /// What has changed since this was last asked.
    pub fn take_news(&mut self) -> News {
        core::mem::take(&mut self.news)
    }

    /// Who leads the term, once that is known.
    pub const fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// The term.
    pub const fn term(&self) -> Term {
        self.term
    }

    /// Writes the record of term and vote, or remembers to.
    fn record_term(&mut self) {
        self.recorded = self.append_vote();
    }

    /// Where the record of term, vote and boot ends in the ring, if there was room for it.
    fn append_vote(&mut self) -> Recorded {
        match self.ring.append_vote(self.term.0, vote::to_flags(self.vote), self.boot) {
            Ok(_) => Recorded::Accepted(self.ring.accepted()),
            Err(_) => Recorded::Pending,
        }
    }

    /// The record of this term and vote is durable: what waited for it may leave.
    fn term_is_durable(&mut self, now: Instant) {
        self.ready = self.config.peers();
        if self.role == Role::Candidate {
            // E3: the own vote counts only now.
            self.count_vote(now, self.config.id);
        }
    }

    /// Whether frames that depend on term and vote may leave (E2, L4).
    fn may_speak(&self) -> bool {
        self.recorded == Recorded::Durable || self.breaks(Rule::AnswerBeforeDurable)
    }

    /// Follows `flushed` through the log. A record is durable when it begins before `flushed`, which lies on record boundaries.
    fn advance_durable(&mut self) {
        let last = self.last();
        if self.ring.flushed() == self.ring.accepted() {
            self.durable = last;
            return;
        }
        while self.durable < last && self.ring.is_durable(self.durable.next().0) {
            self.durable = self.durable.next();
        }
    }

    fn last(&self) -> LogIndex {
        LogIndex(self.ring.last())
    }

    /// The term of an entry of the log, if it is in memory or in the ring.
    fn term_of(&self, index: LogIndex) -> Option<Term> {
        let known = self.runs.term(index).or_else(|| self.ring.header(index.0).map(|header| Term(header.term)));
        known.or_else(|| {
            let of = |entry: EntryId| (entry.index == index && entry.term > Term::ZERO).then_some(entry.term);
            of(self.start).or_else(|| of(self.covered()))
        })
    }

    /// The state kept about `node`; `None` for this node and strangers.
    #[inline(never)]
    fn peer(&mut self, node: NodeId) -> Option<&mut Peer> {
        let place = self.places.get(usize::from(node.get()))?;
        self.peers.get_mut(usize::from(*place))
    }

    /// Something should be sent to `node`.
    #[inline(never)]
    fn owe(&mut self, node: NodeId, due: Due) {
        if let Some(peer) = self.peer(node) {
            peer.due.set(due);
            self.ready.insert(node);
        }
    }

    /// The same should be sent to several.
    fn owe_all(&mut self, nodes: NodeSet, due: Due) {
        nodes.iter().for_each(|node| self.owe(node, due));
    }

    fn tell(&mut self, event: Event) {
        if self.events.is_full() {
            self.events.pop_front();
            count(&mut self.refusals.events);
        }
        // There is room: one was just dropped if there was none.
        let _ = self.events.push_back(event);
    }

    /// Whether a test asked for this rule to be broken; never in a normal build, where the question costs nothing.
    #[inline(always)]
    fn breaks(&self, rule: Rule) -> bool {
        #[cfg(feature = "planted-faults")]
        {
            self.config.planted == Some(rule)
        }
        #[cfg(not(feature = "planted-faults"))]
        {
            let _ = rule;
            false
        }
    }
}

#[cfg(feature = "planted-faults")]
use crate::planted::Planted as Rule;

/// The rules that a test may break; see the feature `planted-faults`.
#[cfg(not(feature = "planted-faults"))]
#[derive(Clone, Copy)]
enum Rule {
    VoteTwice,
    AnswerBeforeDurable,
    VoteForOlderLog,
    CommitByCounting,
    AcknowledgeUnflushed,
    CommitUnmatched,
    SkipConsistencyCheck,
    AlwaysTruncate,
    NeverRetry,
    InstallStale,
    PurgeUncovered,
    StaleLease,
    StreamGap,
}

impl fmt::Debug for Raft<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Raft").field(&self.status()).finish()
    }
}

fn count(counter: &mut u32) {
    *counter = counter.wrapping_add(1);
}
