//! Steps the core with each frame that comes in.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use embassy_futures::select::{Either, select};
use embassy_futures::yield_now;
use quoring_core::{Chunk, Handled, LogIndex, Stored};

use super::replicator::{Unread, read_term};
use crate::clock::Clock;
use crate::halt::Halt;
use crate::platform::Platform;
use crate::shared::Shared;
use crate::store::{LogStore, SnapshotError};
use crate::transport::Transport;

/// How many frames that wait already are taken before the others have their turn: what is to be written for all of them is one write, and one answer.
const AT_ONCE: u32 = 16;

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

    /// Runs until the node halts. Not cancel-safe: it may be in the middle of writing a snapshot to the store.
    pub async fn run(self) -> Halt {
        let shared = self.shared;
        let mut taken = 0;
        loop {
            // Asked only while there is no frame. Atomic for executors that move tasks between threads.
            let waited = AtomicBool::new(false);
            let halted = shared.wakes.receiver.until(|| {
                waited.store(true, Ordering::Relaxed);
                shared.halted()
            });
            let received = match select(shared.transport.receive(self.buffer), halted).await {
                Either::First(received) => received,
                Either::Second(halt) => return halt,
            };
            match received {
                Ok(len) => {
                    taken = if waited.load(Ordering::Relaxed) { 0 } else { taken + 1 };
                    if taken == AT_ONCE {
                        // A link that always has another frame must not keep the others from running.
                        taken = 0;
                        yield_now().await;
                    }
                    if let Err(halt) = handle(shared, self.buffer.get(..len).unwrap_or_default()).await {
                        return halt;
                    }
                }
                // A link that fails at once, again and again, must not either.
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
        let now = shared.clock.now();
        // A frame that cannot be read is counted by the core, and was as good as lost.
        match shared.step(|state| state.raft.handle_message(now, frame)) {
            Ok(Handled::NeedsTerm(index)) => recall(shared, index).await?,
            Ok(Handled::Chunk(chunk)) => return store_chunk(shared, &chunk, frame).await,
            Ok(Handled::Done) | Err(_) => return Ok(()),
        }
    }
}

async fn recall<P: Platform>(shared: &Shared<'_, P>, index: LogIndex) -> Result<(), Halt> {
    let term = shared.use_store(&shared.wakes.receiver, async |store| read_term(store, index).await).await;
    match term {
        Ok(term) => shared.with(|state| state.raft.recall(index, term)),
        // It was purged meanwhile: the core asks no more.
        Err(Unread::Missing(_)) if shared.is_gone(index) => {}
        Err(_) => return Err(shared.halt(Halt::Read(index))),
    }
    Ok(())
}

/// Writes a piece of a leader's snapshot to the store, straight out of the frame: no buffer holds it, and the next frame waits. The leader sends the next
/// piece only when this one is answered.
async fn store_chunk<P: Platform>(shared: &Shared<'_, P>, chunk: &Chunk, frame: &[u8]) -> Result<(), Halt> {
    let bytes = frame.get(chunk.at..).and_then(|rest| rest.get(..chunk.len)).unwrap_or_default();
    let fits = chunk.snapshot.length <= shared.snapshot_limit;
    let stored = shared.use_store(&shared.wakes.receiver, async |store| {
        if shared.halted().is_some() {
            return None;
        }
        let written = if fits { write_chunk(store, chunk, bytes).await } else { Err(SnapshotError::TooLarge) };
        let stored = match written {
            Ok(()) => Stored::Yes,
            Err(SnapshotError::TooLarge) => Stored::TooLarge,
            Err(SnapshotError::Superseded | SnapshotError::Mismatch) => Stored::Broken,
            Err(SnapshotError::Store(_)) => return None,
        };
        // While the store is held: an own snapshot that is being made learns of this one before it could take its place.
        let now = shared.clock.now();
        shared.step(|state| state.raft.handle_chunk(now, chunk, stored));
        Some(stored)
    });
    let stored = stored.await.ok_or_else(|| shared.halt(Halt::Snapshot))?;
    if stored == Stored::Yes && chunk.is_last() {
        shared.snapshot_is_durable();
    }
    Ok(())
}

async fn write_chunk<S: LogStore>(store: &mut S, chunk: &Chunk, bytes: &[u8]) -> Result<(), SnapshotError<S::Error>> {
    let (snapshot, last) = (&chunk.snapshot, chunk.snapshot.last);
    if chunk.offset == 0 {
        store.begin_snapshot(last).await.map_err(SnapshotError::Store)?;
    }
    store.write_snapshot(last, chunk.offset, bytes).await?;
    if chunk.is_last() { store.finish_snapshot(snapshot).await } else { Ok(()) }
}
