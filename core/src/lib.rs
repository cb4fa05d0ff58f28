//! The Raft of Quoring: a deterministic state machine without I/O, clock, allocator or queue.
//!
//! Inputs are `handle_*`, outputs are `poll_*`. What a peer should be sent is *derived* when its replicator asks: a few due-bits, the
//! positions of the ring and the peer's progress. A newer intention replaces an older one by construction (P9).
//!
//! ```text
//!   propose             handle_message        handle_timeout  handle_flushed
//!      |                      |                     |               |
//!      v                      v                     v               v
//!  +------------------------------- Raft -------------------------------+
//!  | role, term, vote | members | term runs | a Peer for each other node|
//!  +--------------------------------------------------------------------+
//!      | append, commit       |                     |               |
//!      v                      v                     v               v
//!     ring              poll_transmit(peer)   poll_timeout     poll_event
//! ```
//!
//! What a store has purged a leader sends as a snapshot. Its bytes pass by the core: the driver reads and writes them, the core says which, and keeps a
//! few numbers ([`Chunk`], [`ChunkBatch`]).
//!
//! Every frame but those of a pre-vote leaves only when the record of the node's term and vote is durable, so a crash never takes back
//! what another node has heard (E2, E3, L4).
#![no_std]
#![warn(missing_debug_implementations)]

#[cfg(any(test, feature = "std"))]
extern crate std;

mod capabilities;
mod config;
mod event;
mod members;
mod news;
#[cfg(feature = "planted-faults")]
mod planted;
mod progress;
mod raft;
mod recovery;
mod request;
mod snapshot;
mod space;
mod term_runs;
mod types;
mod vote;
pub mod wire;

pub use capabilities::Capabilities;
pub use config::{Admit, Config, ConfigError, Rejection};
pub use event::{Event, Refusals, Role, Status, StepDown};
pub use members::NodeSet;
pub use news::News;
#[cfg(feature = "planted-faults")]
pub use planted::Planted;
pub use progress::{IN_FLIGHT, Peer};
pub use raft::{
    Chunk, ChunkBatch, Closed, ForwardError, Handled, ProposeError, Raft, ReadError, ReadRound, RingBatch, StoreBatch,
    Stored, TransferError, Transmit, WindowError, WindowState, WindowStatus, command_limit,
};
pub use recovery::{Recovered, RecoveredRecord, Recovery, RecoveryError};
pub use request::{ClientId, RequestId};
pub use snapshot::Snapshot;
pub use space::Space;
pub use term_runs::{RUNS, TermRuns};
pub use types::{ClusterId, Duration, EntryId, Instant, LogIndex, NodeId, Term};
