//! A run from its options to its outcome, on a thread of its own: a panic in a node is a violation like any other.

use std::cell::RefCell;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::thread;

use crate::checker::{Checker, Violation};
use crate::cluster::Cluster;
use crate::operations::Operations;
use crate::options::Options;
use crate::outcome::{NodeOutcome, Outcome};
use crate::trace::Trace;

/// The stack of a run, on which debug builds move whole nodes.
const STACK: usize = 64 << 20;

/// Something to look at a run with.
#[derive(Default)]
pub struct Viewers<'v> {
    /// Gets the trace.
    pub trace: Option<Box<dyn Write + Send>>,
    /// Gets what the clients did and saw, as JSON lines.
    pub history: Option<Box<dyn Write + Send>>,
    /// Is told how many commands have been answered, now and then.
    pub progress: Option<&'v mut (dyn FnMut(u64) + Send)>,
}

/// Runs to the end: all done, or something wrong.
///
/// # Errors
/// The trace cannot be written, or the system has no thread for the run.
pub fn run(options: &Options, viewers: Viewers<'_>) -> io::Result<Outcome> {
    catch_panics();
    let options = options.clone();
    thread::scope(|scope| {
        let run = thread::Builder::new()
            .name(NAME.into())
            .stack_size(STACK)
            .spawn_scoped(scope, || whole_run(options, viewers))?;
        run.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

fn whole_run(options: Options, viewers: Viewers<'_>) -> io::Result<Outcome> {
    let trace = viewers.trace.map_or_else(|| Ok(Trace::default()), |sink| Trace::new(sink))?;
    let mut nothing = |_| ();
    let progress: &mut dyn FnMut(u64) = match viewers.progress {
        Some(progress) => progress,
        None => &mut nothing,
    };
    let operations = viewers.history.map_or_else(Operations::default, |sink| Operations::new(sink));
    let mut cluster = Cluster::new(options.clone(), trace, operations);
    let panicked = panic::catch_unwind(AssertUnwindSafe(|| cluster.run(progress))).is_err();
    cluster.finish();
    cluster.world().flush_trace();
    let mut outcome = outcome(options, &cluster);
    if panicked {
        let micros = outcome.virtual_micros;
        let what = PANIC.take().unwrap_or_else(|| "for no known reason".into());
        outcome.violations.push(Violation { checker: Checker::NoPanic, micros, node: None, what });
        // What the panic left half-done must not be dropped.
        std::mem::forget(cluster);
    }
    Ok(outcome)
}

fn outcome(options: Options, cluster: &Cluster) -> Outcome {
    let (world, oracle) = (cluster.world(), cluster.world().oracle.borrow());
    let applications = || world.applications.iter().map(RefCell::borrow);
    let nodes = applications().zip(&world.seen);
    let living = applications().enumerate().filter(|(node, _)| !oracle.is_lost(*node));
    let log_pages = usize::from(world.hardware.layout.log_pages);
    let wear: Vec<_> = world.chips.iter().map(|chip| chip.borrow().flash().wear().to_vec()).collect();
    Outcome {
        committed: oracle.effects(),
        applied_min: living.map(|(_, application)| application.machine.effects()).min().unwrap_or(0),
        last_index: oracle.committed(),
        elections: oracle.elections(),
        replaced: oracle.replaced(),
        snapshots_saved: world.saved.get(),
        purged_pages: wear.iter().flat_map(|wear| &wear[..log_pages]).copied().map(u64::from).sum(),
        erases: wear.iter().flatten().copied().map(u64::from).sum(),
        most_erases: wear.iter().flatten().copied().max().unwrap_or(0),
        virtual_micros: world.now(),
        ram_bytes_per_node: options.ram(),
        allocations: oracle.memory().allocations,
        allocated_bytes: oracle.memory().bytes,
        tally: world.tally(),
        steps: cluster.steps(),
        violations: oracle.violations().to_vec(),
        nodes: (0..)
            .zip(nodes)
            .map(|(node, (application, seen))| NodeOutcome {
                status: seen.get(),
                lost: oracle.is_lost(node),
                text: application.text.clone(),
            })
            .collect(),
        options,
    }
}

const NAME: &str = "simulation";

thread_local! {
    /// What the last panic of this thread said, and where.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of a simulation's thread are noted, not printed.
fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if thread::current().name() == Some(NAME) {
                PANIC.set(Some(info.to_string().replace('\n', " ")));
            } else {
                usual(info);
            }
        }));
    });
}
