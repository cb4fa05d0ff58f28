//! Steps the core with each frame that comes in.

use core::fmt;

use embassy_futures::select::{Either, select};
use embassy_futures::yield_now;
use quoring_core::{Handled, Instant, LogIndex};

use super::replicator::read_term;
use crate::clock::Clock;
use crate::halt::Halt;
use crate::platform::Platform;
use crate::shared::Shared;
use crate::transport::Transport;

/// The receiver.
pub struct Receiver<'a, P: Platform> {
    shared: &'a Shared<'a, P>,
    buffer: &'a mut [u8],
}

impl<P: Platform> fmt::Debug for Receiver<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}

impl<'a, P: Platform> Receiver<'a, P> {
    pub(crate) const fn new(shared: &'a Shared<'a, P>, buffer: &'a mut [u8]) -> Self {
        Self { shared, buffer }
    }

    /// Runs until the node halts. Cancelling it loses at most one frame.
    pub async fn run(self) -> Halt {
        let shared = self.shared;
        loop {
            let received =
                select(shared.transport.receive(self.buffer), shared.wakes.receiver.until(|| shared.halted()));
            let received = match received.await {
                Either::First(received) => received,
                Either::Second(halt) => return halt,
            };
            match received {
                Ok(len) => {
                    if let Err(halt) = handle(shared, self.buffer.get(..len).unwrap_or_default()).await {
                        return halt;
                    }
                    // A link that always has another frame must not keep the others from running either.
                    yield_now().await;
                }
                // A link that fails at once, again and again, must not keep the others from running.
                Err(_) => {
                    let pause = shared.with(|state| state.raft.config().heartbeat_interval);
                    shared.clock.sleep_until(shared.clock.now() + pause).await;
                }
            }
        }
    }
}

/// Hands in a frame, with the terms the core asks for. Each look-up lets the core get past one entry of the frame, so this ends.
async fn handle<P: Platform>(shared: &Shared<'_, P>, frame: &[u8]) -> Result<(), Halt> {
    loop {
        let now: Instant = shared.clock.now();
        // A frame that cannot be read is counted by the core, and was as good as lost.
        let Ok(Handled::NeedsTerm(index)) = shared.step(|state| state.raft.handle_message(now, frame)) else {
            return Ok(());
        };
        recall(shared, index).await?;
    }
}

async fn recall<P: Platform>(shared: &Shared<'_, P>, index: LogIndex) -> Result<(), Halt> {
    let term = shared.read_store(&shared.wakes.receiver, async |store| read_term(store, index).await).await;
    let term = term.ok_or_else(|| shared.halt(Halt::Read(index)))?;
    shared.with(|state| state.raft.recall(index, term));
    Ok(())
}
