//! The run: starts the cluster, lets it work, and looks at the memory all the time.

use std::pin::pin;
use std::rc::Rc;
use std::task::{self, Poll, Waker};

use allocation_counter::measure;
use anyhow::{Context, Result, bail, ensure};
use quoring::{Clock, Duration, Event, NodeId, NodeSet};

use crate::application::Application;
use crate::clients::Clients;
use crate::clock::Hand;
use crate::link::{Cuts, Network};
use crate::node::{self, NODES, Node, Sizes};
use crate::report::Report;
use crate::resident::Resident;
use crate::script::{Mark, Script, Told, What};
use crate::task::Task;

/// How much time a step of the cluster takes, in which each task that was woken runs once.
const STEP: Duration = Duration::from_micros(500);
/// How long the nodes have at the end to come to the same state.
const REST: Duration = Duration::from_millis(5000);
/// Room for marks.
const MARKS: usize = 4096;
/// Looks at the memory in a run; some more, as the script ends a little later.
const SAMPLES: u64 = 1000;
/// The fewest entries of a run: in a tenth of them a peer must miss more than the log keeps.
const FEWEST: u64 = 100_000;

/// What is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Commands to apply.
    pub entries: u64,
    /// The applications keep a copy of each command on the heap: to see that it is seen.
    pub hoards: bool,
}

/// A cluster at work.
struct Cluster {
    tasks: Vec<Task>,
    nodes: Vec<Node>,
    clock: Hand,
    told: Rc<Told>,
    script: Script,
    clients: Rc<Clients>,
}

/// Runs the cluster through everything, in one thread.
///
/// # Errors
/// It does not get there, or its nodes differ. What is wrong with the memory is the [report](Report::check)'s to tell.
pub fn run(plan: &Plan) -> Result<Report> {
    ensure!(plan.entries >= FEWEST, "{FEWEST} entries are the fewest in which everything happens");
    let mut started = None;
    let at_start = measure(|| started = Some(Cluster::start(plan)));
    let (mut cluster, sizes) = started.context("nothing was measured")??;
    let mut report = Report::new(sizes, at_start.bytes_current, cluster.nodes[0].id, (2 * SAMPLES as usize, MARKS));

    let mut resident = Resident::open();
    let mut outcome = Ok(());
    let mut script = pin!(cluster.script.clone().run(plan.entries));
    let mut is_over = false;
    report.take(cluster.script.applied(), resident.as_mut());
    while !is_over {
        let next = cluster.script.applied() + plan.entries / SAMPLES;
        let counted = measure(|| {
            while cluster.script.applied() < next && !is_over {
                let stepped = cluster.step(&mut report);
                match script.as_mut().poll(&mut task::Context::from_waker(Waker::noop())) {
                    Poll::Pending if stepped.is_ok() => {}
                    Poll::Pending => (outcome, is_over) = (stepped, true),
                    Poll::Ready(ended) => (outcome, is_over) = (ended, true),
                }
            }
        });
        report.count(&counted);
        report.take(cluster.script.applied(), resident.as_mut());
    }
    outcome?;
    let mut finished = Ok(());
    let counted = measure(|| finished = cluster.finish(&mut report));
    finished?;
    report.count(&counted);
    report.done = cluster.clients.done();
    report.busy = cluster.nodes.iter().map(|node| u64::from(node.handle.refusals().busy)).sum();
    Ok(report)
}

impl Cluster {
    fn start(plan: &Plan) -> Result<(Self, Sizes)> {
        let (clock, cuts, told) = (Hand::new(), Cuts::default(), Rc::<Told>::default());
        let network: &'static Network = Box::leak(Box::default());
        let (mut tasks, mut nodes, mut sizes) = (Vec::new(), Vec::new(), Sizes::default());
        for id in NodeSet::first(NODES as u32).iter() {
            let application = Application::new(plan.hoards);
            let (node, bytes) = node::start(id, &clock, network, &cuts, application, &mut tasks)?;
            nodes.push(node);
            sizes = bytes;
        }
        let clients = Clients::new(&nodes, &clock);
        clients.spawn(&mut tasks);
        let script = Script::new(&nodes, cuts, clock.clone(), Rc::clone(&clients), Rc::clone(&told));
        Ok((Self { tasks, nodes, clock, told, script, clients }, sizes))
    }

    /// Each task that was woken runs once. Where nobody has anything to do, time goes on to when somebody has.
    fn step(&mut self, report: &mut Report) -> Result<()> {
        let ran = self.tasks.iter_mut().fold(false, |ran, task| task.run() | ran);
        if ran || !self.clock.skip() {
            self.clock.advance(STEP);
        }
        let applied = self.script.applied();
        let mut mark = |node: NodeId, what| report.mark(Mark { applied, node, what });
        for node in &self.nodes {
            while let Some(event) = node.handle.poll_event() {
                match event {
                    Event::Leads { .. } => mark(node.id, What::Leads),
                    Event::Installs { .. } => {
                        self.told.installed.set(self.told.installed.get() + 1);
                        mark(node.id, What::Installed);
                    }
                    Event::Saves { .. } => mark(node.id, What::Saved),
                    _ => {}
                }
            }
            if let Some(halt) = node.halted.get() {
                bail!("node {} has stopped: {halt:?}", node.id);
            }
        }
        if let Some((node, what)) = self.told.done.take() {
            mark(node, what);
        }
        Ok(())
    }

    /// Clients send nothing more: all nodes come to the same state.
    fn finish(&mut self, report: &mut Report) -> Result<()> {
        self.clients.end();
        let end = self.clock.now() + REST;
        while self.clock.now() < end {
            self.step(report)?;
        }
        let states: [_; NODES] = std::array::from_fn(|node| self.nodes[node].application.state());
        ensure!(states.iter().all(|state| *state == states[0]), "nodes differ: {states:?}");
        Ok(())
    }
}
