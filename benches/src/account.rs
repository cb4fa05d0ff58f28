//! An account of every instruction of the commit path, by the source file that it comes from: `account [NODES] [BYTES]`, which `benches/account.sh` calls,
//! runs the program `instructions` beside it under callgrind, and prints Markdown.
//!
//! Each number is the difference of two run lengths. What is inlined belongs to the file where it is written; what is inlined of the standard library to the
//! file of the function that it became a part of.

use std::collections::{BTreeMap, HashMap};
use std::env::{args, current_exe, temp_dir};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, id};

use anyhow::{Context, Result, bail, ensure};
use quoring_benches::cluster::Load;

const LENGTHS: [u64; 2] = [2000, 4000];
const LOADS: [Load; 3] = [Load::Closed, Load::Pipe, Load::Batch];

/// What a file of the project is there for; the first that its path contains.
const PARTS: [(&str, &str); 18] = [
    ("ring/src/checksum.rs", "checksums of records and frames"),
    ("sse42.rs", "checksums of records and frames"),
    ("core/src/wire/", "frames: written and read"),
    ("ring/src/arena.rs", "ring: bytes copied in and out"),
    ("ring/src/writer.rs", "ring: appended and committed"),
    ("ring/src/record.rs", "ring: headers of records"),
    ("ring/src/", "ring: looked at and published"),
    ("core/src/raft/propose.rs", "leader: commands taken"),
    ("core/src/raft/leader.rs", "leader: answers and the commit rule"),
    ("core/src/raft/transmit.rs", "what to send to whom"),
    ("core/src/progress.rs", "what to send to whom"),
    ("core/src/raft/follower.rs", "follower: entries judged and taken, answers"),
    ("core/src/raft/", "other rules: store, timers, snapshots"),
    ("core/src/term_runs.rs", "terms of the log"),
    ("core/src/raft.rs", "inputs to their rule"),
    ("core/src/", "indices, nodes, quorums"),
    ("heapless", "appends on their way"),
    ("benches/src/", "application and harness"),
];

/// Instructions by part.
type Account = BTreeMap<&'static str, u64>;

fn main() -> ExitCode {
    match args().skip(1).map(|text| text.parse().ok()).collect::<Option<Vec<u64>>>() {
        Some(numbers) if numbers.len() <= 2 => match print(&numbers) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("usage: account [NODES] [BYTES]");
            ExitCode::from(2)
        }
    }
}

fn print(numbers: &[u64]) -> Result<()> {
    let (nodes, bytes) = (numbers.first().copied().unwrap_or(3), numbers.get(1).copied().unwrap_or(32));
    let accounts = LOADS.map(|load| per_entry(load, nodes, bytes));
    let [closed, pipe, batch] = accounts;
    let accounts = [closed?, pipe?, batch?];
    println!("Instructions per entry, {nodes} nodes, commands of {bytes} bytes:\n");
    println!("| | closed | pipe | batch |\n|---|--:|--:|--:|");
    let mut parts: Vec<&str> = accounts.iter().flat_map(|account| account.keys().copied()).collect();
    parts.sort_unstable();
    parts.dedup();
    let cost = |account: &HashMap<&str, f64>, part: &str| account.get(part).copied().unwrap_or(0.0);
    parts.sort_by(|a, b| cost(&accounts[0], b).total_cmp(&cost(&accounts[0], a)));
    for part in parts.iter().filter(|part| accounts.iter().any(|account| cost(account, part) >= 0.5)) {
        row(part, accounts.each_ref().map(|account| cost(account, part)));
    }
    row("all", accounts.each_ref().map(|account| account.values().sum()));
    Ok(())
}

fn row(name: &str, costs: [f64; 3]) {
    let [closed, pipe, batch] = costs;
    println!("| {name} | {closed:.0} | {pipe:.0} | {batch:.0} |");
}

/// What an entry costs in the long run.
fn per_entry(load: Load, nodes: u64, bytes: u64) -> Result<HashMap<&'static str, f64>> {
    let [short, long] = LENGTHS.map(|length| run(load, length, nodes, bytes));
    let (short, long) = (short?, long?);
    let entries = (LENGTHS[1] - LENGTHS[0]) as f64;
    let difference = |part| long.get(part).copied().unwrap_or(0) as f64 - short.get(part).copied().unwrap_or(0) as f64;
    Ok(long.keys().map(|part| (*part, difference(part) / entries)).collect())
}

fn run(load: Load, entries: u64, nodes: u64, bytes: u64) -> Result<Account> {
    let program = current_exe()?.with_file_name("instructions");
    ensure!(program.exists(), "{} is missing: build quoring-benches first", program.display());
    let counts = Counts(temp_dir().join(format!("quoring-account-{}-{}-{entries}", id(), load.name())));
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", counts.0.display())).arg(program);
    let output = valgrind.arg(load.name()).args([entries, nodes, bytes].map(|number| number.to_string())).output();
    let output = output.context("valgrind does not start; it counts the instructions")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(account(&fs::read_to_string(&counts.0)?))
}

/// The file with callgrind's counts, for as long as it is needed.
struct Counts(PathBuf);

impl Drop for Counts {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _ = fs::remove_file(&self.0);
    }
}

/// Adds up callgrind's counts. Its lines are `fl=` the file of a function, `fi=` and `fe=` a file whose code is inlined there, `calls=` a call, whose cost
/// stands in the next line and belongs to the function that is called, or a place in the file and a cost.
fn account(counts: &str) -> Account {
    let (mut names, mut account) = (HashMap::new(), Account::new());
    let (mut function, mut file, mut is_call) = (String::new(), String::new(), false);
    for line in counts.lines() {
        if let Some((key @ ("fl" | "fi" | "fe" | "cfi" | "cfl"), value)) = line.split_once('=') {
            let name = name(&mut names, value);
            match key {
                "fl" => (function, file) = (name.clone(), name),
                "fi" | "fe" => file = name,
                _ => {}
            }
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let cost = line.split_whitespace().nth(1).and_then(|cost| cost.parse::<u64>().ok());
            if let Some(cost) = cost.filter(|_| !std::mem::take(&mut is_call)) {
                *account
                    .entry(part(&file).or_else(|| part(&function)).unwrap_or("the system's library"))
                    .or_default() += cost;
            }
        }
    }
    account
}

/// A name stands behind its number where it comes first, then the number alone.
fn name(names: &mut HashMap<String, String>, value: &str) -> String {
    let (number, name) = value.split_once(' ').unwrap_or((value, ""));
    if !name.is_empty() {
        names.insert(number.to_owned(), name.to_owned());
    }
    names.get(number).cloned().unwrap_or_default()
}

fn part(file: &str) -> Option<&'static str> {
    let is_foreign = Path::new(file).components().any(|component| component.as_os_str() == "library");
    let found = PARTS.iter().find(|(path, _)| file.contains(path));
    found.filter(|_| !is_foreign || file.ends_with("sse42.rs")).map(|(_, part)| *part)
}
