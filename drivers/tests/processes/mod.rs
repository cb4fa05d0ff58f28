//! The example `key_value` as processes: its nodes, which can be killed, and its clients.

mod client;
mod cluster;
mod link;
mod load;

use std::process::{Command, Stdio};
use std::time::Duration;

pub(crate) use client::Client;
pub(crate) use cluster::Cluster;
pub(crate) use link::Link;
pub(crate) use load::Load;

/// How long anything may take before the test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The example, which `cargo test` has built next to this test.
pub(crate) fn command(arguments: &[String]) -> Command {
    let test = std::env::current_exe().unwrap();
    let example = test.ancestors().nth(2).unwrap().join("examples").join("key_value");
    let example = example.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(example.exists(), "cargo build -p quoring --features std --example key_value");
    let mut command = Command::new(example);
    command.args(arguments).stdin(Stdio::null());
    command
}
