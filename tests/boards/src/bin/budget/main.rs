//! `cargo run --release -p quoring-boards --bin budget`: what a node costs on a chip, by the bytes of the mps2 image and by the instructions of
//! three emulated boards.
//!
//! ```text
//! budget               measures, and prints the table of the README
//! budget --check       fails if a number is more than 2 % above the README's, or above its limit
//! budget --write       puts the numbers into the README
//! budget --functions   prints the instructions per entry, and the code, by function,
//!                      the longest steps, the largest stack frames
//! ```

mod code;
mod functions;
mod run;
mod sections;
mod table;
mod wire;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use quoring_boards::firmware::{self, Firmware};
use quoring_boards::image::Image;

use crate::run::Run;
use crate::table::{Row, Table};

/// The page that has the table in it.
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");

/// Bytes of code of ring, core and wire format together (32 KiB).
const CODE_LIMIT: u64 = 32 << 10;
/// Bytes of the memory of a node in a cluster of three (8 KiB).
const MEMORY_LIMIT: u64 = 8 << 10;
/// Instructions per entry of 64 bytes, one in flight.
const LEADER_LIMIT: u64 = 6000;
const FOLLOWER_LIMIT: u64 = 3000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    Print,
    Check,
    Write,
    Functions,
}

fn main() -> ExitCode {
    match task().and_then(budget) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("budget: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn task() -> Result<Task> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(Task::Print),
        ["--check"] => Ok(Task::Check),
        ["--write"] => Ok(Task::Write),
        ["--functions"] => Ok(Task::Functions),
        _ => bail!("usage: budget [--check | --write | --functions]"),
    }
}

fn budget(task: Task) -> Result<()> {
    let path = firmware::build(&Firmware::MPS2)?;
    let image = Image::open(&path)?;
    let run = Run::of(&path, &image)?;
    let profiles = run.profiles(&image)?;
    if task == Task::Functions {
        functions::print(&image, &run, &profiles);
        return Ok(());
    }
    let mut rows = code::rows(&image)?;
    rows.push(Row::new("stack, deepest seen", run.stack));
    rows.push(Row::new("instructions per entry, leader", run.leader().median()).limit(LEADER_LIMIT));
    rows.push(Row::new("instructions per entry, follower", run.follower().median()).limit(FOLLOWER_LIMIT));
    rows.push(Row::new(
        "instructions of a long step of the core",
        sections::longest(&profiles, |profile| &profile.steps),
    ));
    rows.push(Row::new(
        "instructions of a long time without interrupts",
        sections::longest(&profiles, |profile| &profile.masked),
    ));
    let table = Table::new(rows);
    println!("{table}\n{run}");

    let readme = fs::read_to_string(README).context("README.md")?;
    match task {
        Task::Write => fs::write(README, table.put_into(&readme)?).context("README.md"),
        Task::Check => table.check(&Table::of(&readme)?),
        _ => Ok(()),
    }
}
