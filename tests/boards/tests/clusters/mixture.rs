//! Anything, at any time.

use std::time::Duration;

use anyhow::Result;
use quoring_boards::board::Cable;
use quoring_boards::cluster::Cluster;
use quoring_boards::switch::Faults;

use crate::{cluster, rounds};

const VOTERS: usize = 5;

/// How a board is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Well,
    Off,
    Hangs,
    Unplugged,
}

/// What is wrong with a cluster, so that it can be put right.
struct Trouble {
    cluster: Cluster,
    conditions: [Condition; VOTERS],
    /// How likely each kind of event is, drawn once: some are not at all.
    weights: [u32; 7],
}

impl Trouble {
    fn new(mut cluster: Cluster) -> Self {
        let weights = [(); 7].map(|()| cluster.rng().u32(..4));
        Self { cluster, conditions: [Condition::Well; VOTERS], weights }
    }

    /// One event, of those that are likely.
    fn happens(&mut self) -> Result<()> {
        let rng = self.cluster.rng();
        let (node, other) = (rng.usize(..VOTERS), rng.usize(..VOTERS));
        let mut drawn = rng.u32(..self.weights.iter().sum::<u32>().max(1));
        let event = self.weights.iter().position(|&weight| {
            let is_it = drawn < weight;
            drawn = drawn.saturating_sub(weight);
            is_it
        });
        match event {
            Some(0) => self.becomes(node, Condition::Off),
            Some(1) => self.becomes(node, Condition::Hangs),
            Some(2) => self.becomes(node, Condition::Unplugged),
            Some(3) => {
                self.cluster.switch().cut(node, other);
                Ok(())
            }
            Some(4) => {
                let groups: ([_; 2], [_; 3]) =
                    ([0, 1].map(|n| (node + n) % VOTERS), [2, 3, 4].map(|n| (node + n) % VOTERS));
                self.cluster.switch().partition(&[&groups.0, &groups.1]);
                Ok(())
            }
            Some(5) => {
                let [lost, duplicated, corrupted, reordered] = [(); 4].map(|()| self.cluster.rng().u32(..80));
                let delay = Duration::from_micros(self.cluster.rng().u64(..5000));
                self.cluster.switch().set_faults(Faults { lost, duplicated, corrupted, reordered, delay });
                Ok(())
            }
            Some(_) => (0..VOTERS).try_for_each(|node| self.becomes(node, Condition::Off)),
            None => Ok(()),
        }
    }

    fn becomes(&mut self, node: usize, condition: Condition) -> Result<()> {
        let former = std::mem::replace(&mut self.conditions[node], condition);
        match former {
            _ if former == condition => return Ok(()),
            Condition::Off => self.cluster.boot(node)?,
            Condition::Hangs => self.cluster.resume(node)?,
            Condition::Unplugged => self.cluster.connect(node, Cable::In)?,
            Condition::Well => {}
        }
        match condition {
            Condition::Well => Ok(()),
            Condition::Off => self.cluster.kill(node),
            Condition::Hangs => self.cluster.hang(node),
            Condition::Unplugged => self.cluster.connect(node, Cable::Out),
        }
    }

    fn ends(&mut self) -> Result<()> {
        self.cluster.switch().heal();
        (0..VOTERS).try_for_each(|node| self.becomes(node, Condition::Well))
    }

    fn pass(&mut self, longest: Duration) -> Result<()> {
        let time = longest.mul_f64(self.cluster.rng().f64());
        self.cluster.pass(time)
    }
}

/// Events of a few kinds one upon the other, then peace, again and again; then all must be there. `SEED` draws other kinds. covers: D2, E1, R7, T1, T2
#[test]
fn whatever_happens_at_once_nothing_that_was_acknowledged_is_lost() -> Result<()> {
    let Some(cluster) = cluster(5, 51)? else { return Ok(()) };
    let mut trouble = Trouble::new(cluster);
    for _ in 0..rounds(4)? {
        for _ in 0..4 {
            trouble.happens()?;
            trouble.pass(Duration::from_millis(600))?;
        }
        trouble.ends()?;
        trouble.cluster.acknowledge(10)?;
    }
    trouble.cluster.settle()
}
