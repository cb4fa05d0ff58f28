//! Linearizable reads, on any node (C12).

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use quoring_core::{Instant, LogIndex, ReadError, ReadRound};

use crate::clock::Clock;
use crate::platform::Platform;
use crate::shared::{Shared, State};
use crate::waiting::Place;

/// A client that wants to read: ready when everything that was committed before it asked is applied here. The application's state may then be read, as
/// long as nothing else is awaited in between: it is at least as new as this moment of the whole cluster, at most newer.
///
/// Cancel-safe. As many as like may wait: they share one round of the leader's to a quorum, and cost the node no memory. Each of them passes the news on to
/// one that came before it: once polled, poll it again when it wakes, or drop it, but do not leave it lying.
#[must_use = "nothing is known before this is awaited"]
pub struct Reading<'a, P: Platform> {
    shared: &'a Shared<'a, P>,
    stage: Stage,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// It has not been polled.
    Begin,
    /// The leader asks a quorum.
    Round(ReadRound),
    /// This must be applied.
    Index(LogIndex),
}

/// Who waits to read.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    /// The first entry that, once applied, lets one of them go on.
    target: Option<LogIndex>,
}

impl<'a, P: Platform> Reading<'a, P> {
    pub(crate) const fn new(shared: &'a Shared<'a, P>) -> Self {
        Self { shared, stage: Stage::Begin, place: Place::NONE }
    }
}

impl<P: Platform> Future for Reading<'_, P> {
    type Output = Result<LogIndex, ReadError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { shared, stage, place } = self.get_mut();
        let now = shared.clock.now();
        let (outcome, left) = shared.step(|state| match state.advance_reading(now, stage) {
            Some(outcome) => (Poll::Ready(outcome), state.waiting.leave(place)),
            // In the same step as the look: news that comes after it wakes.
            None => (Poll::Pending, state.waiting.join(place, cx.waker())),
        });
        left.wake();
        outcome
    }
}

impl<P: Platform> Drop for Reading<'_, P> {
    fn drop(&mut self) {
        let place = &mut self.place;
        self.shared.with(|state| state.waiting.leave(place)).wake();
    }
}

impl State<'_> {
    fn advance_reading(&mut self, now: Instant, stage: &mut Stage) -> Option<Result<LogIndex, ReadError>> {
        if let Stage::Begin = stage {
            match self.raft.read(now) {
                Ok(round) => *stage = Stage::Round(round),
                Err(error) => return Some(Err(error)),
            }
        }
        if let Stage::Round(round) = *stage {
            match self.raft.poll_read(round)? {
                Ok(index) => *stage = Stage::Index(index),
                Err(error) => return Some(Err(error)),
            }
        }
        let Stage::Index(index) = *stage else { return None };
        // An application that has a snapshot to restore may be in the middle of it.
        let whole = self.raft.consistent_at().max(index);
        if self.raft.applied() >= whole {
            return Some(Ok(index));
        }
        if self.raft.has_halted() {
            return Some(Err(ReadError::Halted));
        }
        self.readers.target = Some(self.readers.target.map_or(whole, |target| target.min(whole)));
        None
    }
}

impl Readers {
    /// The application has come to `index`: whether one of those who wait may go on.
    pub(crate) fn may_go_on(&mut self, index: LogIndex) -> bool {
        let reached = self.target.is_some_and(|target| target <= index);
        if reached {
            // Those who still have to wait say so again.
            self.target = None;
        }
        reached
    }
}

impl<P: Platform> fmt::Debug for Reading<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reading").field(&self.stage).finish()
    }
}
