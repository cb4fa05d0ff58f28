//! The command line. Exit codes: 0 all is well, 1 a violation or something not committed, 2 bad usage or input.

mod demonstration;
mod inspect;
mod replicate;
mod sweep;
pub mod wear;

pub(crate) use self::sweep::Summary;

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, Result};
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::faults::FaultSet;
use crate::options::{Options, RingSize};
use crate::report;
use crate::run::{Viewers, run};
use crate::workload::Workload;

/// Replicates over a simulated cluster of real Quoring nodes, through faults. Without a command: a demonstration.
#[derive(Debug, Parser)]
#[command(name = "quoring", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Replicates the lines of a file; each node writes what it has applied.
    Replicate(Replicate),
    /// Runs one seed, all checkers looking on.
    Run {
        #[command(flatten)]
        options: RunOptions,
        #[command(flatten)]
        history: History,
        /// Print the result as a JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Runs many seeds; prints each that fails and the command that replays it.
    Sweep(Sweep),
    /// Runs one seed again, to the same bytes.
    Replay {
        #[command(flatten)]
        options: RunOptions,
        #[command(flatten)]
        history: History,
        /// Print one line for each event.
        #[arg(long)]
        trace: bool,
    },
    /// Shows what a log on flash or in a file holds, and what a node would do with it. Changes nothing.
    Inspect(inspect::Inspect),
    /// Tells how long flash lasts under a log.
    Wear(wear::Wear),
}

#[derive(Debug, Args)]
struct Replicate {
    /// Any file: its lines may be empty or no text at all.
    file: PathBuf,
    /// How many nodes.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=32))]
    nodes: u8,
    /// Where all chance comes from.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Which faults to draw from: none, net, crash, all.
    #[arg(long, value_name = "SET", default_value = "none")]
    faults: FaultSet,
    /// The folder for node-<id>.log of each node.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// What `run` and `replay` share.
#[derive(Clone, Copy, Debug, Args)]
struct RunOptions {
    /// Where all chance comes from.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    cluster: ClusterOptions,
}

/// Where to write what the clients did and saw.
#[derive(Clone, Debug, Args)]
struct History {
    /// Write what the clients did and saw, for an independent checker of linearizability: one JSON object a line.
    ///
    /// Its keys: client, type, op, key, value, time. A client does one thing at a time. A line of type invoke begins it, the next one of that client ends it: ok, it took
    /// effect; fail, it did not; info, nobody knows, and the client does nothing more. The op is put, get, cas, read or line; key the register, of which there are
    /// four, all 0 at first; time is in microseconds. The value is what put wrote; what get or read saw; of cas the value expected, the new one, and, once it is ok,
    /// what the register held then, which tells whether it was set; of line its number. A get goes through the log, a read does not.
    #[arg(long = "history", value_name = "FILE")]
    file: Option<PathBuf>,
}

/// What all runs share.
#[derive(Clone, Copy, Debug, Args)]
struct ClusterOptions {
    /// How many nodes.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=32))]
    nodes: u8,
    /// How many commands.
    #[arg(long, value_name = "E", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    entries: u32,
    /// Which faults to draw from: none, net, crash, all.
    #[arg(long, value_name = "SET", default_value = "all")]
    faults: FaultSet,
    /// The nodes' memory: small, medium, wide. A small one is full more often.
    #[arg(long, value_name = "SIZE", default_value = "medium")]
    ring: RingSize,
}

#[derive(Debug, Args)]
struct Sweep {
    /// From which seed to which, both included.
    #[arg(long, value_name = "A..B")]
    seeds: Seeds,
    #[command(flatten)]
    cluster: ClusterOptions,
    /// How many runs at a time; as many as the machine has cores unless told otherwise.
    #[arg(long, value_name = "J", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Print the result as a JSON object.
    #[arg(long)]
    json: bool,
}

/// A range of seeds, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seeds {
    first: u64,
    last: u64,
}

/// Runs the command that the process was given.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            say(&error);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{}", one_line(&error.to_string()));
            return ExitCode::from(2);
        }
    };
    let result = match cli.command {
        None => demonstration::show(),
        Some(Command::Replicate(command)) => command.perform(),
        Some(Command::Run { options, history, json }) => single(&options.into(), &history, json),
        Some(Command::Sweep(command)) => command.perform(),
        Some(Command::Replay { options, history, trace: true }) => trace(&options.into(), &history),
        Some(Command::Replay { options, history, trace: false }) => single(&options.into(), &history, false),
        Some(Command::Inspect(command)) => command.perform(),
        Some(Command::Wear(command)) => command.perform(),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// One run and its report. True if all is well.
fn single(options: &Options, history: &History, json: bool) -> Result<bool> {
    let history = history.sink()?;
    if json {
        let outcome = run(options, Viewers { history, ..Viewers::default() })?;
        say(report::json(&outcome));
        return Ok(outcome.is_clean());
    }
    say(format_args!("quoring run {options}"));
    let bar = progress_bar(options.workload.entries(), "commands");
    let mut progress = |done| bar.set_position(done);
    let outcome = run(options, Viewers { history, progress: Some(&mut progress), ..Viewers::default() })?;
    bar.finish_and_clear();
    say(report::text(&outcome));
    Ok(outcome.is_clean())
}

/// One run, line by line. True if all is well.
fn trace(options: &Options, history: &History) -> Result<bool> {
    let history = history.sink()?;
    say(format_args!("# quoring replay {options} --trace"));
    let sink = Box::new(BufWriter::with_capacity(1 << 16, io::stdout()));
    let outcome = run(options, Viewers { trace: Some(sink), history, ..Viewers::default() })?;
    say(report::text(&outcome));
    Ok(outcome.is_clean())
}

impl History {
    fn sink(&self) -> Result<Option<Box<dyn Write + Send>>> {
        let Some(file) = &self.file else { return Ok(None) };
        let file = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Some(Box::new(BufWriter::new(file))))
    }
}

/// Prints to standard output. A reader that has gone away is no error of ours.
fn say(what: impl fmt::Display) {
    let _ = writeln!(io::stdout(), "{}", what.to_string().trim_end());
}

/// A bar on standard error, if that is a terminal.
fn progress_bar(length: u64, unit: &str) -> ProgressBar {
    let template = format!("{{wide_bar}} {{pos}} of {{len}} {unit} {{elapsed}}");
    ProgressBar::new(length)
        .with_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The message of an argument error without the usage that follows it.
fn one_line(message: &str) -> String {
    let lines = message.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    lines.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

impl From<RunOptions> for Options {
    fn from(options: RunOptions) -> Self {
        options.cluster.with_seed(options.seed)
    }
}

impl ClusterOptions {
    fn with_seed(self, seed: u64) -> Options {
        let Self { nodes, entries, faults, ring } = self;
        Options { faults, ring, ..Options::new(seed, nodes.into(), Workload::Registers(entries)) }
    }
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once("..").ok_or("it is A..B, such as 1..1000, both included")?;
        let number = |text: &str| text.parse().map_err(|_| format!("'{text}' is no seed"));
        let (first, last) = (number(first)?, number(last.strip_prefix('=').unwrap_or(last))?);
        if first > last {
            return Err(format!("{first} comes after {last}"));
        }
        Ok(Self { first, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_range_of_seeds_includes_both_ends_and_is_not_empty() {
        assert_eq!("1..1000".parse(), Ok(Seeds { first: 1, last: 1000 }));
        assert_eq!("7..=7".parse(), Ok(Seeds { first: 7, last: 7 }));
        for wrong in ["", "7", "9..8", "a..b", "1..", "..9", "-1..3"] {
            assert!(wrong.parse::<Seeds>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_argument_error_is_one_line() {
        let message = |args: &[&str]| one_line(&Cli::try_parse_from(args).unwrap_err().to_string());
        let line = message(&["quoring", "run", "--nodes", "33"]);
        assert!(line.starts_with("error: invalid value '33' for '--nodes <N>'") && !line.contains('\n'), "{line}");
        assert!(message(&["quoring", "replicate"]).contains("<FILE>"));
    }
}
