//! Makes durable what is accepted: watches `accepted`, moves `flushed`.

use core::fmt;

use embassy_futures::yield_now;
use quoring_ring::Flusher;

use crate::halt::Halt;
use crate::platform::Platform;
use crate::shared::Shared;
use crate::store::LogStore;

/// The log writer. The only one that appends to the store and moves `flushed`.
pub struct LogWriter<'a, P: Platform> {
    shared: &'a Shared<'a, P>,
    flusher: Flusher<'a>,
    buffer: &'a mut [u8],
}

impl<P: Platform> fmt::Debug for LogWriter<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogWriter")
    }
}

impl<'a, P: Platform> LogWriter<'a, P> {
    pub(crate) const fn new(shared: &'a Shared<'a, P>, flusher: Flusher<'a>, buffer: &'a mut [u8]) -> Self {
        Self { shared, flusher, buffer }
    }

    /// Runs until the node halts. Not cancel-safe: a node without its log writer must be dropped whole.
    pub async fn run(mut self) -> Halt {
        let shared = self.shared;
        loop {
            let flusher = &self.flusher;
            let halted = shared.wakes.log_writer.until(|| match shared.halted() {
                Some(halt) => Some(Some(halt)),
                None => flusher.pending().then_some(None),
            });
            if let Some(halt) = halted.await {
                return halt;
            }
            // Group commit: whatever was accepted while the last write ran goes in this one.
            let batch = self.flusher.gather(self.buffer);
            let records = self.buffer.get(..batch.bytes).unwrap_or_default();
            if !records.is_empty() {
                let written = shared.write_store(async |store| store.append(records).await).await;
                if written.is_err() {
                    return shared.halt(Halt::Append);
                }
            }
            self.flusher.publish(batch.end);
            shared.flushed();
            // Who waited for the store while this task had it comes in before the next write.
            yield_now().await;
        }
    }
}
