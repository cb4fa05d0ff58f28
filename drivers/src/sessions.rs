//! The sessions of the cluster: who opened one, which of its requests took effect last, and what the answer was (C11).
//!
//! The table is a pure function of the log, so it is the same on every node after the same entry: that a retried command takes effect once does not depend on who leads,
//! on restarts, or on which node the client talks to.

mod image;
#[cfg(test)]
mod tests;

use core::cmp::Ordering;

use quoring_core::{ClientId, LogIndex, RequestId};

pub(crate) use self::image::{HEAD, ITEM, PIECE, answer_len, count};

use crate::answer::Answer;
use crate::node::Lost;

/// One session. Its initial image is all zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Session {
    /// Whose it is.
    client: ClientId,
    /// The entry with which it was opened, or with which it took effect last.
    used: LogIndex,
    /// The entry with which it was opened, the low half of its index: what tells it from another session of the same client (see [`RequestId`]).
    opened: u32,
    /// The request that took effect last; 0 if none did.
    sequence: u32,
    /// What the application said to that request.
    answer: Answer,
}

/// All sessions, in places of the node's resources: the first `len` of these, in the order in which they were opened.
#[derive(Debug)]
pub(crate) struct SessionTable<'a> {
    places: &'a mut [Session],
    len: usize,
}

/// What to do with a request that was committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// The application should apply it; its answer is then to be [kept](SessionTable::keep).
    Apply,
    /// Nothing is to be applied: this is the outcome.
    Done(Result<Answer, Lost>),
    /// The cluster keeps this many sessions, more than there are places for here: the node must stop, or it would not forget the same ones as the others.
    TooMany(u32),
}

impl Session {
    pub(crate) const FREE: Self =
        Self { client: ClientId::NONE, used: LogIndex::ZERO, opened: 0, sequence: 0, answer: Answer::EMPTY };

    /// The answer to who opens it, for the first time or again: where it was opened, little-endian.
    fn opening(&self) -> Answer {
        Answer::new(&self.opened.to_le_bytes()).unwrap_or(Answer::EMPTY)
    }
}

impl<'a> SessionTable<'a> {
    /// No sessions yet.
    pub(crate) const fn new(places: &'a mut [Session]) -> Self {
        Self { places, len: 0 }
    }

    /// Takes note of the request in entry `index`, which is committed.
    pub(crate) fn judge(&mut self, index: LogIndex, request: &RequestId) -> Verdict {
        if request.sequence == 0 {
            return self.open(index, request);
        }
        match self.known(request) {
            Some(None) => Verdict::Apply,
            Some(Some(outcome)) => Verdict::Done(outcome),
            None => Verdict::Done(Err(Lost::SessionExpired)),
        }
    }

    /// The application has applied the request in entry `index`: the answer to it, and to every repetition.
    pub(crate) fn keep(&mut self, index: LogIndex, request: &RequestId, answer: &Answer) {
        if let Some(session) = self.session_mut(request.client) {
            (session.sequence, session.used, session.answer) = (request.sequence, index, *answer);
        }
    }

    /// What this table, that of the log up to `index`, knows of a request: `None` if it may still come.
    pub(crate) fn outcome(&self, index: LogIndex, request: &RequestId) -> Option<Result<Answer, Lost>> {
        match self.known(request) {
            Some(outcome) => outcome,
            // What opens a session may always come; and a node that has just started, or lags, is behind its clients.
            None if request.sequence == 0 || (index.0 as u32).wrapping_sub(request.table).cast_signed() < 0 => None,
            // It is gone, also if a late repetition of what opened it has opened another.
            None => Some(Err(Lost::SessionExpired)),
        }
    }

    /// What the request's session knows of it, if it is not new; `None` if there is no such session.
    fn known(&self, request: &RequestId) -> Option<Option<Result<Answer, Lost>>> {
        let session = self.sessions().iter().find(|session| session.client == request.client)?;
        if request.sequence == 0 {
            return Some(Some(Ok(session.opening())));
        }
        (request.table == session.opened).then(|| match request.sequence.cmp(&session.sequence) {
            Ordering::Less => Some(Err(Lost::Covered)),
            Ordering::Equal => Some(Ok(session.answer)),
            Ordering::Greater => None,
        })
    }

    /// Opens a session, if the client has none. How many sessions are kept is what the entry says, and not what this node has places for: every node must forget the
    /// same ones. Those that were used longest ago go.
    fn open(&mut self, index: LogIndex, request: &RequestId) -> Verdict {
        let most = request.table as usize;
        if most == 0 {
            return Verdict::Done(Err(Lost::SessionExpired));
        }
        if most > self.places.len() {
            return Verdict::TooMany(request.table);
        }
        if let Some(session) = self.session_mut(request.client) {
            session.used = index;
            let answer = session.opening();
            self.forget_down_to(most);
            return Verdict::Done(Ok(answer));
        }
        self.forget_down_to(most - 1);
        let session = Session { client: request.client, used: index, opened: index.0 as u32, ..Session::FREE };
        self.push(session);
        Verdict::Done(Ok(session.opening()))
    }

    /// Forgets those used longest ago until there are no more than `most`.
    fn forget_down_to(&mut self, most: usize) {
        while self.len > most
            && let Some(oldest) = self.oldest()
        {
            // The others stay in the order in which they were opened.
            let mut moved = Session::FREE;
            let from_oldest = self.sessions_mut().iter_mut().skip(oldest);
            from_oldest.rev().for_each(|session| core::mem::swap(session, &mut moved));
            self.len -= 1;
        }
    }

    /// The place of the session that was used longest ago.
    fn oldest(&self) -> Option<usize> {
        let ages = self.sessions().iter().enumerate().map(|(place, session)| (session.used, place));
        ages.min().map(|(_, place)| place)
    }

    /// `false` if there is no place.
    fn push(&mut self, session: Session) -> bool {
        let place = self.places.get_mut(self.len).map(|place| *place = session);
        self.len += usize::from(place.is_some());
        place.is_some()
    }

    fn sessions(&self) -> &[Session] {
        self.places.get(..self.len).unwrap_or_default()
    }

    fn session_mut(&mut self, client: ClientId) -> Option<&mut Session> {
        self.sessions_mut().iter_mut().find(|session| session.client == client)
    }

    fn sessions_mut(&mut self) -> &mut [Session] {
        self.places.get_mut(..self.len).unwrap_or_default()
    }
}
