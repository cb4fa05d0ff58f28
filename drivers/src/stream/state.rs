//! A node's side of its stream: the way to the leader, what was sent, and what becomes of it.

use core::sync::atomic::Ordering;

use quoring_core::{
    ClientId, Closed, Duration, ForwardError, Instant, ProposeError, RequestId, Term, WindowError, WindowState,
};
use quoring_ring::Kind;

use super::latch::{latch, unlatch};
use super::{Broken, OpenError};
use crate::clock::Clock;
use crate::node::Lost;
use crate::platform::Platform;
use crate::proposals::{Proposal, RequestKey, Woken};
use crate::shared::{Shared, State};

/// How commands get to the leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// This node leads, in this term.
    Direct(Term),
    /// Through this node's window.
    Window,
}

/// What a node knows of its stream.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Its number, and its route and name once it has them.
    pub(super) open: Option<(u16, Option<(Route, ClientId)>)>,
    /// The number of the newest.
    number: u16,
    /// How long the next one to open waits (C7),
    pub(super) backoff: Duration,
    /// from this moment on.
    failed_at: Instant,
}

/// Why nothing was sent.
pub(super) enum Unsent {
    NotReady,
    Refused(Broken),
}

impl<P: Platform> Shared<'_, P> {
    /// Latches the reason why the stream is broken, unless it is broken already, and wakes its watchers. The reason that stays.
    pub(crate) fn break_stream(&self, number: u16, broken: Broken) -> Broken {
        let now = self.clock.now();
        let first = self.with(|state| {
            let before = unlatch(self.latch.load(Ordering::Relaxed), number);
            if before.is_none() {
                self.latch.store(latch(number, Some(broken)), Ordering::Release);
                if broken != Broken::Owner {
                    state.back_off(now);
                }
            }
            before
        });
        self.wakes.broken.notify();
        self.wakes.stream.notify();
        first.unwrap_or(broken)
    }
}

impl State<'_> {
    /// The one place there is, and not before when to open it.
    pub(super) fn claim_stream(&mut self, now: Instant) -> Option<(u16, Instant)> {
        let streams = &mut self.streams;
        if streams.open.is_some() {
            return None;
        }
        streams.number = streams.number.wrapping_add(1);
        streams.open = Some((streams.number, None));
        let wait = streams.failed_at + streams.backoff;
        Some((streams.number, if streams.backoff == Duration::ZERO { now } else { wait }))
    }

    /// The next stream waits twice as long, at most an election timeout.
    pub(super) fn back_off(&mut self, now: Instant) {
        let config = self.raft.config();
        let next = self.streams.backoff.0.saturating_mul(2).max(config.heartbeat_interval.0);
        self.streams.backoff = Duration(next).min(config.election_timeout);
        self.streams.failed_at = now;
    }

    /// How commands get to the leader from here.
    pub(super) fn find_route(&mut self, now: Instant) -> Result<(Route, ClientId), OpenError> {
        if let Some(term) = self.raft.leads() {
            return Ok((Route::Direct(term), self.raft.new_client()));
        }
        self.use_window(now).map(|client| (Route::Window, client)).map_err(|error| match error {
            WindowError::Halted => OpenError::Halted,
            WindowError::Unsupported | WindowError::NoMemory => OpenError::Unsupported,
            _ => OpenError::NoLeader,
        })
    }

    /// The window to the leader, opened if it is not.
    pub(crate) fn use_window(&mut self, now: Instant) -> Result<ClientId, WindowError> {
        let window = self.raft.window();
        match window.state {
            WindowState::Open | WindowState::Opening => Ok(window.client),
            WindowState::Unused | WindowState::Closed(_) => self.raft.open_window(now),
        }
    }

    /// Whether this node still leads and its peers know streams; `None` as long as a quorum has not said so.
    pub(super) fn is_sure_to_lead(&mut self, now: Instant, term: Term) -> Option<Result<(), OpenError>> {
        if self.raft.leads() != Some(term) {
            return Some(Err(if self.raft.has_halted() { OpenError::Halted } else { OpenError::NoLeader }));
        }
        match self.raft.may_name_clients(now) {
            Ok(()) => Some(Ok(())),
            Err(ProposeError::Busy) => None,
            Err(_) => Some(Err(OpenError::Unsupported)),
        }
    }

    /// Whether the window is open; `None` as long as that is not known.
    pub(super) fn window_opens(&self, client: ClientId) -> Option<Result<(), OpenError>> {
        let window = self.raft.window();
        match window.state {
            _ if window.client != client => Some(Err(OpenError::NoLeader)),
            WindowState::Open => Some(Ok(())),
            WindowState::Opening => None,
            WindowState::Closed(Closed::NoAnswer) => Some(Err(OpenError::NoAnswer)),
            WindowState::Closed(Closed::Unsupported) => Some(Err(OpenError::Unsupported)),
            WindowState::Closed(Closed::Halted) => Some(Err(OpenError::Halted)),
            WindowState::Unused | WindowState::Closed(_) => Some(Err(OpenError::NoLeader)),
        }
    }

    /// Sends commands, all of them or none; the slots in which their senders wait. `next` is the number of the first, if they do not go through a window.
    pub(super) fn send<const N: usize>(
        &mut self,
        now: Instant,
        route: Route,
        client: ClientId,
        next: u32,
        commands: &[&[u8]; N],
    ) -> Result<[usize; N], Unsent> {
        if N == 0 {
            return Ok([0; N]);
        }
        if N > self.proposals.places() {
            return Err(Unsent::Refused(Broken::TooLarge));
        }
        let window = self.raft.window();
        let (first, is_open) = match route {
            Route::Direct(term) => (next, self.raft.leads() == Some(term)),
            Route::Window => (window.next, window.client == client),
        };
        if !is_open {
            return Err(Unsent::Refused(Broken::LeaderLost));
        }
        if !self.raft.may_be_batch(commands.iter().map(|command| command.len())) {
            return Err(Unsent::Refused(Broken::TooLarge));
        }
        let slots = self.proposals.free_slots().ok_or(Unsent::NotReady)?;
        let sequences = (0..).map(|more| first.wrapping_add(more));
        let request = |sequence| RequestId { client, sequence, table: 0 };
        let requests = sequences.clone().zip(commands).map(|(sequence, command)| (request(sequence), *command));
        match route {
            Route::Direct(_) => {
                self.raft.propose_batch(now, Kind::Stream, requests)?;
            }
            Route::Window => {
                if let WindowState::Closed(closed) = window.state {
                    return Err(Unsent::Refused(closed.into()));
                }
                // What this node would refuse as leader it need not send there: a refusal is the same on all nodes, as a rule.
                commands.iter().try_for_each(|command| self.raft.admits(command, RequestId::SIZE))?;
                self.raft.forward(now, Kind::Stream, requests)?;
            }
        }
        for (slot, sequence) in slots.into_iter().zip(sequences) {
            self.proposals.wait_for_request(slot, RequestKey { kind: Kind::Stream, request: request(sequence) });
        }
        Ok(slots)
    }

    /// The window or the leader may have changed: what was sent and cannot take effect any more, or of which nobody will know, is told so; and whether the
    /// stream is broken by it.
    pub(crate) fn settle_stream(&mut self, leader_lost: bool) -> (Woken, Option<(u16, Broken)>) {
        let window = self.raft.window();
        let lost = if self.raft.has_halted() { Lost::Halted } else { Lost::LeadershipLost };
        let woken = self.proposals.complete(|slot| match slot {
            Proposal::Requested(RequestKey { kind: Kind::Stream, request: RequestId { client, sequence, .. } }) => {
                let (ours, sequence) = (*client == window.client, *sequence);
                let from = |number: u32| ours && sequence.wrapping_sub(number).cast_signed() >= 0;
                match window.state {
                    WindowState::Closed(Closed::Rejected(_) | Closed::TooLarge | Closed::Unsupported)
                        if from(window.accepted) =>
                    {
                        slot.end(Err(Lost::NotStored))
                    }
                    WindowState::Closed(_) if from(window.sent) => slot.end(Err(Lost::NotStored)),
                    // The leader leads on, and may have it or not.
                    WindowState::Closed(Closed::NoAnswer) if from(window.accepted) => slot.end(Err(lost)),
                    _ => leader_lost && slot.end(Err(lost)),
                }
            }
            _ => false,
        });
        let broken = match self.streams.open {
            Some((number, Some((Route::Direct(term), _)))) if self.raft.leads() != Some(term) => {
                Some((number, if self.raft.has_halted() { Broken::Halted } else { Broken::LeaderLost }))
            }
            Some((number, Some((Route::Window, client)))) => match window.state {
                _ if window.client != client => Some((number, Broken::LeaderLost)),
                WindowState::Closed(closed) => Some((number, closed.into())),
                _ => None,
            },
            _ => None,
        };
        (woken, broken)
    }

    /// Whether a stream may wait for room.
    pub(crate) const fn streams(&self) -> bool {
        self.streams.open.is_some()
    }
}

impl From<ProposeError> for Unsent {
    fn from(error: ProposeError) -> Self {
        Self::Refused(match error {
            ProposeError::TooLarge(_) => Broken::TooLarge,
            ProposeError::Rejected(rejection) => Broken::Rejected(rejection),
            ProposeError::Unsupported => Broken::Unsupported,
            ProposeError::NotLeader(_) => Broken::LeaderLost,
            ProposeError::Halted => Broken::Halted,
            // Whatever else is refused is refused for now.
            _ => return Self::NotReady,
        })
    }
}

impl From<ForwardError> for Unsent {
    fn from(error: ForwardError) -> Self {
        match error {
            ForwardError::TooLarge => Self::Refused(Broken::TooLarge),
            ForwardError::Closed => Self::Refused(Broken::LeaderLost),
            _ => Self::NotReady,
        }
    }
}

impl From<Closed> for Broken {
    fn from(closed: Closed) -> Self {
        match closed {
            Closed::Rejected(rejection) => Self::Rejected(rejection),
            Closed::TooLarge => Self::TooLarge,
            Closed::Unsupported => Self::Unsupported,
            Closed::Halted => Self::Halted,
            _ => Self::LeaderLost,
        }
    }
}
