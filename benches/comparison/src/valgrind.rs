//! Runs this program under valgrind, which counts what a run costs.

use std::env::current_exe;
use std::io::ErrorKind;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

/// What a run allocated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heap {
    /// Allocations.
    pub(crate) blocks: u64,
    /// Bytes of all of them.
    pub(crate) bytes: u64,
    /// Bytes that were still allocated at the end of the program.
    pub(crate) live: u64,
}

/// Looks for valgrind.
///
/// # Errors
/// It is not there.
pub(crate) fn find() -> Result<()> {
    start(Command::new("valgrind").arg("--version")).map(drop)
}

/// Instructions of a run of this program with these arguments, by callgrind. It must print this sum.
///
/// # Errors
/// There is no valgrind, or the run failed.
pub(crate) fn instructions(arguments: &[&str], sum: u64) -> Result<u64> {
    let report = run(&["--tool=callgrind", "--callgrind-out-file=/dev/null"], arguments, sum)?;
    number_behind(&report, "Collected :")
}

/// What a run of this program with these arguments allocates, by DHAT. It must print this sum.
///
/// # Errors
/// There is no valgrind, or the run failed.
pub(crate) fn heap(arguments: &[&str], sum: u64) -> Result<Heap> {
    let report = run(&["--tool=dhat", "--dhat-out-file=/dev/null"], arguments, sum)?;
    let total = line_behind(&report, "Total:")?;
    Ok(Heap {
        blocks: number_behind(total, "bytes in")?,
        bytes: number_behind(&report, "Total:")?,
        live: number_behind(&report, "At t-end:")?,
    })
}

/// What valgrind reports about a run.
fn run(options: &[&str], arguments: &[&str], sum: u64) -> Result<String> {
    let program = current_exe().context("this program's file")?;
    let output = start(Command::new("valgrind").args(options).arg(program).args(arguments))?;
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        bail!("`{}` failed under valgrind: {report}", arguments.join(" "));
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    if printed.trim() != sum.to_string() {
        bail!("`{}` passed on what folds to {}, not {sum}", arguments.join(" "), printed.trim());
    }
    Ok(report)
}

fn start(valgrind: &mut Command) -> Result<Output> {
    match valgrind.output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("valgrind is not installed: it counts instructions and allocations here")
        }
        output => output.context("valgrind does not start"),
    }
}

fn line_behind<'r>(report: &'r str, label: &str) -> Result<&'r str> {
    let behind = report.split_once(label).and_then(|(_, rest)| rest.lines().next());
    behind.with_context(|| format!("valgrind does not tell `{label}`: {report}"))
}

/// The number behind a label; its thousands may be parted by commas.
fn number_behind(report: &str, label: &str) -> Result<u64> {
    let word = line_behind(report, label)?.split_whitespace().next().unwrap_or_default();
    word.replace(',', "").parse().with_context(|| format!("`{label}` is followed by `{word}`"))
}
