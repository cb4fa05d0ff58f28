//! The client stream: commands from any node to the leader, in order, as long as one leader leads (C1-C8). What it guarantees is told in `CLIENTS.md`.

mod latch;
mod state;

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll};

use quoring_core::{ClientId, Duration, Rejection, RequestId};

use self::latch::{latch, unlatch};
pub(crate) use self::state::Streams;
use self::state::{Route, Unsent};
use crate::answer::Answer;
use crate::clock::Clock;
use crate::node::{Lost, Seat};
use crate::platform::Platform;
use crate::shared::Shared;

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
