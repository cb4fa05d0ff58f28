//! A whole cluster in one process, to be measured: codec and checksums on, media and links in memory, time stands still.

use quoring_core::{ClusterId, Config, Handled, Instant, LogIndex, NodeId, NodeSet, Peer, Raft, Recovered, Transmit};
use quoring_ring::{Applier, Checksum, DEFAULT_CRC32C, Flusher, HEADER, Kind, Origin, Reader, Storage};

const FRAME: usize = 8192;
const CLUSTER: ClusterId = ClusterId(7);
/// Rounds after which nothing is under way any more.
const PATIENCE: usize = 64;

/// One node with its devices: a medium that is as fast as memory, and one frame under way to each peer.
#[derive(Debug)]
struct Member<'a> {
    id: NodeId,
    raft: Raft<'a>,
    /// Whom there may be something for.
    ready: NodeSet,
    flusher: Flusher<'a>,
    applier: Applier<'a>,
    reader: Reader<'a>,
    medium: Vec<u8>,
    record: Vec<u8>,
    applied: u64,
    /// Of what it applied.
    sum: u64,
    commands: u64,
}

/// Nodes that are driven by turns.
#[derive(Debug)]
pub struct Cluster<'a> {
    members: Vec<Member<'a>>,
    frame: Vec<u8>,
    now: Instant,
}

/// How commands come: what a client waits for before it proposes its next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Load {
    /// One command in flight.
    Closed,
    /// 64 in flight.
    Pipe,
    /// 64 a call: all of them are applied before the next 64.
    Batch,
}

impl Load {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Pipe, Self::Batch];

    /// Its name in tables and on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Pipe => "pipe",
            Self::Batch => "batch",
        }
    }

    /// The load of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|load| load.name() == name)
    }

    /// Commands in flight.
    #[must_use]
    pub const fn window(self) -> u64 {
        match self {
            Self::Closed => 1,
            Self::Pipe | Self::Batch => 64,
        }
    }
}

/// What the nodes of a cluster lie in: rings of so many units of 8 bytes and so many slots.
#[derive(Debug)]
pub struct MemoryOf<const UNITS: usize, const SLOTS: usize> {
    rings: Vec<Storage<UNITS, SLOTS>>,
    peers: Vec<Vec<Peer>>,
}

/// Room for twice 64 commands of 1024 bytes, since clients may fill half of the ring.
pub type Memory = MemoryOf<32768, 1024>;

impl<const UNITS: usize, const SLOTS: usize> MemoryOf<UNITS, SLOTS> {
    /// For so many nodes.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        Self {
            rings: (0..nodes).map(|_| Storage::new()).collect(),
            peers: (0..nodes).map(|_| (1..nodes).map(|_| Peer::EMPTY).collect()).collect(),
        }
    }
}

/// What a node of a benchmark does to apply a command: all its bytes, and the order of commands, tell in the sum.
#[must_use]
pub fn fold(sum: u64, command: &[u8]) -> u64 {
    let mix = |sum: u64, word: u64| (sum.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let (words, rest) = command.as_chunks::<8>();
    let sum = words.iter().fold(sum, |sum, word| mix(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| mix(sum, u64::from(*byte)))
}

impl<'a> Cluster<'a> {
    /// A cluster that has elected its first node.
    ///
    /// # Panics
    /// It has not: the core does not work.
    pub fn new<const UNITS: usize, const SLOTS: usize>(memory: &'a mut MemoryOf<UNITS, SLOTS>) -> Self {
        let voters = NodeSet::first(memory.rings.len() as u32);
        let members = voters.iter().zip(memory.rings.iter_mut().zip(&mut memory.peers));
        let mut cluster = Self {
            members: members.map(|(id, (ring, peers))| Member::new(id, voters, ring, peers)).collect(),
            frame: vec![0; FRAME],
            now: Instant(0),
        };
        cluster.elect();
        cluster
    }

    /// Proposes the same command so many times, until it is committed and applied on every node.
    ///
    /// # Panics
    /// Nodes have not applied the same: the core does not work.
    pub fn replicate(&mut self, entries: u64, load: Load, command: &[u8]) {
        let first = self.members[0].applied;
        let mut proposed = 0;
        while self.members[0].applied - first < entries {
            let outstanding = first + proposed - self.members[0].applied;
            if outstanding == 0 || load != Load::Batch {
                for _ in outstanding..load.window().min(entries - proposed + outstanding) {
                    self.propose(command);
                    proposed += 1;
                }
            }
            self.round();
        }
        let expected = (first + entries, self.members[0].sum);
        let agree = |member: &Member<'_>| (member.applied, member.sum) == expected;
        for _ in 0..PATIENCE {
            if self.members.iter().all(agree) {
                return;
            }
            self.round();
        }
        panic!("not every node has applied {expected:?}");
    }

    /// Proposes a command at the first node.
    ///
    /// # Panics
    /// It does not lead, or its ring is full of commands.
    pub fn propose(&mut self, command: &[u8]) {
        self.members[0].raft.propose(command).expect("room");
    }

    /// How many commands each node has applied, the first node first, and what they [`fold`] to.
    pub fn applied(&self) -> impl Iterator<Item = (u64, u64)> {
        self.members.iter().map(|member| (member.commands, member.sum))
    }

    /// Lets the first node's patience end.
    fn elect(&mut self) {
        self.now = Instant(10_000_000);
        self.members[0].raft.handle_timeout(self.now);
        self.settle();
        assert!(self.members[0].raft.status().committed > LogIndex(0), "the first node leads");
    }

    fn settle(&mut self) {
        for _ in 0..PATIENCE {
            self.round();
        }
    }

    /// What the tasks do between two commands: the leader's replicators, the log writers, the followers' replicators, the appliers.
    ///
    /// # Panics
    /// A node refuses a frame of another: the core does not work.
    pub fn round(&mut self) {
        let (leader, followers) = self.members.split_first_mut().expect("a leader");
        while let Some(peer) = leader.next_ready() {
            if let Some(len) = leader.transmit(self.now, peer, &mut self.frame) {
                followers[usize::from(peer.get()) - 1].receive(self.now, &self.frame[..len]);
            }
        }
        leader.write(self.now);
        for follower in followers {
            follower.write(self.now);
            while let Some(peer) = follower.next_ready() {
                if let Some(len) = follower.transmit(self.now, peer, &mut self.frame) {
                    leader.receive(self.now, &self.frame[..len]);
                }
            }
            follower.apply();
        }
        leader.apply();
    }
}

impl<'a> Member<'a> {
    fn new<const UNITS: usize, const SLOTS: usize>(
        id: NodeId,
        voters: NodeSet,
        ring: &'a mut Storage<UNITS, SLOTS>,
        peers: &'a mut [Peer],
    ) -> Self {
        let config = Config::new(id, CLUSTER, voters);
        let ring = ring.split(Origin::default(), Checksum::new(CLUSTER.0, DEFAULT_CRC32C));
        let raft =
            Raft::new(config, FRAME, Recovered::default(), ring.writer, peers, Instant(0)).expect("configuration");
        Self {
            id,
            raft,
            ready: NodeSet::EMPTY,
            flusher: ring.flusher,
            applier: ring.applier,
            reader: ring.reader,
            medium: vec![0; FRAME],
            record: vec![0; FRAME],
            applied: 0,
            sum: 0,
            commands: 0,
        }
    }

    /// The next peer that there may be something for.
    fn next_ready(&mut self) -> Option<NodeId> {
        let ready = self.raft.take_ready().bits();
        self.ready = NodeSet::from_bits(self.ready.bits() | ready);
        let next = self.ready.iter().next()?;
        self.ready.remove(next);
        Some(next)
    }

    /// The receiver.
    fn receive(&mut self, now: Instant, frame: &[u8]) {
        assert_eq!(self.raft.handle_message(now, frame), Ok(Handled::Done), "frames are sound");
    }

    /// The replicator.
    fn transmit(&mut self, now: Instant, peer: NodeId, frame: &mut [u8]) -> Option<usize> {
        match self.raft.poll_transmit(now, peer, frame)? {
            Transmit::Frame(len) => Some(len),
            Transmit::FromRing(batch) => {
                self.reader.copy_span(batch.start, &mut frame[batch.offset..batch.len]).expect("in the ring");
                (self.reader.leading() == batch.term.0).then_some(batch.len)
            }
            Transmit::FromStore(_) | Transmit::FromSnapshot(_) => {
                panic!("node {}: nothing leaves the ring here", self.id)
            }
        }
    }

    /// The log writer.
    fn write(&mut self, now: Instant) {
        if self.flusher.pending() {
            let batch = self.flusher.gather(&mut self.medium);
            self.flusher.publish(batch.end);
            self.raft.handle_flushed(now);
        }
    }

    /// The applier.
    fn apply(&mut self) {
        let committed = self.reader.committed(self.applied);
        while self.applied < committed {
            let Ok(copied) = self.reader.copy(self.applied + 1, &mut self.record) else { break };
            if !copied.position.precedes(self.reader.flushed()) {
                break;
            }
            self.applied += 1;
            let command = &self.record[HEADER..HEADER + usize::from(copied.header.len)];
            if copied.header.kind == Kind::Command {
                self.sum = fold(self.sum, command);
                self.commands += 1;
            }
            self.applier.publish(self.applied);
        }
    }
}
