//! `constant [ENTRIES] [--svg PATH]`: the memory of a cluster over so many entries, ten million if nothing is said, as a report and as a picture.
//!
//! If anything is allocated after the start, if the process grows, or if not everything happened that must, the exit code is 1 (P13).

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use quoring_constant::{Plan, draw, run};

const ENTRIES: u64 = 10_000_000;

fn main() -> ExitCode {
    match Arguments::parse(std::env::args().skip(1)) {
        Err(error) => {
            eprintln!("constant: {error:#}\nusage: constant [ENTRIES] [--svg PATH]");
            ExitCode::from(2)
        }
        Ok(arguments) => match measure(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("constant: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

struct Arguments {
    entries: u64,
    svg: Option<PathBuf>,
}

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut parsed = Self { entries: ENTRIES, svg: None };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--svg" => parsed.svg = Some(arguments.next().context("--svg needs a path")?.into()),
                option if option.starts_with('-') => bail!("there is no option {option}"),
                entries => parsed.entries = entries.parse().with_context(|| format!("{entries} is no number"))?,
            }
        }
        Ok(parsed)
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let report = run(&Plan { entries: arguments.entries, hoards: false })?;
    println!("{report}");
    if let Some(path) = &arguments.svg {
        std::fs::write(path, draw(&report)).with_context(|| format!("writing {}", path.display()))?;
    }
    report.check()?;
    report.check_resident()
}
