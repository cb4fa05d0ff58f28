//! `quoring sweep`: many seeds, on all cores.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::{io, thread};

use anyhow::Result;

use super::{ClusterOptions, Seeds, Sweep, progress_bar, say};
use crate::outcome::Outcome;
use crate::report;
use crate::run::{Viewers, run};
use crate::tally::Tally;

/// What came of all runs.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) runs: u64,
    /// The runs that were not clean, by seed.
    pub(crate) failed: Vec<Outcome>,
    pub(crate) tally: Tally,
    pub(crate) entries: u64,
    pub(crate) elections: u64,
    pub(crate) virtual_micros: u64,
    pub(crate) allocations: u64,
}

impl Sweep {
    /// True if every run was clean.
    pub(super) fn perform(self) -> Result<bool> {
        let Self { seeds, cluster, jobs, json } = self;
        let jobs = jobs.map(usize::from).unwrap_or_else(cores);
        if !json {
            let all = report::options(&cluster.with_seed(0));
            say(format_args!("quoring sweep --seeds {}..{} {all} --jobs {jobs}", seeds.first, seeds.last));
        }
        let summary = sweep(seeds, cluster, jobs)?;
        say(if json { report::sweep_json(&summary, seeds.first, seeds.last) } else { report::sweep_text(&summary) });
        Ok(summary.failed.is_empty())
    }
}

/// Runs all seeds, each run that fails shown at once.
pub(super) fn sweep(seeds: Seeds, cluster: ClusterOptions, jobs: usize) -> io::Result<Summary> {
    let bar = progress_bar((seeds.last - seeds.first).saturating_add(1), "seeds");
    let next = AtomicU64::new(0);
    let (sender, results) = mpsc::channel();
    let mut summary = Summary::default();
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some(seed) = take(next, seeds) {
                    let result = run(&cluster.with_seed(seed), Viewers::default());
                    if sender.send(result).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for outcome in results {
            let outcome = outcome?;
            bar.inc(1);
            if !outcome.is_clean() {
                bar.suspend(|| {
                    eprintln!("seed {} failed: {}", outcome.options.seed, report::first_violation(&outcome))
                });
            }
            summary.add(outcome);
        }
        io::Result::Ok(())
    })?;
    bar.finish_and_clear();
    summary.failed.sort_by_key(|outcome| outcome.options.seed);
    Ok(summary)
}

/// How many runs at a time this machine is good for.
pub(super) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn take(next: &AtomicU64, seeds: Seeds) -> Option<u64> {
    let offset = next.fetch_add(1, Ordering::Relaxed);
    (offset <= seeds.last - seeds.first).then(|| seeds.first + offset)
}

impl Summary {
    fn add(&mut self, outcome: Outcome) {
        self.runs += 1;
        self.tally.add(&outcome.tally);
        self.entries += outcome.committed;
        self.elections += outcome.elections;
        self.virtual_micros += outcome.virtual_micros;
        self.allocations += outcome.allocations;
        if !outcome.is_clean() {
            self.failed.push(outcome);
        }
    }
}
