//! Clusters of emulated boards, through what happens to boards.
//!
//! All of them run the firmware image. `ROUNDS` in the environment repeats what is repeated so often, `SEED` draws something else.

mod agreement;

use anyhow::{Context, Result};

/// The seed of a test, or that of the environment.
fn seed(default: u64) -> Result<u64> {
    std::env::var("SEED").map_or(Ok(default), |seed| seed.parse().context("SEED is no number"))
}
