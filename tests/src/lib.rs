//! A deterministic cluster of cores in one process: every frame, write, completion and deadline is in the hands of a test, and oracles look
//! at everything after every step.
//!
//! ```text
//!   scenarios/*.txt --> script --+                       +--> node --> core, ring, disk
//!                                +--> cluster (one step) +--> network: frames in flight
//!   random traces --> trace -----+         |             +--> replicator: plan, copy, check, send
//!                       |                  v
//!                       +--> model      oracle, and clients who see only what they may
//! ```

pub mod clients;
pub mod cluster;
pub mod disk;
pub mod memory;
pub mod model;
pub mod network;
pub mod node;
pub mod oracle;
pub mod random;
pub mod replicator;
pub mod script;
pub mod snapshots;
pub mod trace;
