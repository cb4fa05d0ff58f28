//! The commit path: three nodes in one process, the same commands, each stored and applied by every node.

mod cluster;
mod floor;
mod log;
mod omnipaxos;
mod openraft;
mod quoring;
mod raft_rs;
mod raftbare;

use anyhow::{Context, Result};
use quoring_benches::cluster::Load;

use crate::rafts::cluster::{Applied, WINDOW, replicate};
use crate::rafts::floor::Floor;
use crate::rafts::omnipaxos::Omni;
use crate::rafts::quoring::{Memory, Quoring};
use crate::rafts::raft_rs::RaftRs;
use crate::rafts::raftbare::Raftbare;
use crate::table::{grouped, times, versioned};
use crate::valgrind::{self, Heap, heap, instructions};

/// Entries of the run that is taken off, and of the run that it is taken off from: start and election cost both the same, and snapshots and
/// purges come in whole periods.
const SHORT: u64 = 1024;
const LONG: u64 = 3072;

/// Who does the work.
struct Contender {
    /// On the command line, and in the table if it is no crate of others.
    name: &'static str,
    /// The crate, if it is one of others.
    krate: Option<&'static str>,
    run: fn(Load, u64) -> Applied,
    /// What the crate leaves to the application.
    lacks: &'static str,
}

/// The first is what the others are compared with.
const CONTENDERS: [Contender; 6] = [
    Contender {
        name: "quoring",
        krate: None,
        run: |load, entries| {
            // As firmware has it in a static: it lives as long as the program.
            replicate(Quoring::new(Box::leak(Box::new(Memory::new(3)))), load, entries)
        },
        lacks: "",
    },
    Contender {
        name: "raftbare",
        krate: Some("raftbare"),
        run: |load, entries| replicate(Raftbare::new(), load, entries),
        lacks: "commands, on their way (all that is allocated) and in the log; codec, checksums, log store, sessions",
    },
    Contender {
        name: "omnipaxos",
        krate: Some("omnipaxos"),
        run: |load, entries| {
            let batch = if load == Load::Batch { WINDOW } else { 1 };
            replicate(Omni::new(batch), load, entries)
        },
        lacks: "codec, checksums, log store, sessions",
    },
    Contender {
        name: "raft-rs",
        krate: Some("raft"),
        run: |load, entries| replicate(RaftRs::new(), load, entries),
        lacks: "codec, checksums, log store, sessions",
    },
    Contender {
        name: "openraft",
        krate: Some("openraft"),
        run: openraft::replicate,
        lacks: "codec, checksums, log store, sessions; it alone brings tasks and channels, and they count",
    },
    Contender {
        name: "floor",
        krate: None,
        run: |load, entries| replicate(Floor::new(), load, entries),
        lacks: "consensus: one node hands its log to the others",
    },
];

/// Prints the table.
///
/// # Errors
/// There is no valgrind, or a run failed.
pub(crate) fn print() -> Result<()> {
    valgrind::find()?;
    println!(
        "\
Instructions per entry of 32 bytes that is committed, stored in a log in memory and applied on all of three nodes in one process and one thread; in
brackets how many times as many as Quoring's. closed: one command in flight; pipe: {WINDOW} in flight, proposed one by one; batch: {WINDOW} with one call
if there is such a call. Then heap allocations per entry, their bytes, and what is still allocated at the end. Counted by callgrind and DHAT, as the
difference between runs of {SHORT} and {LONG} entries. Messages are handed over in memory; Quoring alone encodes, and checks what arrives.
"
    );
    println!(
        "| | closed | pipe | batch | allocations per entry: closed, pipe, batch | bytes of them | heap at the end | leaves to the application |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|---|");
    let mut unit = None;
    for contender in &CONTENDERS {
        let cost = contender.measure()?;
        let unit = *unit.get_or_insert(cost.instructions);
        let [closed, pipe, batch] = [0, 1, 2]
            .map(|at| format!("{} ({})", grouped(cost.instructions[at]), times(cost.instructions[at], unit[at])));
        let blocks = cost.blocks.map(|blocks| format!("{:.1}", blocks as f64 / 1000.0)).join(", ");
        let bytes = cost.bytes.map(grouped).join(", ");
        let name = contender.krate.map_or_else(|| contender.name.to_owned(), versioned);
        println!(
            "| {name} | {closed} | {pipe} | {batch} | {blocks} | {bytes} | {} | {} |",
            grouped(cost.live),
            contender.lacks
        );
    }
    Ok(())
}

/// One run, to be counted: what every node has applied, folded.
///
/// # Errors
/// Nobody has this name.
pub(crate) fn run(name: &str, load: Load, entries: u64) -> Result<u64> {
    let contender = CONTENDERS.iter().find(|contender| contender.name == name);
    let run = contender.with_context(|| format!("nobody is named `{name}`"))?.run;
    Ok(run(load, entries.next_multiple_of(WINDOW as u64)).sum)
}

/// What an entry costs.
struct Cost {
    instructions: [u64; Load::ALL.len()],
    /// Allocations for a thousand entries.
    blocks: [u64; Load::ALL.len()],
    /// Bytes of them for an entry.
    bytes: [u64; Load::ALL.len()],
    /// Bytes allocated at the end of the last run.
    live: u64,
}

impl Contender {
    fn measure(&self) -> Result<Cost> {
        let (mut instructions, mut blocks, mut bytes, mut live) = ([0; 3], [0; 3], [0; 3], 0);
        for (at, load) in Load::ALL.into_iter().enumerate() {
            let (short, long) = (self.count(load, SHORT)?, self.count(load, LONG)?);
            let each = |long: u64, short: u64| long.saturating_sub(short) / (LONG - SHORT);
            instructions[at] = each(long.0, short.0);
            blocks[at] = each(long.1.blocks * 1000, short.1.blocks * 1000);
            bytes[at] = each(long.1.bytes, short.1.bytes);
            live = long.1.live;
        }
        Ok(Cost { instructions, blocks, bytes, live })
    }

    /// Instructions and allocations of one run.
    fn count(&self, load: Load, entries: u64) -> Result<(u64, Heap)> {
        let (sum, entries) = (Applied::after(entries).sum, entries.to_string());
        let arguments = ["raft", self.name, load.name(), &entries];
        Ok((instructions(&arguments, sum)?, heap(&arguments, sum)?))
    }
}
