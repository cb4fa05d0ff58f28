//! Which faults strike, how hard and when: drawn anew for each seed (swarm), then for each epoch of a run.
//!
//! ```text
//!   seed ---> Swarm: what kinds there are in this run, and how hard
//!               |
//!               v  again and again, until the faults end and the cluster must become live
//!             Epoch: the weather, who is cut off from whom, and strikes at single nodes
//! ```

use std::str::FromStr;

use crate::network::Weather;
use crate::prng::Prng;
use crate::timeline::Micros;

const MILLISECOND: Micros = 1_000;
const SECOND: Micros = 1_000_000;

/// Which kinds of faults a run may draw from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultSet {
    /// None: links are fair, nodes run until the end.
    None,
    /// Links lose, double, delay, reorder, damage and refuse frames, and are cut.
    Net,
    /// Nodes lose power, one by one or all at once, in the middle of what they do and write.
    Crash,
    /// Both, and chips that hang, are slow, fail or rot, clocks that drift or stand still, nodes that come late, nodes and tasks that are not run
    /// for a while; and an operator who lets leaders hand over.
    All,
}

impl FaultSet {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Net => "net",
            Self::Crash => "crash",
            Self::All => "all",
        }
    }

    const fn has_net(self) -> bool {
        matches!(self, Self::Net | Self::All)
    }

    const fn has_crash(self) -> bool {
        matches!(self, Self::Crash | Self::All)
    }
}

impl FromStr for FaultSet {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let sets = [Self::None, Self::Net, Self::Crash, Self::All];
        sets.into_iter().find(|set| set.name() == name).ok_or_else(|| "it is none, net, crash or all".into())
    }
}

/// The faults of one run: how likely and how hard each kind is. Some are left out.
pub(crate) struct Swarm {
    nodes: usize,
    /// The shares of the worst weather.
    worst: Weather,
    /// Epochs with a cut, per million.
    cuts: u32,
    /// The present one; some last longer than an epoch.
    cut: Vec<u32>,
    /// How much more often one kind strikes than another.
    weights: [u32; KINDS],
    /// At most this many strikes an epoch.
    strikes: u64,
    /// Ready tasks that are set aside, per million.
    pub(crate) task_delays: u32,
    /// Proposals that clients take back, per million.
    pub(crate) fickleness: u32,
    /// Proposals that clients send to any node, per million.
    pub(crate) straying: u32,
    /// Attempts before which clients send something that must be refused, per million.
    pub(crate) offending: u32,
    /// Commands after which clients give up a session or stream for no reason, or ask again, per million.
    pub(crate) forgetting: u32,
    /// Commands with which clients begin to read, per million.
    pub(crate) reading: u32,
    /// Nodes that do not refuse what is forbidden, one bit each.
    pub(crate) lax: u32,
    /// With leases: how many parts per million the clocks may be fast or slow.
    pub(crate) lease_drift: Option<u32>,
    /// Entries that the application takes its time for, per million.
    pub(crate) dawdling: u32,
    /// Snapshots that the application makes or restores only in part, per million.
    pub(crate) abandoning: u32,
    /// A node that begins long after the others, and when.
    pub(crate) late: Option<(usize, Micros)>,
    /// Latency of a store at its usual speed.
    pub(crate) store_latency: Micros,
    prng: Prng,
}

/// A stretch of time with its own faults.
#[derive(Debug)]
pub(crate) struct Epoch {
    pub(crate) length: Micros,
    pub(crate) weather: Weather,
    /// Bit `to` of `cut[from]`.
    pub(crate) cut: Vec<u32>,
    /// When each strikes, counted from the beginning of the epoch.
    pub(crate) strikes: Vec<(Micros, Strike)>,
}

const KINDS: usize = 12;
/// The kind that stands a clock still.
const FREEZE: usize = 8;
/// How fast or slow a clock runs at most, in parts per million, if nobody relies on it.
const DRIFT: u32 = 60_000;

/// A fault of one node, or of all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Strike {
    /// The node loses power after this many more steps.
    Crash { node: usize, steps: u32, outage: Micros },
    /// The node loses power during its next write, this long after it began at the latest.
    CrashInWrite { node: usize, outage: Micros },
    /// All nodes lose power after this many more steps of any of them.
    PowerLoss { steps: u32, outage: Micros },
    /// The store hangs.
    StallStore { node: usize, span: Micros },
    /// The store takes this many times as long until the epoch ends.
    SlowStore { node: usize, slowness: u64 },
    /// The next operation of the store fails.
    FailStore { node: usize },
    /// The chip hangs until somebody cuts its power after this long.
    StickStore { node: usize, span: Micros },
    /// The node loses power, and bits of its chip flip: of the last write, or anywhere.
    RotStore { node: usize, tail: bool, outage: Micros },
    /// The clock stands still.
    FreezeClock { node: usize, span: Micros },
    /// The clock runs at another rate from now on.
    DriftClock { node: usize, ppm: i32 },
    /// The node is not run.
    Pause { node: usize, span: Micros },
    /// The node is told to hand over leadership, if it leads.
    Transfer { node: usize, to: Option<usize> },
}

impl Swarm {
    pub(crate) fn new(seed: u64, set: FaultSet, nodes: usize) -> Self {
        let mut prng = Prng::new(seed, "faults");
        let mut share = |allowed: bool, worst: u64| match prng.below(5) {
            1.. if allowed => prng.octaves(worst / 100, worst) as u32,
            _ => 0,
        };
        let (net, all) = (set.has_net(), set == FaultSet::All);
        let worst = Weather {
            delay: 0,
            jitter: 0,
            loss: share(net, 300_000),
            duplication: share(net, 300_000),
            corruption: share(net, 100_000),
            reorder: share(net, 300_000),
            refusal: share(net, 50_000),
            congestion: share(net, 300_000),
        };
        let [task_delays, fickleness, straying, dawdling, abandoning] =
            [100_000, 50_000, 20_000, 20_000, 400_000].map(|worst| share(all, worst));
        let cuts = if net && nodes > 1 && prng.below(5) > 0 { prng.between(50_000, 800_000) as u32 } else { 0 };
        let crash = set.has_crash();
        let mut weights = [crash, crash, crash, all, all, all, all, all, all, all, all, all]
            .map(|allowed| if allowed && prng.below(4) > 0 { prng.octaves(4, 64) as u32 } else { 0 });
        // All nodes at once are struck less often than one.
        weights[2] = weights[2].div_ceil(4);
        let lease_drift = (prng.below(2) == 0).then(|| prng.octaves(100, DRIFT.into()) as u32);
        if lease_drift.is_some() {
            // A leader relies on its clock, which runs slower than it may while it stands still: it would believe in a lease that has run out. A node
            // that is not run, or that loses power, does no harm: its clock goes on meanwhile, and the next boot keeps the promise of the one before.
            weights[FREEZE] = 0;
        }
        let clients = &mut Prng::new(seed, "whims of clients");
        let [offending, forgetting, reading] = [20_000, 100_000, 3_000_000]
            .map(|most| if clients.below(5) == 0 { 0 } else { clients.octaves(most / 50, most) as u32 });
        let lax = if clients.below(2) == 0 { 0 } else { clients.next() as u32 };
        let strikes = prng.between(1, 5);
        let (delay, store_latency) = (prng.octaves(50, 2 * MILLISECOND), prng.octaves(20, 2 * MILLISECOND));
        let worst = Weather { delay, jitter: delay, ..worst };
        let is_late = all && nodes > 2 && prng.below(4) == 0;
        let late = is_late.then(|| (prng.below(nodes as u64) as usize, prng.octaves(SECOND, 15 * SECOND)));
        Self {
            nodes,
            worst,
            cuts,
            cut: vec![0; nodes],
            weights,
            strikes,
            task_delays,
            fickleness,
            straying,
            offending,
            forgetting,
            reading,
            lax,
            lease_drift,
            dawdling,
            abandoning,
            late,
            store_latency,
            prng,
        }
    }

    /// The links without faults.
    pub(crate) const fn fair_weather(&self) -> Weather {
        Weather::fair(self.worst.delay)
    }

    /// What comes next; a known leader is struck more often than others.
    pub(crate) fn epoch(&mut self, leader: Option<usize>) -> Epoch {
        let length = self.prng.octaves(50 * MILLISECOND, 2 * SECOND);
        let weather = self.weather();
        let mut strikes = Vec::new();
        if self.prng.below(3) > 0 {
            let one = self.victim(leader);
            self.cut = self.new_cut(one);
            // Who was cut off and then loses power comes back later, with a log that others have left behind.
            if self.weights[0] > 0 && self.cut[one] != 0 && self.prng.below(2) == 0 {
                let outage = self.prng.octaves(100 * MILLISECOND, 4 * SECOND);
                strikes.push((self.prng.below(length), Strike::Crash { node: one, steps: 0, outage }));
            }
        }
        for _ in 0..self.prng.below(self.strikes + 1) {
            let at = self.prng.below(length);
            strikes.extend(self.strike(leader).map(|strike| (at, strike)));
        }
        Epoch { length, weather, cut: self.cut.clone(), strikes }
    }

    fn weather(&mut self) -> Weather {
        let mut some =
            |worst: u32| if self.prng.below(2) == 0 { 0 } else { self.prng.below(u64::from(worst) + 1) as u32 };
        Weather {
            loss: some(self.worst.loss),
            duplication: some(self.worst.duplication),
            corruption: some(self.worst.corruption),
            reorder: some(self.worst.reorder),
            refusal: some(self.worst.refusal),
            congestion: some(self.worst.congestion),
            ..self.worst
        }
    }

    /// Who is cut off from whom, with something special about one of them.
    fn new_cut(&mut self, one: usize) -> Vec<u32> {
        let nodes = self.nodes;
        let mut cut = vec![0; nodes];
        if !self.prng.chance(self.cuts) {
            return cut;
        }
        let side = self.prng.next() as u32;
        let share = self.prng.between(100_000, 600_000) as u32;
        let kind = self.prng.below(6);
        for (from, cut) in cut.iter_mut().enumerate() {
            for to in 0..nodes {
                let apart = match kind {
                    // One node is alone; cannot send; cannot hear.
                    0 => from == one || to == one,
                    1 => from == one,
                    2 => to == one,
                    // Two sides; two sides and a node that both can reach.
                    3 => (side >> from ^ side >> to) & 1 != 0,
                    4 => (side >> from ^ side >> to) & 1 != 0 && from != one && to != one,
                    // Any links, each direction for itself.
                    _ => self.prng.chance(share),
                };
                *cut |= u32::from(apart && from != to) << to;
            }
        }
        cut
    }

    fn strike(&mut self, leader: Option<usize>) -> Option<Strike> {
        let kind = self.kind()?;
        let node = self.victim(leader);
        let prng = &mut self.prng;
        let steps = prng.octaves(1, 300) as u32 - 1;
        Some(match kind {
            0 => Strike::Crash { node, steps, outage: outage(prng) },
            1 => Strike::CrashInWrite { node, outage: outage(prng) },
            2 => Strike::PowerLoss { steps, outage: outage(prng) },
            3 => Strike::StallStore { node, span: prng.octaves(MILLISECOND, 2 * SECOND) },
            4 => {
                let most = (50 * MILLISECOND / self.store_latency).max(20);
                Strike::SlowStore { node, slowness: prng.between(10, most) }
            }
            5 => Strike::FailStore { node },
            6 => Strike::StickStore { node, span: prng.octaves(200 * MILLISECOND, 3 * SECOND) },
            7 => Strike::RotStore { node, tail: prng.below(2) == 0, outage: outage(prng) },
            FREEZE => Strike::FreezeClock { node, span: prng.octaves(MILLISECOND, SECOND) },
            9 => {
                let most = self.lease_drift.unwrap_or(DRIFT);
                Strike::DriftClock { node, ppm: prng.between(0, 2 * u64::from(most)) as i32 - most as i32 }
            }
            10 => Strike::Pause { node, span: prng.octaves(100, SECOND) },
            _ => {
                let to = (prng.below(2) == 0).then(|| prng.below(self.nodes as u64) as usize);
                // Whoever does not lead only says so.
                Strike::Transfer { node: leader.unwrap_or(node), to }
            }
        })
    }

    fn kind(&mut self) -> Option<usize> {
        let mut draw = self.prng.below(self.weights.iter().map(|&weight| u64::from(weight)).sum());
        self.weights.iter().position(|&weight| {
            let hit = draw < weight.into();
            draw = draw.saturating_sub(weight.into());
            hit
        })
    }

    fn victim(&mut self, leader: Option<usize>) -> usize {
        let any = self.prng.below(self.nodes as u64) as usize;
        leader.filter(|_| self.prng.below(2) == 0).unwrap_or(any)
    }
}

/// Mostly short, sometimes long enough for the others to get far ahead, and to purge what the node has missed.
const fn outage(prng: &mut Prng) -> Micros {
    if prng.chance(800_000) {
        prng.octaves(100, 400 * MILLISECOND)
    } else {
        prng.octaves(400 * MILLISECOND, 10 * SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(seed: u64, set: FaultSet, nodes: usize) -> Vec<Epoch> {
        let mut swarm = Swarm::new(seed, set, nodes);
        (0..30).map(|_| swarm.epoch(Some(0))).collect()
    }

    fn kind(strike: &Strike) -> std::mem::Discriminant<Strike> {
        std::mem::discriminant(strike)
    }

    #[test]
    fn a_set_has_its_own_kinds_of_faults_only() {
        for seed in 0..50 {
            assert!(epochs(seed, FaultSet::None, 5).iter().all(|epoch| {
                let swarm = Swarm::new(seed, FaultSet::None, 5);
                epoch.strikes.is_empty() && epoch.weather == swarm.fair_weather() && epoch.cut == [0; 5]
            }));
            assert!(epochs(seed, FaultSet::Net, 5).iter().all(|epoch| epoch.strikes.is_empty()));
            let crash = epochs(seed, FaultSet::Crash, 5);
            assert!(crash.iter().all(|epoch| epoch.cut == [0; 5] && epoch.weather.loss == 0));
            assert!(crash.iter().flat_map(|epoch| &epoch.strikes).all(|(_, strike)| {
                matches!(strike, Strike::Crash { .. } | Strike::CrashInWrite { .. } | Strike::PowerLoss { .. })
            }));
        }
    }

    #[test]
    fn any_twenty_seeds_draw_every_kind_and_most_leave_some_out() {
        for first in [0, 20, 1000] {
            let mut kinds = std::collections::HashSet::new();
            let (mut cut, mut partial) = (false, 0);
            for seed in first..first + 20 {
                let epochs = epochs(seed, FaultSet::All, 5);
                let drawn: std::collections::HashSet<_> =
                    epochs.iter().flat_map(|epoch| epoch.strikes.iter().map(|(_, strike)| kind(strike))).collect();
                partial += usize::from(drawn.len() < KINDS);
                kinds.extend(drawn);
                cut |= epochs.iter().any(|epoch| epoch.cut != [0; 5]);
            }
            assert_eq!((kinds.len(), cut), (KINDS, true));
            assert!(partial > 10);
        }
    }

    #[test]
    fn nobody_is_cut_off_from_itself_and_some_links_are_cut_in_one_direction() {
        let mut one_way = false;
        for epoch in (0..100).flat_map(|seed| epochs(seed, FaultSet::Net, 7)) {
            assert!(epoch.cut.iter().enumerate().all(|(node, cut)| cut & 1 << node == 0 && *cut < 1 << 7));
            one_way |= (0..7).any(|a| (0..7).any(|b| epoch.cut[a] >> b & 1 != epoch.cut[b] >> a & 1));
        }
        assert!(one_way);
    }

    #[test]
    fn a_cluster_of_one_has_epochs_too() {
        assert!(epochs(1, FaultSet::All, 1).iter().all(|epoch| epoch.cut == [0]));
        assert_eq!("net".parse(), Ok(FaultSet::Net));
        assert!("some".parse::<FaultSet>().is_err());
    }
}
