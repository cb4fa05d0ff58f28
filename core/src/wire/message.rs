//! What nodes say to each other. Byte layouts are in `WIRE.md`.

use super::bytes::{Sink, Source};
use super::frame::{FrameError, HEADER};
use crate::types::{LogIndex, Term};

/// Where the records of an append begin in its frame.
pub const APPEND_HEADER: usize = HEADER + APPEND_SIZE;

const PRE_VOTE: u8 = 1;
const VOTE: u8 = 2;
const PRE_VOTE_ANSWER: u8 = 3;
const VOTE_ANSWER: u8 = 4;
const APPEND: u8 = 5;
const APPEND_ANSWER: u8 = 6;
const APPEND_REFUSAL: u8 = 7;

const VOTE_SIZE: usize = 16;
const VOTE_ANSWER_SIZE: usize = 8;
const APPEND_SIZE: usize = 32;
const APPEND_ANSWER_SIZE: usize = 24;
const APPEND_REFUSAL_SIZE: usize = 28;

/// One message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message<'b> {
    /// "Would you vote for me?" Changes nothing at the voter (Raft thesis 9.6).
    PreVote(VoteRequest),
    /// "Vote for me" (Raft figure 2, RequestVote).
    Vote(VoteRequest),
    /// The answer to a pre-vote.
    PreVoteAnswer(VoteAnswer),
    /// The answer to a vote.
    VoteAnswer(VoteAnswer),
    /// Entries, or none: a heartbeat or a commit index (Raft figure 2, AppendEntries).
    Append(Append<'b>),
    /// How far the follower has come.
    AppendAnswer(AppendAnswer),
    /// The append does not follow on the follower's log.
    AppendRefusal(AppendRefusal),
}

/// A candidate's claim; the frame's term is the candidate's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VoteRequest {
    /// The term the vote is asked for.
    pub term: Term,
    /// The candidate's last entry.
    pub last: LogIndex,
    /// Its term.
    pub last_term: Term,
}

/// The voter's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VoteAnswer {
    /// The term the vote was asked for.
    pub term: Term,
    /// Whether it was given.
    pub granted: bool,
}

/// The leader's entries from `prev + 1` on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Append<'b> {
    /// The entry before the first one sent.
    pub prev: LogIndex,
    /// Its term.
    pub prev_term: Term,
    /// What is committed, at most what the follower is known to hold (L6).
    pub commit: LogIndex,
    /// The pipeline this append belongs to (L8).
    pub session: u32,
    /// Whether an answer is wanted at once.
    pub respond: bool,
    /// Length of the records that follow.
    pub bytes: u16,
    /// The records, when received.
    pub records: &'b [u8],
}

/// A follower's progress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppendAnswer {
    /// The pipeline it belongs to.
    pub session: u32,
    /// Bytes the follower's ring can take now (P11).
    pub room: u32,
    /// The last entry that is the leader's and durable here (L4).
    pub matched: LogIndex,
    /// The last entry that is the leader's and accepted here.
    pub received: LogIndex,
}

/// A follower's refusal with a hint where the logs may meet (L7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppendRefusal {
    /// The pipeline it belongs to.
    pub session: u32,
    /// Bytes the follower's ring can take now.
    pub room: u32,
    /// The `prev` that was refused.
    pub rejected: LogIndex,
    /// An entry of the follower at or below which the logs may be the same.
    pub hint: LogIndex,
    /// The term of that entry.
    pub hint_term: Term,
}

impl<'b> Message<'b> {
    /// Bytes of the fixed part of this kind; `None` if there is no such kind.
    pub(super) const fn size(kind: u8) -> Option<usize> {
        Some(match kind {
            PRE_VOTE | VOTE => VOTE_SIZE,
            PRE_VOTE_ANSWER | VOTE_ANSWER => VOTE_ANSWER_SIZE,
            APPEND => APPEND_SIZE,
            APPEND_ANSWER => APPEND_ANSWER_SIZE,
            APPEND_REFUSAL => APPEND_REFUSAL_SIZE,
            _ => return None,
        })
    }

    pub(super) const fn kind(&self) -> u8 {
        match self {
            Self::PreVote(_) => PRE_VOTE,
            Self::Vote(_) => VOTE,
            Self::PreVoteAnswer(_) => PRE_VOTE_ANSWER,
            Self::VoteAnswer(_) => VOTE_ANSWER,
            Self::Append(_) => APPEND,
            Self::AppendAnswer(_) => APPEND_ANSWER,
            Self::AppendRefusal(_) => APPEND_REFUSAL,
        }
    }

    pub(super) fn decode(kind: u8, mut source: Source<'b>) -> Result<Self, FrameError> {
        let from = &mut source;
        let message = match kind {
            PRE_VOTE => VoteRequest::decode(from).map(Self::PreVote),
            VOTE => VoteRequest::decode(from).map(Self::Vote),
            PRE_VOTE_ANSWER => VoteAnswer::decode(from).map(Self::PreVoteAnswer),
            VOTE_ANSWER => VoteAnswer::decode(from).map(Self::VoteAnswer),
            APPEND => return Append::decode(source).map(Self::Append),
            APPEND_ANSWER => AppendAnswer::decode(from).map(Self::AppendAnswer),
            APPEND_REFUSAL => AppendRefusal::decode(from).map(Self::AppendRefusal),
            _ => return Err(FrameError::Malformed),
        };
        if !source.is_empty() {
            return Err(FrameError::Length);
        }
        message.ok_or(FrameError::Malformed)
    }

    pub(super) fn encode(&self, sink: &mut Sink<'_>) {
        match self {
            Self::PreVote(request) | Self::Vote(request) => request.encode(sink),
            Self::PreVoteAnswer(answer) | Self::VoteAnswer(answer) => answer.encode(sink),
            Self::Append(append) => append.encode(sink),
            Self::AppendAnswer(answer) => answer.encode(sink),
            Self::AppendRefusal(refusal) => refusal.encode(sink),
        }
    }
}

impl VoteRequest {
    fn decode(source: &mut Source<'_>) -> Option<Self> {
        let (last, last_term, term) = (source.u64()?, source.u32()?, source.u32()?);
        Some(Self { term: Term(term), last: LogIndex(last), last_term: Term(last_term) })
    }

    fn encode(&self, sink: &mut Sink<'_>) {
        sink.u64(self.last.0);
        sink.u32(self.last_term.0);
        sink.u32(self.term.0);
    }
}

impl VoteAnswer {
    fn decode(source: &mut Source<'_>) -> Option<Self> {
        let (term, granted) = (source.u32()?, flag(source.u32()?)?);
        Some(Self { term: Term(term), granted })
    }

    fn encode(&self, sink: &mut Sink<'_>) {
        sink.u32(self.term.0);
        sink.u32(self.granted.into());
    }
}

impl<'b> Append<'b> {
    fn decode(mut source: Source<'b>) -> Result<Self, FrameError> {
        let append = Self::fixed(&mut source).ok_or(FrameError::Malformed)?;
        let records = source.rest();
        if records.len() != usize::from(append.bytes) {
            return Err(FrameError::Length);
        }
        Ok(Self { records, ..append })
    }

    fn fixed(source: &mut Source<'_>) -> Option<Self> {
        let (prev, commit) = (LogIndex(source.u64()?), LogIndex(source.u64()?));
        let (prev_term, session) = (Term(source.u32()?), source.u32()?);
        let lengths = source.u32()?;
        let (bytes, respond) = (lengths as u16, flag(lengths >> 16)?);
        let _reserved = source.u32()?;
        Some(Self { prev, prev_term, commit, session, respond, bytes, records: &[] })
    }

    fn encode(&self, sink: &mut Sink<'_>) {
        sink.u64(self.prev.0);
        sink.u64(self.commit.0);
        sink.u32(self.prev_term.0);
        sink.u32(self.session);
        sink.u32(u32::from(self.bytes) | u32::from(self.respond) << 16);
        sink.u32(0);
    }
}

impl AppendAnswer {
    fn decode(source: &mut Source<'_>) -> Option<Self> {
        let (matched, received) = (LogIndex(source.u64()?), LogIndex(source.u64()?));
        let (session, room) = (source.u32()?, source.u32()?);
        Some(Self { session, room, matched, received })
    }

    fn encode(&self, sink: &mut Sink<'_>) {
        sink.u64(self.matched.0);
        sink.u64(self.received.0);
        sink.u32(self.session);
        sink.u32(self.room);
    }
}

impl AppendRefusal {
    fn decode(source: &mut Source<'_>) -> Option<Self> {
        let (rejected, hint) = (LogIndex(source.u64()?), LogIndex(source.u64()?));
        let (session, room, hint_term) = (source.u32()?, source.u32()?, Term(source.u32()?));
        Some(Self { session, room, rejected, hint, hint_term })
    }

    fn encode(&self, sink: &mut Sink<'_>) {
        sink.u64(self.rejected.0);
        sink.u64(self.hint.0);
        sink.u32(self.session);
        sink.u32(self.room);
        sink.u32(self.hint_term.0);
    }
}

/// Zero or one; nothing else is a flag.
const fn flag(value: u32) -> Option<bool> {
    match value {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}
