//! The client stream: commands from any node to the leader, in order, as long as one leader leads (C1-C8). What it guarantees is told in `CLIENTS.md`.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll};

use quoring_core::{
    ClientId, Closed, Duration, ForwardError, Instant, ProposeError, Rejection, RequestId, Term, WindowError,
    WindowState,
};
use quoring_ring::Kind;

use crate::answer::Answer;
use crate::clock::Clock;
use crate::node::{Lost, Seat};
use crate::platform::Platform;
use crate::proposals::{Proposal, RequestKey, Woken};
use crate::shared::{Shared, State};

/// An open stream. There is one at a time on a node; dropping it makes place for another.
///
/// Commands take effect in the order in which they were sent, none twice and none without all before it, until the stream breaks; then none behind the
/// last that did. It breaks when the leader changes, and when a command is refused; a broken stream stays so: open another.
pub struct Stream<'a, P: Platform> {
    shared: &'a Shared<'a, P>,
    number: u16,
    route: Route,
    /// The name its commands have in the log: the window's, or its own.
    client: ClientId,
    /// The number of the next command, if it does not go through a window, which counts for itself.
    next: u32,
    pipelines: bool,
}

/// Tells whether a stream is broken, wherever the stream itself is; also from an interrupt.
pub struct StreamWatch<'a, P: Platform> {
    shared: &'a Shared<'a, P>,
    number: u16,
}

/// A command that was sent: await it for the application's answer.
///
/// Cancel-safe: dropping it frees its place; the command takes effect or not all the same.
#[must_use = "the outcome is known only when this is awaited"]
pub struct Sent<'a, P: Platform> {
    seat: Seat<'a, P>,
}

/// How commands get to the leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route {
    /// This node leads, in this term.
    Direct(Term),
    /// Through this node's window.
    Window,
}

/// Why a stream was not opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OpenError {
    /// No leader is known, or it changed meanwhile.
    NoLeader,
    /// The leader does not answer.
    NoAnswer,
    /// The leader, or a node of its cluster, does not know streams (C9).
    Unsupported,
    /// This node has a stream already.
    InUse,
    /// The node has stopped.
    Halted,
}

/// Why a stream is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Broken {
    /// The leader it led to leads no longer.
    LeaderLost,
    /// The application refused a command: nothing of it is stored, nor of those behind it (C4). If the leader refused it and this node would not have, it may
    /// also have been that of a session on this node, which shares the way to the leader.
    Rejected(Rejection),
    /// A command, or batch, was larger than what any of the nodes on its way takes; likewise.
    TooLarge,
    /// A node of the cluster does not know streams; likewise.
    Unsupported,
    /// Its owner broke it, or it is closed.
    Owner,
    /// The node has stopped.
    Halted,
}

/// Why a command was not taken by a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SendError {
    /// Window, leader or table of waiting clients are full: nothing is wrong, wait. [`Stream::send`] does.
    NotReady,
    /// The stream is broken. Nothing of the command is stored.
    Broken(Broken),
}

/// What a node knows of its stream.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Its number, and its route and name once it has them.
    open: Option<(u16, Option<(Route, ClientId)>)>,
    /// The number of the newest.
    number: u16,
    /// How long the next one to open waits (C7),
    backoff: Duration,
    /// from this moment on.
    failed_at: Instant,
}

/// What the latch says of stream `number`: readable from anywhere, because it is one word.
const fn latch(number: u16, broken: Option<Broken>) -> u32 {
    let (reason, code) = match broken {
        None => (0, 0),
        Some(Broken::LeaderLost) => (1, 0),
        Some(Broken::Rejected(Rejection(code))) => (2, code),
        Some(Broken::TooLarge) => (3, 0),
        Some(Broken::Unsupported) => (4, 0),
        Some(Broken::Owner) => (5, 0),
        Some(Broken::Halted) => (6, 0),
    };
    u32::from_le_bytes([code, reason, number.to_le_bytes()[0], number.to_le_bytes()[1]])
}

/// Why stream `number` is broken, if it is.
const fn unlatch(word: u32, number: u16) -> Option<Broken> {
    let [code, reason, low, high] = word.to_le_bytes();
    if u16::from_le_bytes([low, high]) != number {
        return Some(Broken::Owner);
    }
    match reason {
        0 => None,
        1 => Some(Broken::LeaderLost),
        2 => Some(Broken::Rejected(Rejection(code))),
        3 => Some(Broken::TooLarge),
        4 => Some(Broken::Unsupported),
        6 => Some(Broken::Halted),
        _ => Some(Broken::Owner),
    }
}

impl<'a, P: Platform> Stream<'a, P> {
    /// Opens a stream to the leader of this moment: directly if this node leads, else through the window to whoever does. After streams that broke or were
    /// not opened it waits first, ever longer (C7).
    pub(crate) async fn open(shared: &'a Shared<'a, P>) -> Result<Self, OpenError> {
        let now = shared.clock.now();
        let (number, not_before) = shared.with(|state| state.claim_stream(now)).ok_or(OpenError::InUse)?;
        let (route, client) = (Route::Window, ClientId::NONE);
        let mut stream = Self { shared, number, route, client, next: 0, pipelines: true };
        shared.latch.store(latch(number, None), Ordering::Release);
        if not_before > now {
            shared.clock.sleep_until(not_before).await;
        }
        let opened = stream.find_route().await;
        let now = shared.clock.now();
        shared.with(|state| match opened {
            Ok(()) => {
                stream.pipelines = state.raft.window().pipelines || stream.route != Route::Window;
            }
            Err(_) => state.back_off(now),
        });
        opened?;
        Ok(stream)
    }

    async fn find_route(&mut self) -> Result<(), OpenError> {
        let shared = self.shared;
        let now = shared.clock.now();
        (self.route, self.client) = shared.step(|state| state.find_route(now))?;
        let Self { number, route, client, .. } = *self;
        let open = || {
            shared.step(|state| {
                let outcome = match route {
                    Route::Window => state.window_opens(client),
                    Route::Direct(term) => state.is_sure_to_lead(now, term),
                };
                // In the same step as the look: what breaks it later finds it open.
                if outcome == Some(Ok(())) {
                    state.streams.open = Some((number, Some((route, client))));
                }
                outcome
            })
        };
        shared.wakes.stream.until(open).await
    }

    /// The largest command in bytes, on whichever node the stream is.
    pub fn command_limit(&self) -> usize {
        self.shared.with(|state| state.raft.command_limit().saturating_sub(RequestId::SIZE))
    }

    /// Whether several commands may be on their way; if not, because of the link, one at a time is (C3).
    pub const fn pipelines(&self) -> bool {
        self.pipelines
    }

    /// Sends a command now.
    ///
    /// # Errors
    /// See [`SendError`]. A refusal for good breaks the stream: it is the only kind there is (C4).
    pub fn try_send(&mut self, command: &[u8]) -> Result<Sent<'a, P>, SendError> {
        self.try_send_batch([command]).map(|[sent]| sent)
    }

    /// Sends commands now: all of them, or none. None at all is fine, and does nothing (C8). All of them together, with 20 bytes for each, must fit a frame less 40
    /// bytes, and half of the ring as records.
    ///
    /// # Errors
    /// See [`SendError`]; nothing was taken.
    pub fn try_send_batch<const N: usize>(&mut self, commands: [&[u8]; N]) -> Result<[Sent<'a, P>; N], SendError> {
        let shared = self.shared;
        if let Some(broken) = self.broken() {
            return Err(SendError::Broken(broken));
        }
        let now = shared.clock.now();
        let sent = shared.step(|state| state.send(now, self.route, self.client, self.next, &commands));
        self.next = self.next.wrapping_add(if sent.is_ok() { N as u32 } else { 0 });
        match sent {
            Ok(slots) => Ok(slots.map(|slot| Sent { seat: Seat { shared, slot } })),
            Err(Unsent::NotReady) => Err(SendError::NotReady),
            Err(Unsent::Refused(broken)) => Err(SendError::Broken(self.break_with(broken))),
        }
    }

    /// Sends a command, waiting until there is room for it. Each command takes one of the places for waiting clients until its [`Sent`] is awaited or dropped:
    /// who keeps them all and sends on waits for himself.
    ///
    /// Cancel-safe: nothing is sent before it is ready.
    ///
    /// # Errors
    /// The stream is broken.
    pub async fn send(&mut self, command: &[u8]) -> Result<Sent<'a, P>, Broken> {
        self.send_batch([command]).await.map(|[sent]| sent)
    }

    /// Sends commands, all of them or none, waiting until there is room for them.
    ///
    /// # Errors
    /// The stream is broken.
    pub async fn send_batch<const N: usize>(&mut self, commands: [&[u8]; N]) -> Result<[Sent<'a, P>; N], Broken> {
        let wake = &self.shared.wakes.stream;
        wake.until(|| match self.try_send_batch(commands) {
            Ok(sent) => Some(Ok(sent)),
            Err(SendError::Broken(broken)) => Some(Err(broken)),
            Err(SendError::NotReady) => None,
        })
        .await
    }

    /// Why it is broken, if it is. Once it is, it stays so (C5).
    pub fn broken(&self) -> Option<Broken> {
        self.watch().broken()
    }

    /// Breaks it: nothing more can be sent. What was sent may still take effect.
    pub fn break_off(&mut self) {
        self.break_with(Broken::Owner);
    }

    /// Tells from anywhere whether it is broken.
    pub const fn watch(&self) -> StreamWatch<'a, P> {
        StreamWatch { shared: self.shared, number: self.number }
    }

    /// Breaks it for this reason, if it is not broken already; the reason that stays.
    fn break_with(&self, broken: Broken) -> Broken {
        self.shared.break_stream(self.number, broken)
    }
}

impl<P: Platform> StreamWatch<'_, P> {
    /// Why the stream is broken, if it is. One load.
    pub fn broken(&self) -> Option<Broken> {
        unlatch(self.shared.latch.load(Ordering::Acquire), self.number)
    }

    /// Waits until the stream is broken. One task can wait at a time.
    pub async fn until_broken(&self) -> Broken {
        self.shared.wakes.broken.until(|| self.broken()).await
    }
}

impl<P: Platform> Future for Sent<'_, P> {
    type Output = Result<Answer, Lost>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.seat.register(cx);
        let outcome = self.seat.shared.with(|state| {
            let outcome = state.proposals.outcome(self.seat.slot);
            if let Some(Ok(_)) = outcome {
                // It works: the next one need not wait.
                state.streams.backoff = Duration::ZERO;
            }
            outcome
        });
        outcome.map_or(Poll::Pending, Poll::Ready)
    }
}

impl<P: Platform> Drop for Stream<'_, P> {
    fn drop(&mut self) {
        self.shared.with(|state| state.streams.open = None);
        self.shared.break_stream(self.number, Broken::Owner);
    }
}

/// Why nothing was sent.
enum Unsent {
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
    fn claim_stream(&mut self, now: Instant) -> Option<(u16, Instant)> {
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
    fn back_off(&mut self, now: Instant) {
        let config = self.raft.config();
        let next = self.streams.backoff.0.saturating_mul(2).max(config.heartbeat_interval.0);
        self.streams.backoff = Duration(next).min(config.election_timeout);
        self.streams.failed_at = now;
    }

    /// How commands get to the leader from here.
    fn find_route(&mut self, now: Instant) -> Result<(Route, ClientId), OpenError> {
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
    fn is_sure_to_lead(&mut self, now: Instant, term: Term) -> Option<Result<(), OpenError>> {
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
    fn window_opens(&self, client: ClientId) -> Option<Result<(), OpenError>> {
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
    fn send<const N: usize>(
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
        let woken = self.proposals.complete(|slot| match *slot {
            Proposal::Requested(RequestKey { kind: Kind::Stream, request: RequestId { client, sequence, .. } }) => {
                let ours = client == window.client;
                let from = |number: u32| ours && sequence.wrapping_sub(number).cast_signed() >= 0;
                match window.state {
                    WindowState::Closed(Closed::Rejected(_) | Closed::TooLarge | Closed::Unsupported)
                        if from(window.accepted) =>
                    {
                        Some(Err(Lost::NotStored))
                    }
                    WindowState::Closed(_) if from(window.sent) => Some(Err(Lost::NotStored)),
                    // The leader leads on, and may have it or not.
                    WindowState::Closed(Closed::NoAnswer) if from(window.accepted) => Some(Err(lost)),
                    _ => leader_lost.then_some(Err(lost)),
                }
            }
            _ => None,
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

impl<P: Platform> Clone for StreamWatch<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform> Copy for StreamWatch<'_, P> {}

impl<P: Platform> fmt::Debug for Stream<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("route", &self.route).field("broken", &self.broken()).finish()
    }
}

impl<P: Platform> fmt::Debug for StreamWatch<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamWatch").field("broken", &self.broken()).finish()
    }
}

impl<P: Platform> fmt::Debug for Sent<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sent")
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLeader => "no leader is known",
            Self::NoAnswer => "the leader does not answer",
            Self::Unsupported => "a node of the cluster does not know streams",
            Self::InUse => "this node has a stream already",
            Self::Halted => "the node has stopped",
        })
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaderLost => f.write_str("the leader leads no longer"),
            Self::Rejected(Rejection(code)) => write!(f, "the application refuses a command, for reason {code}"),
            Self::TooLarge => f.write_str("a command is too large"),
            Self::Unsupported => f.write_str("a node of the cluster does not know streams"),
            Self::Owner => f.write_str("the stream is closed"),
            Self::Halted => f.write_str("the node has stopped"),
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReady => f.write_str("there is no room now"),
            Self::Broken(broken) => broken.fmt(f),
        }
    }
}

impl core::error::Error for OpenError {}
impl core::error::Error for Broken {}
impl core::error::Error for SendError {}
