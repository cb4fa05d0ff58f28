//! A cluster of three whole nodes in one process: the drivers' tasks, logs and snapshots on flash in RAM, links, clients of all kinds, and everything that can
//! happen to them short of a loss of power, over as many entries as one likes. All memory is looked at on the way (P13): after the start nothing is
//! allocated, and what a node takes is constant by type.
//!
//! `cargo run --release -p quoring-constant` is ten million entries; the tests are shorter ones.

mod application;
mod clients;
mod clock;
mod flash;
mod link;
mod node;
mod picture;
mod report;
mod resident;
mod run;
mod script;
mod task;

pub use clients::Done;
pub use node::Sizes;
pub use picture::draw;
pub use report::{Report, SLACK, Sample};
pub use run::{Plan, run};
pub use script::{Mark, What};
