//! `quoring` without arguments: a text goes through a cluster that everything happens to, then many other seeds do.

use anyhow::Result;

use super::sweep::{cores, sweep};
use super::{ClusterOptions, Seeds, progress_bar, say};
use crate::faults::FaultSet;
use crate::options::{Options, RingSize};
use crate::report;
use crate::run::{Viewers, run};
use crate::workload::Workload;

/// What is replicated.
const TEXT: &[u8] = include_bytes!("../../data/field-guide.txt");
/// It draws nearly every kind of fault.
const SEED: u64 = 45;
const NODES: u8 = 5;
/// The seeds that follow.
const SEEDS: Seeds = Seeds { first: 1, last: 60 };

/// True if all is well.
pub(super) fn show() -> Result<bool> {
    let options = Options::new(SEED, NODES.into(), Workload::lines(TEXT));
    say(format_args!(
        "{NODES} nodes replicate the {} lines of host-sim/data/field-guide.txt through all faults (seed {SEED})",
        options.workload.entries()
    ));
    let bar = progress_bar(options.workload.entries(), "lines");
    let mut progress = |done| bar.set_position(done);
    let outcome = run(&options, Viewers { progress: Some(&mut progress), ..Viewers::default() })?;
    bar.finish_and_clear();
    say(report::text(&outcome));
    let identical = outcome.nodes.iter().all(|node| node.text == TEXT);
    say(if identical {
        "Every node has applied the text, byte for byte."
    } else {
        "The nodes' texts differ from what was sent."
    });

    let cluster = ClusterOptions { nodes: NODES, entries: 2000, faults: FaultSet::All, ring: RingSize::Medium };
    let all = report::options(&cluster.with_seed(0));
    say(format_args!(
        "\nThe same for other seeds and commands: quoring sweep --seeds {}..{} {all}",
        SEEDS.first, SEEDS.last
    ));
    let summary = sweep(SEEDS, cluster, cores())?;
    say(report::sweep_text(&summary));
    Ok(identical && outcome.is_clean() && summary.failed.is_empty())
}
