//! Following: take what the leader sends, as far as it fits, and say how far it has become durable.

use quoring_ring::{AppendError, Record, Records};

use super::{Raft, Recorded, Rule, Transmit, count};
use crate::capabilities::Capabilities;
use crate::event::{Event, Role};
use crate::types::{Instant, LogIndex, NodeId, Term};
use crate::wire::{Append, AppendAnswer, AppendRefusal, Message, SnapshotAnswer};

/// What a follower keeps about its leader.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Following {
    /// The leader's newest pipeline; answers name it (L8).
    session: u32,
    /// Whether there is one: a leader may ask something else first.
    is_piped: bool,
    /// The last entry known to be this leader's. Never falls while the leader is the same: its log only grows.
    pub(super) matched: LogIndex,
    /// The last durable entry it was told of.
    acknowledged: LogIndex,
    /// Whether it should be answered even when nothing new is durable.
    pub(super) respond: bool,
    /// The append that does not follow on the log, until it is refused or has become pointless.
    refused: Option<Refused>,
    /// The leader should hear how many bytes of the snapshot up to this entry are here.
    pub(super) chunk: Option<(LogIndex, u64)>,
    /// The newest round that the leader wants confirmed.
    pub(super) confirm: u32,
    /// What the leader has said that it, or its cluster, can do.
    pub(super) capabilities: Option<Capabilities>,
}

#[derive(Clone, Copy, Debug)]
struct Refused {
    prev: LogIndex,
    prev_term: Term,
}

/// What is left of the records of a frame.
struct Next<'b> {
    /// The index of the first,
    index: LogIndex,
    /// and the term of the entry before it, as the leader says.
    after: Term,
    records: &'b [u8],
}

/// Entries of a frame that may follow on the last one of the log.
struct Fresh {
    count: u32,
    bytes: usize,
    /// The term of the newest.
    term: Term,
}

/// How a record compares with the log.
enum Place {
    /// The log has it.
    Same,
    /// It replaces a conflicting tail.
    Conflict,
    /// Its term would contradict an entry that is committed, or the entry before it: no correct leader sends it.
    Impossible,
    /// The log's term at its index must be looked up.
    Unknown,
}

impl Raft<'_> {
    /// A leader of this term sends something: whether to obey it.
    #[cold]
    pub(super) fn obey(&mut self, now: Instant, from: NodeId) -> bool {
        if self.role == Role::Leader || self.leader.is_some_and(|leader| leader != from) {
            // Two leaders in one term: a forgery, or a fault elsewhere. Never obeyed.
            count(&mut self.refusals.impossible);
            return false;
        }
        if self.leader.is_none() {
            self.follow(now, Some(from));
        }
        self.timers.heard_at = now;
        true
    }

    /// A leader of this term sends something of a pipeline: whether to listen.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) fn hear(&mut self, now: Instant, from: NodeId, session: u32) -> bool {
        if self.role == Role::Follower && self.leader == Some(from) {
            self.timers.heard_at = now;
        } else if !self.obey(now, from) {
            return false;
        }
        if !self.following.is_piped {
            self.following.is_piped = true;
            self.following.session = session;
        }
        self.retry_snapshot(now);
        if session.wrapping_sub(self.following.session).cast_signed() < 0 {
            // Delayed from a pipeline that the leader has given up.
            count(&mut self.refusals.stale_answer);
            return false;
        }
        self.following.session = session;
        if self.recorded == Recorded::Pending {
            self.record_term();
        }
        // While the log waits to be started anew behind a snapshot, there is none.
        !self.is_installing()
    }

    /// Raft figure 2, AppendEntries, of this term. The entry whose term must be looked up in the store first, if there is one.
    pub(super) fn handle_append(&mut self, now: Instant, from: NodeId, append: &Append<'_>) -> Option<LogIndex> {
        if !self.hear(now, from, append.session) {
            return None;
        }
        let unknown = match self.follows_on(append.prev, append.prev_term) {
            Some(true) => self.take_entries(append),
            Some(false) => {
                self.following.refused = Some(Refused { prev: append.prev, prev_term: append.prev_term });
                None
            }
            None => return Some(append.prev),
        };
        self.follow_commit(append);
        self.following.respond |= append.respond;
        self.answer_leader();
        unknown
    }

    /// Whether the leader's log and this one are the same up to `prev`: the induction step of log matching (Raft section 5.3).
    /// `None` when the own term there must be looked up.
    fn follows_on(&mut self, prev: LogIndex, prev_term: Term) -> Option<bool> {
        // Committed entries are in every later leader's log (leader completeness; L11).
        if prev <= self.following.matched
            || prev <= self.committed()
            || self.breaks(Rule::SkipConsistencyCheck) && prev <= self.last()
        {
            return Some(true);
        }
        if prev > self.last() {
            return Some(false);
        }
        let same = self.term_of(prev)? == prev_term;
        if same {
            self.following.matched = prev;
        }
        Some(same)
    }

    /// Takes the entries that fit (P11). Each is matched before the next one is looked at, so a second pass over the same frame goes on where
    /// the first one stopped.
    fn take_entries(&mut self, append: &Append<'_>) -> Option<LogIndex> {
        let before = self.following.matched;
        let mut next = Next { index: append.prev.next(), after: append.prev_term, records: append.records };
        let unknown = if append.prev < self.last() { self.match_entries(&mut next) } else { None };
        if next.index > self.last() {
            self.accept(next);
        }
        // Entries that brought nothing new: the answer to the first copy may be lost.
        self.following.respond |= self.following.matched == before && !append.records.is_empty();
        unknown
    }

    /// Compares those that the log has, or has others in place of, with it. What then follows on the last one is left, or nothing.
    #[cold]
    fn match_entries(&mut self, next: &mut Next<'_>) -> Option<LogIndex> {
        while next.index <= self.last() && !next.records.is_empty() {
            let Ok(record) = Record::parse(next.records) else {
                count(&mut self.refusals.record);
                return None;
            };
            let (index, term) = (next.index, Term(record.header.term));
            if index > self.following.matched || self.breaks(Rule::AlwaysTruncate) {
                if !self.is_entry(&record, index) {
                    count(&mut self.refusals.record);
                    return None;
                }
                match self.place(index, term, next.after) {
                    Place::Same => self.following.matched = index,
                    Place::Conflict if self.replace(&record, index) => {}
                    Place::Conflict => return None,
                    Place::Unknown => return Some(index),
                    Place::Impossible => {
                        count(&mut self.refusals.impossible);
                        return None;
                    }
                }
            }
            *next = Next {
                index: index.next(),
                after: term,
                records: next.records.get(record.bytes.len()..).unwrap_or_default(),
            };
        }
        None
    }

    /// Whether the record is an undamaged entry of this index (T2).
    fn is_entry(&self, record: &Record<'_>, index: LogIndex) -> bool {
        record.header.kind.is_entry()
            && record.header.index_low == index.0 as u32
            && self.checksum.verify(record, (index.0 >> 32) as u32).is_ok()
    }

    /// An entry that the log has one in place of.
    fn place(&self, index: LogIndex, term: Term, after: Term) -> Place {
        if term < after || term > self.term {
            return Place::Impossible;
        }
        if self.breaks(Rule::AlwaysTruncate) && index > self.committed() {
            return Place::Conflict;
        }
        let committed = index <= self.committed();
        match self.term_of(index) {
            Some(own) if own == term => Place::Same,
            // What is committed is in the leader's log (L11), and never truncated (L2).
            None if committed => Place::Same,
            Some(_) if committed => Place::Impossible,
            Some(_) if self.term_of(index.previous()).is_some_and(|before| term < before) => Place::Impossible,
            // Only a conflict truncates, a shorter or older append does not.
            Some(_) => Place::Conflict,
            None => Place::Unknown,
        }
    }

    /// Replaces a conflicting tail by the leader's record; whether there was room.
    fn replace(&mut self, record: &Record<'_>, index: LogIndex) -> bool {
        // The term goes first.
        if self.recorded == Recorded::Pending || !self.store_takes(record.bytes) {
            return self.has_no_room(AppendError::Full);
        }
        match self.ring.append_record(record, index.0) {
            Ok(_) => {
                self.runs.append(index, Term(record.header.term));
                self.durable = self.durable.min(index.previous());
                self.following.matched = index;
                self.tell(Event::Truncates { from: index });
                true
            }
            Err(error) => self.has_no_room(error),
        }
    }

    /// Appends the entries that follow on the last one, those that are sound, as far as there is room: in one piece if there is room for all.
    fn accept(&mut self, next: Next<'_>) {
        let fresh = self.sound(&next);
        let (mut rest, mut index) = (next.records.get(..fresh.bytes).unwrap_or_default(), next.index);
        let mut left = fresh.count;
        while left > 0 {
            // The leader goes by the room it was told, so this is one comparison.
            let accepted = match self.recorded {
                Recorded::Pending => Err(AppendError::Full),
                _ if !self.store_takes(rest) => Err(AppendError::Full),
                _ => self.ring.append_span(rest, index.0, left),
            };
            let span = match accepted {
                Ok(span) => span,
                Err(error) => {
                    self.has_no_room(error);
                    return;
                }
            };
            // Terms rise along the span: if the newest is not new, none is.
            if fresh.term != self.runs.last_term() {
                self.note_terms(rest.get(..span.bytes).unwrap_or(rest), index);
            }
            self.following.matched = self.last();
            index = self.last().next();
            left = left.saturating_sub(span.count);
            rest = rest.get(span.bytes..).unwrap_or_default();
        }
    }

    /// These records have been appended from `first` on.
    #[cold]
    fn note_terms(&mut self, records: &[u8], first: LogIndex) {
        for (index, record) in (first.0..).zip(Records::new(records).flatten()) {
            self.runs.append(LogIndex(index), Term(record.header.term));
        }
    }

    /// How many of the entries that should follow on the last one are undamaged, and what no correct leader would not send: terms never fall along a log,
    /// whatever the sender says of the entry before.
    fn sound(&mut self, next: &Next<'_>) -> Fresh {
        let mut fresh = Fresh { count: 0, bytes: 0, term: next.after.max(self.runs.last_term()) };
        let (mut index, mut rest) = (next.index, next.records);
        while !rest.is_empty() {
            let Ok((term, size)) = self.checksum.entry(rest, index.0) else {
                count(&mut self.refusals.record);
                break;
            };
            let term = Term(term);
            if term < fresh.term || term > self.term {
                count(&mut self.refusals.impossible);
                break;
            }
            fresh = Fresh { count: fresh.count + 1, bytes: fresh.bytes + size, term };
            (index, rest) = (index.next(), rest.get(size..).unwrap_or_default());
        }
        fresh
    }

    /// Nothing more was taken: the leader is told how far it got. Always `false`.
    fn has_no_room(&mut self, error: AppendError) -> bool {
        let full = error == AppendError::Full;
        count(if full { &mut self.refusals.ring_full } else { &mut self.refusals.record });
        self.following.respond |= full;
        false
    }

    /// L3 with the stronger bound: what is matched with this leader, of which `prev` and the entries just taken are a part.
    fn follow_commit(&mut self, append: &Append<'_>) {
        let known = if self.breaks(Rule::CommitUnmatched) { self.last() } else { self.following.matched };
        let commit = append.commit.min(known);
        if commit > self.committed() {
            self.ring.commit(commit.0);
        }
    }

    /// Marks the leader as ready for an answer if one is due.
    pub(super) fn answer_leader(&mut self) {
        if let Some(leader) = self.leader
            && (self.following.respond
                || self.following.refused.is_some()
                || self.following.chunk.is_some()
                || self.acknowledgeable() > self.following.acknowledged)
        {
            self.ready.insert(leader);
        }
    }

    /// L4: what is this leader's and durable here.
    fn acknowledgeable(&self) -> LogIndex {
        let durable = if self.breaks(Rule::AcknowledgeUnflushed) { self.last() } else { self.durable };
        self.following.matched.min(durable)
    }

    /// What the leader should be told now.
    pub(super) fn poll_answer(&mut self, to: NodeId, frame: &mut [u8]) -> Option<Transmit> {
        if (self.following.refused.is_some() || self.following.chunk.is_some())
            && let Some(answer) = self.poll_rare_answer()
        {
            self.ready.insert(to);
            return self.frame(to, &answer, frame);
        }
        let matched = self.acknowledgeable();
        if !self.following.respond && matched <= self.following.acknowledged {
            return None;
        }
        let (session, received, room) = (self.following.session, self.following.matched, self.room());
        let len = AppendAnswer { session, room, matched, received }.seal(&self.envelope, to, self.term, frame)?;
        self.following.respond = false;
        self.following.acknowledged = matched;
        Some(Transmit::Frame(len))
    }

    /// A refusal, or how far a snapshot has come.
    #[cold]
    fn poll_rare_answer(&mut self) -> Option<Message<'static>> {
        let (session, last) = (self.following.session, self.last());
        let refused = self.following.refused.take().filter(|refused| refused.prev > self.following.matched);
        if let Some(refused) = refused {
            let hint = self.runs.last_at_most(refused.prev.min(last), refused.prev_term);
            // What is committed matches, so the search never has to go below it. The term there may be forgotten; any that is not above the
            // leader's own then says "start here".
            let hint = hint.unwrap_or(LogIndex::ZERO).max(self.committed());
            let hint_term = self.term_of(hint).unwrap_or(self.term);
            let (room, rejected) = (self.room(), refused.prev);
            return Some(Message::AppendRefusal(AppendRefusal { session, room, rejected, hint, hint_term }));
        }
        let (last, received) = self.following.chunk.take()?;
        Some(Message::SnapshotAnswer(SnapshotAnswer { session, last, received }))
    }

    /// What ring and store can take now, in bytes.
    fn room(&mut self) -> u32 {
        u32::try_from(self.ring.room().min(self.store_room())).unwrap_or(u32::MAX)
    }
}
