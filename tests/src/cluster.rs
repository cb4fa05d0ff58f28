//! The cluster: one input to one node at a time, its outputs, and the oracles.

use std::collections::{BTreeMap, BTreeSet};

use quoring_core::wire::{Frame, Message};
use quoring_core::{
    Admit, Capabilities, Chunk, ClientId, ClusterId, Config, Duration, EntryId, Event, ForwardError, Instant, LogIndex,
    NodeId, NodeSet, ProposeError, Raft, ReadError, RequestId, Snapshot, Stored, Term, TransferError, WindowError,
};
use quoring_ring::{Kind, Position};

use crate::clients::Clients;
use crate::disk::{Disk, digest};
use crate::memory::RingSize;
use crate::network::{InFlight, Network};
use crate::node::{Node, WindowSize};
use crate::oracle::Oracle;
use crate::replicator::{Made, Making};

/// The cluster all tests play in.
pub const CLUSTER: ClusterId = ClusterId(0x51_0A);

/// How a cluster is made.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Who is in it.
    pub voters: NodeSet,
    /// How large the rings are.
    pub ring: RingSize,
    /// Bytes of the largest frame.
    pub frame: usize,
    /// Where positions start.
    pub origin: Position,
    /// What the logs go on after, and all nodes have a snapshot of.
    pub base: EntryId,
    /// After how many entries an application should make a snapshot.
    pub snapshot_after: u32,
    /// Seeds the timeouts.
    pub seed: u64,
    /// Appends in flight to a peer.
    pub max_in_flight: usize,
    /// Bytes in flight to a peer.
    pub max_in_flight_bytes: u32,
    /// The drift in parts per million that leases allow for; none without leases.
    pub lease_drift: Option<u32>,
    /// Nodes without leases all the same.
    pub unleased: NodeSet,
    /// Nodes that do not know entries which name their client.
    pub unable: NodeSet,
    /// The memory of followers for what their clients forward.
    pub window: WindowSize,
    /// Decides about commands.
    pub admit: Admit,
    /// The fault that all nodes have.
    #[cfg(feature = "planted-faults")]
    pub planted: Option<quoring_core::Planted>,
}

/// Nodes, links and what happened.
pub struct Cluster {
    /// How it was made.
    pub settings: Settings,
    /// The time; each node's clock shows its own, see [`clock`](Self::clock).
    pub now: Instant,
    /// How many parts per million faster than time the clocks of nodes run. Fixed before they start.
    pub drift: BTreeMap<NodeId, i64>,
    /// Reads and windows of the nodes' clients.
    pub clients: Clients,
    /// The nodes.
    pub nodes: BTreeMap<NodeId, Node>,
    /// The links.
    pub network: Network,
    /// What must hold.
    pub oracle: Oracle,
    /// Nodes whose log writer waits for a test to say so; the others write at once.
    pub slow_disks: NodeSet,
    /// Nodes whose application waits for a test to say so.
    pub slow_applications: NodeSet,
    /// Nodes whose disk waits for a test to say so before it takes a piece of a leader's snapshot.
    pub slow_chunks: NodeSet,
    /// Replicators that wait for a test to say so.
    pub slow_replicators: BTreeSet<(NodeId, NodeId)>,
    /// Those that were slow when they were called, and were not called since.
    unasked: BTreeSet<(NodeId, NodeId)>,
    /// What happened since it was asked last, one line each.
    pub lines: Vec<String>,
    /// The events among it.
    pub events: Vec<(NodeId, Event)>,
    /// The frames that left their nodes since, also those that a cut link lost.
    pub sent: Vec<InFlight>,
    /// The newest pipeline on each link: the leader's term, and the session answers must name.
    pub pipelines: BTreeMap<(NodeId, NodeId), (Term, u32)>,
    /// Whether frames and small events are worth a line.
    pub shows_all: bool,
    writes: u32,
    making: BTreeMap<(NodeId, NodeId), Making>,
}

impl Settings {
    /// Roomy rings and frames.
    #[must_use]
    pub const fn new(voters: NodeSet) -> Self {
        Self {
            voters,
            ring: RingSize { units: 1024, slots: 256 },
            frame: 512,
            origin: Position::new(0),
            base: EntryId::ZERO,
            snapshot_after: u32::MAX,
            seed: 0,
            max_in_flight: quoring_core::IN_FLIGHT,
            max_in_flight_bytes: 64 * 1024,
            lease_drift: None,
            unleased: NodeSet::EMPTY,
            unable: NodeSet::EMPTY,
            window: WindowSize { bytes: 256, pipelines: true },
            admit: |_| Ok(()),
            #[cfg(feature = "planted-faults")]
            planted: None,
        }
    }

    fn config(&self, id: NodeId) -> Config {
        Config {
            lease_drift: self.lease_drift.filter(|_| !self.unleased.contains(id)),
            capabilities: if self.unable.contains(id) { Capabilities::NONE } else { Capabilities::ALL },
            admit: self.admit,
            seed: self.seed,
            snapshot_after: self.snapshot_after,
            origin: self.origin,
            max_in_flight: self.max_in_flight,
            max_in_flight_bytes: self.max_in_flight_bytes,
            #[cfg(feature = "planted-faults")]
            planted: self.planted,
            ..Config::new(id, CLUSTER, self.voters)
        }
    }
}

impl Cluster {
    /// Nodes without power and with blank disks.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let disk = Disk::after(settings.base, settings.voters);
        let nodes = settings.voters.iter().map(|id| (id, Node::new(id, disk.clone()))).collect();
        Self {
            settings,
            now: Instant(1),
            drift: BTreeMap::new(),
            clients: Clients::default(),
            nodes,
            network: Network::default(),
            oracle: Oracle::new(CLUSTER, settings.voters.len() as usize, settings.base.index),
            slow_disks: NodeSet::EMPTY,
            slow_applications: NodeSet::EMPTY,
            slow_chunks: NodeSet::EMPTY,
            slow_replicators: BTreeSet::new(),
            unasked: BTreeSet::new(),
            lines: Vec::new(),
            events: Vec::new(),
            sent: Vec::new(),
            pipelines: BTreeMap::new(),
            shows_all: true,
            writes: 0,
            making: BTreeMap::new(),
        }
    }

    /// All nodes running.
    #[must_use]
    pub fn started(settings: Settings) -> Self {
        let mut cluster = Self::new(settings);
        settings.voters.iter().for_each(|id| cluster.start(id));
        cluster
    }

    /// The same, and the first node leads and has committed its no-op on all.
    ///
    /// # Panics
    /// It is not elected.
    #[must_use]
    pub fn led(settings: Settings) -> Self {
        let mut cluster = Self::started(settings);
        let first = settings.voters.iter().next().expect("a node");
        cluster.elect(first, settings.voters).expect("a deadline");
        cluster.settle(settings.voters);
        assert!(cluster.nodes[&first].leads());
        cluster.forget();
        cluster
    }

    /// Lines, events and sent frames begin anew.
    pub fn forget(&mut self) {
        (self.lines, self.events, self.sent) = Default::default();
    }

    /// All links of the node are cut, or mended.
    pub fn set_isolated(&mut self, id: NodeId, cut: bool) {
        for peer in self.settings.voters.without(id).iter() {
            self.network.set_cut(id, peer, cut);
            self.network.set_cut(peer, id, cut);
        }
    }

    /// The names of the frames of this kind on their way, oldest first.
    #[must_use]
    pub fn of_kind(&self, kind: &str) -> Vec<u32> {
        self.network.frames.iter().filter(|frame| frame.kind(CLUSTER) == kind).map(|frame| frame.name).collect()
    }

    /// How many frames of this kind left their nodes since [`forget`](Self::forget).
    #[must_use]
    pub fn count_sent(&self, kind: &str) -> usize {
        self.sent.iter().filter(|frame| frame.kind(CLUSTER) == kind).count()
    }

    /// The node gets power.
    pub fn start(&mut self, id: NodeId) {
        let (settings, now) = (self.settings, self.clock(id));
        self.node(id).start(settings.config(id), settings.ring, settings.frame, settings.window, now);
        self.react(id);
    }

    /// The node loses power; see [`Node::crash`].
    pub fn crash(&mut self, id: NodeId, kept: usize, torn: usize) {
        self.node(id).crash(kept, torn);
        self.making.retain(|&(from, _), _| from != id);
        self.react(id);
    }

    /// The frame arrives; `None` if there is none of this name.
    pub fn deliver(&mut self, name: u32) -> Option<()> {
        let frame = self.network.take(name)?;
        self.hand_in(frame.to, &frame.bytes);
        Some(())
    }

    /// These bytes arrive at the node.
    pub fn hand_in(&mut self, to: NodeId, bytes: &[u8]) {
        let now = self.clock(to);
        self.node(to).receive(now, bytes);
        if !self.slow_chunks.contains(to) {
            self.node(to).store();
            self.node(to).tell_stored(now);
        }
        self.react(to);
    }

    /// The piece of a snapshot that waits at the node gets onto its disk; `None` if none waits.
    pub fn store_chunk(&mut self, id: NodeId) -> Option<Stored> {
        let stored = self.node(id).store();
        self.react(id);
        stored
    }

    /// The core of the node learns what became of the piece of a snapshot that was stored; `None` if none was.
    pub fn tell_stored(&mut self, id: NodeId) -> Option<(Chunk, Stored)> {
        let now = self.clock(id);
        let told = self.node(id).tell_stored(now);
        self.react(id);
        told
    }

    /// The node's application makes a snapshot; see [`Node::save`].
    pub fn save(&mut self, id: NodeId, length: usize, filler: u8) -> Option<Snapshot> {
        let saved = self.node(id).save(length, filler);
        self.react(id);
        saved
    }

    /// The node's disk drops up to `count` records of what may go; where its log begins then.
    pub fn purge(&mut self, id: NodeId, count: usize) -> LogIndex {
        self.node(id).purge(count);
        self.react(id);
        self.node(id).disk.start()
    }

    /// Time goes on to the node's deadline, and only this node notices. `None` if it waits for nothing.
    pub fn time_out(&mut self, id: NodeId) -> Option<()> {
        self.now = self.now.max(self.deadline(id)?);
        let now = self.clock(id);
        self.node(id).time_out(now);
        self.react(id);
        Some(())
    }

    /// A client proposes at the node.
    ///
    /// # Errors
    /// As the core says.
    pub fn propose(&mut self, id: NodeId, command: &[u8]) -> Result<EntryId, ProposeError> {
        let result = self.node(id).propose(command);
        self.react(id);
        result
    }

    /// A client of the node wants to read; its name.
    ///
    /// # Errors
    /// As the core says; also without power.
    pub fn read(&mut self, id: NodeId) -> Result<u32, ReadError> {
        let (now, asked) = (self.clock(id), self.oracle.committed());
        let round = self.node(id).ask(|raft| raft.read(now)).unwrap_or(Err(ReadError::Halted))?;
        let name = self.clients.wait(id, round, asked);
        self.react(id);
        Ok(name)
    }

    /// A client of a follower opens the window to the leader.
    ///
    /// # Errors
    /// As the core says; also without power.
    pub fn open(&mut self, id: NodeId) -> Result<ClientId, WindowError> {
        self.ask(id, Raft::open_window).unwrap_or(Err(WindowError::Halted))
    }

    /// Commands go into the window as one batch of its stream; the number of the first.
    ///
    /// # Errors
    /// As the core says; also without power.
    pub fn forward(&mut self, id: NodeId, commands: &[&[u8]]) -> Result<u32, ForwardError> {
        let now = self.clock(id);
        let Some(window) = self.node(id).ask(|raft| raft.window()) else { return Err(ForwardError::Closed) };
        let request = |number| RequestId { client: window.client, sequence: number, table: 0 };
        let numbers = (0..commands.len() as u32).map(|more| window.next.wrapping_add(more));
        let requests = numbers.clone().map(request).zip(commands.iter().copied());
        let first = self.node(id).ask(|raft| raft.forward(now, Kind::Stream, requests)).expect("it has power")?;
        assert_eq!(first, window.next, "items are numbered in order");
        for (number, command) in numbers.zip(commands) {
            let more = number.wrapping_sub(first) as usize + 1 < commands.len();
            self.oracle.put(window.client, number, digest(command), more);
        }
        self.react(id);
        Ok(first)
    }

    /// The leader begins to hand over; to whom.
    ///
    /// # Errors
    /// As the core says; also without power.
    pub fn transfer(&mut self, id: NodeId, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        self.ask(id, |raft, now| raft.transfer(now, to)).unwrap_or(Err(TransferError::Halted))
    }

    /// The node's log writer takes up to `records` records; the name of the write, if there were any.
    pub fn write(&mut self, id: NodeId, records: usize) -> Option<u32> {
        self.writes += 1;
        let name = self.writes;
        self.node(id).write(name, records).map(|write| write.name)
    }

    /// The write is done; how many records became durable by it, if there was such a write.
    pub fn complete(&mut self, id: NodeId, write: u32) -> Option<usize> {
        let now = self.clock(id);
        let done = self.node(id).complete(now, write);
        self.react(id);
        done
    }

    /// Writes up to `records` pending records of the node; how many.
    pub fn flush(&mut self, id: NodeId, records: usize) -> usize {
        let now = self.clock(id);
        let done = self.node(id).flush(now, records);
        self.react(id);
        done
    }

    /// The node's application goes on.
    pub fn apply(&mut self, id: NodeId) {
        let applied = self.node(id).apply();
        self.oracle.applied(&applied);
        self.oracle.stepped(id, &self.nodes);
        // There may be room again for what was forwarded.
        self.replicate(id);
    }

    /// What the clock of the node shows.
    #[must_use]
    pub fn clock(&self, id: NodeId) -> Instant {
        const MILLION: i128 = 1_000_000;
        let drift = i128::from(self.drift.get(&id).copied().unwrap_or(0));
        Instant((i128::from(self.now.0) * (MILLION + drift) / MILLION) as u64)
    }

    /// When the clock of the node shows its deadline; `None` if it waits for nothing.
    #[must_use]
    pub fn deadline(&self, id: NodeId) -> Option<Instant> {
        const MILLION: i128 = 1_000_000;
        let deadline = i128::from(self.nodes.get(&id)?.running.as_ref()?.raft.poll_timeout()?.0);
        let drift = i128::from(self.drift.get(&id).copied().unwrap_or(0));
        // The first moment at which it does.
        Some(Instant(((deadline * MILLION + MILLION + drift - 1) / (MILLION + drift)) as u64))
    }

    /// A client of the node does something with its core; `None` without power.
    pub fn ask<T>(&mut self, id: NodeId, ask: impl FnOnce(&mut Raft<'static>, Instant) -> T) -> Option<T> {
        let now = self.clock(id);
        let answer = self.node(id).ask(|raft| ask(raft, now));
        self.react(id);
        answer
    }

    /// The store of the node fails.
    pub fn halt(&mut self, id: NodeId) {
        self.node(id).ask(Raft::halt);
        self.react(id);
    }

    /// The replicator plans a frame and stops there; whether there was anything to send.
    pub fn plan(&mut self, from: NodeId, to: NodeId) -> bool {
        let (now, size) = (self.clock(from), self.settings.frame);
        let Some(running) = &mut self.node(from).running else { return false };
        let making = Making::plan(running, now, to, size);
        let planned = making.is_some();
        if let Some(making) = making {
            self.making.insert((from, to), making);
        }
        planned
    }

    /// The replicator copies one entry of its plan and stops there; whether there was one. `None`: it has left the ring.
    pub fn copy(&mut self, from: NodeId, to: NodeId) -> Option<bool> {
        let running = self.nodes.get(&from)?.running.as_ref()?;
        self.making.get_mut(&(from, to))?.copy(running)
    }

    /// The replicator goes on with its plan to the end. `None` if it has none.
    pub fn finish(&mut self, from: NodeId, to: NodeId) -> Option<Made> {
        let (now, making) = (self.clock(from), self.making.remove(&(from, to))?);
        let made = making.finish(self.node(from), now);
        if let Made::Frame(bytes) = &made {
            self.send(from, to, bytes.clone());
        }
        self.react(from);
        Some(made)
    }

    /// Delivers all frames between nodes of `among`, and drops the others, until nothing is on its way. Time stands still.
    ///
    /// # Panics
    /// There is no end to it.
    pub fn settle(&mut self, among: NodeSet) {
        self.settle_those(among, |_| true);
    }

    /// The node's deadline comes, and the votes it asks for are asked for and given among these nodes. What else is sent stays on its way.
    /// `None` if the node waits for nothing.
    pub fn elect(&mut self, id: NodeId, among: NodeSet) -> Option<()> {
        self.time_out(id)?;
        self.settle_those(among, |kind| {
            ["pre-vote", "pre-grant", "pre-denial", "vote", "grant", "denial"].contains(&kind)
        });
        Some(())
    }

    fn settle_those(&mut self, among: NodeSet, which: impl Fn(&str) -> bool) {
        for _ in 0..100_000 {
            let Some(frame) = self.network.frames.iter().find(|frame| which(frame.kind(CLUSTER))) else { return };
            let name = frame.name;
            if among.contains(frame.from) && among.contains(frame.to) {
                self.deliver(name);
            } else {
                self.network.take(name);
            }
        }
        panic!("frames without end");
    }

    /// Lets everything happen in its time: frames at once, deadlines when they come.
    pub fn run(&mut self, span: Duration) {
        let (end, all) = (self.now + span, self.settings.voters);
        loop {
            self.settle(all);
            let deadline = |node: &Node| Some((self.deadline(node.id)?, node.id));
            match self.nodes.values().filter_map(deadline).min() {
                Some((at, id)) if at <= end => drop(self.time_out(id)),
                _ => break,
            }
        }
        self.now = self.now.max(end);
    }

    /// The node.
    ///
    /// # Panics
    /// There is none of this id.
    pub fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node of the cluster")
    }

    /// The outputs of a node after an input: events, frames, writes, applied entries; with the oracles between them.
    fn react(&mut self, id: NodeId) {
        self.oracle.stepped(id, &self.nodes);
        loop {
            self.tell(id);
            self.replicate(id);
            let now = self.clock(id);
            if self.slow_disks.contains(id) || self.node(id).flush(now, usize::MAX) == 0 {
                break;
            }
            self.oracle.stepped(id, &self.nodes);
        }
        if !self.slow_applications.contains(id) {
            self.apply(id);
        }
        self.oracle.is_durable_on_a_quorum(&self.nodes);
        let told = self.clients.stepped(id, &self.nodes[&id], &self.oracle);
        self.lines.extend(told);
    }

    fn tell(&mut self, id: NodeId) {
        let Some(running) = &mut self.node(id).running else { return };
        for event in running.events() {
            let is_great = !matches!(
                event,
                Event::Follows { .. } | Event::AsksPreVote { .. } | Event::Campaigns { .. } | Event::Votes { .. }
            );
            if self.shows_all || is_great {
                self.lines.push(line(id, &event));
            }
            self.events.push((id, event));
        }
    }

    /// Every replicator of the node sends what is due. It asks as the core says: once per call, and the core names a peer again for which that was not all.
    fn replicate(&mut self, id: NodeId) {
        let Some(running) = &mut self.node(id).running else { return };
        let owed = std::mem::take(&mut running.owed);
        for peer in owed.iter() {
            if self.slow_replicators.contains(&(id, peer)) {
                self.unasked.insert((id, peer));
                continue;
            }
            self.unasked.remove(&(id, peer));
            // More than any window allows.
            for round in 0.. {
                assert!(round < 200, "the replicator {id}>{peer} finds no rest");
                match self.make(id, peer) {
                    None => break,
                    Some(Made::Frame(bytes)) => self.send(id, peer, bytes),
                    Some(Made::Stale | Made::Gone) => {}
                }
                if !self.is_named(id, peer) {
                    break;
                }
            }
        }
        self.assert_all_named(id);
    }

    /// Whether the core says that there may be more for the peer.
    fn is_named(&mut self, id: NodeId, peer: NodeId) -> bool {
        let Some(running) = &mut self.node(id).running else { return false };
        let mut named = running.raft.take_ready();
        let is_named = named.contains(peer);
        named.remove(peer);
        running.owed = NodeSet::from_bits(running.owed.bits() | named.bits());
        is_named
    }

    /// Nobody would ask for what is due to a peer that the core has not named. Who waits for entries that a snapshot has just taken the place of
    /// may wait until the next tick for that.
    fn assert_all_named(&mut self, id: NodeId) {
        let Some(running) = self.node(id).running.as_ref().filter(|running| running.raft.snapshot().is_none()) else {
            return;
        };
        let unnamed = running.raft.config().peers().bits() & !running.owed.bits();
        for peer in NodeSet::from_bits(unnamed).iter() {
            if !self.slow_replicators.contains(&(id, peer)) && !self.unasked.contains(&(id, peer)) {
                let made = self.make(id, peer);
                assert!(made.is_none(), "{id} has something for {peer}, of which no replicator was told: {made:?}");
            }
        }
    }

    fn make(&mut self, id: NodeId, peer: NodeId) -> Option<Made> {
        let (now, size) = (self.clock(id), self.settings.frame);
        let node = self.node(id);
        Some(Making::plan(node.running.as_mut()?, now, peer, size)?.finish(node, now))
    }

    fn send(&mut self, from: NodeId, to: NodeId, bytes: Vec<u8>) {
        assert!(bytes.len() <= self.settings.frame, "a frame fits the transport");
        let name = self.network.name();
        let frame = InFlight { name, from, to, bytes };
        let session = match frame.decode(CLUSTER) {
            Some(Frame { term, message: Message::Append(append), .. }) => Some((term, append.session)),
            Some(Frame { term, message: Message::InstallSnapshot(chunk), .. }) => Some((term, chunk.session)),
            _ => None,
        };
        self.pipelines.extend(session.map(|session| ((from, to), session)));
        self.oracle.sent(&frame, &self.nodes);
        if self.network.send(frame.clone()) && self.shows_all {
            self.lines.push(frame.describe(CLUSTER));
        }
        self.sent.push(frame);
    }
}

/// An event as scripts show it.
fn line(id: NodeId, event: &Event) -> String {
    match event {
        Event::Follows { term, leader: Some(leader) } => format!("{id} follows {leader} in term {term}"),
        Event::Follows { term, leader: None } => format!("{id} follows nobody in term {term}"),
        Event::AsksPreVote { term } => format!("{id} asks for pre-votes {term}"),
        Event::Campaigns { term } => format!("{id} campaigns {term}"),
        Event::Votes { term, candidate } => format!("{id} votes {term} for {candidate}"),
        Event::Leads { term } => format!("{id} leads term {term}"),
        Event::StepsDown { term, reason } => format!("{id} steps down in term {term}: {reason:?}"),
        Event::Truncates { from } => format!("{id} truncates from {from}"),
        Event::Saves { last } => format!("{id} saves a snapshot up to {last}"),
        Event::Installs { last } => format!("{id} installs the snapshot up to {last}"),
        Event::Halts => format!("{id} halts"),
        other => format!("{id} {other:?}"),
    }
}
