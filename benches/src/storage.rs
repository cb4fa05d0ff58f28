//! `storage`: what the log on flash costs the flash, and what recovery reads, as tables for the README.
//!
//! All of it is measured on flash in RAM that counts and enforces its rules, and held against the store's own arithmetic: if they disagree,
//! the exit code is 1 (D8).

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use embassy_futures::block_on;
use quoring::store::LogStore;
use quoring::store::medium::{Geometry, Medium};
use quoring::store::mock::{Counters, MockFlash};
use quoring::store::paged::{Layout, Owner, PagedLog};
use quoring_benches::record::{self, CLUSTER};
use quoring_core::{LogIndex, NodeId, Recovery};
use quoring_ring::{DEFAULT_CRC32C, record_size};
use quoring_sim::cli::wear::Cycle;

const COMMAND: usize = 32;
const RECORD: u32 = record_size(COMMAND) as u32;
/// The largest record of the logs, and what they read through.
const LARGEST: usize = 256;
const PAGES: usize = 256;
/// Cycles before the steady state, and in it, are at least this many laps.
const LAPS: u64 = 10;
/// Recoveries of which the median counts.
const REPEATS: usize = 101;

type Log<'m> = PagedLog<&'m mut MockFlash, PAGES, 256, LARGEST>;

fn main() -> ExitCode {
    match amplification().and_then(|()| recovery()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("storage: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Entries come one by one or 8 at a time, each time durable; the oldest go when their page is needed.
fn amplification() -> Result<()> {
    println!(
        "| word | page | entries at a time | bytes programmed per entry | per byte of command | erases per 1000 entries |"
    );
    println!("|--:|--:|--:|--:|--:|--:|");
    for (word, page) in [(1, 2048), (4, 2048), (8, 2048), (16, 2048), (32, 2048), (256, 4096)] {
        for batch in [1, 8] {
            let geometry = Geometry { word, page, pages: 8, erased: Some(0xFF), ordered: true };
            let cycle = steady(geometry, batch).with_context(|| format!("words of {word}, {batch} at a time"))?;
            let entries = cycle.entries as f64;
            let programmed = cycle.programmed as f64 / entries;
            println!(
                "| {word} | {page} | {batch} | {programmed:.1} | {:.2} | {:.1} |",
                programmed / COMMAND as f64,
                1000.0 * cycle.pages as f64 / entries
            );
        }
    }
    Ok(())
}

/// What the log does over whole cycles, which must be what its plan says.
fn steady(geometry: Geometry, batch: u32) -> Result<Cycle> {
    let mut flash = MockFlash::new(geometry);
    let mut log = open(&mut flash)?;
    recover(&mut log)?;
    let cycle = Cycle::new(&log.plan(), RECORD, batch).context("a page takes no record")?;
    let cycles = (LAPS * u64::from(geometry.pages)).div_ceil(cycle.pages);
    let mut next = 1;
    append(&mut log, &mut next, cycles * cycle.entries, batch)?;
    let before = log.medium().counters();
    append(&mut log, &mut next, cycles * cycle.entries, batch)?;
    let after = log.medium().counters();
    let counted = Cycle {
        pages: after.erases - before.erases,
        entries: cycles * cycle.entries,
        programmed: (after.words - before.words) * u64::from(geometry.word),
    };
    let planned = Cycle { pages: cycles * cycle.pages, programmed: cycles * cycle.programmed, ..counted };
    ensure!(counted == planned, "the plan says {planned:?}, the flash {counted:?}");
    ensure!(after.violations == 0, "a rule of the flash was broken: {after:?}");
    Ok(counted)
}

/// Entries one by one, as many as fit before the oldest page would have to go.
fn recovery() -> Result<()> {
    println!("\n| pages | of bytes | entries | bytes read | read calls | ms on this host |\n|--:|--:|--:|--:|--:|--:|");
    for (pages, page) in [(8, 2048), (16, 4096), (64, 4096), (256, 4096)] {
        let geometry = Geometry { word: 8, page, pages, erased: Some(0xFF), ordered: true };
        let mut flash = MockFlash::new(geometry);
        let mut log = open(&mut flash)?;
        recover(&mut log)?;
        let plan = log.plan();
        // One page stays erased.
        let entries = u64::from(plan.batches_per_page(RECORD)) * u64::from(pages - 1);
        let mut next = 1;
        append(&mut log, &mut next, entries, 1)?;
        let before = flash.counters();
        ensure!(before.erases == u64::from(pages), "each page was erased once: {before:?}");
        ensure!(before.words * 8 == plan.programmed(entries, RECORD), "the plan says otherwise than {before:?}");
        let (found, after) = {
            let mut log = open(&mut flash)?;
            (recover(&mut log)?, flash.counters())
        };
        ensure!(found.0 == entries, "{found} entries of {entries} were found");
        ensure!((after.words, after.erases) == (before.words, before.erases), "recovery wrote: {before:?} {after:?}");
        let Counters { bytes_read, reads, .. } = after;
        println!(
            "| {pages} | {page} | {entries} | {} | {} | {:.2} |",
            bytes_read - before.bytes_read,
            reads - before.reads,
            time(&mut flash)?.as_secs_f64() * 1e3
        );
    }
    Ok(())
}

fn time(flash: &mut MockFlash) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..REPEATS {
        let mut log = open(flash)?;
        let start = Instant::now();
        recover(&mut log)?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times[REPEATS / 2])
}

fn open(flash: &mut MockFlash) -> Result<Log<'_>> {
    let owner = Owner { cluster: CLUSTER, node: NodeId::new(0).context("a small number")? };
    let layout = Layout { log_pages: flash.geometry().pages as u16, slot_pages: 0 };
    Ok(PagedLog::new(flash, owner, layout)?)
}

/// The last entry.
fn recover(log: &mut Log<'_>) -> Result<LogIndex> {
    let mut recovery = Recovery::new(CLUSTER, DEFAULT_CRC32C);
    block_on(log.recover(&mut recovery))?;
    Ok(recovery.last())
}

/// Appends so many entries, `batch` at a time, with everything before allowed to go, and erases ahead as a node does that has time.
fn append(log: &mut Log<'_>, next: &mut u64, entries: u64, batch: u32) -> Result<()> {
    let until = *next + entries;
    while *next < until {
        let records: Vec<u8> = (*next..*next + u64::from(batch))
            .flat_map(|index| record::entry(index, &record::command(COMMAND)))
            .collect();
        *next += u64::from(batch);
        block_on(async {
            log.append(&records).await?;
            log.purge(LogIndex(*next - 1));
            while log.tidy().await? {}
            Ok::<_, anyhow::Error>(())
        })?;
    }
    Ok(())
}
