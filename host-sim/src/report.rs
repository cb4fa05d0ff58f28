//! Outcomes for people and for programs.

use std::fmt::{self, Write};

use serde_json::{Map, Value, json};

use crate::cli::Summary;
use crate::faults::FaultSet;
use crate::options::{Options, RingSize};
use crate::outcome::Outcome;
use crate::tally::{Action, Fault, Tally};
use crate::trace::role;

/// The options of a run but its seed, as the command line takes them.
pub(crate) fn options(options: &Options) -> String {
    let (nodes, entries, faults) = (options.nodes, options.workload.entries(), options.faults.name());
    let ring =
        if options.ring == RingSize::Medium { String::new() } else { format!(" --ring {}", options.ring.name()) };
    format!("--nodes {nodes} --entries {entries} --faults {faults}{ring}")
}

/// The command that shows what went wrong.
fn replay(options: &Options) -> String {
    format!("quoring replay {options} --trace")
}

/// What was wrong first.
pub(crate) fn first_violation(outcome: &Outcome) -> String {
    outcome.violations.first().map_or_else(|| "not everything was committed and applied".into(), ToString::to_string)
}

/// A run for people: the nodes, their memory, the faults, the verdict.
pub(crate) fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_run(&mut text, outcome);
    text
}

fn write_run(out: &mut impl Write, outcome: &Outcome) -> fmt::Result {
    write_nodes(out, outcome)?;
    let Outcome {
        committed,
        last_index,
        elections,
        virtual_micros,
        ram_bytes_per_node,
        allocations,
        allocated_bytes,
        ..
    } = outcome;
    let entries = outcome.options.workload.entries();
    let seconds = *virtual_micros as f64 / 1e6;
    writeln!(
        out,
        "entries   {committed} of {entries} committed, the log ends at {last_index}; {elections} elections in {seconds:.3} virtual seconds"
    )?;
    writeln!(
        out,
        "memory    {ram_bytes_per_node} bytes per node; {allocations} allocations after start-up, {allocated_bytes} bytes"
    )?;
    let Outcome { snapshots_saved, purged_pages, erases, most_erases, .. } = outcome;
    writeln!(
        out,
        "flash     {snapshots_saved} snapshots saved; {purged_pages} pages of the logs purged; {erases} erases, at most {most_erases} of a page"
    )?;
    write_tally(out, &outcome.tally)?;
    for violation in &outcome.violations {
        writeln!(out, "violation {violation}")?;
    }
    match outcome {
        outcome if !outcome.is_clean() => writeln!(out, "verdict   FAILED: {}", replay(&outcome.options)),
        outcome if outcome.tally.total() == 0 && outcome.options.faults != FaultSet::None => {
            writeln!(out, "verdict   nothing wrong, but no fault took effect either")
        }
        _ => writeln!(out, "verdict   every command committed once, applied everywhere, nothing violated"),
    }
}

fn write_nodes(out: &mut impl Write, outcome: &Outcome) -> fmt::Result {
    writeln!(out, "node  role           term  accepted  flushed  committed  applied")?;
    for (id, node) in outcome.nodes.iter().enumerate() {
        match node.status {
            Some(status) => {
                let (role, term, last, durable) = (role(status.role), status.term.0, status.last.0, status.durable.0);
                let (committed, applied) = (status.committed.0, status.applied.0);
                writeln!(out, "{id:>4}  {role:<13} {term:>5} {last:>9} {durable:>8} {committed:>10} {applied:>8}")?;
            }
            None if node.lost => writeln!(out, "{id:>4}  lost its medium")?,
            None => writeln!(out, "{id:>4}  down")?,
        }
    }
    Ok(())
}

/// What clients and operators did, and the counts of all faults, as many to a line as fit.
fn write_tally(out: &mut impl Write, tally: &Tally) -> fmt::Result {
    write_counts(out, "clients", &Action::ALL.map(|action| format!("{} {}", action.name(), tally.done(action))))?;
    write_counts(out, "faults", &Fault::ALL.map(|fault| format!("{} {}", fault.name(), tally.of(fault))))
}

fn write_counts(out: &mut impl Write, title: &str, counts: &[String]) -> fmt::Result {
    for (line, counts) in counts.chunks(6).enumerate() {
        writeln!(out, "{:<10}{}", if line == 0 { title } else { "" }, counts.join(", "))?;
    }
    Ok(())
}

/// A run for programs.
pub(crate) fn json(outcome: &Outcome) -> String {
    format!("{:#}", run_value(outcome))
}

fn run_value(outcome: &Outcome) -> Value {
    let options = &outcome.options;
    json!({
        "seed": options.seed,
        "nodes": options.nodes,
        "entries": options.workload.entries(),
        "fault_set": options.faults.name(),
        "ring": options.ring.name(),
        "committed": outcome.committed,
        "applied_min": outcome.applied_min,
        "last_index": outcome.last_index,
        "elections": outcome.elections,
        "replaced": outcome.replaced,
        "snapshots_saved": outcome.snapshots_saved,
        "purged_pages": outcome.purged_pages,
        "erases": outcome.erases,
        "most_erases_of_a_page": outcome.most_erases,
        "virtual_ms": outcome.virtual_micros / 1000,
        "steps": outcome.steps,
        "ram_bytes_per_node": outcome.ram_bytes_per_node,
        "allocations": outcome.allocations,
        "allocated_bytes": outcome.allocated_bytes,
        "clients": actions(&outcome.tally),
        "faults": faults(&outcome.tally),
        "violations": violations(outcome),
        "replay": replay(options),
    })
}

fn faults(tally: &Tally) -> Value {
    Value::Object(Fault::ALL.iter().map(|&fault| (fault.name().into(), tally.of(fault).into())).collect::<Map<_, _>>())
}

fn actions(tally: &Tally) -> Value {
    let actions = Action::ALL.iter().map(|&action| (action.name().into(), tally.done(action).into()));
    Value::Object(actions.collect::<Map<_, _>>())
}

fn violations(outcome: &Outcome) -> Vec<Value> {
    let violation = |violation: &crate::Violation| json!({ "checker": violation.checker.name(), "virtual_us": violation.micros, "node": violation.node, "what": violation.what });
    outcome.violations.iter().map(violation).collect()
}

/// A sweep for people.
pub(crate) fn sweep_text(summary: &Summary) -> String {
    let mut text = String::new();
    let _ = write_sweep(&mut text, summary);
    text
}

fn write_sweep(out: &mut impl Write, summary: &Summary) -> fmt::Result {
    let Summary { runs, failed, entries, elections, virtual_micros, allocations, .. } = summary;
    let minutes = *virtual_micros as f64 / 60e6;
    writeln!(
        out,
        "runs      {runs}: {entries} entries, {elections} elections in {minutes:.1} virtual minutes; {allocations} allocations after start-up"
    )?;
    write_tally(out, &summary.tally)?;
    for outcome in failed {
        writeln!(out, "failed    seed {}: {}", outcome.options.seed, first_violation(outcome))?;
        writeln!(out, "          {}", replay(&outcome.options))?;
    }
    match failed.len() {
        0 => writeln!(out, "verdict   all {runs} clean"),
        count => writeln!(out, "verdict   FAILED: {count} of {runs}"),
    }
}

/// A sweep for programs.
pub(crate) fn sweep_json(summary: &Summary, first: u64, last: u64) -> String {
    let value = json!({
        "first_seed": first,
        "last_seed": last,
        "runs": summary.runs,
        "committed": summary.entries,
        "elections": summary.elections,
        "virtual_ms": summary.virtual_micros / 1000,
        "allocations": summary.allocations,
        "clients": actions(&summary.tally),
        "faults": faults(&summary.tally),
        "failed": summary.failed.iter().map(run_value).collect::<Vec<_>>(),
    });
    format!("{value:#}")
}
