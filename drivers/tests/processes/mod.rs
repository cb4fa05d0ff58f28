//! The example `three_nodes` as processes: its nodes, which can be killed, and its clients.

mod client;
mod cluster;
mod load;

use std::process::{Command, Stdio};
use std::time::Duration;

pub(crate) use client::Client;
pub(crate) use cluster::Cluster;
pub(crate) use load::Load;

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A line that was acknowledged, and its place in the book: the first is 1.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) place: usize,
    pub(crate) text: String,
}

/// The example, which `cargo test` has built next to this test.
pub(crate) fn command(arguments: &[String]) -> Command {
    let test = std::env::current_exe().unwrap();
    let example = test.ancestors().nth(2).unwrap().join("examples").join("three_nodes");
    let example = example.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(example.exists(), "cargo build -p quoring --features std --example three_nodes");
    let mut command = Command::new(example);
    command.args(arguments).stdin(Stdio::null());
    command
}
