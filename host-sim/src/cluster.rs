//! A simulated cluster: runs its nodes step by step, lets happen what is due, and ends when everything is done or something is wrong.
//!
//! ```text
//!   faults, epoch by epoch, while clients work ---> healing: all nodes up, links fair ---> done, or not live
//! ```

mod life;

use std::rc::Rc;
use std::task::{Context, Waker};

use quoring::{Config, Duration, NodeId, NodeSet, Role};
use quoring_ring::Position;

use crate::application::{Application, admit};
use crate::checker::Oracle;
use crate::chip::Chip;
use crate::client::{Clients, Whims};
use crate::desk::{Ask, Errand, Request, Ticket};
use crate::event::Event;
use crate::executor::Ready;
use crate::faults::{FaultSet, Strike, Swarm};
use crate::hardware::Hardware;
use crate::network::Network;
use crate::operations::Operations;
use crate::options::Options;
use crate::prng::Prng;
use crate::size::Life;
use crate::tally::Fault;
use crate::timeline::Micros;
use crate::trace::{Source, Trace};
use crate::workload::{Pace, Workload};
use crate::world::{CLUSTER, World};

const ELECTION_TIMEOUT: Duration = Duration::from_millis(200);
const HEARTBEAT: Duration = Duration::from_millis(40);
/// Faults go on for this long for each command, within these bounds.
const FAULTS_PER_ENTRY: Micros = 10_000;
const FAULTS: (Micros, Micros) = (10_000_000, 30_000_000);
/// When the faults have ended, everything must be done within this time, and this much more for each command.
const HEALING: Micros = 15_000_000;
const HEALING_PER_ENTRY: Micros = 40_000;
/// More steps within one microsecond than this are a loop that never ends.
const RESTLESS: u64 = 200_000;

/// A cluster and all that happens to it.
pub(crate) struct Cluster {
    world: Rc<World>,
    options: Options,
    members: Vec<Member>,
    clients: Clients,
    swarm: Swarm,
    prng: Prng,
    phase: Phase,
    /// All nodes lose power after this many more steps, for this long.
    power_loss: Option<(u32, Micros)>,
    /// How often a leader was told to hand over.
    transfers: u32,
    steps: u64,
    /// When time last moved, and the steps until then.
    pulse: (Micros, u64),
}

/// A node as the simulator sees it.
#[derive(Default)]
struct Member {
    /// Its ready tasks, and what makes its start ready.
    ready: Option<(Ready, Waker)>,
    life: Option<Life>,
    /// How often it was started.
    starts: u64,
    /// It loses power after this many more steps, for this long.
    crash: Option<(u32, Micros)>,
    /// It loses power during its next write, for this long.
    crash_in_write: Option<Micros>,
    /// It is not run until then.
    paused_until: Micros,
    /// Its store failed; it stops and will be started again.
    repaired: bool,
    health: Health,
    /// A pause that has not yet kept it from anything.
    pause_unfelt: bool,
    ppm: i32,
}

/// What can be expected of a node's medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Health {
    /// It is as the node left it.
    #[default]
    Sound,
    /// It is damaged: the node must refuse to start from it.
    Damaged,
    /// The node has refused, or must not be tempted. It never comes back.
    Lost,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Faults strike until then.
    Faults(Micros),
    /// Everything must be done by then.
    Healing(Micros),
}

impl Member {
    fn is_lost(&self) -> bool {
        self.health != Health::Sound
    }
}

impl Cluster {
    pub(crate) fn new(options: Options, trace: Trace, operations: Operations) -> Self {
        let Options { seed, nodes, faults, ref workload, .. } = options;
        let swarm = Swarm::new(seed, faults, nodes);
        let strict = !swarm.lax;
        let hardware = Hardware::new(&options);
        let chips = (0..nodes).map(|node| Chip::new(seed, node, hardware.geometry, swarm.store_latency)).collect();
        let network = Network::new(nodes, seed, swarm.fair_weather());
        let world = Rc::new(World::new(
            network,
            (hardware, chips),
            Oracle::new(nodes, Application::new(hardware.journal).digest(), strict),
            trace,
            &options,
        ));
        let mut prng = Prng::new(seed, "cluster");
        let entries = workload.entries();
        let span = if faults == FaultSet::None { 0 } else { (entries * FAULTS_PER_ENTRY).clamp(FAULTS.0, FAULTS.1) };
        let pace = Pace { span, burst: prng.octaves(1, 64), entries };
        let Swarm { fickleness, straying, offending, forgetting, reading, .. } = swarm;
        let whims = Whims { fickleness, straying, offending, forgetting, reading };
        let clients = Clients::new(seed, workload.clone(), (nodes, options.command_limit()), pace, whims, operations);
        Self {
            world,
            members: (0..nodes).map(|_| Member::default()).collect(),
            clients,
            swarm,
            prng,
            phase: Phase::Faults(span),
            power_loss: None,
            transfers: 0,
            steps: 0,
            pulse: (0, 0),
            options,
        }
    }

    /// Nothing more will happen.
    pub(crate) fn finish(&mut self) {
        self.clients.finish(self.world.now());
    }

    pub(crate) const fn world(&self) -> &Rc<World> {
        &self.world
    }

    /// Runs to the end. `progress` is told how many commands have been answered, now and then.
    pub(crate) fn run(&mut self, progress: &mut dyn FnMut(u64)) {
        self.world.trace(Source::Simulator, "hardware", format_args!("{}", self.world.hardware));
        for node in 0..self.members.len() {
            match self.swarm.late {
                Some((late, moment)) if late == node => self.world.arrange(moment, Event::Starts(node)),
                _ => self.start(node),
            }
        }
        self.world.arrange(0, Event::Epoch);
        self.clients.start(&Rc::clone(&self.world));
        let mut told = 0;
        while !self.is_over() {
            if !self.step() {
                match self.world.advance() {
                    Some(event) => self.happen(event),
                    None if self.world.is_over() && self.pick().is_none() => {
                        return self.stuck("nothing will ever happen again");
                    }
                    None => {}
                }
            }
            if self.clients.done() >= told + 16 {
                told = self.clients.done();
                progress(told);
            }
        }
        progress(self.clients.done());
        if self.world.oracle.borrow().violations().is_empty() {
            self.compare();
        }
    }

    /// Whether all is done, or something is wrong.
    fn is_over(&mut self) -> bool {
        if !self.world.oracle.borrow().violations().is_empty() {
            return true;
        }
        let now = self.world.now();
        if self.pulse.0 != now {
            self.pulse = (now, self.steps);
        }
        if self.steps - self.pulse.1 > RESTLESS {
            self.stuck(&format!("tasks wake each other for ever, such as {}", self.world.last_polled()));
        }
        match self.phase {
            Phase::Faults(_) if self.clients.are_done() => self.heal(),
            Phase::Faults(_) => {}
            Phase::Healing(deadline) if now > deadline => self.stuck("time is up"),
            Phase::Healing(_) => return self.clients.are_done() && self.all_applied() && self.all_answered(),
        }
        false
    }

    /// Nobody waits for an answer (R7).
    fn all_answered(&self) -> bool {
        self.world.desks.iter().all(|desk| desk.borrow().is_idle())
    }

    fn all_applied(&self) -> bool {
        let last = self.world.oracle.borrow().last_command();
        let applied = |node: usize| self.world.seen[node].get().is_some_and(|status| status.applied.0 >= last);
        let is_up = |node: usize| self.members[node].life.is_some() && applied(node);
        (0..self.members.len()).all(|node| self.members[node].is_lost() || is_up(node))
    }

    // One step.

    /// Polls one task of one node. False if all wait.
    fn step(&mut self) -> bool {
        let Some(node) = self.pick() else { return false };
        let member = &mut self.members[node];
        let (Some((ready, waker)), Some(life)) = (&member.ready, &mut member.life) else { return false };
        ready.clear(Ready::START);
        if life.as_mut().poll(&mut Context::from_waker(waker)).is_ready() {
            // Its store could not be recovered. Someone repairs it, if it can be.
            member.life = None;
            self.world.chips[node].borrow_mut().failed = false;
            match member.health {
                Health::Sound => {
                    self.world.arrange(self.world.now() + self.prng.octaves(1_000, 500_000), Event::Starts(node));
                }
                Health::Damaged | Health::Lost => member.health = Health::Lost,
            }
        }
        self.steps += 1;
        self.after_step(node);
        true
    }

    /// Any node with a task that is ready.
    fn pick(&mut self) -> Option<usize> {
        let now = self.world.now();
        let mut able = 0;
        for (node, member) in self.members.iter_mut().enumerate() {
            if member.ready.as_ref().is_some_and(|(ready, _)| member.life.is_some() && ready.mask() != 0) {
                if member.paused_until <= now {
                    able |= 1 << node;
                } else if std::mem::take(&mut member.pause_unfelt) {
                    self.world.count(Fault::Pauses);
                }
            }
        }
        self.prng.pick_bit(able).map(|node| node as usize)
    }

    /// What was to happen after some steps, or has become of this one.
    fn after_step(&mut self, node: usize) {
        if let Some(halt) = self.world.halts[node].take() {
            self.halted(node, &halt);
        }
        let member = &mut self.members[node];
        if let Some(outage) = member.crash_in_write.take_if(|_| self.world.chips[node].borrow().is_writing()) {
            let mood = self.world.chips[node].borrow().mood;
            let at = self.world.now() + self.prng.below(2 * mood.latency * mood.slowness);
            self.world.arrange(at, Event::LosesPower(node, outage));
        }
        match member.crash.take() {
            Some((0, outage)) => self.crash(node, outage),
            Some((steps, outage)) => self.members[node].crash = Some((steps - 1, outage)),
            None => {}
        }
        match self.power_loss.take() {
            Some((0, outage)) => self.lose_power(outage),
            Some((steps, outage)) => self.power_loss = Some((steps - 1, outage)),
            None => {}
        }
    }

    /// How many polls there were.
    pub(crate) const fn steps(&self) -> u64 {
        self.steps
    }

    // What happens.

    fn happen(&mut self, event: Event) {
        let world = Rc::clone(&self.world);
        match event {
            Event::Arrives(delivery) => world.arrive(delivery),
            Event::Client(client) => self.clients.act(&world, client),
            Event::Requests(request) => world.receive_request(request),
            Event::Replies(answer) => self.clients.receive(&world, answer),
            Event::Epoch => self.begin_epoch(),
            Event::Strikes(strike) => self.strike(strike),
            Event::LosesPower(node, outage) => self.crash(node, outage),
            Event::Starts(node) => self.start(node),
            Event::Resumes => {}
        }
    }

    fn begin_epoch(&mut self) {
        let (world, now) = (&self.world, self.world.now());
        match self.phase {
            Phase::Healing(_) => return,
            Phase::Faults(end) if now >= end => return self.heal(),
            Phase::Faults(_) => {}
        }
        let leads = |node: &usize| world.seen[*node].get().is_some_and(|status| status.role == Role::Leader);
        let leader = (0..self.members.len()).find(leads);
        let epoch = self.swarm.epoch(leader);
        world.trace(
            Source::Simulator,
            "epoch",
            format_args!("{} us, {:?}, cut {:x?}", epoch.length, epoch.weather, epoch.cut),
        );
        world.network.borrow_mut().set_weather(epoch.weather);
        world.network.borrow_mut().set_cut(epoch.cut);
        world.chips.iter().for_each(|chip| chip.borrow_mut().mood.slowness = 1);
        for (at, strike) in epoch.strikes {
            world.arrange(now + at, Event::Strikes(strike));
        }
        world.arrange(now + epoch.length, Event::Epoch);
    }

    fn strike(&mut self, strike: Strike) {
        let (world, now) = (Rc::clone(&self.world), self.world.now());
        if matches!(self.phase, Phase::Healing(_)) {
            return;
        }
        world.trace(Source::Simulator, "strike", format_args!("{strike:?}"));
        match strike {
            Strike::Crash { node, steps: 0, outage } => self.crash(node, outage),
            Strike::Crash { node, steps, outage } => self.members[node].crash = Some((steps - 1, outage)),
            Strike::CrashInWrite { node, outage } => self.members[node].crash_in_write = Some(outage),
            Strike::PowerLoss { steps, outage } => self.power_loss = Some((steps, outage)),
            Strike::StallStore { node, span } => world.chips[node].borrow_mut().mood.stalled_until = now + span,
            Strike::SlowStore { node, slowness } => world.chips[node].borrow_mut().mood.slowness = slowness,
            Strike::FailStore { node } => world.chips[node].borrow_mut().mood.fails = true,
            Strike::StickStore { node, span } => {
                world.chips[node].borrow_mut().stick(now + span);
                world.arrange(now + span, Event::LosesPower(node, self.prng.octaves(100, 500_000)));
            }
            Strike::RotStore { node, tail, outage } => {
                self.crash(node, outage);
                self.rot(node, tail);
            }
            Strike::FreezeClock { node, span } => world.clocks[node].borrow_mut().freeze(now, now + span),
            Strike::DriftClock { node, ppm } => {
                world.count(Fault::ClockDrifts);
                self.members[node].ppm = ppm;
                world.clocks[node].borrow_mut().drift(now, ppm);
            }
            Strike::Pause { node, span } => {
                let member = &mut self.members[node];
                (member.paused_until, member.pause_unfelt) = (now + span, true);
                world.arrange(now + span, Event::Resumes);
            }
            Strike::Transfer { node, to } => {
                self.transfers += 1;
                // Of the operator, who is no client.
                let ticket = Ticket { client: usize::MAX, errand: Errand::Aside, sequence: 0, attempt: self.transfers };
                world.request(Request { ticket, node, ask: Ask::Transfer(to), patience: None });
            }
        }
    }

    /// The faults end: links are fair, stores and nodes work, and who is down starts again.
    fn heal(&mut self) {
        let (world, now) = (Rc::clone(&self.world), self.world.now());
        let deadline = now + HEALING + self.options.workload.entries() * HEALING_PER_ENTRY;
        world.trace(Source::Simulator, "heal", format_args!("to be done by {deadline} us"));
        self.phase = Phase::Healing(deadline);
        self.power_loss = None;
        world.network.borrow_mut().set_weather(self.swarm.fair_weather());
        world.network.borrow_mut().set_cut(vec![0; self.members.len()]);
        for (node, member) in self.members.iter_mut().enumerate() {
            (member.crash, member.crash_in_write, member.paused_until) = (None, None, now);
            let mood = &mut world.chips[node].borrow_mut().mood;
            (mood.slowness, mood.stalled_until, mood.fails) = (1, now, false);
            if member.life.is_none() && !member.is_lost() {
                world.arrange(now + self.prng.octaves(1, 200_000), Event::Starts(node));
            }
        }
    }

    // The end.

    /// All nodes have come to the same, and it is what the clients wanted.
    fn compare(&self) {
        let world = &self.world;
        let applications = || world.applications.iter().enumerate().filter(|(node, _)| !self.members[*node].is_lost());
        let Some((one, first)) = applications().next().map(|(node, application)| (node, application.borrow())) else {
            return;
        };
        for (node, application) in applications() {
            let application = application.borrow();
            let effects = application.machine.effects();
            let wrong = if application.machine != first.machine {
                format!("its state differs from that of node {one}")
            } else if effects != self.options.workload.entries() {
                format!("{effects} commands took effect, of {}", self.options.workload.entries())
            } else if matches!(&self.options.workload, Workload::Lines(lines) if lines.concat() != application.text) {
                "its text is not the one that was sent".into()
            } else {
                continue;
            };
            world.oracle.borrow_mut().differs(world.now(), node, wrong);
        }
    }

    fn stuck(&self, why: &str) {
        let (world, done) = (&self.world, self.clients.done());
        let nodes: Vec<String> = world
            .seen
            .iter()
            .map(|seen| {
                seen.get().map_or("down".into(), |status| {
                    format!(
                        "{:?} of term {} {}/{}/{}/{}",
                        status.role, status.term, status.last, status.durable, status.committed, status.applied
                    )
                })
            })
            .collect();
        let entries = self.options.workload.entries();
        let what = format!(
            "{why}: {done} of {entries} commands are answered; last/durable/committed/applied: {}",
            nodes.join("; ")
        );
        world.oracle.borrow_mut().stuck(world.now(), what);
    }
}

impl Options {
    fn config(&self, node: usize, hardware: &Hardware, swarm: &Swarm, prng: &mut Prng) -> Config {
        let id = NodeId::new(node as u8).unwrap_or_default();
        let config = Config::new(id, CLUSTER, NodeSet::first(self.nodes as u32));
        // Most incarnations begin shortly before their positions wrap. Records lie on even positions.
        let before_wrap = prng.octaves(1, u64::from(u32::MAX)) as u32;
        Config {
            election_timeout: ELECTION_TIMEOUT,
            heartbeat_interval: HEARTBEAT,
            snapshot_after: hardware.snapshot_after,
            lease_drift: swarm.lease_drift,
            admit: if swarm.lax >> node & 1 == 0 { admit } else { |_| Ok(()) },
            seed: prng.next(),
            origin: Position::new(before_wrap.wrapping_neg() & !1),
            #[cfg(feature = "planted-faults")]
            planted: self.core_plant(),
            ..config
        }
    }

    #[cfg(feature = "planted-faults")]
    const fn core_plant(&self) -> Option<quoring_core::Planted> {
        match self.planted {
            Some(crate::options::Planted::Core(planted)) => Some(planted),
            _ => None,
        }
    }
}
