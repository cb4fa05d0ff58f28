//! The commit path of a whole cluster in one process, to be counted by callgrind: codec and checksums on, media and links in memory.
//!
//! `instructions LOAD ENTRIES [NODES] [BYTES]` with LOAD one of `closed` (one command in flight), `pipe` (64 in flight), `batch` (64 a call), `floor`
//! (the same commands through three rings without consensus). The script `benches/instructions.sh` counts the difference of two run lengths.

use std::env::args;
use std::process::ExitCode;

use quoring_core::{ClusterId, Config, Handled, Instant, LogIndex, NodeId, NodeSet, Peer, Raft, Recovered, Transmit};
use quoring_ring::{Applier, Checksum, DEFAULT_CRC32C, Flusher, HEADER, Origin, Reader, Storage};

const FRAME: usize = 8192;
const UNITS: usize = 8192;
const SLOTS: usize = 1024;
const CLUSTER: ClusterId = ClusterId(7);

type Ring = Storage<UNITS, SLOTS>;

/// One node with its devices: a medium that is as fast as memory, and one frame under way to each peer.
struct Member<'a> {
    id: NodeId,
    raft: Raft<'a>,
    flusher: Flusher<'a>,
    applier: Applier<'a>,
    reader: Reader<'a>,
    medium: Vec<u8>,
    record: Vec<u8>,
    applied: u64,
    sum: u64,
}

struct Cluster<'a> {
    members: Vec<Member<'a>>,
    frame: Vec<u8>,
    now: Instant,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = args().skip(1).collect();
    let number = |at: usize, default: u64| arguments.get(at).map_or(Some(default), |text| text.parse().ok());
    let (Some(load), Some(entries), Some(nodes), Some(bytes)) =
        (arguments.first(), number(1, 10_000), number(2, 3), number(3, 32))
    else {
        eprintln!("usage: instructions closed|pipe|batch ENTRIES [NODES] [BYTES]");
        return ExitCode::from(2);
    };
    let window = match load.as_str() {
        "closed" => 1,
        "pipe" | "batch" => 64,
        _ => {
            eprintln!("unknown load {load}");
            return ExitCode::from(2);
        }
    };
    let mut rings: Vec<Ring> = (0..nodes).map(|_| Ring::new()).collect();
    let mut peers: Vec<Vec<Peer>> = (0..nodes).map(|_| (1..nodes).map(|_| Peer::EMPTY).collect()).collect();
    let mut cluster = Cluster::new(&mut rings, &mut peers);
    cluster.elect();
    cluster.replicate(entries, window, load == "batch", &vec![0x5A; bytes as usize]);
    let sums: Vec<u64> = cluster.members.iter().map(|member| member.sum).collect();
    assert!(sums.iter().all(|sum| *sum == sums[0]), "every node applied the same");
    println!("{load}: {entries} entries committed and applied on {nodes} nodes");
    ExitCode::SUCCESS
}

impl<'a> Cluster<'a> {
    fn new(rings: &'a mut [Ring], peers: &'a mut [Vec<Peer>]) -> Self {
        let voters = NodeSet::first(rings.len() as u32);
        let members = voters.iter().zip(rings.iter_mut().zip(peers.iter_mut()));
        Self {
            members: members.map(|(id, (ring, peers))| Member::new(id, voters, ring, peers)).collect(),
            frame: vec![0; FRAME],
            now: Instant(0),
        }
    }

    /// Lets the first member's patience end.
    fn elect(&mut self) {
        self.now = Instant(10_000_000);
        self.members[0].raft.handle_timeout(self.now);
        self.settle();
        assert!(self.members[0].raft.status().committed > LogIndex(0), "the first member leads");
    }

    /// The client proposes its next command when the leader has applied the one `window` before it; `batch`: when it has applied all of them.
    fn replicate(&mut self, entries: u64, window: u64, batch: bool, command: &[u8]) {
        let first = self.members[0].applied;
        let mut proposed = 0;
        while self.members[0].applied - first < entries {
            let outstanding = first + proposed - self.members[0].applied;
            if outstanding == 0 || !batch {
                for _ in outstanding..window.min(entries - proposed + outstanding) {
                    self.members[0].raft.propose(command).expect("room");
                    proposed += 1;
                }
            }
            self.round();
        }
        self.settle();
    }

    fn settle(&mut self) {
        for _ in 0..64 {
            self.round();
        }
    }

    /// What the tasks do between two commands: the leader's replicators, the log writers, the followers' replicators, the appliers.
    fn round(&mut self) {
        let (leader, followers) = self.members.split_first_mut().expect("a leader");
        for peer in leader.raft.take_ready().iter() {
            while let Some(len) = leader.transmit(self.now, peer, &mut self.frame) {
                let follower = &mut followers[usize::from(peer.get()) - 1];
                assert_eq!(
                    follower.raft.handle_message(self.now, &self.frame[..len]),
                    Ok(Handled::Done),
                    "frames are sound"
                );
            }
        }
        leader.write(self.now);
        for follower in followers {
            follower.write(self.now);
            for peer in follower.raft.take_ready().iter() {
                while let Some(len) = follower.transmit(self.now, peer, &mut self.frame) {
                    assert_eq!(
                        leader.raft.handle_message(self.now, &self.frame[..len]),
                        Ok(Handled::Done),
                        "frames are sound"
                    );
                }
            }
            follower.apply();
        }
        leader.apply();
    }
}

impl<'a> Member<'a> {
    fn new(id: NodeId, voters: NodeSet, ring: &'a mut Ring, peers: &'a mut [Peer]) -> Self {
        let config = Config::new(id, CLUSTER, voters);
        let ring = ring.split(Origin::default(), Checksum::new(CLUSTER.0, DEFAULT_CRC32C));
        let raft =
            Raft::new(config, FRAME, Recovered::default(), ring.writer, peers, Instant(0)).expect("configuration");
        Self {
            id,
            raft,
            flusher: ring.flusher,
            applier: ring.applier,
            reader: ring.reader,
            medium: vec![0; FRAME],
            record: vec![0; FRAME],
            applied: 0,
            sum: 0,
        }
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
        while self.applied < self.reader.committed(self.applied) {
            let Ok(copied) = self.reader.copy(self.applied + 1, &mut self.record) else { break };
            if !copied.position.precedes(self.reader.flushed()) {
                break;
            }
            self.applied += 1;
            let command = &self.record[HEADER..HEADER + usize::from(copied.header.len)];
            self.sum =
                self.sum.wrapping_mul(31).wrapping_add(command.first().copied().map_or(1, u64::from) ^ self.applied);
            self.applier.publish(self.applied);
        }
    }
}
