//! Clients that write and read and check what they get, while others kill nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Client, Cluster, Link, PATIENCE};

/// Some clients, each with one command at a time on its way.
pub(crate) struct Load {
    writers: Vec<JoinHandle<Written>>,
    reader: JoinHandle<[usize; 3]>,
    progress: Arc<Progress>,
}

/// What was acknowledged in all.
pub(crate) struct Acknowledged {
    /// The value of each key.
    pub(crate) values: Vec<(String, u64)>,
    /// Reads that each node has answered.
    pub(crate) reads: [usize; 3],
}

#[derive(Default)]
struct Progress {
    /// The highest count that was acknowledged.
    count: AtomicU64,
    stop: AtomicBool,
}

/// What was acknowledged to one client.
#[derive(Default)]
struct Written {
    counts: Vec<u64>,
    values: Vec<(String, u64)>,
}

impl Load {
    const WRITERS: usize = 4;

    /// Commands in one round of a writer, of which one counts.
    pub(crate) const ROUND: u64 = 3;

    pub(crate) fn start(cluster: &Cluster) -> Self {
        let progress = Arc::<Progress>::default();
        let start = |number| {
            let (client, progress) = (Client::start(cluster, number % 3), Arc::clone(&progress));
            thread::spawn(move || write(client, number, &progress))
        };
        let writers = (0..Self::WRITERS).map(start).collect();
        let (links, shared) = (cluster.links(), Arc::clone(&progress));
        let reader = thread::spawn(move || read(links, &shared));
        Self { writers, reader, progress }
    }

    /// The highest count that was acknowledged.
    pub(crate) fn count(&self) -> u64 {
        self.progress.count()
    }

    /// Waits until it has grown by so many.
    pub(crate) fn await_more(&self, rounds: u64) {
        let (goal, deadline) = (self.count() + rounds, Instant::now() + PATIENCE);
        while self.count() < goal {
            assert!(Instant::now() < deadline, "at {} of {goal}", self.count());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends it when all commands under way have their answers. So it is known of each whether it took effect: once, or this fails.
    pub(crate) fn stop(self) -> Acknowledged {
        self.progress.stop.store(true, Ordering::Relaxed);
        let (mut counts, mut values) = (Vec::new(), Vec::new());
        for writer in self.writers {
            let written = writer.join().unwrap();
            counts.extend(written.counts);
            values.extend(written.values);
        }
        counts.sort_unstable();
        assert!(counts.iter().copied().eq(1..=counts.len() as u64), "each addition took effect once");
        values.push(("count".into(), counts.len() as u64));
        Acknowledged { values, reads: self.reader.join().unwrap() }
    }
}

impl Progress {
    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Counts together with the others; writes keys of its own, where it knows what answer is the right one.
fn write(mut client: Client, number: usize, progress: &Progress) -> Written {
    const KEYS: u64 = 20;
    let mut written = Written::default();
    let mut round = 0;
    while !progress.stops() {
        let count = client.execute("add count 1").parse().unwrap();
        progress.count.fetch_max(count, Ordering::Relaxed);
        written.counts.push(count);
        let answer = client.execute(&format!("put {number}.{} {round}", round % KEYS));
        assert_eq!(answer, if round < KEYS { "created" } else { "replaced" }, "client {number}, round {round}");
        let old = round.checked_sub(1).map_or("-".into(), |old| old.to_string());
        assert_eq!(client.execute(&format!("cas {number} {old} {round}")), "swapped", "client {number}, round {round}");
        round += 1;
    }
    assert!(written.counts.is_sorted());
    let last_rounds = round.saturating_sub(KEYS)..round;
    written.values = last_rounds.map(|round| (format!("{number}.{}", round % KEYS), round)).collect();
    written.values.push((number.to_string(), round - 1));
    assert_eq!(client.end(), Some(0));
    written
}

/// Reads from one node after the other: nobody gets less than what was acknowledged before he asked.
fn read(mut links: [Link; 3], progress: &Progress) -> [usize; 3] {
    let mut reads = [0; 3];
    while !progress.stops() {
        for (node, link) in links.iter_mut().enumerate() {
            let acknowledged = progress.count();
            let reply = link.ask("get count").unwrap_or_default();
            let count = if reply == "ok none" { Some(0) } else { value(&reply) };
            if let Some(count) = count {
                assert!(count >= acknowledged, "node {node}: {count} is older than {acknowledged}");
                reads[node] += 1;
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    reads
}

fn value(reply: &str) -> Option<u64> {
    reply.strip_prefix("ok value ").and_then(|value| value.parse().ok())
}
