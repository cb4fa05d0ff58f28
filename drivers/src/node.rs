//! The handle for clients.

use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll};

use quoring_core::{EntryId, Event, LogIndex, NodeId, Refusals, Rejection, Status, Term};
use quoring_ring::WakerCell;

use crate::answer::Answer;
use crate::halt::Halt;
use crate::platform::Platform;
use crate::pointers::Pointers;
use crate::read::Reading;
use crate::session::{Session, SessionError, SessionId};
use crate::shared::{Shared, State};
use crate::stream::{OpenError, Stream};
use crate::transfer::Transferring;

/// A running node. `Copy`: give one to every client.
pub struct Node<'a, P: Platform> {
    shared: &'a Shared<'a, P>,
}

/// Why a command was not taken. Nothing of it was stored; it may be proposed again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ProposeError {
    /// Propose at this node instead, if it is known; else ask again after an election.
    NotLeader {
        /// The leader.
        leader: Option<NodeId>,
    },
    /// No entry takes more bytes than this.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The application refuses it before anything of it is stored.
    Rejected(Rejection),
    /// The store or the application is behind, or the leader hands over its office; [`Node::propose`] waits (P10).
    Busy,
    /// As many clients wait as the resources have room for: try again when one of them has its answer.
    TooManyPending,
    /// The node has stopped; see [`Node::halted`].
    Halted,
}

/// Why a proposal that was accepted got no answer (R7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
#[repr(u8)]
pub enum Lost {
    /// Who led when the command was sent leads no longer, or does not answer. Whether the entry will be committed is not known here.
    LeadershipLost,
    /// The node has stopped. Whether the entry will be committed is not known here.
    Halted,
    /// The session has expired: open another. This attempt was not applied; whether an earlier one was is not known any more.
    SessionExpired,
    /// The stream broke before the command was stored: nothing of it is, and nothing of it will be.
    NotStored,
    /// A snapshot, or a later request of the session, took the place of the entry before its answer was seen here. Whether it was applied is not known here.
    Covered,
}

/// Why [`Node::propose`] has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ProposalError {
    /// Nothing was stored.
    Refused(ProposeError),
    /// It was stored, and then the answer got lost.
    Lost(Lost),
}

impl<'a, P: Platform> Node<'a, P> {
    pub(crate) const fn new(shared: &'a Shared<'a, P>) -> Self {
        Self { shared }
    }

    /// Appends `command` to the log now. The proposal waits for the application's answer.
    ///
    /// # Errors
    /// See [`ProposeError`]; nothing was stored.
    pub fn try_propose(&self, command: &[u8]) -> Result<Pending<'a, P>, ProposeError> {
        let (slot, entry) = self.shared.step(|state| {
            let slot = state.free_slot()?;
            let entry = state.raft.propose(command)?;
            state.proposals.wait(slot, entry);
            Ok::<_, ProposeError>((slot, entry))
        })?;
        Ok(Pending { seat: Seat { shared: self.shared, slot }, entry })
    }

    /// Appends `command` to the log, waiting for room if need be, and waits until it is committed and applied on this node. The
    /// application's answer.
    ///
    /// Dropping the future takes nothing back: once it was accepted, the command may be committed.
    ///
    /// # Errors
    /// See [`ProposalError`]. As many clients can wait as the resources have room for; one more is refused.
    pub async fn propose(&self, command: &[u8]) -> Result<Answer, ProposalError> {
        let seat = self.queue().map_err(ProposalError::Refused)?;
        let entry = poll_fn(|cx| seat.poll_propose(cx, command)).await.map_err(ProposalError::Refused)?;
        Pending { seat, entry }.await.map_err(ProposalError::Lost)
    }

    /// Waits until everything that was committed before this call is applied here: the application may then be read, on any node (C12). The entry that
    /// was waited for.
    ///
    /// # Errors
    /// [`ReadError::NoLeader`](crate::ReadError): nothing is known; ask again. [`ReadError::Halted`](crate::ReadError).
    pub const fn read(&self) -> Reading<'a, P> {
        Reading::new(self.shared)
    }

    /// Opens the stream of this node to the leader, on whichever node that is (C1). Waits for the leader's answer; and after earlier ones that broke, first for
    /// some time (C7).
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn stream(&self) -> Result<Stream<'a, P>, OpenError> {
        Stream::open(self.shared).await
    }

    /// Opens a session: its commands take effect once (C11). Waits for a leader if there is none.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub async fn session(&self) -> Result<Session<'a, P>, SessionError> {
        Session::open(self.shared).await
    }

    /// Goes on with a session that was opened earlier or elsewhere, at its command number `next`, the first being 1.
    pub const fn resume_session(&self, id: SessionId, next: u32) -> Session<'a, P> {
        Session::resume(self.shared, id, next)
    }

    /// Hands leadership over, to `to` or to whoever is nearest: what a leader should do before it is shut down (E10). Proposals wait meanwhile. The node that was
    /// told to campaign.
    ///
    /// # Errors
    /// See [`TransferError`](crate::TransferError); this node then leads on, if it led.
    pub const fn transfer(&self, to: Option<NodeId>) -> Transferring<'a, P> {
        Transferring::new(self.shared, to)
    }

    /// The node at this moment.
    pub fn status(&self) -> Status {
        self.shared.with(|state| state.raft.status())
    }

    /// What an interrupt may look at: the node's pointers, without its lock.
    pub fn pointers(&self) -> Pointers<'a> {
        let status = self.status();
        Pointers::new(self.shared.ring, status.committed, status.applied)
    }

    /// What the node has refused so far.
    pub fn refusals(&self) -> Refusals {
        self.shared.with(|state| *state.raft.refusals())
    }

    /// The largest command in bytes.
    pub fn command_limit(&self) -> usize {
        self.shared.with(|state| state.raft.command_limit())
    }

    /// The next event for a log, oldest first. The last few are kept.
    pub fn poll_event(&self) -> Option<Event> {
        self.shared.with(|state| state.raft.poll_event())
    }

    /// Why the node stopped, if it did.
    pub fn halted(&self) -> Option<Halt> {
        self.shared.halted()
    }

    /// Checks what must hold between any two inputs.
    ///
    /// # Panics
    /// It does not hold: a bug. For tests and simulation.
    pub fn assert_invariants(&self) {
        self.shared.with(|state| state.raft.assert_invariants());
    }

    /// A place in the table, before there is an entry to wait for.
    fn queue(&self) -> Result<Seat<'a, P>, ProposeError> {
        let slot = self.shared.with(|state| {
            let slot = state.free_slot()?;
            state.proposals.queue(slot);
            Ok::<_, ProposeError>(slot)
        })?;
        Ok(Seat { shared: self.shared, slot })
    }
}

/// A proposal that was accepted: await it for the application's answer.
///
/// Cancel-safe: dropping it frees its place; the entry may still be committed.
#[must_use = "the outcome is known only when this is awaited"]
pub struct Pending<'a, P: Platform> {
    seat: Seat<'a, P>,
    entry: EntryId,
}

impl<P: Platform> Pending<'_, P> {
    /// Where the entry is in the log.
    pub const fn index(&self) -> LogIndex {
        self.entry.index
    }

    /// The term in which it was proposed.
    pub const fn term(&self) -> Term {
        self.entry.term
    }
}

impl<P: Platform> fmt::Debug for Pending<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pending").field(&self.entry).finish()
    }
}

impl<P: Platform> Future for Pending<'_, P> {
    type Output = Result<Answer, Lost>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.seat.register(cx);
        let outcome = self.seat.shared.with(|state| state.proposals.outcome(self.seat.slot));
        outcome.map_or(Poll::Pending, Poll::Ready)
    }
}

/// A client's slot in the table of proposals. Free again when dropped.
pub(crate) struct Seat<'a, P: Platform> {
    pub(crate) shared: &'a Shared<'a, P>,
    pub(crate) slot: usize,
}

impl<P: Platform> Seat<'_, P> {
    /// Tries to append the command; waits while there is no room.
    fn poll_propose(&self, cx: &mut Context<'_>, command: &[u8]) -> Poll<Result<EntryId, ProposeError>> {
        // Register, then look: room that comes in between wakes (P2).
        self.register(cx);
        let accepted = self.shared.step(|state| {
            let entry = state.raft.propose(command)?;
            state.proposals.wait(self.slot, entry);
            Ok(entry)
        });
        match accepted {
            Err(quoring_core::ProposeError::Busy) => Poll::Pending,
            result => Poll::Ready(result.map_err(Into::into)),
        }
    }

    pub(crate) fn register(&self, cx: &Context<'_>) {
        if let Some(cell) = self.shared.wakes.proposals.get(self.slot) {
            cell.register(cx.waker());
        }
    }
}

impl<P: Platform> Drop for Seat<'_, P> {
    fn drop(&mut self) {
        let streams = self.shared.with(|state| {
            state.proposals.leave(self.slot);
            state.streams()
        });
        if streams {
            self.shared.wakes.stream.notify();
        }
    }
}

impl State<'_> {
    /// A free slot for a client. Who leads is worth more to it than that the table is full.
    fn free_slot(&self) -> Result<usize, ProposeError> {
        self.raft.may_propose()?;
        self.proposals.free().ok_or(ProposeError::TooManyPending)
    }
}

impl<P: Platform> Clone for Node<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform> Copy for Node<'_, P> {}

impl<P: Platform> fmt::Debug for Node<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.status()).finish()
    }
}

impl From<quoring_core::ProposeError> for ProposeError {
    fn from(error: quoring_core::ProposeError) -> Self {
        match error {
            quoring_core::ProposeError::NotLeader(leader) => Self::NotLeader { leader },
            quoring_core::ProposeError::TooLarge(limit) => Self::TooLarge { limit },
            quoring_core::ProposeError::Rejected(rejection) => Self::Rejected(rejection),
            quoring_core::ProposeError::Halted => Self::Halted,
            // Whatever else the core will refuse, it refuses for now.
            _ => Self::Busy,
        }
    }
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: Some(leader) } => write!(f, "node {leader} leads"),
            Self::NotLeader { leader: None } => f.write_str("no leader is known"),
            Self::TooLarge { limit } => write!(f, "a command has at most {limit} bytes"),
            Self::Rejected(Rejection(code)) => write!(f, "the application refuses the command, for reason {code}"),
            Self::Busy => f.write_str("the store or the application is behind"),
            Self::TooManyPending => f.write_str("too many proposals wait for their answers"),
            Self::Halted => f.write_str("the node has stopped"),
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeadershipLost => "who led leads no longer, or does not answer; the outcome is open",
            Self::Halted => "the node has stopped; the outcome is open",
            Self::SessionExpired => "the session has expired; open another",
            Self::NotStored => "the stream broke before the command was stored",
            Self::Covered => "a snapshot took the place of the entry; the outcome is open",
        })
    }
}

impl fmt::Display for ProposalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Lost(lost) => lost.fmt(f),
        }
    }
}

impl core::error::Error for ProposeError {}
impl core::error::Error for Lost {}
impl core::error::Error for ProposalError {}
