//! Clusters of emulated boards, and what happens to boards. Clients put, get and ask all the time, and what they see is checked as it comes in.
//!
//! All of them run the firmware image. `ROUNDS` in the environment repeats so often what is repeated, `SEED` draws other faults at other times.

mod agreement;
mod crashes;
mod hangs;
mod links;
mod mixture;
mod orphans;
mod rot;

use anyhow::{Context, Result};
use quoring_boards::cluster::Cluster;

/// A cluster under load, drawn from this seed or that of the environment.
fn cluster(voters: u8, seed: u64) -> Result<Option<Cluster>> {
    Cluster::start(voters, number("SEED", seed)?)
}

/// How often something is to be repeated.
fn rounds(default: u64) -> Result<u64> {
    number("ROUNDS", default)
}

fn number(variable: &str, default: u64) -> Result<u64> {
    std::env::var(variable).map_or(Ok(default), |text| text.parse().with_context(|| format!("{variable} is no number")))
}
