//! A leader hands over its office, before it is shut down or because another node is the better leader (E10).

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use quoring_core::{Instant, NodeId, TransferError};

use crate::clock::Clock;
use crate::platform::Platform;
use crate::shared::{Shared, State};
use crate::waiting::Place;

/// A leader that hands over: ready when it leads no longer, with the node that it told to campaign.
///
/// Dropping it takes nothing back.
#[must_use = "the outcome is known only when this is awaited"]
pub struct Transferring<'a, P: Platform> {
    shared: &'a Shared<'a, P>,
    to: Option<NodeId>,
    has_begun: bool,
    place: Place,
}

impl<'a, P: Platform> Transferring<'a, P> {
    pub(crate) const fn new(shared: &'a Shared<'a, P>, to: Option<NodeId>) -> Self {
        Self { shared, to, has_begun: false, place: Place::NONE }
    }
}

impl<P: Platform> Future for Transferring<'_, P> {
    type Output = Result<NodeId, TransferError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { shared, to, has_begun, place } = self.get_mut();
        let now = shared.clock.now();
        let (outcome, left) = shared.step(|state| match state.advance_transfer(now, to, has_begun) {
            Some(outcome) => (Poll::Ready(outcome), state.waiting.leave(place)),
            None => (Poll::Pending, state.waiting.join(place, cx.waker())),
        });
        left.wake();
        outcome
    }
}

impl<P: Platform> Drop for Transferring<'_, P> {
    fn drop(&mut self) {
        let place = &mut self.place;
        self.shared.with(|state| state.waiting.leave(place)).wake();
    }
}

impl State<'_> {
    fn advance_transfer(
        &mut self,
        now: Instant,
        to: &mut Option<NodeId>,
        has_begun: &mut bool,
    ) -> Option<Result<NodeId, TransferError>> {
        let successor = match *to {
            Some(to) if *has_begun => to,
            _ => match self.raft.transfer(now, *to) {
                Ok(successor) => successor,
                Err(error) => return Some(Err(error)),
            },
        };
        (*to, *has_begun) = (Some(successor), true);
        if self.raft.leads().is_none() {
            return Some(if self.raft.has_halted() { Err(TransferError::Halted) } else { Ok(successor) });
        }
        (self.raft.transfers_to() != Some(successor)).then_some(Err(TransferError::TimedOut))
    }
}

impl<P: Platform> fmt::Debug for Transferring<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transferring").field(&self.to).finish()
    }
}
