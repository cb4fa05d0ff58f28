//! The cluster that is measured.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{iter, thread};

use anyhow::{Context, Result, ensure};

use crate::arguments::Layout;
use crate::helper::Helper;
use crate::samples::Samples;

const NODES: usize = 3;

/// More than an election takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Processes that are one node each.
pub(crate) struct Cluster {
    nodes: Vec<Helper>,
}

impl Cluster {
    /// Starts them, with logs in `folder`, and waits until one leads.
    pub(crate) fn start(folder: &Path, layout: Layout) -> Result<Self> {
        let start = |id: usize| {
            let folder = folder.join(format!("node-{id}"));
            Helper::start(&format!("node {id}"), &["role:node", &id.to_string(), layout.name()], &folder)
        };
        let mut nodes = (0..NODES).map(start).collect::<Result<Vec<_>>>()?;
        let addresses = nodes.iter_mut().map(Helper::hear).collect::<Result<Vec<_>>>()?;
        nodes.iter_mut().try_for_each(|node| node.tell(&addresses.join(" ")))?;
        let mut cluster = Self { nodes };
        cluster.leader()?;
        Ok(cluster)
    }

    /// Lets the leader keep so many commands in flight.
    pub(crate) fn load(&mut self, in_flight: usize, duration: Duration) -> Result<Samples> {
        let order = format!("load {in_flight} {}", duration.as_millis());
        self.leader()?.ask(&order)?.parse()
    }

    /// Who leads.
    fn leader(&mut self) -> Result<&mut Helper> {
        let deadline = Instant::now() + PATIENCE;
        for node in iter::repeat(0..NODES).flatten() {
            let leads = self.nodes.get_mut(node).context("no nodes")?.ask("leads")?.parse()?;
            if leads {
                return self.nodes.get_mut(node).context("no nodes");
            }
            ensure!(Instant::now() < deadline, "nobody is elected");
            thread::sleep(Duration::from_millis(10));
        }
        unreachable!("it is asked for ever");
    }
}
