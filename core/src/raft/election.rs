//! Elections (Raft section 5.2, 5.4.1) with pre-vote (thesis 9.6).
//!
//! ```text
//!              patience ends                 quorum would vote             quorum voted
//!   Follower ----------------> PreCandidate -------------------> Candidate --------------> Leader
//!      ^                            |            term + 1            |                        |
//!      '--- leader heard, or a later term -----------------------------------------------'
//! ```

use super::{Raft, Recorded, Rule, count};
use crate::event::{Event, Role};
use crate::members::NodeSet;
use crate::progress::Due;
use crate::types::{Instant, LogIndex, NodeId, Term};
use crate::wire::{VoteAnswer, VoteRequest};

impl Raft<'_> {
    /// Asks whether the others would vote for this node. Changes no term: a node that cannot win disturbs nobody.
    pub(super) fn ask_pre_vote(&mut self, now: Instant) {
        self.timers.rounds = self.timers.rounds.saturating_add(1);
        self.await_leader(now);
        self.by_leave = false;
        self.know_leader(None);
        let able = self.can_campaign() && !self.has_promised(now);
        let Some(term) = self.term.next().filter(|_| able) else {
            // Wait as a follower; others may be able.
            self.role = Role::Follower;
            return;
        };
        self.role = Role::PreCandidate;
        self.votes = NodeSet::EMPTY;
        self.tell(Event::AsksPreVote { term });
        self.arm_tick(now);
        self.owe_all(self.config.peers(), Due::REQUEST);
        self.count_vote(now, self.config.id);
    }

    /// Takes the next term and votes for itself. Requests leave, and the own vote counts, once that is durable (E3): a candidate that
    /// forgot its claim in a crash could otherwise win later with votes for a longer log than it has.
    pub(super) fn campaign(&mut self, now: Instant) {
        let Some(term) = self.term.next() else { return };
        self.await_leader(now);
        self.know_leader(None);
        self.term = term;
        self.vote = Some(self.config.id);
        self.role = Role::Candidate;
        self.votes = NodeSet::EMPTY;
        self.peers.iter_mut().for_each(|peer| peer.due.clear(Due::VOTE));
        self.tell(Event::Campaigns { term });
        self.record_term();
        self.arm_tick(now);
        self.owe_all(self.config.peers(), Due::REQUEST);
    }

    /// Requests or their answers may have been lost: ask again those who have not granted.
    pub(super) fn repeat_requests(&mut self) {
        let silent = NodeSet::from_bits(self.config.peers().bits() & !self.votes.bits());
        self.owe_all(silent, Due::REQUEST);
    }

    /// The request that is due to every peer while asking for votes.
    pub(super) fn vote_request(&self) -> VoteRequest {
        let term = if self.role == Role::PreCandidate { self.term.next().unwrap_or(self.term) } else { self.term };
        VoteRequest { term, last: self.last(), last_term: self.runs.last_term() }
    }

    pub(super) fn handle_pre_vote(&mut self, now: Instant, from: NodeId, request: &VoteRequest) {
        if self.hears_leader(now) || self.has_promised(now) {
            count(&mut self.refusals.disruptive);
            return self.answer_vote(from, request.term, Due::PRE_VOTE, false);
        }
        let granted = request.term > self.term && self.is_up_to_date(request);
        self.answer_vote(from, request.term, Due::PRE_VOTE, granted);
    }

    /// A vote request of this term; `is_of_this_term` has entered it.
    pub(super) fn handle_vote(&mut self, now: Instant, from: NodeId, request: &VoteRequest, by_leave: bool) {
        if self.has_promised(now) && !by_leave {
            count(&mut self.refusals.disruptive);
            return self.answer_vote(from, request.term, Due::VOTE, false);
        }
        let free = self.vote.is_none() || self.vote == Some(from) || self.breaks(Rule::VoteTwice);
        let granted = request.term == self.term && free && self.leader.is_none() && self.is_up_to_date(request);
        if granted && self.vote != Some(from) {
            self.vote = Some(from);
            // Who votes gives the candidate time, and does not go on to ask for votes itself.
            self.role = Role::Follower;
            self.await_leader(now);
            self.recorded = Recorded::Pending;
            self.tell(Event::Votes { term: self.term, candidate: from });
        }
        self.answer_vote(from, request.term, Due::VOTE, granted);
    }

    pub(super) fn handle_pre_vote_answer(&mut self, now: Instant, from: NodeId, answer: &VoteAnswer) {
        if self.role == Role::PreCandidate && answer.granted && Some(answer.term) == self.term.next() {
            self.count_vote(now, from);
        }
    }

    pub(super) fn handle_vote_answer(&mut self, now: Instant, from: NodeId, answer: &VoteAnswer) {
        if self.role == Role::Candidate && answer.granted && answer.term == self.term {
            self.count_vote(now, from);
        }
    }

    /// A set counts each voter once (E9).
    pub(super) fn count_vote(&mut self, now: Instant, from: NodeId) {
        self.votes.insert(from);
        // A candidate that is not sure of its own vote has no quorum without it, however many others granted.
        let sure = self.votes.contains(self.config.id);
        if sure && self.votes.is_quorum_of(self.config.voters) {
            match self.role {
                Role::PreCandidate => self.campaign(now),
                Role::Candidate => self.lead(now),
                _ => {}
            }
        }
    }

    /// Raft section 5.4.1: the candidate's log is not older than this one.
    fn is_up_to_date(&self, request: &VoteRequest) -> bool {
        let own: (Term, LogIndex) = (self.runs.last_term(), self.last());
        (request.last_term, request.last) >= own || self.breaks(Rule::VoteForOlderLog)
    }

    /// The newest answer replaces an older one that has not left (P9).
    fn answer_vote(&mut self, to: NodeId, term: Term, kind: Due, granted: bool) {
        if let Some(peer) = self.peer(to) {
            peer.due.clear(Due::VOTE);
            peer.due.clear(Due::PRE_VOTE);
            peer.due.clear(Due::GRANT);
            peer.due.set(kind);
            if granted {
                peer.due.set(Due::GRANT);
            }
            peer.answer_term = term;
            self.ready.insert(to);
        }
    }
}
