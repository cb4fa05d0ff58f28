//! Raft as the paper has it (figure 2, with pre-vote and CheckQuorum of the thesis), slow and plain: what a core must agree with, step by step.
//!
//! It knows terms, votes, logs and majorities; it does not know rings, frames, windows or timers. What the rules leave open (when a deadline
//! comes, whether a client is refused) it is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quoring_core::wire::{Append, AppendAnswer, AppendRefusal, Message, VoteRequest};
use quoring_core::{Duration, Instant, LogIndex, NodeId, Role, Term};
use quoring_ring::{Kind, Record, Records};

/// An entry: the paper's command and term.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// When it was appended.
    pub term: Term,
    /// What it is.
    pub kind: Kind,
    /// What it says.
    pub command: Vec<u8>,
}

/// Something to be made durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Written {
    /// currentTerm and votedFor.
    Vote(Term, Option<NodeId>),
    /// An entry in its place.
    Entry(LogIndex, Entry),
}

/// A server of the paper.
#[derive(Clone)]
pub struct Model {
    id: NodeId,
    voters: BTreeSet<NodeId>,
    election_timeout: Duration,
    // Persistent state.
    /// currentTerm.
    pub term: Term,
    /// votedFor.
    pub vote: Option<NodeId>,
    /// log[].
    pub log: Vec<Entry>,
    durable: VecDeque<Written>,
    written: VecDeque<Written>,
    recorded: (Term, Option<NodeId>),
    // Volatile state.
    /// follower, candidate, leader.
    pub role: Role,
    /// Who is followed.
    pub leader: Option<NodeId>,
    /// commitIndex.
    pub committed: u64,
    granted: BTreeSet<NodeId>,
    /// Up to here the log is the leader's.
    matched: u64,
    session: u32,
    heard_at: Instant,
    /// The newest answer to a request for a pre-vote, by candidate.
    pre_votes: BTreeMap<NodeId, (Term, bool)>,
    // Of a leader.
    peers: BTreeMap<NodeId, Peer>,
    flushes: u64,
    flush_seen: (u64, Instant),
}

/// matchIndex and what CheckQuorum needs.
#[derive(Clone, Copy)]
struct Peer {
    matched: u64,
    heard_at: Instant,
    session: Option<u32>,
}

impl Model {
    /// A server that has never run.
    #[must_use]
    pub fn new(id: NodeId, voters: BTreeSet<NodeId>, election_timeout: Duration) -> Self {
        Self {
            id,
            voters,
            election_timeout,
            term: Term::ZERO,
            vote: None,
            log: Vec::new(),
            durable: VecDeque::new(),
            written: VecDeque::new(),
            recorded: (Term::ZERO, None),
            role: Role::Follower,
            leader: None,
            committed: 0,
            granted: BTreeSet::new(),
            matched: 0,
            session: 0,
            heard_at: Instant(0),
            pre_votes: BTreeMap::new(),
            peers: BTreeMap::new(),
            flushes: 0,
            flush_seen: (0, Instant(0)),
        }
    }

    /// What is written and not yet durable, oldest first.
    #[must_use]
    pub const fn written(&self) -> &VecDeque<Written> {
        &self.written
    }

    /// The last entry such that it and all before it are durable.
    #[must_use]
    pub fn durable(&self) -> u64 {
        let waiting = self.written.iter().filter_map(|written| match written {
            Written::Entry(index, _) => Some(index.0 - 1),
            Written::Vote(..) => None,
        });
        waiting.min().unwrap_or(u64::MAX).min(self.last())
    }

    /// The power goes and comes back; the oldest `kept` of what was written is durable nevertheless.
    pub fn restart(&mut self, kept: usize) {
        self.durable.extend(self.written.drain(..kept.min(self.written.len())));
        let mut fresh = Self::new(self.id, self.voters.clone(), self.election_timeout);
        for written in &self.durable {
            match written {
                Written::Vote(term, vote) => (fresh.term, fresh.vote) = (*term, *vote),
                Written::Entry(index, entry) => {
                    fresh.log.truncate(index.0 as usize - 1);
                    fresh.log.push(entry.clone());
                }
            }
        }
        fresh.recorded = (fresh.term, fresh.vote);
        fresh.durable = std::mem::take(&mut self.durable);
        *self = fresh;
    }

    /// The oldest `count` of what was written are durable now.
    pub fn flush(&mut self, now: Instant, count: usize) {
        let was_sure = self.is_sure();
        self.durable.extend(self.written.drain(..count));
        self.flushes += count as u64;
        if !was_sure && self.is_sure() && self.role == Role::Candidate {
            self.grant(now, self.id);
        }
        if self.role == Role::Leader {
            self.advance_commit();
        }
    }

    /// A client's command, which the leader took.
    pub fn propose(&mut self, command: &[u8]) {
        self.append(Entry { term: self.term, kind: Kind::Command, command: command.to_vec() });
    }

    /// An election timeout has passed (section 5.2). First the others are asked whether they would vote (thesis 9.6). A node whose last vote
    /// is not durable yet, or which has reached the last term, waits.
    pub fn election_timeout(&mut self, now: Instant) {
        self.leader = None;
        if !self.is_sure() || self.term == Term::CEILING {
            self.role = Role::Follower;
            return;
        }
        self.role = Role::PreCandidate;
        self.granted.clear();
        self.grant(now, self.id);
    }

    /// A leader looks around: it steps down when no quorum has answered, or nothing became durable, for an election timeout.
    pub fn leader_tick(&mut self, now: Instant) {
        if self.flushes != self.flush_seen.0 || self.written.is_empty() {
            self.flush_seen = (self.flushes, now);
        }
        let heard = self.peers.values().filter(|peer| now - peer.heard_at <= self.election_timeout).count() + 1;
        if now - self.flush_seen.1 > self.election_timeout || !self.is_quorum(heard) {
            self.follow(now, None);
        }
    }

    /// Whether term and vote are durable, so that they may be spoken of.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        self.recorded == (self.term, self.vote)
            && !self.written.iter().any(|written| matches!(written, Written::Vote(..)))
    }

    /// A message arrives. `ignores` is whether an answer was ignored as one of an earlier pipeline.
    ///
    /// # Errors
    /// It should not have been.
    pub fn receive(
        &mut self,
        now: Instant,
        from: NodeId,
        term: Term,
        message: &Message<'_>,
        ignores: bool,
    ) -> Result<(), String> {
        let result = self.dispatch(now, from, term, message, ignores);
        self.record();
        result
    }

    fn dispatch(
        &mut self,
        now: Instant,
        from: NodeId,
        term: Term,
        message: &Message<'_>,
        ignores: bool,
    ) -> Result<(), String> {
        let is_pre_grant = matches!(message, Message::PreVoteAnswer(answer) if answer.granted);
        if term < self.term && !is_pre_grant {
            return Ok(());
        }
        if term > self.term {
            match message {
                Message::PreVote(_) => {}
                Message::PreVoteAnswer(answer) if answer.granted => {}
                // A voter that hears its leader keeps it.
                Message::Vote(_) if self.hears_leader(now) && self.leader != Some(from) => return Ok(()),
                _ => {
                    (self.term, self.vote) = (term, None);
                    self.follow(now, None);
                }
            }
        }
        match message {
            Message::PreVote(request) => {
                let granted = !self.hears_leader(now) && request.term > self.term && self.is_up_to_date(request);
                self.pre_votes.insert(from, (request.term, granted));
            }
            Message::PreVoteAnswer(answer) => {
                if self.role == Role::PreCandidate && answer.granted && Some(answer.term) == self.term.next() {
                    self.grant(now, from);
                }
            }
            Message::Vote(request) => {
                if request.term == self.term
                    && self.vote.is_none()
                    && self.leader.is_none()
                    && self.is_up_to_date(request)
                {
                    (self.vote, self.role) = (Some(from), Role::Follower);
                }
            }
            Message::VoteAnswer(answer) => {
                if self.role == Role::Candidate && answer.granted && answer.term == self.term {
                    self.grant(now, from);
                }
            }
            Message::Append(append) => self.append_entries(now, from, append),
            Message::AppendAnswer(answer) => return self.answered(now, from, answer, ignores),
            Message::AppendRefusal(refusal) => return self.refused(now, from, refusal, ignores),
            Message::InstallSnapshot(_) | Message::SnapshotAnswer(_) => {
                return Err("this model's logs are never purged".into());
            }
        }
        Ok(())
    }

    /// AppendEntries RPC, receiver implementation (figure 2).
    fn append_entries(&mut self, now: Instant, from: NodeId, append: &Append<'_>) {
        if self.role == Role::Leader || self.leader.is_some_and(|leader| leader != from) {
            return;
        }
        if self.leader.is_none() {
            self.follow(now, Some(from));
            self.session = append.session;
        }
        self.heard_at = now;
        if append.session.wrapping_sub(self.session) as i32 >= 0 {
            self.session = append.session;
            // The term is recorded before any entry of it.
            self.record();
            if self.is_consistent(append) {
                self.take(append);
            }
            // The paper's min(leaderCommit, index of last new entry), with everything known to be the leader's as new.
            self.committed = self.committed.max(append.commit.0.min(self.matched));
        }
    }

    fn is_consistent(&mut self, append: &Append<'_>) -> bool {
        let prev = append.prev.0;
        if prev <= self.matched || prev <= self.committed {
            return true;
        }
        let same = prev <= self.last() && self.term_of(prev) == append.prev_term;
        if same {
            self.matched = prev;
        }
        same
    }

    fn take(&mut self, append: &Append<'_>) {
        for (index, record) in (append.prev.0 + 1..).zip(Records::new(append.records)) {
            let Ok(Record { header, payload, .. }) = record else { return };
            if index <= self.matched {
                continue;
            }
            if index > self.last() || self.term_of(index).0 != header.term {
                if index <= self.committed {
                    return;
                }
                self.log.truncate(index as usize - 1);
                self.append(Entry { term: Term(header.term), kind: header.kind, command: payload.to_vec() });
            }
            self.matched = index;
        }
    }

    fn answered(&mut self, now: Instant, from: NodeId, answer: &AppendAnswer, ignores: bool) -> Result<(), String> {
        if self.role != Role::Leader || answer.matched > answer.received || answer.received.0 > self.last() {
            return Ok(());
        }
        let Some(peer) = self.peers.get_mut(&from) else { return Ok(()) };
        if peer.session != Some(answer.session) || ignores {
            return match (ignores, peer.session == Some(answer.session)) {
                (true, false) => Ok(()),
                (true, true) => Err("an answer of this pipeline is ignored".into()),
                _ => Err("an answer of an earlier pipeline counts".into()),
            };
        }
        (peer.heard_at, peer.matched) = (now, peer.matched.max(answer.matched.0));
        self.advance_commit();
        Ok(())
    }

    fn refused(&mut self, now: Instant, from: NodeId, refusal: &AppendRefusal, ignores: bool) -> Result<(), String> {
        let Some(peer) = self.peers.get_mut(&from).filter(|_| self.role == Role::Leader) else { return Ok(()) };
        if peer.session == Some(refusal.session) {
            peer.heard_at = now;
        } else if !ignores {
            return Err("a refusal of an earlier pipeline counts".into());
        }
        Ok(())
    }

    /// This frame leaves the server.
    ///
    /// # Errors
    /// It may not.
    pub fn sends(&mut self, to: NodeId, term: Term, message: &Message<'_>) -> Result<(), String> {
        let sure = self.is_sure();
        let own = (self.last_term(), LogIndex(self.last()));
        let fine = match message {
            Message::PreVote(request) => {
                self.role == Role::PreCandidate
                    && (request.last_term, request.last) == own
                    && Some(request.term) == self.term.next()
            }
            Message::Vote(request) => {
                self.role == Role::Candidate
                    && sure
                    && (request.last_term, request.last) == own
                    && request.term == self.term
            }
            Message::PreVoteAnswer(answer) => self.pre_votes.get(&to) == Some(&(answer.term, answer.granted)),
            Message::VoteAnswer(answer) if answer.granted => sure && answer.term == self.term && self.vote == Some(to),
            Message::VoteAnswer(_) => sure,
            Message::AppendAnswer(answer) => {
                let own = (self.matched.min(self.durable()), self.matched);
                self.leader == Some(to)
                    && sure
                    && (answer.matched.0, answer.received.0, answer.session) == (own.0, own.1, self.session)
            }
            Message::AppendRefusal(refusal) => {
                let hint = refusal.hint.0;
                self.leader == Some(to)
                    && sure
                    && refusal.rejected.0 > self.matched
                    && hint >= self.committed
                    && hint <= self.last()
            }
            Message::Append(append) => self.role == Role::Leader && self.sends_own(to, append),
            Message::InstallSnapshot(_) | Message::SnapshotAnswer(_) => false,
        };
        if fine && term == self.term { Ok(()) } else { Err(format!("should not send {message:?} in term {term}")) }
    }

    fn sends_own(&mut self, to: NodeId, append: &Append<'_>) -> bool {
        let Some(peer) = self.peers.get_mut(&to) else { return false };
        peer.session = Some(append.session);
        let matched = peer.matched;
        let mut entries = (append.prev.0 + 1..).zip(Records::new(append.records));
        append.prev.0 <= self.last()
            && append.prev_term == self.term_of(append.prev.0)
            && append.commit.0 <= self.committed.min(matched)
            && entries.all(|(index, record)| {
                let own = self.log.get(index as usize - 1);
                record.is_ok_and(|record| {
                    own.is_some_and(|own| own.term.0 == record.header.term && own.command == record.payload)
                })
            })
    }

    /// Section 5.3 and 5.4.2: a majority of matchIndex\[i\] >= N, and log\[N\].term == currentTerm.
    fn advance_commit(&mut self) {
        let mut held: Vec<u64> = self.peers.values().map(|peer| peer.matched).chain([self.durable()]).collect();
        held.sort_unstable();
        // The smallest of the largest majority.
        let by_quorum = held[(held.len() - 1) / 2];
        if by_quorum > self.committed && self.term_of(by_quorum) == self.term {
            self.committed = by_quorum;
        }
    }

    fn grant(&mut self, now: Instant, from: NodeId) {
        self.granted.insert(from);
        if !self.granted.contains(&self.id) || !self.is_quorum(self.granted.len()) {
            return;
        }
        if self.role == Role::PreCandidate {
            let Some(term) = self.term.next() else { return };
            (self.term, self.vote, self.role) = (term, Some(self.id), Role::Candidate);
            self.granted.clear();
            self.record();
        } else if self.role == Role::Candidate {
            (self.role, self.leader) = (Role::Leader, Some(self.id));
            let peer = Peer { matched: 0, heard_at: now, session: None };
            self.peers = self.voters.iter().filter(|&&id| id != self.id).map(|&id| (id, peer)).collect();
            self.flush_seen = (self.flushes, now);
            self.append(Entry { term: self.term, kind: Kind::NoOp, command: Vec::new() });
        }
    }

    fn follow(&mut self, now: Instant, leader: Option<NodeId>) {
        (self.role, self.leader, self.matched, self.heard_at) = (Role::Follower, leader, 0, now);
    }

    fn append(&mut self, entry: Entry) {
        self.log.push(entry.clone());
        self.written.push_back(Written::Entry(LogIndex(self.last()), entry));
    }

    fn record(&mut self) {
        if self.recorded != (self.term, self.vote) {
            self.recorded = (self.term, self.vote);
            self.written.push_back(Written::Vote(self.term, self.vote));
        }
    }

    fn hears_leader(&self, now: Instant) -> bool {
        self.role == Role::Leader || self.leader.is_some() && now - self.heard_at < self.election_timeout
    }

    /// Section 5.4.1.
    fn is_up_to_date(&self, request: &VoteRequest) -> bool {
        (request.last_term, request.last.0) >= (self.last_term(), self.last())
    }

    fn is_quorum(&self, count: usize) -> bool {
        count * 2 > self.voters.len()
    }

    fn last(&self) -> u64 {
        self.log.len() as u64
    }

    fn last_term(&self) -> Term {
        self.log.last().map_or(Term::ZERO, |entry| entry.term)
    }

    fn term_of(&self, index: u64) -> Term {
        index.checked_sub(1).and_then(|place| self.log.get(place as usize)).map_or(Term::ZERO, |entry| entry.term)
    }
}
