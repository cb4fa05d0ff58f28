//! Makes durable what is accepted: watches `accepted`, moves `flushed`.

use core::fmt;
use core::sync::atomic::Ordering;

use embassy_futures::yield_now;
use quoring_core::LogIndex;
use quoring_ring::Flusher;

use crate::halt::Halt;
use crate::platform::Platform;
use crate::shared::Shared;
use crate::store::LogStore;

/// What there is to do.
enum Work {
    Halt(Halt),
    Append,
    Tidy,
}

/// The log writer. The only one that appends to the store and moves `flushed`.
pub struct LogWriter<'a, P: Platform> {
    shared: &'a Shared<'a, P>,
    flusher: Flusher<'a>,
    buffer: &'a mut [u8],
    /// What was last told the store that it may purge.
    allowed: LogIndex,
}

impl<P: Platform> fmt::Debug for LogWriter<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogWriter")
    }
}

impl<'a, P: Platform> LogWriter<'a, P> {
    pub(crate) const fn new(shared: &'a Shared<'a, P>, flusher: Flusher<'a>, buffer: &'a mut [u8]) -> Self {
        Self { shared, flusher, buffer, allowed: LogIndex::ZERO }
    }

    /// Runs until the node halts. Not cancel-safe: a node without its log writer must be dropped whole.
    pub async fn run(mut self) -> Halt {
        let shared = self.shared;
        // What a store leaves for when there is time, it may have left since before the restart.
        let mut untidy = true;
        loop {
            let (flusher, mut looks) = (&self.flusher, 0);
            let work = shared.wakes.log_writer.until(|| {
                looks += 1;
                match shared.halted() {
                    Some(halt) => Some(Work::Halt(halt)),
                    None if flusher.pending() => Some(Work::Append),
                    None => (untidy || shared.purges.load(Ordering::Acquire)).then_some(Work::Tidy),
                }
            });
            let work = work.await;
            if looks == 1 {
                // It did not wait. Who waited for the store while this task had it comes in before the next write.
                yield_now().await;
            }
            let done = match work {
                Work::Halt(halt) => return halt,
                Work::Append => self.append().await,
                Work::Tidy => self.tidy().await,
            };
            match done {
                Ok(more) => untidy = more,
                Err(halt) => return shared.halt(halt),
            }
        }
    }

    /// Group commit: whatever was accepted while the last write ran goes in this one. Whether there is something to tidy.
    async fn append(&mut self) -> Result<bool, Halt> {
        let shared = self.shared;
        let batch = self.flusher.gather(self.buffer);
        let records = self.buffer.get(..batch.bytes).unwrap_or_default();
        let written = shared.write_store(async |store| {
            if !records.is_empty() {
                shared.check_halted()?;
                store.append(records).await.map_err(|_| Halt::Append)?;
            }
            shared.note_space(store);
            Ok(!store.is_tidy())
        });
        let untidy = written.await?;
        self.flusher.publish(batch.end);
        Ok(shared.flushed() != self.allowed || untidy)
    }

    /// Nothing waits to be written: passes on what may be purged, and lets the store do a piece of what it will need. Whether there is more of that.
    async fn tidy(&mut self) -> Result<bool, Halt> {
        let shared = self.shared;
        shared.purges.store(false, Ordering::Relaxed);
        let allowed = shared.with(|state| state.raft.may_purge());
        let done = shared.write_store(async |store| {
            shared.check_halted()?;
            store.purge(allowed);
            let more = store.tidy().await.map_err(|_| Halt::Tidy)?;
            shared.note_space(store);
            Ok(more)
        });
        let more = done.await?;
        self.allowed = allowed;
        // There may be more room.
        shared.flushed();
        Ok(more)
    }
}
