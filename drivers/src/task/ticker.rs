//! Steps the core when its next deadline has come (F3).

use core::fmt;

use embassy_futures::select::select;

use crate::clock::Clock;
use crate::halt::Halt;
use crate::platform::Platform;
use crate::shared::Shared;

/// The ticker. Sleeps until the next deadline; a step that brings an earlier one wakes it.
pub struct Ticker<'a, P: Platform> {
    shared: &'a Shared<'a, P>,
}

impl<P: Platform> fmt::Debug for Ticker<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticker")
    }
}

impl<'a, P: Platform> Ticker<'a, P> {
    pub(crate) const fn new(shared: &'a Shared<'a, P>) -> Self {
        Self { shared }
    }

    /// Runs until the node halts. Cancel-safe.
    pub async fn run(self) -> Halt {
        let shared = self.shared;
        loop {
            if let Some(halt) = shared.halted() {
                return halt;
            }
            let deadline = shared.with(|state| {
                state.armed = state.raft.poll_timeout();
                state.armed
            });
            let earlier = shared.wakes.ticker.until(|| shared.is_earlier_than(deadline).then_some(()));
            match deadline {
                Some(deadline) => _ = select(shared.clock.sleep_until(deadline), earlier).await,
                None => earlier.await,
            }
            let now = shared.clock.now();
            shared.step(|state| state.raft.handle_timeout(now));
        }
    }
}

impl<P: Platform> Shared<'_, P> {
    /// Whether there is something to do before `armed`.
    fn is_earlier_than(&self, armed: Option<quoring_core::Instant>) -> bool {
        let deadline = self.with(|state| state.raft.poll_timeout());
        self.halted().is_some() || deadline.is_some_and(|deadline| armed.is_none_or(|armed| deadline < armed))
    }
}
