//! Quoring's driver tasks, the very same that firmware runs, on a deterministic executor in virtual time, through every fault a seed can
//! draw: links that lose and damage, power that fails at any await point and tears the last write at any word, chips that hang, fail and
//! rot, clocks that stand still. Checkers look on after every step; a run that injected nothing is not called a success.
//!
//! ```
//! use quoring_sim::{Options, Viewers, Workload, run};
//!
//! let outcome = run(&Options::new(7, 3, Workload::Registers(50)), Viewers::default())?;
//! assert!(outcome.is_clean(), "{:?}", outcome.violations);
//! assert_eq!(outcome.allocations, 0);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! | layer | files |
//! |---|---|
//! | what a node stands on | `executor` (order of tasks), `clock`, `network`, `store` on a `chip`, both as the `hardware` drawn |
//! | a node's life | `incarnation`: driver tasks, `application` and its `saves`; `desk`, `service` and `streaming` for clients |
//! | around the nodes | `client` and the `operations` it tells of, `workload`, `faults` (what strikes when), `cluster` (the loop) |
//! | who looks on | `checker/*`, `findings` (what is durable), `transfer`, `tally` (each fault where it takes effect), `trace` |
//! | for users | `cli`, `report` |

mod application;
mod checker;
mod chip;
pub mod cli;
mod client;
mod clock;
mod cluster;
mod desk;
mod event;
mod executor;
mod faults;
mod findings;
mod hardware;
mod incarnation;
mod network;
mod operations;
mod options;
mod outcome;
mod prng;
mod report;
mod run;
mod saves;
mod service;
mod size;
mod store;
mod streaming;
mod tally;
mod timeline;
mod trace;
mod transfer;
mod workload;
mod world;

pub use checker::{Checker, Violation};
pub use faults::FaultSet;
pub use options::{Options, Planted, RingSize};
pub use outcome::{NodeOutcome, Outcome};
pub use run::{Viewers, run};
pub use tally::{Action, Fault, Tally};
pub use workload::Workload;
