//! `quoring-comparison`: Quoring beside other crates, each doing the same work. Prints Markdown.
//!
//! `quoring-comparison rafts|rings|flash` prints the tables of that part. `quoring-comparison raft NAME LOAD ENTRIES` and
//! `quoring-comparison ring NAME BATCH RECORDS` are the single runs that the tables count under valgrind; they print what was passed on, folded.

mod flash;
mod rafts;
mod rings;
mod table;
mod valgrind;

use std::env::args;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use quoring_benches::cluster::Load;

const USAGE: &str = "usage: quoring-comparison rafts|rings|flash
       quoring-comparison raft NAME closed|pipe|batch ENTRIES
       quoring-comparison ring NAME BATCH RECORDS";

fn main() -> ExitCode {
    let arguments: Vec<String> = args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(sum) => {
            sum.inspect(|sum| println!("{sum}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What the commands or records of a single run fold to.
fn run(arguments: &[&str]) -> Result<Option<u64>> {
    match arguments {
        ["rafts"] => rafts::print().map(|()| None),
        ["rings"] => rings::print().map(|()| None),
        ["flash"] => {
            flash::print();
            Ok(None)
        }
        ["raft", name, load, entries] => {
            rafts::run(name, Load::from_name(load).context(USAGE)?, entries.parse().context(USAGE)?).map(Some)
        }
        ["ring", name, batch, records] => {
            rings::run(name, batch.parse().context(USAGE)?, records.parse().context(USAGE)?).map(Some)
        }
        _ => bail!(USAGE),
    }
}
