//! Clients that write and write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Client, Cluster, Line, PATIENCE};

/// Some clients, each with one line at a time on its way.
pub(crate) struct Load {
    clients: Vec<JoinHandle<Vec<Line>>>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Progress {
    /// The highest place that was acknowledged.
    place: AtomicUsize,
    stop: AtomicBool,
}

impl Load {
    const CLIENTS: usize = 4;

    pub(crate) fn start(cluster: &Cluster) -> Self {
        let progress = Arc::<Progress>::default();
        let start = |number| {
            let (client, progress) = (Client::start(cluster), Arc::clone(&progress));
            thread::spawn(move || write(client, number, &progress))
        };
        Self { clients: (0..Self::CLIENTS).map(start).collect(), progress }
    }

    /// The highest place that was acknowledged.
    pub(crate) fn place(&self) -> usize {
        self.progress.place.load(Ordering::Relaxed)
    }

    /// Waits until so many more lines have been acknowledged.
    pub(crate) fn await_more(&self, lines: usize) {
        let (goal, deadline) = (self.place() + lines, Instant::now() + PATIENCE);
        while self.place() < goal {
            assert!(Instant::now() < deadline, "at line {} of {goal}", self.place());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// All lines that were acknowledged.
    pub(crate) fn stop(self) -> Vec<Line> {
        self.progress.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

fn write(mut client: Client, number: usize, progress: &Progress) -> Vec<Line> {
    let mut lines = Vec::new();
    while !progress.stop.load(Ordering::Relaxed) {
        let line = client.propose(format!("{}.{number}", lines.len()));
        progress.place.fetch_max(line.place, Ordering::Relaxed);
        lines.push(line);
    }
    assert!(lines.is_sorted_by(|a, b| a.place < b.place));
    assert_eq!(client.end(), Some(0));
    lines
}
