//! Clients of all kinds on three nodes under random faults, a swarm of seeds: nobody waits for ever, nobody spins, what clients were told took effect, each
//! command once, and those of a stream in order.
//!
//! `SEED=0 COUNT=10000 cargo test --release -p quoring --features std --test swarm` for more of it.

#[allow(dead_code, unused_imports)] // Other tests use the rest of it.
mod rig;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use quoring::{Capabilities, Config, Duration, Rejection};
use quoring_core::wire::Message;
use rig::{Client, Cluster, node_id};

type Small = Cluster<256, 16, { 8 * 1024 }, { 64 * 1024 }>;

const SESSION: u8 = 1;
const STREAM: u8 = 2;
/// Begins a command that is refused.
const FORBIDDEN: u8 = 255;
/// Steps of a run.
const STEPS: usize = 120;

/// Splitmix64, shared by the test and its clients.
#[derive(Clone)]
struct Random(Rc<Cell<u64>>);

impl Random {
    fn word(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&self, limit: u64) -> u64 {
        self.word() % limit
    }

    fn one_in(&self, many: u64) -> bool {
        self.below(many) == 0
    }

    /// Command `number` of client `name`, of any length up to `length` and sometimes forbidden.
    fn command(&self, kind: u8, number: u8, name: u32, length: u64) -> Vec<u8> {
        let mut command = vec![kind, number];
        command.extend(name.to_le_bytes());
        command.resize(6 + self.below(length) as usize, 7);
        if self.one_in(30) {
            command[0] = FORBIDDEN;
        }
        command
    }
}

/// A client, the node it came to, and that node's boot.
struct Visitor {
    what: String,
    node: usize,
    boot: u32,
    client: Client<()>,
}

/// One seed's run.
struct Swarm {
    cluster: Rc<Small>,
    random: Random,
    boots: [u32; 3],
    visitors: Vec<Visitor>,
    names: u32,
    /// Commands whose clients were told that they took effect.
    told: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Swarm {
    fn new(seed: u64) -> Self {
        let random = Random(Rc::new(Cell::new(seed)));
        let (leases, meagre, unable) = (random.one_in(2), random.one_in(3), random.one_in(10));
        let cluster: Small = Cluster::with_sessions::<256, 64, 16, 3>(move |config: &mut Config| {
            config.seed = seed;
            config.snapshot_after = 30;
            config.lease_drift = leases.then_some(1000);
            if meagre && config.id == node_id(2) {
                config.capabilities = Capabilities::ALL.with_sessions(2);
            }
            if unable && config.id == node_id(1) {
                config.capabilities = Capabilities::NONE;
            }
            config.admit = |command| if command.first() == Some(&FORBIDDEN) { Err(Rejection(1)) } else { Ok(()) };
        });
        if random.one_in(4) {
            cluster.links().one_at_a_time();
        }
        Self { cluster: Rc::new(cluster), random, boots: [0; 3], visitors: Vec::new(), names: 0, told: Rc::default() }
    }

    fn visit(&mut self, what: &str, node: usize, visit: impl Future<Output = ()> + 'static) {
        let client = self.cluster.client(visit);
        self.visitors.push(Visitor { what: format!("{what} {}", self.names), node, boot: self.boots[node], client });
    }

    /// A client comes, or something goes wrong.
    fn step(&mut self, act: usize) {
        self.names += 1;
        let node = self.random.below(3) as usize;
        match act {
            0 => (0..self.random.below(5)).for_each(|_| self.read(node)),
            1 | 2 => self.open_session(node),
            3 | 4 => self.open_stream(node),
            5 => {
                let (handle, random) = (self.cluster.node(node), &self.random);
                let to = random.one_in(2).then(|| node_id(random.below(3) as usize));
                self.visit("transfer", node, async move { _ = handle.transfer(to).await });
            }
            6 => self.lose_frames(),
            7 => match self.random.below(3) {
                0 => self.cluster.links().isolate(node),
                1 => self.cluster.links().cut(node, (node + 1) % 3),
                _ => self.cluster.links().heal(),
            },
            8 if self.random.one_in(2) => self.cluster.application(node).stop(),
            8 => self.cluster.application(node).go_on(),
            _ if self.random.one_in(3) => {
                self.cluster.reboot(node);
                self.boots[node] += 1;
            }
            _ => {
                if let Some(at) = self.visitors.iter().position(|visitor| !visitor.client.is_done()) {
                    self.cluster.dismiss(&self.visitors.remove(at).client);
                }
            }
        }
    }

    fn read(&mut self, node: usize) {
        let handle = self.cluster.node(node);
        self.visit("read", node, async move { _ = handle.read().await });
    }

    fn open_session(&mut self, node: usize) {
        let (handle, random, told, name) =
            (self.cluster.node(node), self.random.clone(), Rc::clone(&self.told), self.names);
        self.visit("session", node, async move {
            let Ok(mut session) = handle.session().await else { return };
            for number in 0..1 + random.below(6) as u8 {
                let command = random.command(SESSION, number, name, 120);
                if session.propose(&command).await.is_ok() {
                    told.borrow_mut().push(command);
                }
            }
        });
    }

    fn open_stream(&mut self, node: usize) {
        let (handle, random, told, name) =
            (self.cluster.node(node), self.random.clone(), Rc::clone(&self.told), self.names);
        self.visit("stream", node, async move {
            let Ok(mut stream) = handle.stream().await else { return };
            for number in 0..1 + random.below(20) as u8 {
                let command = random.command(STREAM, number, name, 100);
                let Ok(sent) = stream.send(&command).await else { return };
                if random.one_in(2) && sent.await.is_ok() {
                    told.borrow_mut().push(command);
                }
            }
        });
    }

    /// From now on a part of some kind of frames is lost.
    fn lose_frames(&self) {
        let (random, kind, loss) = (self.random.clone(), self.random.below(4), self.random.below(50));
        self.cluster.links().filter(move |_, _, message| match (kind, message) {
            (0, Message::Forward(_) | Message::Read(_)) | (1, Message::ForwardAnswer(_) | Message::ReadAnswer(_)) => {
                random.below(100) >= loss * 2
            }
            (2, Message::Append(_)) | (3, _) => random.below(100) >= loss,
            _ => true,
        });
    }

    async fn run(&mut self) {
        self.cluster.leader().await;
        let weights: Vec<u64> = (0..10).map(|_| self.random.below(4)).collect();
        for _ in 0..STEPS {
            let act = loop {
                let act = self.random.below(10) as usize;
                if self.random.below(4) < weights[act].max(1) {
                    break act;
                }
            };
            self.step(act);
            let pause = [0, 1, 20, 150, 700][self.random.below(5) as usize];
            self.cluster.sleep(Duration::from_millis(pause)).await;
        }
        self.cluster.links().heal();
        (0..3).for_each(|node| self.cluster.application(node).go_on());
        self.cluster.sleep(Duration::from_millis(30_000)).await;
        let leader = self.cluster.leader().await;
        self.cluster.node(leader).propose(b"end").await.unwrap();
        self.cluster.sleep(Duration::from_millis(1000)).await;
    }

    fn check(&self) {
        let waits = |visitor: &&Visitor| !visitor.client.is_done() && self.boots[visitor.node] == visitor.boot;
        let waiting: Vec<_> = self.visitors.iter().filter(waits).map(|visitor| (&visitor.what, visitor.node)).collect();
        assert!(waiting.is_empty(), "{waiting:?} wait for ever");
        let applied = self.cluster.applied(0);
        (1..3).for_each(|node| assert_eq!(self.cluster.applied(node), applied, "node {node}"));
        let (mut seen, mut newest) = (BTreeSet::new(), BTreeMap::new());
        for command in applied.iter().filter(|command| [SESSION, STREAM].contains(&command[0])) {
            assert!(seen.insert(command), "twice: {command:?}");
            let before: Option<u8> = newest.insert((command[0], &command[2..6]), command[1]);
            let next = before.map_or(0, |number| number + 1);
            // A session may go on after a command that was refused, a stream may not.
            let in_order = if command[0] == STREAM { command[1] == next } else { command[1] >= next };
            assert!(in_order, "{command:?} after {before:?}");
        }
        for command in self.told.borrow().iter() {
            assert!(seen.contains(command), "its client was told that {command:?} took effect");
        }
    }
}

/// covers: R7, C1, C6, C9, C11, C12, P15
#[test]
fn clients_of_all_kinds_under_faults_learn_what_became_of_their_commands() {
    let number = |name, default| std::env::var(name).map_or(default, |text| text.parse::<u64>().expect("a number"));
    let (from, count) = (number("SEED", 0), number("COUNT", 200));
    for seed in from..from + count {
        println!("seed {seed}");
        let mut swarm = Swarm::new(seed);
        let cluster = Rc::clone(&swarm.cluster);
        cluster.run(swarm.run());
        swarm.check();
    }
}
