//! What nodes say to each other. Byte layouts are in `WIRE.md`.

use quoring_ring::Crc32c;

use super::bytes::{put_u32, put_u64, u32_at, u64_at};
use super::clients::{
    CAMPAIGN_NOW_SIZE, CONFIRM_SIZE, CampaignNow, Confirm, FORWARD_ANSWER_SIZE, FORWARD_HEADER, Forward, ForwardAnswer,
    READ_ANSWER_SIZE, READ_SIZE, Read, ReadAnswer, flag,
};
use super::frame::{Envelope, Fixed, FrameError, HEADER, check, check_rare, finish, kind};
use crate::members::NodeSet;
use crate::snapshot::Snapshot;
use crate::types::{EntryId, LogIndex, NodeId, Term};

/// Where the records of an append begin in its frame.
pub const APPEND_HEADER: usize = HEADER + 32;
/// Where the bytes of a snapshot begin in the frame of a chunk.
pub const CHUNK_HEADER: usize = HEADER + 48;

const PRE_VOTE: u8 = 1;
const VOTE: u8 = 2;
const PRE_VOTE_ANSWER: u8 = 3;
const VOTE_ANSWER: u8 = 4;
pub(crate) const APPEND: u8 = 5;
pub(crate) const APPEND_ANSWER: u8 = 6;
const APPEND_REFUSAL: u8 = 7;
pub(super) const INSTALL_SNAPSHOT: u8 = 8;
const SNAPSHOT_ANSWER: u8 = 9;
const CONFIRM: u8 = 10;
const CONFIRM_ANSWER: u8 = 11;
const READ: u8 = 12;
const READ_ANSWER: u8 = 13;
const CAMPAIGN_NOW: u8 = 14;
const VOTE_BY_LEAVE: u8 = 15;
pub(super) const FORWARD: u8 = 16;
const FORWARD_ANSWER: u8 = 17;

const VOTE_SIZE: usize = HEADER + 16;
const VOTE_ANSWER_SIZE: usize = HEADER + 8;
const APPEND_ANSWER_SIZE: usize = HEADER + 24;
const APPEND_REFUSAL_SIZE: usize = HEADER + 32;
const SNAPSHOT_ANSWER_SIZE: usize = HEADER + 24;

/// Bytes of the fixed part of a frame of this kind; `None` if there is no such kind.
pub(super) fn fixed_size(kind: u8) -> Option<usize> {
    Some(match kind {
        APPEND => APPEND_HEADER,
        APPEND_ANSWER => APPEND_ANSWER_SIZE,
        APPEND_REFUSAL => APPEND_REFUSAL_SIZE,
        PRE_VOTE | VOTE | VOTE_BY_LEAVE => VOTE_SIZE,
        PRE_VOTE_ANSWER | VOTE_ANSWER => VOTE_ANSWER_SIZE,
        INSTALL_SNAPSHOT => CHUNK_HEADER,
        SNAPSHOT_ANSWER => SNAPSHOT_ANSWER_SIZE,
        CONFIRM | CONFIRM_ANSWER => CONFIRM_SIZE,
        READ => READ_SIZE,
        READ_ANSWER => READ_ANSWER_SIZE,
        CAMPAIGN_NOW => CAMPAIGN_NOW_SIZE,
        FORWARD => FORWARD_HEADER,
        FORWARD_ANSWER => FORWARD_ANSWER_SIZE,
        _ => return None,
    })
}

/// One message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
    /// A piece of the leader's snapshot (Raft figure 13).
    InstallSnapshot(InstallSnapshot<'b>),
    /// How much of it the follower has.
    SnapshotAnswer(SnapshotAnswer),
    /// "Am I still your leader?"
    Confirm(Confirm),
    /// "You are, and this is what I can do."
    ConfirmAnswer(Confirm),
    /// A follower's clients want to read.
    Read(Read),
    /// What they must wait for.
    ReadAnswer(ReadAnswer),
    /// The leader hands over its office.
    CampaignNow(CampaignNow),
    /// "Vote for me, the leader has told me to campaign": a voter need not wait until it hears that leader no more.
    VoteByLeave(VoteRequest),
    /// Commands of the clients of a follower.
    Forward(Forward<'b>),
    /// How far the leader has come with them.
    ForwardAnswer(ForwardAnswer),
}

/// A candidate's claim; the frame's term is the candidate's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct VoteAnswer {
    /// The term the vote was asked for.
    pub term: Term,
    /// Whether it was given.
    pub granted: bool,
}

/// The leader's entries from `prev + 1` on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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

/// A chunk of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct InstallSnapshot<'b> {
    /// Of which snapshot. All of it stands in every chunk, so that any chunk may be the first that arrives.
    pub snapshot: Snapshot,
    /// Where the chunk begins in the snapshot, in bytes.
    pub offset: u64,
    /// The pipeline this chunk belongs to (L8).
    pub session: u32,
    /// The bytes.
    pub data: &'b [u8],
}

/// A follower's progress with a snapshot that is not complete; once it is, an [`AppendAnswer`] says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SnapshotAnswer {
    /// The pipeline it belongs to.
    pub session: u32,
    /// The last entry that the snapshot covers.
    pub last: LogIndex,
    /// How many of its first bytes the follower has: where to go on (S1).
    pub received: u64,
}

impl<'b> Message<'b> {
    pub(super) const fn kind(&self) -> u8 {
        match self {
            Self::PreVote(_) => PRE_VOTE,
            Self::Vote(_) => VOTE,
            Self::PreVoteAnswer(_) => PRE_VOTE_ANSWER,
            Self::VoteAnswer(_) => VOTE_ANSWER,
            Self::Append(_) => APPEND,
            Self::AppendAnswer(_) => APPEND_ANSWER,
            Self::AppendRefusal(_) => APPEND_REFUSAL,
            Self::InstallSnapshot(_) => INSTALL_SNAPSHOT,
            Self::SnapshotAnswer(_) => SNAPSHOT_ANSWER,
            Self::Confirm(_) => CONFIRM,
            Self::ConfirmAnswer(_) => CONFIRM_ANSWER,
            Self::Read(_) => READ,
            Self::ReadAnswer(_) => READ_ANSWER,
            Self::CampaignNow(_) => CAMPAIGN_NOW,
            Self::VoteByLeave(_) => VOTE_BY_LEAVE,
            Self::Forward(_) => FORWARD,
            Self::ForwardAnswer(_) => FORWARD_ANSWER,
        }
    }

    /// Reads the message of a frame.
    pub(super) fn open(bytes: &'b [u8], crc: Crc32c) -> Result<Self, FrameError> {
        match kind(bytes) {
            APPEND => Append::open(bytes, crc).map(Self::Append),
            APPEND_ANSWER => AppendAnswer::open(bytes, crc).map(Self::AppendAnswer),
            _ => Self::open_rare(bytes, crc),
        }
    }

    /// The same, but for the two kinds that replicate while all goes well.
    #[cold]
    #[inline(never)] // The message is written to where it is used, once, and not taken apart and put together again.
    pub(crate) fn open_rare(bytes: &'b [u8], crc: Crc32c) -> Result<Self, FrameError> {
        let kind = kind(bytes);
        let (fixed, rest) = &check_rare(kind, bytes, crc)?;
        Ok(match kind {
            APPEND_REFUSAL => Self::AppendRefusal(AppendRefusal::open(fixed)),
            PRE_VOTE => Self::PreVote(VoteRequest::open(fixed)),
            VOTE => Self::Vote(VoteRequest::open(fixed)),
            VOTE_BY_LEAVE => Self::VoteByLeave(VoteRequest::open(fixed)),
            PRE_VOTE_ANSWER => Self::PreVoteAnswer(VoteAnswer::open(fixed)?),
            VOTE_ANSWER => Self::VoteAnswer(VoteAnswer::open(fixed)?),
            INSTALL_SNAPSHOT => Self::InstallSnapshot(InstallSnapshot::open(fixed, rest, crc)?),
            SNAPSHOT_ANSWER => Self::SnapshotAnswer(SnapshotAnswer::open(fixed)),
            CONFIRM => Self::Confirm(Confirm::open(fixed)),
            CONFIRM_ANSWER => Self::ConfirmAnswer(Confirm::open(fixed)),
            READ => Self::Read(Read::open(fixed)),
            READ_ANSWER => Self::ReadAnswer(ReadAnswer::open(fixed)),
            CAMPAIGN_NOW => Self::CampaignNow(CampaignNow::open(fixed)),
            FORWARD => Self::Forward(Forward::open(fixed, rest, crc)?),
            FORWARD_ANSWER => Self::ForwardAnswer(ForwardAnswer::open(fixed)?),
            _ => return Err(FrameError::Malformed),
        })
    }

    /// Writes the message behind the envelope; the items that follow. `None` if there are more of them than can be told.
    pub(super) fn write(&self, frame: &mut Fixed, crc: Crc32c) -> Option<&'b [u8]> {
        match self {
            Self::Append(append) => append.write(frame.first_chunk_mut()?),
            Self::AppendAnswer(answer) => answer.write(frame.first_chunk_mut()?),
            Self::AppendRefusal(refusal) => refusal.write(frame),
            Self::PreVote(request) | Self::Vote(request) | Self::VoteByLeave(request) => request.write(frame),
            Self::PreVoteAnswer(answer) | Self::VoteAnswer(answer) => answer.write(frame),
            Self::InstallSnapshot(chunk) => chunk.write(frame, crc)?,
            Self::SnapshotAnswer(answer) => answer.write(frame),
            Self::Confirm(confirm) | Self::ConfirmAnswer(confirm) => confirm.write(frame),
            Self::Read(read) => read.write(frame),
            Self::ReadAnswer(answer) => answer.write(frame),
            Self::CampaignNow(leave) => leave.write(frame),
            Self::Forward(forward) => {
                forward.write(frame, crc)?;
                return Some(forward.items);
            }
            Self::ForwardAnswer(answer) => answer.write(frame),
        }
        Some(&[])
    }
}

impl VoteRequest {
    fn open(frame: &Fixed) -> Self {
        Self {
            last: LogIndex(u64_at::<16, CHUNK_HEADER>(frame)),
            last_term: Term(u32_at::<24, CHUNK_HEADER>(frame)),
            term: Term(u32_at::<28, CHUNK_HEADER>(frame)),
        }
    }

    fn write(&self, frame: &mut Fixed) {
        put_u64::<16, CHUNK_HEADER>(frame, self.last.0);
        put_u32::<24, CHUNK_HEADER>(frame, self.last_term.0);
        put_u32::<28, CHUNK_HEADER>(frame, self.term.0);
    }
}

impl VoteAnswer {
    fn open(frame: &Fixed) -> Result<Self, FrameError> {
        let granted = flag(u32_at::<20, CHUNK_HEADER>(frame))?;
        Ok(Self { term: Term(u32_at::<16, CHUNK_HEADER>(frame)), granted })
    }

    fn write(&self, frame: &mut Fixed) {
        put_u32::<16, CHUNK_HEADER>(frame, self.term.0);
        put_u32::<20, CHUNK_HEADER>(frame, self.granted.into());
    }
}

impl<'b> Append<'b> {
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(crate) fn open(bytes: &'b [u8], crc: Crc32c) -> Result<Self, FrameError> {
        let frame: &[u8; APPEND_HEADER] = check(bytes, crc)?;
        let records = bytes.get(APPEND_HEADER..).unwrap_or_default();
        let lengths = u32_at::<40, APPEND_HEADER>(frame);
        let append = Self {
            prev: LogIndex(u64_at::<16, APPEND_HEADER>(frame)),
            commit: LogIndex(u64_at::<24, APPEND_HEADER>(frame)),
            prev_term: Term(u32_at::<32, APPEND_HEADER>(frame)),
            session: u32_at::<36, APPEND_HEADER>(frame),
            respond: flag(lengths >> 16)?,
            bytes: lengths as u16,
            records,
        };
        if records.len() == usize::from(append.bytes) { Ok(append) } else { Err(FrameError::Length) }
    }

    /// Writes the whole frame but its records; the length, or `None` if it does not fit.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(crate) fn seal(&self, envelope: &Envelope, to: NodeId, term: Term, buffer: &mut [u8]) -> Option<usize> {
        let frame = buffer.first_chunk_mut::<APPEND_HEADER>()?;
        envelope.address(to, term, APPEND, frame.first_chunk_mut()?);
        self.write(frame);
        Some(finish(frame, envelope.crc))
    }

    fn write(&self, frame: &mut [u8; APPEND_HEADER]) {
        put_u64::<16, APPEND_HEADER>(frame, self.prev.0);
        put_u64::<24, APPEND_HEADER>(frame, self.commit.0);
        put_u32::<32, APPEND_HEADER>(frame, self.prev_term.0);
        put_u32::<36, APPEND_HEADER>(frame, self.session);
        put_u32::<40, APPEND_HEADER>(frame, u32::from(self.bytes) | u32::from(self.respond) << 16);
        put_u32::<44, APPEND_HEADER>(frame, 0);
    }
}

impl AppendAnswer {
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(crate) fn open(bytes: &[u8], crc: Crc32c) -> Result<Self, FrameError> {
        if bytes.len() != APPEND_ANSWER_SIZE {
            return Err(FrameError::Length);
        }
        let frame: &[u8; APPEND_ANSWER_SIZE] = check(bytes, crc)?;
        Ok(Self {
            matched: LogIndex(u64_at::<16, APPEND_ANSWER_SIZE>(frame)),
            received: LogIndex(u64_at::<24, APPEND_ANSWER_SIZE>(frame)),
            session: u32_at::<32, APPEND_ANSWER_SIZE>(frame),
            room: u32_at::<36, APPEND_ANSWER_SIZE>(frame),
        })
    }

    /// Writes the whole frame; its length, or `None` if it does not fit.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(crate) fn seal(&self, envelope: &Envelope, to: NodeId, term: Term, buffer: &mut [u8]) -> Option<usize> {
        let frame = buffer.first_chunk_mut::<APPEND_ANSWER_SIZE>()?;
        envelope.address(to, term, APPEND_ANSWER, frame.first_chunk_mut()?);
        self.write(frame);
        Some(finish(frame, envelope.crc))
    }

    fn write(&self, frame: &mut [u8; APPEND_ANSWER_SIZE]) {
        put_u64::<16, APPEND_ANSWER_SIZE>(frame, self.matched.0);
        put_u64::<24, APPEND_ANSWER_SIZE>(frame, self.received.0);
        put_u32::<32, APPEND_ANSWER_SIZE>(frame, self.session);
        put_u32::<36, APPEND_ANSWER_SIZE>(frame, self.room);
    }
}

impl AppendRefusal {
    fn open(frame: &Fixed) -> Self {
        Self {
            rejected: LogIndex(u64_at::<16, CHUNK_HEADER>(frame)),
            hint: LogIndex(u64_at::<24, CHUNK_HEADER>(frame)),
            session: u32_at::<32, CHUNK_HEADER>(frame),
            room: u32_at::<36, CHUNK_HEADER>(frame),
            hint_term: Term(u32_at::<40, CHUNK_HEADER>(frame)),
        }
    }

    fn write(&self, frame: &mut Fixed) {
        put_u64::<16, CHUNK_HEADER>(frame, self.rejected.0);
        put_u64::<24, CHUNK_HEADER>(frame, self.hint.0);
        put_u32::<32, CHUNK_HEADER>(frame, self.session);
        put_u32::<36, CHUNK_HEADER>(frame, self.room);
        put_u32::<40, CHUNK_HEADER>(frame, self.hint_term.0);
    }
}

impl<'b> InstallSnapshot<'b> {
    fn open(frame: &Fixed, data: &'b [u8], crc: Crc32c) -> Result<Self, FrameError> {
        if data.len() != u32_at::<60, CHUNK_HEADER>(frame) as usize {
            return Err(FrameError::Length);
        }
        if crc(0, data) != u32_at::<56, CHUNK_HEADER>(frame) {
            return Err(FrameError::Checksum);
        }
        let last = EntryId {
            index: LogIndex(u64_at::<16, CHUNK_HEADER>(frame)),
            term: Term(u32_at::<40, CHUNK_HEADER>(frame)),
        };
        let snapshot = Snapshot {
            last,
            length: u64_at::<24, CHUNK_HEADER>(frame),
            checksum: u32_at::<44, CHUNK_HEADER>(frame),
            voters: NodeSet::from_bits(u32_at::<48, CHUNK_HEADER>(frame)),
        };
        let offset = u64_at::<32, CHUNK_HEADER>(frame);
        let is_within = offset.checked_add(data.len() as u64).is_some_and(|end| end <= snapshot.length);
        if !is_within || last.index > LogIndex::CEILING {
            return Err(FrameError::Malformed);
        }
        Ok(Self { snapshot, offset, session: u32_at::<52, CHUNK_HEADER>(frame), data })
    }

    fn write(&self, frame: &mut Fixed, crc: Crc32c) -> Option<()> {
        put_u64::<16, CHUNK_HEADER>(frame, self.snapshot.last.index.0);
        put_u64::<24, CHUNK_HEADER>(frame, self.snapshot.length);
        put_u64::<32, CHUNK_HEADER>(frame, self.offset);
        put_u32::<40, CHUNK_HEADER>(frame, self.snapshot.last.term.0);
        put_u32::<44, CHUNK_HEADER>(frame, self.snapshot.checksum);
        put_u32::<48, CHUNK_HEADER>(frame, self.snapshot.voters.bits());
        put_u32::<52, CHUNK_HEADER>(frame, self.session);
        put_u32::<56, CHUNK_HEADER>(frame, crc(0, self.data));
        put_u32::<60, CHUNK_HEADER>(frame, u32::try_from(self.data.len()).ok()?);
        Some(())
    }
}

impl SnapshotAnswer {
    fn open(frame: &Fixed) -> Self {
        Self {
            last: LogIndex(u64_at::<16, CHUNK_HEADER>(frame)),
            received: u64_at::<24, CHUNK_HEADER>(frame),
            session: u32_at::<32, CHUNK_HEADER>(frame),
        }
    }

    fn write(&self, frame: &mut Fixed) {
        put_u64::<16, CHUNK_HEADER>(frame, self.last.0);
        put_u64::<24, CHUNK_HEADER>(frame, self.received);
        put_u32::<32, CHUNK_HEADER>(frame, self.session);
    }
}
