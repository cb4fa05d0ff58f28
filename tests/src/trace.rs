//! Random traces: lists of actions, so that a failing one is shrunk by leaving actions out.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use quoring_core::wire::{Envelope, Message};
use quoring_core::{Closed, Config, Duration, EntryId, Event, LogIndex, NodeId, NodeSet, Role, WindowState};
use quoring_ring::{DEFAULT_CRC32C, Kind, Record};

use crate::cluster::{CLUSTER, Cluster, Settings};
use crate::disk::{Disk, Log};
use crate::model::{Entry, Model, Written};
use crate::random::Random;

/// One thing that happens. Numbers choose among what is there at that moment, so an action means something whatever went before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// A frame arrives.
    Deliver(u32),
    /// A frame is lost.
    Lose(u32),
    /// A frame arrives, and will arrive again.
    Repeat(u32),
    /// The next deadline comes, or for every fourth number that of any node, as if all others' clocks stood still.
    TimeOut(u32),
    /// Time goes on and nobody notices.
    Wait(u32),
    /// A client proposes this many bytes at a node.
    Propose(u32, u32),
    /// The leader of the highest term gets a proposal.
    ProposeAtLeader(u32),
    /// Some records of a node become durable.
    Flush(u32, u32),
    /// A node loses power; some records may be durable nevertheless, and the next one torn.
    Crash(u32, u32),
    /// A node without power gets it.
    Start(u32),
    /// A node's application makes a snapshot of this many bytes.
    Save(u32, u32),
    /// A node's disk drops some records of what may go.
    Purge(u32, u32),
    /// Pieces of snapshots wait at a node from now on.
    HoldChunks(u32),
    /// The piece that waits at a node is stored; or if it is, its core is told.
    GoOnWithChunk(u32),
    /// A node's application stands still from now on.
    HoldApplication(u32),
    /// It goes on.
    Apply(u32),
    /// A client of a node wants to read; for every second number, of the leader of the lowest term.
    Read(u32),
    /// The leader of the highest term hands over, for one number in eight; for one in sixteen to the node that it names.
    Transfer(u32),
    /// A client of a node opens the window to the leader.
    Open(u32),
    /// The client of a node whose window is open puts a few commands into it, as one batch.
    Forward(u32, u32),
    /// It closes it.
    Close(u32),
    /// A link is cut, or for every fourth number all links of a node.
    Cut(u32, u32),
    /// A leader is cut off and stalls: no deadline of it comes until all is mended, but clients reach it.
    Stall,
    /// All links are mended.
    Heal,
}

/// How the core and the model, or the core and the oracles, disagree.
pub type Disagreement = String;

/// The actions of a seed. The weights of all kinds are drawn anew for each seed, some are zero (swarm).
#[must_use]
pub fn generate(seed: u64, length: usize) -> Vec<Action> {
    let mut random = Random::new(seed);
    let mut weight = |usual: u64| if random.below(4) == 0 { 0 } else { usual * (1 + random.below(4)) };
    let weights = [
        140,
        weight(6),
        weight(6),
        6 + weight(2),
        weight(2),
        weight(2),
        3 + weight(8),
        40 + weight(20),
        weight(1),
        4,
        weight(2),
        1 + weight(1),
        weight(3),
        weight(3),
        weight(1),
        weight(6),
        weight(1),
        weight(4),
        weight(8),
        weight(1),
        weight(4),
        weight(12),
        weight(1) / 2,
        weight(2),
    ];
    let total: u64 = weights.iter().sum();
    (0..length).map(|_| action(&mut random, &weights, total)).collect()
}

fn action(random: &mut Random, weights: &[u64], total: u64) -> Action {
    let mut rest = random.below(total);
    let kind = weights
        .iter()
        .position(|&weight| {
            rest < weight || {
                rest -= weight;
                false
            }
        })
        .unwrap_or(0);
    // Mostly the oldest frame.
    let frame = if random.below(3) == 0 { random.word() as u32 } else { 0 };
    let (a, b) = (random.word() as u32, random.word() as u32);
    match kind {
        0 => Action::Deliver(frame),
        1 => Action::Lose(frame),
        2 => Action::Repeat(frame),
        3 => Action::TimeOut(a),
        4 => Action::Wait(a % 400),
        5 => Action::Propose(a, b % 64),
        6 => Action::ProposeAtLeader(b % 64),
        7 => Action::Flush(a, b % 6),
        8 => Action::Crash(a, b),
        9 => Action::Start(a),
        10 => Action::Cut(a, b),
        11 => Action::Heal,
        12 => Action::Save(a, b % 1200),
        13 => Action::Purge(a, b),
        14 => Action::HoldChunks(a),
        15 => Action::GoOnWithChunk(a),
        16 => Action::HoldApplication(a),
        17 => Action::Apply(a),
        18 => Action::Read(a),
        19 => Action::Transfer(a),
        20 => Action::Open(a),
        21 => Action::Forward(a, b),
        22 => Action::Close(a),
        _ => Action::Stall,
    }
}

/// Plays actions on a cluster, and with `Reference::Model` on one model for each node beside it.
pub struct Player {
    /// The cores.
    pub cluster: Cluster,
    models: Option<BTreeMap<NodeId, Model>>,
    /// How often a leader's snapshot took the place of a log.
    pub installs: usize,
    /// How often a node was told to campaign, and did.
    pub by_leave: usize,
    /// Nodes where pieces of snapshots wait; at the others they are stored at once.
    held: NodeSet,
    /// Nodes whose deadlines do not come.
    stalled: NodeSet,
}

/// What a cluster is compared with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reference {
    /// The model, after every step. Rings must be roomy: the model's have no end.
    Model,
    /// The oracles alone.
    Oracles,
}

impl Player {
    /// A cluster whose disks wait for [`Action::Flush`].
    #[must_use]
    pub fn new(settings: Settings, reference: Reference) -> Self {
        let mut cluster = Cluster::new(settings);
        // No clock runs faster or slower than leases allow for.
        let drift = i64::from(settings.lease_drift.unwrap_or(0));
        cluster.drift = settings.voters.iter().zip([drift, -drift].into_iter().cycle()).collect();
        settings.voters.iter().for_each(|id| cluster.start(id));
        (cluster.slow_disks, cluster.slow_chunks) = (settings.voters, settings.voters);
        cluster.shows_all = false;
        let voters: std::collections::BTreeSet<_> = settings.voters.iter().collect();
        let timeout = Config::new(NodeId::default(), CLUSTER, settings.voters).election_timeout;
        let model = |id| {
            let mut model = Model::new(id, voters.clone(), timeout, settings.lease_drift.is_some());
            model.start(cluster.clock(id));
            model
        };
        let models = || voters.iter().map(|&id| (id, model(id))).collect();
        let models = (reference == Reference::Model).then(models);
        Self { cluster, models, installs: 0, by_leave: 0, held: NodeSet::EMPTY, stalled: NodeSet::EMPTY }
    }

    /// Plays one action.
    ///
    /// # Errors
    /// The model disagrees.
    pub fn play(&mut self, action: Action) -> Result<(), Disagreement> {
        match action {
            Action::Deliver(frame) => self.deliver(frame)?,
            Action::Lose(frame) => drop(self.frame(frame).and_then(|name| self.cluster.network.take(name))),
            Action::Repeat(frame) => self.repeat(frame)?,
            Action::TimeOut(node) => {
                if let Some(id) = Some(self.due(node)).filter(|&id| !self.stalled.contains(id)) {
                    self.time_out(id)?;
                }
            }
            Action::Wait(ms) => self.cluster.now = self.cluster.now + Duration::from_millis(ms.into()),
            Action::Propose(node, size) => self.propose(self.choose(node), size)?,
            Action::ProposeAtLeader(size) => {
                if let Some(id) = self.leader() {
                    self.propose(id, size)?;
                }
            }
            Action::Read(node) => {
                let id = self.oldest_leader().filter(|_| node.is_multiple_of(2)).unwrap_or(self.choose(node / 2));
                let asks = self.cluster.read(id).is_ok() && !self.cluster.nodes[&id].leads();
                if let Some(model) = self.model(id).filter(|_| asks) {
                    model.boot();
                }
                self.compare(id)?;
            }
            // Seldom: an office that is always being handed over serves nobody.
            Action::Transfer(to) => {
                if let Some(id) = self.leader().filter(|_| to.is_multiple_of(8)) {
                    let to = to.is_multiple_of(16).then(|| self.choose(to / 16));
                    let successor = self.cluster.transfer(id, to);
                    if let (Ok(to), Some(model)) = (successor, self.model(id)) {
                        model.transfer(to)?;
                    }
                    self.compare(id)?;
                }
            }
            Action::Open(node) => {
                let id = self.choose(node);
                let opens = self.cluster.open(id).is_ok();
                if let Some(model) = self.model(id).filter(|_| opens) {
                    model.boot();
                }
                self.compare(id)?;
            }
            Action::Forward(node, items) => {
                let Some(id) = self.open_window(node) else { return Ok(()) };
                let command = [items as u8; 20];
                let batch = &[&command[..], &command[..items as usize % 20], &[]][..items as usize % 4 % 3 + 1];
                let _ = self.cluster.forward(id, batch);
                self.compare(id)?;
            }
            Action::Close(node) => {
                let id = self.choose(node);
                self.cluster.ask(id, |raft, _| raft.close_window(Closed::Owner));
                self.compare(id)?;
            }
            Action::Flush(node, records) => self.flush(self.choose(node), 1 + records as usize)?,
            Action::Crash(node, kept) => self.crash(self.choose(node), kept),
            Action::Start(node) => self.start(self.choose(node)),
            Action::Save(node, size) => self.save(self.choose(node), size)?,
            Action::Purge(node, records) => self.purge(self.choose(node), records)?,
            Action::HoldChunks(node) => self.held.insert(self.choose(node)),
            Action::GoOnWithChunk(node) => {
                let id = self.choose(node);
                self.go_on_with_chunk(id)?;
                self.held.remove(id);
            }
            Action::HoldApplication(node) => self.cluster.slow_applications.insert(self.choose(node)),
            Action::Apply(node) => {
                let id = self.choose(node);
                self.cluster.slow_applications.remove(id);
                self.cluster.apply(id);
            }
            Action::Cut(from, to) => {
                let (from, peer) = (self.choose(from), self.choose(to));
                if to.is_multiple_of(4) {
                    self.isolate(from);
                } else {
                    self.cluster.network.set_cut(from, peer, true);
                }
            }
            Action::Stall => {
                if let Some(id) = self.leader() {
                    self.stalled.insert(id);
                    self.isolate(id);
                }
            }
            Action::Heal => {
                self.stalled = NodeSet::EMPTY;
                let all = self.cluster.settings.voters;
                all.iter()
                    .flat_map(|from| all.iter().map(move |to| (from, to)))
                    .for_each(|(from, to)| self.cluster.network.set_cut(from, to, false));
            }
        }
        self.installs +=
            self.cluster.events.iter().filter(|(_, event)| matches!(event, Event::Installs { .. })).count();
        self.cluster.lines.clear();
        self.cluster.sent.clear();
        self.cluster.events.clear();
        Ok(())
    }

    /// Everything is mended: links, power, disks. The cluster must elect a leader, commit a new entry and bring it to every node by itself.
    ///
    /// # Errors
    /// It does not.
    pub fn heal(&mut self) -> Result<(), Disagreement> {
        self.models = None;
        self.play(Action::Heal)?;
        let all = self.cluster.settings.voters;
        (self.cluster.slow_disks, self.cluster.slow_chunks) = (NodeSet::EMPTY, NodeSet::EMPTY);
        self.cluster.slow_applications = NodeSet::EMPTY;
        for id in all.iter() {
            self.start(id);
            self.cluster.store_chunk(id);
            self.cluster.tell_stored(id);
        }
        all.iter().for_each(|id| drop(self.flush(id, usize::MAX)));
        self.cluster.run(Duration::from_millis(30_000));
        let leader = self.cluster.nodes.values().find(|node| node.leads()).map(|node| node.id);
        let leader = leader.ok_or_else(|| format!("no leader{}", self.lines()))?;
        let entry = self.cluster.propose(leader, b"new").map_err(|error| format!("{error}{}", self.lines()))?;
        self.cluster.run(Duration::from_millis(10_000));
        let behind = |node: &crate::node::Node| node.status().is_none_or(|status| status.applied < entry.index);
        if self.cluster.nodes.values().any(behind) {
            return Err(format!("{entry:?} is not applied{}", self.lines()));
        }
        let waits = |id: &NodeId| self.cluster.clients.waiting(*id) > 0;
        match all.iter().find(waits) {
            Some(id) => Err(format!("clients of node {id} wait to read for ever{}", self.lines())),
            None => Ok(()),
        }
    }

    /// A node whose window is open.
    fn open_window(&self, number: u32) -> Option<NodeId> {
        let open = |node: &&crate::node::Node| {
            node.running.as_ref().is_some_and(|running| running.raft.window().state == WindowState::Open)
        };
        let nodes: Vec<_> = self.cluster.nodes.values().filter(open).map(|node| node.id).collect();
        nodes.get(number as usize % nodes.len().max(1)).copied()
    }

    fn isolate(&mut self, id: NodeId) {
        for peer in self.cluster.settings.voters.iter() {
            self.cluster.network.set_cut(id, peer, true);
            self.cluster.network.set_cut(peer, id, true);
        }
    }

    /// The leader of the lowest term: it may not have heard that it leads no longer.
    fn oldest_leader(&self) -> Option<NodeId> {
        let leaders = self.cluster.nodes.values().filter(|node| node.leads());
        leaders.min_by_key(|node| node.status().map(|status| status.term)).map(|node| node.id)
    }

    /// The leader of the highest term.
    fn leader(&self) -> Option<NodeId> {
        let leaders = self.cluster.nodes.values().filter(|node| node.leads());
        leaders.max_by_key(|node| node.status().map(|status| status.term)).map(|node| node.id)
    }

    fn lines(&self) -> String {
        self.cluster.nodes.values().map(|node| format!("\n{}", crate::script::status_line(node))).collect()
    }

    fn choose(&self, number: u32) -> NodeId {
        let all = self.cluster.settings.voters;
        all.iter().nth((number % all.len()) as usize).unwrap_or_default()
    }

    fn due(&self, number: u32) -> NodeId {
        let deadline = |id: NodeId| self.cluster.deadline(id).filter(|_| !self.stalled.contains(id));
        let chosen = self.choose(number / 4);
        let first =
            self.cluster.settings.voters.iter().filter(|&id| deadline(id).is_some()).min_by_key(|&id| deadline(id));
        if number.is_multiple_of(4) { chosen } else { first.unwrap_or(chosen) }
    }

    fn frame(&self, number: u32) -> Option<u32> {
        let frames = &self.cluster.network.frames;
        frames.get(number as usize % frames.len().max(1)).map(|frame| frame.name)
    }

    fn repeat(&mut self, number: u32) -> Result<(), Disagreement> {
        self.frame(number).and_then(|name| self.cluster.network.duplicate(name).map(drop));
        self.deliver(number)
    }

    fn deliver(&mut self, number: u32) -> Result<(), Disagreement> {
        let Some(frame) = self
            .frame(number)
            .and_then(|name| self.cluster.network.frames.iter().find(|frame| frame.name == name))
            .cloned()
        else {
            return Ok(());
        };
        if self.holds_chunk(frame.to) {
            // Whoever receives frames there waits for the disk.
            return Ok(());
        }
        let campaigns = |player: &Self| player.cluster.nodes[&frame.to].status().map(|status| status.role);
        let is_leave = frame.kind(CLUSTER) == "campaign-now" && campaigns(self) != Some(Role::Candidate);
        let before = self.cluster.nodes[&frame.to].refusals();
        let last = self.last(frame.to);
        self.cluster.deliver(frame.name);
        let (now, after) = (self.cluster.clock(frame.to), self.cluster.nodes[&frame.to].refusals());
        let appended = self.last(frame.to).wrapping_sub(last);
        if let (Some(model), Some(before), Some(after)) = (self.model(frame.to), before, after) {
            let decoded = frame.decode(CLUSTER).ok_or("a frame that cannot be read")?;
            model.receive(
                now,
                frame.from,
                decoded.term,
                &decoded.message,
                before.stale_answer != after.stale_answer,
            )?;
            if let Message::Forward(forward) = &decoded.message {
                model.forwarded(frame.from, forward, appended)?;
            }
        }
        self.by_leave += usize::from(is_leave && campaigns(self) == Some(Role::Candidate));
        self.compare(frame.to)?;
        if !self.held.contains(frame.to) {
            self.go_on_with_chunk(frame.to)?;
            self.go_on_with_chunk(frame.to)?;
        }
        Ok(())
    }

    fn last(&self, id: NodeId) -> u64 {
        self.cluster.nodes[&id].status().map_or(0, |status| status.last.0)
    }

    /// The piece of a snapshot that waits gets onto the disk, or the core learns of it.
    fn go_on_with_chunk(&mut self, id: NodeId) -> Result<(), Disagreement> {
        if let Some(stored) = self.cluster.store_chunk(id) {
            if let Some(model) = self.model(id) {
                model.store(stored);
            }
        } else if let Some((_, stored)) = self.cluster.tell_stored(id) {
            let now = self.cluster.clock(id);
            if let Some(model) = self.model(id) {
                model.tell_stored(now, stored);
            }
        }
        self.compare(id)
    }

    fn save(&mut self, id: NodeId, size: u32) -> Result<(), Disagreement> {
        // Nodes pad alike for the most part: what one leader began to send, another may finish.
        let saved = self.cluster.save(id, size as usize / 300 * 300, u8::from(size.is_multiple_of(300)));
        match (saved, self.model(id)) {
            (Some(snapshot), Some(model)) => model.save(snapshot)?,
            _ => return Ok(()),
        }
        self.compare(id)
    }

    fn purge(&mut self, id: NodeId, records: u32) -> Result<(), Disagreement> {
        let count = if records.is_multiple_of(2) { usize::MAX } else { records as usize % 16 };
        let start = self.cluster.purge(id, count);
        if let Some(model) = self.model(id) {
            model.purge(start)?;
        }
        self.compare(id)
    }

    fn holds_chunk(&self, id: NodeId) -> bool {
        self.cluster.nodes[&id].running.as_ref().is_some_and(|running| running.holds_chunk())
    }

    fn time_out(&mut self, id: NodeId) -> Result<(), Disagreement> {
        if self.cluster.time_out(id).is_none() {
            return Ok(());
        }
        let asks =
            self.cluster.events.iter().any(|&(node, event)| node == id && matches!(event, Event::AsksPreVote { .. }));
        let now = self.cluster.clock(id);
        let status = self.cluster.nodes[&id].status();
        let (role, leader) = (status.map(|status| status.role), status.and_then(|status| status.leader));
        if let Some(model) = self.model(id) {
            match model.role {
                Role::Leader => model.leader_tick(now),
                // A deadline may also be for asking again: a candidate its peers, a follower its leader.
                Role::Follower if leader.is_none() => model.election_timeout(now),
                Role::Follower => {}
                _ if asks || role == Some(Role::Follower) => model.election_timeout(now),
                _ => {}
            }
        }
        self.compare(id)
    }

    fn propose(&mut self, id: NodeId, size: u32) -> Result<(), Disagreement> {
        let command = vec![size as u8; size as usize];
        let taken = self.cluster.propose(id, &command).is_ok();
        if let Some(model) = self.model(id).filter(|_| taken) {
            model.propose(&command);
        }
        self.compare(id)
    }

    fn flush(&mut self, id: NodeId, records: usize) -> Result<(), Disagreement> {
        let done = self.cluster.flush(id, records);
        let now = self.cluster.clock(id);
        if let Some(model) = self.model(id) {
            model.flush(now, done);
        }
        self.compare(id)
    }

    fn crash(&mut self, id: NodeId, kept: u32) {
        let Some(running) = &self.cluster.nodes[&id].running else { return };
        let kept = kept as usize % (running.pending() + 1);
        self.cluster.crash(id, kept, 8);
        if let Some(model) = self.models.as_mut().and_then(|models| models.get_mut(&id)) {
            model.restart(kept);
        }
    }

    fn start(&mut self, id: NodeId) {
        if self.cluster.nodes[&id].running.is_none() {
            self.cluster.start(id);
            let now = self.cluster.clock(id);
            if let Some(model) = self.model(id) {
                model.start(now);
            }
        }
    }

    /// The model of a node that has power.
    fn model(&mut self, id: NodeId) -> Option<&mut Model> {
        let running = self.cluster.nodes[&id].running.is_some();
        self.models.as_mut()?.get_mut(&id).filter(|_| running)
    }

    /// What the core did in this step must be what the model did.
    fn compare(&mut self, id: NodeId) -> Result<(), Disagreement> {
        let sent = std::mem::take(&mut self.cluster.sent);
        let Some(model) = self.models.as_mut().and_then(|models| models.get_mut(&id)) else { return Ok(()) };
        let node = &self.cluster.nodes[&id];
        let Some(running) = &node.running else { return Ok(()) };
        let status = running.raft.status();
        let core = (status.role, status.term, status.leader, status.last.0, status.committed.0, status.durable.0);
        let expected = (model.role, model.term, model.leader, model.last(), model.committed, model.durable());
        let what = "(role, term, leader, last, committed, durable)";
        if core != expected {
            return Err(format!("node {id}, {what}\n core:  {core:?}\n model: {expected:?}"));
        }
        let (core, expected) = ((status.snapshot, running.holds_chunk()), (model.covered(), model.holds_chunk()));
        if core != expected {
            return Err(format!(
                "node {id}, (snapshot, takes a piece of another)\n core:  {core:?}\n model: {expected:?}"
            ));
        }
        let (core, expected) = (written(running.pending_records(), &node.disk), model.written());
        if !core.iter().eq(expected) {
            return Err(format!("node {id} writes\n core:  {core:?}\n model: {expected:?}"));
        }
        for frame in &sent {
            let envelope = Envelope { cluster: CLUSTER, node: frame.to, crc: DEFAULT_CRC32C };
            let decoded = envelope.open(&frame.bytes).map_err(|error| format!("{error}"))?;
            model
                .sends(frame.to, decoded.term, &decoded.message)
                .map_err(|error| format!("node {id} {error}\n{}", frame.describe(CLUSTER)))?;
        }
        Ok(())
    }
}

/// The pending records of a node as the model has them.
fn written<'b>(records: impl Iterator<Item = &'b [u8]>, disk: &Disk) -> Vec<Written> {
    let (mut log, mut boot) = (disk.log().clone(), disk.boot());
    let read = |bytes: &'b [u8]| {
        let record = Record::parse(bytes).expect("whole records");
        let (term, flags) = (quoring_core::Term(record.header.term), record.header.flags);
        match log.put(&record) {
            Some(index) => {
                Written::Entry(index, Entry { term, kind: record.header.kind, command: record.payload.to_vec() })
            }
            None if record.header.kind == Kind::Vote => {
                let vote = NodeId::new(flags & 0x7F).filter(|_| flags & 0x80 != 0);
                let before = std::mem::replace(&mut boot, record.header.index_low);
                if boot == before { Written::Vote(term, vote) } else { Written::Boot(term, vote) }
            }
            None => {
                let index = LogIndex(record.start().expect("entries, votes and starts are all there is"));
                log = disk.started(&record).map(Log::after).unwrap_or_default();
                Written::Start(EntryId { term, index })
            }
        }
    };
    records.map(read).collect()
}

/// Plays a whole trace, heals the cluster and waits for it to go on; how that fails, if it does.
#[must_use]
pub fn failure(settings: Settings, reference: Reference, actions: &[Action]) -> Option<Disagreement> {
    let play = || {
        let mut player = Player::new(settings, reference);
        for (step, &action) in actions.iter().enumerate() {
            player.play(action).map_err(|error| format!("step {step}, {action:?}: {error}"))?;
        }
        player.heal()
    };
    match catch_unwind(AssertUnwindSafe(play)) {
        Ok(result) => result.err(),
        Err(cause) => {
            let text = cause
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).into()));
            Some(text.unwrap_or_else(|| "a panic without words".into()))
        }
    }
}

/// Leaves out whatever is not needed for the trace to fail.
#[must_use]
pub fn shrink(settings: Settings, reference: Reference, mut actions: Vec<Action>) -> Vec<Action> {
    let mut chunk = actions.len() / 2;
    while chunk > 0 {
        let mut start = 0;
        while start < actions.len() {
            let mut shorter = actions.clone();
            shorter.drain(start..(start + chunk).min(actions.len()));
            if failure(settings, reference, &shorter).is_some() {
                actions = shorter;
            } else {
                start += chunk;
            }
        }
        chunk /= 2;
    }
    actions
}
