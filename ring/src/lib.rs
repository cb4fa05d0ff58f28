//! A fixed-capacity ring of log records, shared in place by one writer and many readers.
//!
//! The writer encodes a record once; its bytes are then what the log writer stores, what a
//! replicator sends and what the applier reads. Nobody passes a message: whoever has work watches a
//! watermark and pulls. Loads and stores only, no compare-and-swap, no lock, no `unsafe`: it runs
//! on a Cortex-M0, and every watermark is readable from an interrupt.
//!
//! ```text
//!       tail             flushed            accepted
//! --------|-----------------|-------------------|----------->   positions, never back
//!   gone  |     durable     |  not durable yet  |   free
//!         '------------ at most W --------------'
//!
//!    applied <= committed <= last                               indices, low halves in memory
//! ```
//!
//! The ring knows bytes. It *publishes* records; what commits them is the business of its user.
//!
//! 1. **Append**: bytes, then the slot of the index, then `accepted`. A [pad](Kind::Pad) fills the
//!    arena's end, so that a record never wraps.
//! 2. **Truncation is an entry** at an index that exists: it takes fresh space, positions never go
//!    back.
//! 3. **Reclaim** is gated by `flushed` alone. Nothing else can make an append wait.
//! 4. **Copy** reads without a lock and checks afterwards that the record was still in the ring.
//! 5. **`leading`** tells a reader, after its copies, whether they still belong to one log.
//! 6. **[`Wake`]** loses no wake-up and costs an idle publisher one load.
//! 7. Low halves of indices are [extended](extend) against a base that their reader keeps.
//!
//! What every append runs through is inlined on hosts only: where pointers have 32 bits, copies of it would take more flash than they save time.
#![warn(missing_debug_implementations)]
#![cfg_attr(not(any(test, feature = "std", loom)), no_std)]

mod applier;
mod arena;
mod checksum;
mod flusher;
mod position;
mod reader;
mod record;
mod ring;
mod storage;
mod sync;
mod wake;
mod watermark;
mod writer;

pub use applier::Applier;
#[cfg(feature = "std")]
pub use checksum::host_crc32c;
pub use checksum::{Checksum, Crc32c, DEFAULT_CRC32C, software_crc32c};
pub use flusher::{Batch, Flusher};
pub use position::{ALIGN, Position, UNIT};
pub use reader::{Copied, CopyError, Reader};
pub use record::{HEADER, Header, Kind, Record, RecordError, Records, record_size};
pub use storage::{Handles, Origin, Storage};
#[cfg(loom)]
pub use sync::{Step, weaken};
pub use wake::{Wake, WakerCell};
pub use watermark::extend;
pub use writer::{AppendError, Span, Writer};
