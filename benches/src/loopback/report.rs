//! The measurement, and its tables.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::arguments::Layout;
use crate::cluster::Cluster;
use crate::disk::{BATCH, COMMAND, FRAME, Scratch, file_system};
use crate::limits::{Limits, Machine};
use crate::node::PLACES;
use crate::samples::Samples;

/// Commands in flight.
const LOADS: [usize; 4] = [1, 16, 64, 256];

/// How long a load runs until the next one, or a limit, has its turn.
const TURN: Duration = Duration::from_secs(1);

/// Measures for so many turns of each load, and prints what came out.
pub(crate) fn print(folder: &Path, turns: u32, layout: Layout) -> Result<()> {
    let scratch = Scratch::new(folder).with_context(|| format!("{} cannot be used", folder.display()))?;
    let mut machine = Machine::start(&scratch.0)?;
    let mut cluster = Cluster::start(&scratch.0, layout)?;
    let (mut limits, mut loads) = (Limits::default(), LOADS.map(|_| Samples::default()));
    machine.measure(&mut limits)?;
    for _ in 0..turns {
        for (in_flight, samples) in LOADS.into_iter().zip(&mut loads) {
            samples.pool(&cluster.load(in_flight, TURN)?);
            machine.measure(&mut limits)?;
        }
    }
    let processors = std::thread::available_parallelism()?;
    let file_system = file_system(&scratch.0).unwrap_or_else(|| "a file system of unknown kind".into());
    let threads = match layout {
        Layout::OneThread => "one thread",
        Layout::LogThread => "two threads",
    };
    println!(
        "Three nodes of {threads} each on 127.0.0.1, {processors} processors, all logs on one {file_system}; commands of {COMMAND} bytes.\n"
    );

    println!("| commands in flight | commits per second | p50, µs | p90 | p99 | max |\n|---|--:|--:|--:|--:|--:|");
    for (in_flight, samples) in LOADS.into_iter().zip(&loads) {
        let through = if in_flight > PLACES { ", in a stream" } else { "" };
        let rate = samples.count() as f64 / (TURN * turns).as_secs_f64();
        println!("| {in_flight}{through} | {rate:.0} | {} |", columns(samples));
    }
    println!("\n| limit of the machine | p50, µs | p90 | p99 | max |\n|---|--:|--:|--:|--:|");
    println!("| round trip of {FRAME} bytes over UDP, between two processes | {} |", columns(&limits.round_trip));
    println!("| write of {BATCH} bytes with `fdatasync` | {} |", columns(&limits.sync));
    println!("| the same, in three processes at once | {} |", columns(&limits.syncs));
    let medians = [&loads[0], &limits.round_trip, &limits.sync, &limits.syncs];
    let [commit, round_trip, sync, syncs] = medians.map(|samples| micros(samples.median()));
    println!("\nOne command in flight, beside a round trip and a sync:");
    for sync in [sync, syncs] {
        println!("{commit:.0} µs / ({round_trip:.0} µs + {sync:.0} µs) = {:.2}", commit / (round_trip + sync));
    }
    Ok(())
}

fn columns(samples: &Samples) -> String {
    [50, 90, 99, 100].map(|percent| format!("{:.0}", micros(samples.percentile(percent)))).join(" | ")
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
