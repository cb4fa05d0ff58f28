//! Raft consensus in constant memory: what users depend on.
//!
//! A node is one static, one call and three handles:
//!
//! ```text
//!  static Resources --- new(config, store, transport, clock, &mut resources) ---> Node       propose, stream, session, read, transfer   (Copy)
//!                                                                             |-> Committed  the application
//!                                                                             '-> Runner     run() or split()
//! ```
//!
//! Inside, tasks watch pointers instead of receiving messages:
//!
//! | task | watches | does |
//! |---|---|---|
//! | log writer | `accepted`, what may be purged | [`LogStore::append`], moves `flushed`; when idle, [`LogStore::tidy`] |
//! | replicator, one a peer | what is due to the peer | copies entries from ring or store, or a snapshot, [`Transport::send`] |
//! | receiver | the transport | steps the core, writes a leader's snapshot to the store |
//! | ticker | the next deadline | steps the core |
//! | [`Committed`], the application's | min(`flushed`, `committed`) | lends entries, moves `applied`; snapshots to make and to restore |
#![no_std]
#![warn(missing_debug_implementations)]

#[cfg(any(test, feature = "std"))]
extern crate std;

mod answer;
pub mod clock;
mod committed;
mod halt;
mod node;
mod platform;
mod pointers;
mod proposals;
mod read;
mod resources;
mod runner;
mod session;
mod sessions;
mod shared;
mod start;
pub mod store;
mod stream;
mod task;
mod transfer;
pub mod transport;
mod waiting;
mod wake;

pub use answer::{ANSWER, Answer};
pub use clock::Clock;
pub use committed::{Committed, Entry, Restore, RestoreError, Save, SaveError, Step};
pub use halt::Halt;
pub use node::{Lost, Node, Pending, ProposalError, ProposeError};
pub use platform::Platform;
pub use pointers::Pointers;
pub use read::Reading;
pub use resources::Resources;
pub use runner::{Runner, Tasks};
pub use session::{ParseSessionIdError, Session, SessionError, SessionId};
pub use start::{StartError, new};
pub use store::{LogStore, SnapshotError};
pub use stream::{Broken, OpenError, SendError, Sent, Stream, StreamWatch};
pub use task::{LogWriter, Receiver, Replicator, Ticker};
pub use transfer::Transferring;
pub use transport::Transport;

#[cfg(feature = "planted-faults")]
pub use quoring_core::Planted;
pub use quoring_core::{
    Admit, Capabilities, ClientId, ClusterId, Config, ConfigError, Duration, EntryId, Event, Instant, LogIndex, NodeId,
    NodeSet, ReadError, RecoveredRecord, Recovery, RecoveryError, Refusals, Rejection, RequestId, Role, Snapshot,
    Space, Status, StepDown, Term, TransferError,
};
pub use quoring_ring::Position;
