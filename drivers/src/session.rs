//! Sessions: a command takes effect once, however often it has to be sent, and whoever leads (C11).

use core::fmt;
use core::future::poll_fn;
use core::str::FromStr;
use core::task::{Context, Poll};

use quoring_core::{
    ClientId, Closed, ForwardError, Instant, ProposeError, Rejection, RequestId, Term, WindowError, WindowState,
};
use quoring_ring::Kind;

use crate::answer::Answer;
use crate::clock::Clock;
use crate::node::{Lost, Seat};
use crate::platform::Platform;
use crate::proposals::RequestKey;
use crate::shared::{Shared, State};

/// A client of the cluster with a memory: the cluster keeps its newest answer, and knows a command that it has applied.
///
/// One command at a time. The cluster keeps as many sessions as it has places for; if another one is opened, the one that was used longest ago, in the order of
/// the log, expires.
pub struct Session<'a, P: Platform> {
    shared: &'a Shared<'a, P>,
    id: SessionId,
    next: u32,
}

/// The name of a session in the cluster: 12 bytes to keep, or as text `CLIENT-OPENED`, the client in hexadecimal and the index in decimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SessionId {
    /// Whose it is.
    pub client: ClientId,
    /// The low half of the index of the entry that opened it.
    pub opened: u32,
}

/// This is no [`SessionId`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ParseSessionIdError;

/// Why a command of a session has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SessionError {
    /// No entry takes more bytes than this.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The application refuses the command before anything of it is stored; unless nodes differ in what they refuse, and an earlier leader had taken it.
    Rejected(Rejection),
    /// A node of the cluster does not know sessions, or has no place for any.
    Unsupported,
    /// As many clients wait as the resources have room for: try again when one of them has its answer.
    TooManyPending,
    /// The session has expired, or was never opened. Whether the command took effect before that is not known.
    Expired,
    /// A later command of the session has taken effect, so that this one will not any more. Whether it did before that is not known: numbers may have gaps.
    Superseded,
    /// The session has had 2^32 commands: open another.
    Exhausted,
    /// The node has stopped. The command may take effect, or may have.
    Halted,
}

/// Where the request was last handed in.
#[derive(Clone, Copy, Debug)]
enum Attempt {
    /// Not yet, or where it is lost.
    None,
    /// Not yet, because this window has to open first.
    Opening(ClientId),
    /// In this node's own log, as leader of this term.
    Direct(Term),
    /// In this window, under this number, in this term.
    Window(ClientId, u32, Term),
}

/// A request to be handed in until it is applied.
struct Request<'c> {
    request: RequestId,
    command: &'c [u8],
    attempt: Attempt,
    /// How many snapshots had been restored then: one of them may have taken the place of the entry, so that it never passes here.
    restores: u32,
}

impl<'a, P: Platform> Session<'a, P> {
    /// Opens a session.
    pub(crate) async fn open(shared: &'a Shared<'a, P>) -> Result<Self, SessionError> {
        let table = shared.sessions;
        if table == 0 {
            return Err(SessionError::Unsupported);
        }
        let client = shared.step(|state| state.raft.new_client());
        let answer = request(shared, RequestId { client, sequence: 0, table }, &[]).await?;
        let opened = answer.first_chunk().map_or(0, |low| u32::from_le_bytes(*low));
        Ok(Self { shared, id: SessionId { client, opened }, next: 1 })
    }

    pub(crate) const fn resume(shared: &'a Shared<'a, P>, id: SessionId, next: u32) -> Self {
        Self { shared, id, next }
    }

    /// Its name in the cluster. With this and [`next_sequence`](Self::next_sequence) the session can be gone on with on another node, or after a restart.
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// The number of the next command.
    pub const fn next_sequence(&self) -> u32 {
        self.next
    }

    /// Sends a command until it has taken effect, through changes of leader, and waits for its answer. It takes effect at most once.
    ///
    /// Dropping the future takes nothing back: the command may take effect, once, as long as no later one of this session has. To learn its answer
    /// then, [resume](crate::Node::resume_session) the session at the command's number and send the same command again.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub async fn propose(&mut self, command: &[u8]) -> Result<Answer, SessionError> {
        let sequence = self.next;
        // Whatever becomes of this one, the next command is another.
        self.next = sequence.checked_add(1).ok_or(SessionError::Exhausted)?;
        let SessionId { client, opened } = self.id;
        request(self.shared, RequestId { client, sequence, table: opened }, command).await
    }
}

/// Hands the request in wherever it can be applied from, again and again, until it is.
async fn request<'a, P: Platform>(
    shared: &'a Shared<'a, P>,
    request: RequestId,
    command: &[u8],
) -> Result<Answer, SessionError> {
    let slot = shared.with(|state| {
        if state.raft.has_halted() {
            return Err(SessionError::Halted);
        }
        let slot = state.proposals.free().ok_or(SessionError::TooManyPending)?;
        state.proposals.wait_for_request(slot, RequestKey { kind: Kind::Session, request });
        Ok(slot)
    })?;
    let seat = Seat { shared, slot };
    let mut request = Request { request, command, attempt: Attempt::None, restores: 0 };
    poll_fn(|cx| request.poll(cx, &seat)).await
}

impl Request<'_> {
    fn poll<P: Platform>(&mut self, cx: &Context<'_>, seat: &Seat<'_, P>) -> Poll<Result<Answer, SessionError>> {
        // Register, then look: what changes in between wakes (P2).
        seat.register(cx);
        let now = seat.shared.clock.now();
        seat.shared.step(|state| match state.proposals.outcome(seat.slot) {
            Some(outcome) => Poll::Ready(outcome.map_err(Into::into)),
            None => match self.hand_in(state, now) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
        })
    }

    /// Hands it in where it is not. Whatever stands in the way for now wakes when it is gone.
    fn hand_in(&mut self, state: &mut State<'_>, now: Instant) -> Result<(), SessionError> {
        if core::mem::replace(&mut self.restores, state.restores) != state.restores {
            self.attempt = Attempt::None;
        }
        if self.is_handed_in(state)? {
            return Ok(());
        }
        let Self { request, command, .. } = *self;
        if let Some(term) = state.raft.leads() {
            match state.raft.propose_request(now, Kind::Session, &request, command) {
                Ok(_) => self.attempt = Attempt::Direct(term),
                Err(ProposeError::Busy) => state.requests_wait = true,
                Err(error) => return refuse(error),
            }
            return Ok(());
        }
        let client = match state.use_window(now) {
            Ok(client) => client,
            Err(WindowError::Halted) => return Err(SessionError::Halted),
            Err(WindowError::Unsupported | WindowError::NoMemory) => return Err(SessionError::Unsupported),
            // Until there is a leader.
            Err(_) => return Ok(()),
        };
        state.raft.admits(command, RequestId::SIZE).or_else(refuse)?;
        match state.raft.forward(now, Kind::Session, core::iter::once((request, command))) {
            Ok(number) => self.attempt = Attempt::Window(client, number, state.raft.term()),
            Err(ForwardError::TooLarge) => {
                return Err(SessionError::TooLarge {
                    limit: state.raft.command_limit().saturating_sub(RequestId::SIZE),
                });
            }
            // Until the window has moved, or there is another.
            Err(_) => self.attempt = Attempt::Opening(client),
        }
        Ok(())
    }

    /// Whether it is where it was handed in, so that it will be applied if who leads now goes on.
    fn is_handed_in(&mut self, state: &State<'_>) -> Result<bool, SessionError> {
        Ok(match self.attempt {
            Attempt::None => false,
            Attempt::Opening(client) => {
                let window = state.raft.window();
                if window.client == client && window.state == WindowState::Closed(Closed::Unsupported) {
                    // Another window would not be opened either.
                    return Err(SessionError::Unsupported);
                }
                false
            }
            Attempt::Direct(term) => state.raft.leads() == Some(term),
            Attempt::Window(client, number, term) => {
                let window = state.raft.window();
                let accepted = window.accepted.wrapping_sub(number).cast_signed() > 0;
                match window.state {
                    _ if window.client != client => false,
                    WindowState::Open | WindowState::Opening => true,
                    WindowState::Closed(Closed::Rejected(rejection)) if window.accepted == number => {
                        return Err(SessionError::Rejected(rejection));
                    }
                    WindowState::Closed(Closed::TooLarge) if window.accepted == number => {
                        return Err(SessionError::TooLarge { limit: self.command.len().saturating_sub(1) });
                    }
                    WindowState::Closed(Closed::Unsupported) if window.accepted == number => {
                        return Err(SessionError::Unsupported);
                    }
                    // Somebody else's command closed it; this one is in the leader's log, as long as that leads.
                    WindowState::Closed(Closed::Rejected(_) | Closed::TooLarge | Closed::Unsupported) => {
                        accepted && state.raft.term() == term && state.raft.leader().is_some()
                    }
                    WindowState::Closed(_) | WindowState::Unused => false,
                }
            }
        })
    }
}

fn refuse<T>(error: ProposeError) -> Result<T, SessionError> {
    Err(match error {
        ProposeError::TooLarge(limit) => SessionError::TooLarge { limit },
        ProposeError::Rejected(rejection) => SessionError::Rejected(rejection),
        ProposeError::Halted => SessionError::Halted,
        _ => SessionError::Unsupported,
    })
}

impl From<Lost> for SessionError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::SessionExpired => Self::Expired,
            Lost::Covered => Self::Superseded,
            // The fate of a leader is not that of a session.
            Lost::Halted | Lost::LeadershipLost | Lost::NotStored => Self::Halted,
        }
    }
}

impl<P: Platform> fmt::Debug for Session<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("next", &self.next).finish()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.client.0, self.opened)
    }
}

impl FromStr for SessionId {
    type Err = ParseSessionIdError;

    fn from_str(text: &str) -> Result<Self, ParseSessionIdError> {
        let (client, opened) = text.split_once('-').ok_or(ParseSessionIdError)?;
        let client = u64::from_str_radix(client, 16).map(ClientId).map_err(|_| ParseSessionIdError)?;
        Ok(Self { client, opened: opened.parse().map_err(|_| ParseSessionIdError)? })
    }
}

impl fmt::Display for ParseSessionIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a session's name is its client in hexadecimal digits, a hyphen, and where it was opened")
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "a command of a session has at most {limit} bytes"),
            Self::Rejected(Rejection(code)) => write!(f, "the application refuses the command, for reason {code}"),
            Self::Unsupported => f.write_str("a node of the cluster does not know sessions"),
            Self::TooManyPending => f.write_str("too many clients wait for their answers"),
            Self::Expired => f.write_str("the session has expired"),
            Self::Superseded => {
                f.write_str("a later command of the session has taken effect; whether this one did before is not known")
            }
            Self::Exhausted => f.write_str("the session has had all the commands it can have"),
            Self::Halted => f.write_str("the node has stopped"),
        }
    }
}

impl core::error::Error for SessionError {}
impl core::error::Error for ParseSessionIdError {}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    /// covers: C11
    #[test]
    fn a_session_s_name_is_read_as_it_is_written_and_what_is_none_is_refused() {
        let ends = [(0, 0), (0x0200_0000_0700_0001, 9), (u64::MAX, u32::MAX)];
        for id in ends.map(|(client, opened)| SessionId { client: ClientId(client), opened }) {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!("200000007000001-9".parse(), Ok(SessionId { client: ClientId(0x0200_0000_0700_0001), opened: 9 }));
        for text in
            ["", "-", "1", "1-", "-1", "g-1", "1-a", "1--1", "1-1-1", "1 -1", "10000000000000000-1", "1-4294967296"]
        {
            assert_eq!(text.parse::<SessionId>(), Err(ParseSessionIdError), "{text}");
        }
    }
}
