//! Raft as the paper has it (figures 2 and 13, with pre-vote, CheckQuorum, leases and transfers of the thesis), slow and plain: what a core must agree with,
//! step by step.
//!
//! It knows terms, votes, promises, logs, snapshots and majorities; it does not know rings, frames, rounds of reads or timers. What the rules leave open (when
//! a deadline comes, whether a client is refused, how much of what was forwarded had room) it is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quoring_core::wire::{
    Append, AppendAnswer, AppendRefusal, CampaignNow, Forward, InstallSnapshot, Items, Message, SnapshotAnswer,
    VoteRequest,
};
use quoring_core::{ClientId, Duration, EntryId, Instant, LogIndex, NodeId, Role, Snapshot, Stored, Term};
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
    /// The same again, with a new boot number.
    Boot(Term, Option<NodeId>),
    /// An entry in its place.
    Entry(LogIndex, Entry),
    /// The log goes on behind this one, which a durable snapshot covers.
    Start(EntryId),
}

/// A server of the paper.
#[derive(Clone)]
pub struct Model {
    id: NodeId,
    voters: BTreeSet<NodeId>,
    election_timeout: Duration,
    leases: bool,
    // Persistent state.
    /// currentTerm.
    pub term: Term,
    /// votedFor.
    pub vote: Option<NodeId>,
    /// What the log goes on behind: lastIncludedIndex and lastIncludedTerm of an installed snapshot.
    base: EntryId,
    /// log[].
    log: Vec<Entry>,
    /// The newest snapshot on the disk.
    stored: Option<Snapshot>,
    /// What is purged. It is kept here nevertheless: only an install takes it away.
    start: LogIndex,
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
    /// The leader's newest pipeline, once there is one.
    session: Option<u32>,
    heard_at: Instant,
    /// Nobody is elected before (thesis 6.4.1).
    promised: Instant,
    /// Who leads has told this candidate to be one (thesis 3.10).
    by_leave: bool,
    /// The newest round that the leader wants confirmed.
    confirm: Option<u32>,
    /// Whether a boot number was taken in this life.
    has_booted: bool,
    /// The newest snapshot that this server knows to be on its disk.
    snapshot: Option<Snapshot>,
    /// The one that comes in, and how many bytes of it are here.
    incoming: Option<(Snapshot, u64)>,
    /// A piece that is being written: offset and length.
    chunk: Option<(Snapshot, u64, u64)>,
    /// What the leader should hear of it: lastIncludedIndex, bytes.
    received: Option<(LogIndex, u64)>,
    /// The newest answer to a request for a pre-vote, by candidate.
    pre_votes: BTreeMap<NodeId, (Term, bool)>,
    // Of a leader.
    peers: BTreeMap<NodeId, Peer>,
    /// To whom the office is handed over.
    successor: Option<NodeId>,
    /// The newest window of each peer, and how many of its items are in the log.
    windows: BTreeMap<NodeId, (ClientId, u32)>,
    flushes: u64,
    flush_seen: (u64, Instant),
}

/// matchIndex and what CheckQuorum needs.
#[derive(Clone, Copy)]
struct Peer {
    matched: u64,
    heard_at: Instant,
    session: Option<u32>,
    /// It is sent the snapshot.
    sending: bool,
}

impl Model {
    /// A server that has never run.
    #[must_use]
    pub fn new(id: NodeId, voters: BTreeSet<NodeId>, election_timeout: Duration, leases: bool) -> Self {
        Self {
            id,
            voters,
            election_timeout,
            leases,
            term: Term::ZERO,
            vote: None,
            base: EntryId::ZERO,
            log: Vec::new(),
            stored: None,
            start: LogIndex::ZERO,
            durable: VecDeque::new(),
            written: VecDeque::new(),
            recorded: (Term::ZERO, None),
            role: Role::Follower,
            leader: None,
            committed: 0,
            granted: BTreeSet::new(),
            matched: 0,
            session: None,
            heard_at: Instant(0),
            promised: Instant(0),
            by_leave: false,
            confirm: None,
            has_booted: false,
            snapshot: None,
            incoming: None,
            chunk: None,
            received: None,
            pre_votes: BTreeMap::new(),
            peers: BTreeMap::new(),
            successor: None,
            windows: BTreeMap::new(),
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
        // The snapshot behind which the log starts anew is durable itself.
        let newest = self.written.iter().rev().take_while(|written| !matches!(written, Written::Start(_)));
        let waiting = newest.filter_map(|written| match written {
            Written::Entry(index, _) => Some(index.0 - 1),
            Written::Vote(..) | Written::Boot(..) | Written::Start(_) => None,
        });
        waiting.min().unwrap_or(u64::MAX).min(self.last())
    }

    /// The power goes and comes back; the oldest `kept` of what was written is durable nevertheless.
    pub fn restart(&mut self, kept: usize) {
        self.durable.extend(self.written.drain(..kept.min(self.written.len())));
        let mut fresh = Self::new(self.id, self.voters.clone(), self.election_timeout, self.leases);
        for written in &self.durable {
            match written {
                Written::Vote(term, vote) | Written::Boot(term, vote) => (fresh.term, fresh.vote) = (*term, *vote),
                Written::Entry(index, entry) => {
                    fresh.truncate(index.0);
                    fresh.log.push(entry.clone());
                }
                Written::Start(base) => fresh.start_behind(*base),
            }
        }
        if let Some(snapshot) = self.stored {
            (fresh.stored, fresh.snapshot) = (Some(snapshot), Some(snapshot));
            if snapshot.last.term > fresh.term {
                (fresh.term, fresh.vote) = (snapshot.last.term, None);
            }
            fresh.committed = snapshot.last.index.0;
            if !fresh.has(snapshot.last) {
                fresh.start_behind(snapshot.last);
                fresh.written.push_back(Written::Start(snapshot.last));
            }
        }
        fresh.start = self.start;
        fresh.recorded = (fresh.term, fresh.vote);
        fresh.durable = std::mem::take(&mut self.durable);
        *self = fresh;
    }

    /// The power is back. What was promised before is forgotten, and so kept for as long as it may have been for, whether leases are on now or not.
    pub fn start(&mut self, now: Instant) {
        self.promised = now + self.election_timeout;
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

    /// The application has made a snapshot.
    ///
    /// # Errors
    /// It is not of what this server has applied.
    pub fn save(&mut self, snapshot: Snapshot) -> Result<(), String> {
        (self.stored, self.snapshot) = (Some(snapshot), Some(snapshot));
        let fine = snapshot.last.index.0 <= self.committed.min(self.durable()) && self.has(snapshot.last);
        if fine { Ok(()) } else { Err(format!("should not save {snapshot:?}")) }
    }

    /// The log was purged up to `start`.
    ///
    /// # Errors
    /// The snapshot does not cover that.
    pub fn purge(&mut self, start: LogIndex) -> Result<(), String> {
        let covered = self.covered();
        self.start = start;
        if start <= covered { Ok(()) } else { Err(format!("{start} is purged, {covered} is covered")) }
    }

    /// Whether a piece of a snapshot is being written.
    #[must_use]
    pub const fn holds_chunk(&self) -> bool {
        self.chunk.is_some()
    }

    /// The last entry that the newest snapshot covers.
    #[must_use]
    pub fn covered(&self) -> LogIndex {
        self.snapshot.map_or(LogIndex::ZERO, |snapshot| snapshot.last.index)
    }

    /// The piece is on the disk, and with the last one the snapshot.
    pub fn store(&mut self, stored: Stored) {
        if let Some((snapshot, offset, len)) = self.chunk
            && stored == Stored::Yes
            && offset + len == snapshot.length
        {
            self.stored = Some(snapshot);
        }
    }

    /// The server learns what became of the piece (figure 13: save the snapshot; if the log has its last entry, keep what follows; else discard the log).
    pub fn tell_stored(&mut self, now: Instant, stored: Stored) {
        let Some((snapshot, offset, len)) = self.chunk.take() else { return };
        let received = if stored == Stored::Yes { offset + len } else { 0 };
        self.incoming = (received > 0).then_some((snapshot, received));
        if stored != Stored::Yes || received < snapshot.length {
            self.received = Some((snapshot.last.index, received));
            return;
        }
        (self.incoming, self.snapshot) = (None, Some(snapshot));
        if self.has(snapshot.last) {
            self.holds(snapshot.last.index.0);
        } else if self.role != Role::Leader {
            if self.role != Role::Follower {
                self.follow(now, None);
            }
            self.start_behind(snapshot.last);
            self.written.push_back(Written::Start(snapshot.last));
            self.committed = snapshot.last.index.0;
            if self.leader.is_some() {
                self.holds(snapshot.last.index.0);
            }
        }
    }

    /// A client's command, which the leader took.
    pub fn propose(&mut self, command: &[u8]) {
        self.append(Entry { term: self.term, kind: Kind::Command, command: command.to_vec() });
    }

    /// A client is named, or another node asked, for the first time in this life.
    pub fn boot(&mut self) {
        if !std::mem::replace(&mut self.has_booted, true) {
            self.written.push_back(Written::Boot(self.term, self.vote));
        }
    }

    /// The leader hands over to `to`.
    ///
    /// # Errors
    /// There is no such peer, or this is no leader.
    pub fn transfer(&mut self, to: NodeId) -> Result<(), String> {
        self.successor = Some(to);
        let fine = self.role == Role::Leader && self.peers.contains_key(&to);
        if fine { Ok(()) } else { Err(format!("should not hand over to {to}")) }
    }

    /// A leader has appended `count` entries for the client of another node.
    ///
    /// # Errors
    /// They are not those that come next in its window, in whole batches.
    pub fn forwarded(&mut self, from: NodeId, forward: &Forward<'_>, count: u64) -> Result<(), String> {
        let (client, next) = self.windows.get(&from).copied().unwrap_or_default();
        if count > 0 && (self.role != Role::Leader || client != forward.client) {
            return Err(format!("should append nothing of {forward:?}"));
        }
        let skipped = next.wrapping_sub(forward.first) as usize;
        let items = Items::new(forward.items).skip(skipped).take(count as usize);
        let mut taken = 0;
        let mut half = false;
        for item in items {
            (taken, half) = (taken + 1, item.more);
            self.append(Entry { term: self.term, kind: item.kind, command: item.payload.to_vec() });
        }
        if taken < count || half {
            return Err(format!("should not append {count} items of {forward:?}: {next} are there"));
        }
        if count > 0 {
            self.windows.insert(from, (client, next.wrapping_add(taken as u32)));
        }
        Ok(())
    }

    /// An election timeout has passed (section 5.2). First the others are asked whether they would vote (thesis 9.6). A node whose last vote
    /// is not durable yet, or which has reached the last term, waits.
    pub fn election_timeout(&mut self, now: Instant) {
        (self.leader, self.by_leave) = (None, false);
        if !self.is_sure() || self.term == Term::CEILING || self.has_promised(now) {
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
                let free = !self.hears_leader(now) && !self.has_promised(now);
                let granted = free && request.term > self.term && self.is_up_to_date(request);
                self.pre_votes.insert(from, (request.term, granted));
            }
            Message::PreVoteAnswer(answer)
                if self.role == Role::PreCandidate && answer.granted && Some(answer.term) == self.term.next() =>
            {
                self.grant(now, from);
            }
            Message::Vote(request) if !self.has_promised(now) => self.vote_for(from, request),
            Message::VoteByLeave(request) => self.vote_for(from, request),
            Message::VoteAnswer(answer)
                if self.role == Role::Candidate && answer.granted && answer.term == self.term =>
            {
                self.grant(now, from);
            }
            Message::Append(append) => self.append_entries(now, from, append),
            Message::AppendAnswer(answer) => return self.answered(now, from, answer, ignores),
            Message::AppendRefusal(refusal) => return self.refused(now, from, refusal, ignores),
            Message::InstallSnapshot(chunk) => self.install_snapshot(now, from, chunk),
            Message::SnapshotAnswer(answer) => return self.received(now, from, answer, ignores),
            Message::Confirm(confirm) if self.obey(now, from) => {
                self.confirm = Some(confirm.round);
                if self.leases {
                    self.promised = self.promised.max(now + self.election_timeout);
                }
            }
            Message::CampaignNow(leave) => self.campaign_now(from, leave),
            Message::ConfirmAnswer(_) => self.hear_of(now, from),
            Message::Forward(forward) if forward.client.node() == Some(from) => {
                self.hear_of(now, from);
                let known = self.windows.get(&from).copied().unwrap_or_default().0;
                let opens = forward.client > known && forward.first == 0 && forward.items.is_empty();
                if self.role == Role::Leader && opens {
                    self.windows.insert(from, (forward.client, 0));
                }
            }
            // When rounds begin and end, and how a window moves, the oracle looks at.
            _ => {}
        }
        Ok(())
    }

    /// Section 5.2: one vote a term, first come, first served, and none once a leader is known.
    fn vote_for(&mut self, candidate: NodeId, request: &VoteRequest) {
        let free = self.vote.is_none() && self.leader.is_none();
        if request.term == self.term && free && self.is_up_to_date(request) {
            (self.vote, self.role) = (Some(candidate), Role::Follower);
        }
    }

    /// TimeoutNow of the thesis (3.10): campaign at once, if this server has all that the leader has.
    fn campaign_now(&mut self, from: NodeId, leave: &CampaignNow) {
        let follows = self.role == Role::Follower && self.leader == Some(from);
        let Some(term) = self.term.next() else { return };
        if follows && self.last() >= leave.last.0 && self.is_sure() {
            (self.leader, self.by_leave) = (None, true);
            (self.term, self.vote, self.role) = (term, Some(self.id), Role::Candidate);
            self.granted.clear();
            self.record();
        }
    }

    /// A peer gives a sign of life.
    fn hear_of(&mut self, now: Instant, from: NodeId) {
        if let Some(peer) = self.peers.get_mut(&from).filter(|_| self.role == Role::Leader) {
            peer.heard_at = now;
        }
    }

    /// A leader of this term is heard.
    fn obey(&mut self, now: Instant, from: NodeId) -> bool {
        if self.role == Role::Leader || self.leader.is_some_and(|leader| leader != from) {
            return false;
        }
        if self.leader.is_none() {
            self.follow(now, Some(from));
        }
        self.heard_at = now;
        true
    }

    /// The same; whether what it sends is of its newest pipeline.
    fn hear(&mut self, now: Instant, from: NodeId, session: u32) -> bool {
        if !self.obey(now, from) {
            return false;
        }
        let is_new = self.session.is_none_or(|known| session.wrapping_sub(known) as i32 >= 0);
        if is_new {
            self.session = Some(session);
            // The term is recorded before any entry of it.
            self.record();
        }
        is_new
    }

    /// AppendEntries RPC, receiver implementation (figure 2).
    fn append_entries(&mut self, now: Instant, from: NodeId, append: &Append<'_>) {
        if self.hear(now, from, append.session) {
            if self.is_consistent(append) {
                self.take(append);
            }
            // The paper's min(leaderCommit, index of last new entry), with everything known to be the leader's as new.
            self.committed = self.committed.max(append.commit.0.min(self.matched));
        }
    }

    /// InstallSnapshot RPC, receiver implementation (figure 13), in the order of its bytes.
    fn install_snapshot(&mut self, now: Instant, from: NodeId, chunk: &InstallSnapshot<'_>) {
        if !self.hear(now, from, chunk.session) {
            return;
        }
        let last = chunk.snapshot.last;
        if last.index.0 <= self.committed {
            return self.holds(self.committed);
        }
        if self.has(last) {
            return self.holds(last.index.0);
        }
        let received =
            self.incoming.filter(|(snapshot, _)| *snapshot == chunk.snapshot).map_or(0, |(_, received)| received);
        if chunk.offset == received {
            self.chunk = Some((chunk.snapshot, chunk.offset, chunk.data.len() as u64));
        } else {
            self.received = Some((last.index, received));
        }
    }

    /// The log is the leader's up to `index`, and that is committed.
    fn holds(&mut self, index: u64) {
        (self.matched, self.committed) = (self.matched.max(index), self.committed.max(index));
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
            // What the snapshot covers is committed, and so the leader's.
            if index > self.base.index.0 && (index > self.last() || self.term_of(index).0 != header.term) {
                if index <= self.committed {
                    return;
                }
                self.truncate(index);
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
        if peer.sending && answer.received >= self.start {
            // The snapshot is there, or not needed: entries follow in a new pipeline.
            (peer.sending, peer.session) = (false, None);
        }
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

    fn received(&mut self, now: Instant, from: NodeId, answer: &SnapshotAnswer, ignores: bool) -> Result<(), String> {
        let Some(peer) = self.peers.get_mut(&from).filter(|_| self.role == Role::Leader) else { return Ok(()) };
        if peer.session == Some(answer.session) {
            peer.heard_at = now;
        } else if !ignores {
            return Err("an answer to a piece of an earlier pipeline counts".into());
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
            Message::Vote(request) | Message::VoteByLeave(request) => {
                self.role == Role::Candidate
                    && sure
                    && self.by_leave == matches!(message, Message::VoteByLeave(_))
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
                    && (answer.matched.0, answer.received.0, Some(answer.session)) == (own.0, own.1, self.session)
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
            Message::InstallSnapshot(chunk) => {
                let fine = self.role == Role::Leader && self.snapshot == Some(chunk.snapshot);
                if let Some(peer) = self.peers.get_mut(&to) {
                    (peer.session, peer.sending) = (Some(chunk.session), true);
                }
                fine
            }
            Message::SnapshotAnswer(answer) => {
                self.leader == Some(to)
                    && sure
                    && Some(answer.session) == self.session
                    && self.received == Some((answer.last, answer.received))
            }
            Message::Confirm(_) => self.role == Role::Leader,
            Message::ConfirmAnswer(answer) => self.leader == Some(to) && sure && self.confirm == Some(answer.round),
            Message::Read(_) => self.leader == Some(to) && sure && self.boot_is_durable(),
            Message::ReadAnswer(answer) => {
                self.role == Role::Leader && answer.index.0 <= self.committed && self.commits_own()
            }
            Message::CampaignNow(leave) => {
                let holds = self.peers.get(&to).is_some_and(|peer| peer.matched == self.last());
                self.role == Role::Leader && self.successor == Some(to) && holds && leave.last.0 == self.last()
            }
            Message::Forward(forward) => {
                self.leader == Some(to) && sure && self.boot_is_durable() && forward.client.node() == Some(self.id)
            }
            Message::ForwardAnswer(answer) => {
                let fine = self.windows.get(&to) == Some(&(answer.client, answer.next));
                self.role == Role::Leader && fine && self.commits_own()
            }
        };
        if fine && term == self.term { Ok(()) } else { Err(format!("should not send {message:?} in term {term}")) }
    }

    fn boot_is_durable(&self) -> bool {
        self.has_booted && !self.written.iter().any(|written| matches!(written, Written::Boot(..)))
    }

    /// Section 8: what is committed is known once an entry of the own term is.
    fn commits_own(&self) -> bool {
        self.term_of(self.committed) == self.term
    }

    fn sends_own(&mut self, to: NodeId, append: &Append<'_>) -> bool {
        let Some(peer) = self.peers.get_mut(&to) else { return false };
        if peer.session.replace(append.session) != Some(append.session) {
            peer.sending = false;
        }
        let matched = peer.matched;
        let mut entries = (append.prev.0 + 1..).zip(Records::new(append.records));
        append.prev.0 <= self.last()
            && append.prev_term == self.term_of(append.prev.0)
            && append.commit.0 <= self.committed.min(matched)
            && entries.all(|(index, record)| {
                let own = self.entry(index);
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
            (self.role, self.leader, self.by_leave) = (Role::Leader, Some(self.id), false);
            (self.successor, self.windows) = (None, BTreeMap::new());
            let peer = Peer { matched: 0, heard_at: now, session: None, sending: false };
            self.peers = self.voters.iter().filter(|&&id| id != self.id).map(|&id| (id, peer)).collect();
            self.flush_seen = (self.flushes, now);
            self.append(Entry { term: self.term, kind: Kind::NoOp, command: Vec::new() });
        }
    }

    fn follow(&mut self, now: Instant, leader: Option<NodeId>) {
        (self.role, self.leader, self.matched, self.heard_at) = (Role::Follower, leader, 0, now);
        (self.received, self.session, self.confirm, self.by_leave) = (None, None, None, false);
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

    fn has_promised(&self, now: Instant) -> bool {
        now < self.promised
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

    /// The last index.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.base.index.0 + self.log.len() as u64
    }

    fn last_term(&self) -> Term {
        self.log.last().map_or(self.base.term, |entry| entry.term)
    }

    fn entry(&self, index: u64) -> Option<&Entry> {
        self.log.get(index.checked_sub(self.base.index.0 + 1)? as usize)
    }

    fn term_of(&self, index: u64) -> Term {
        let base = (index == self.base.index.0).then_some(self.base.term);
        self.entry(index).map(|entry| entry.term).or(base).unwrap_or_default()
    }

    /// Whether the log has this entry.
    fn has(&self, entry: EntryId) -> bool {
        self.base == entry || self.entry(entry.index.0).is_some_and(|own| own.term == entry.term)
    }

    /// `index` and all above go.
    fn truncate(&mut self, index: u64) {
        self.log.truncate((index - self.base.index.0) as usize - 1);
    }

    fn start_behind(&mut self, base: EntryId) {
        self.log.clear();
        (self.base, self.start) = (base, base.index);
    }
}
