//! A core that leads and is deposed, a log writer, a replicator and an applier, each on its thread.
//!
//! The same runs under miri, shorter: `cargo +nightly miri test -p quoring-ring`.
//! covers: P3, P5, P7, P8, R9
#![cfg(not(loom))]

mod common;

use common::{Random, checksum, verified};
use quoring_ring::*;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// Elections at most, and how long.
const TERMS: usize = if cfg!(miri) { 12 } else { 200_000 };
const DURATION: Duration = Duration::from_millis(700);

/// An entry says in its payload which term the entry before it had: a chain that no mixture keeps.
type Chained = (u32, u32);

struct Cluster {
    /// The log that is durable, by index.
    store: Mutex<BTreeMap<u64, Chained>>,
    /// What was committed when each term ended.
    commits: Vec<AtomicU64>,
    accepted: Wake<Cell>,
    flushed: Wake<Cell>,
    done: AtomicBool,
    failed: AtomicBool,
}

impl Cluster {
    /// Nobody waits for a thread that is no more.
    fn alive(&self) {
        assert!(!self.failed.load(Acquire), "another thread failed");
    }
}

/// Held by each thread: tells the others if it panics.
struct Alarm<'c>(&'c Cluster);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.failed.store(true, Release);
            self.0.accepted.notify();
            self.0.flushed.notify();
        }
    }
}

#[derive(Default)]
struct Cell(Mutex<Option<Waker>>);

impl WakerCell for Cell {
    fn register(&self, waker: &Waker) {
        *self.0.lock().unwrap() = Some(waker.clone());
    }

    fn wake(&self) {
        if let Some(waker) = self.0.lock().unwrap().take() {
            waker.wake();
        }
    }
}

struct Unpark(thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn chained(bytes: &[u8], index: u64) -> Chained {
    let record = verified(bytes, index);
    let before = record.payload.first_chunk().expect("the term before");
    (record.header.term, u32::from_le_bytes(*before))
}

/// Whether `next` says that `entry` stands before it.
fn chains(entry: Chained, next: Chained) -> bool {
    next.1 == entry.0
}

/// Appends in every second term as a leader, in the others as a follower; gives what it committed.
fn core(mut writer: Writer<'_>, cluster: &Cluster) -> BTreeMap<u64, u32> {
    let _alarm = Alarm(cluster);
    let mut random = Random(3);
    let (mut log, mut committed) = (BTreeMap::from([(0, 0_u32)]), BTreeMap::new());
    let start = Instant::now();
    for term in 1..TERMS as u32 {
        if !cfg!(miri) && start.elapsed() > DURATION {
            break;
        }
        let committed_by = &cluster.commits[term as usize];
        committed_by.store(writer.committed(), Release);
        if term % 2 == 1 {
            writer.lead(term);
        } else {
            writer.follow();
            let uncommitted = writer.last() - writer.committed();
            log.split_off(&(writer.last() + 1 - random.below(uncommitted + 1)));
        }
        for _ in 0..random.below(12) {
            let (&last, &before) = log.last_key_value().expect("entry 0");
            let mut payload = vec![term as u8; 4 + random.below(30) as usize];
            payload[..4].copy_from_slice(&before.to_le_bytes());
            loop {
                // Looked at before the append: a flush right after its refusal is a move already.
                let flushed = writer.flushed();
                match writer.append(Kind::Command, term, last + 1, &payload) {
                    Ok(_) => break,
                    Err(error) => assert_eq!(error, AppendError::Full),
                }
                cluster.alive();
                let moved = || (writer.flushed() != flushed || cluster.failed.load(Acquire)).then_some(());
                block_on(cluster.flushed.until(moved));
            }
            cluster.accepted.notify();
            log.insert(last + 1, term);
            let index = writer.committed() + random.below(last + 1 - writer.committed());
            committed_by.store(index.max(writer.committed()), Release);
            writer.commit(index);
        }
        committed.extend(log.range(1..=writer.committed()));
        log = log.split_off(&writer.committed());
    }
    cluster.done.store(true, Release);
    cluster.accepted.notify();
    committed
}

/// Stores what comes, in order, in writes of random size.
fn log_writer(mut flusher: Flusher<'_>, cluster: &Cluster) {
    let _alarm = Alarm(cluster);
    let mut random = Random(4);
    let mut page = [0; 512];
    loop {
        let over = || cluster.done.load(Acquire) || cluster.failed.load(Acquire);
        block_on(cluster.accepted.until(|| (flusher.pending() || over()).then_some(())));
        cluster.alive();
        let room = 64 + random.below(448) as usize;
        let batch = flusher.gather(&mut page[..room]);
        if batch.bytes == 0 && cluster.done.load(Acquire) && !flusher.pending() {
            return;
        }
        let mut store = cluster.store.lock().unwrap();
        for record in Records::new(&page[..batch.bytes]) {
            let record = record.expect("whole records");
            let index = u64::from(record.header.index_low);
            store.split_off(&index);
            store.insert(index, chained(record.bytes, index));
        }
        drop(store);
        flusher.publish(batch.end);
        cluster.flushed.notify();
    }
}

/// Makes messages while this node leads; gives how many it could have sent, and how many not.
fn replicator(reader: Reader<'_>, cluster: &Cluster) -> (u32, u32) {
    let _alarm = Alarm(cluster);
    let (mut sent, mut stale) = (0, 0);
    let mut buf = [0; 64];
    while !cluster.done.load(Acquire) {
        cluster.alive();
        let term = reader.leading();
        let first = reader.last(0).saturating_sub(4);
        let entries = (first..first + 4).map_while(|index| {
            let copied = reader.copy(index, &mut buf).ok()?;
            Some(chained(&buf[..copied.size], index))
        });
        let entries: Vec<_> = entries.collect();
        let committed = reader.committed(0);
        if term == 0 || reader.leading() != term {
            stale += 1;
        } else if !entries.is_empty() {
            sent += 1;
            assert!(entries.is_sorted_by(|&a, &b| chains(a, b)), "a mixture of logs: {entries:?}");
            assert!(entries.iter().all(|entry| entry.0 <= term), "of a later leader");
            assert!(committed <= cluster.commits[term as usize].load(Acquire), "by a later leader");
        }
        thread::yield_now();
    }
    (sent, stale)
}

/// Applies what is committed and flushed; gives what it applied.
fn applier(mut applier: Applier<'_>, cluster: &Cluster) -> BTreeMap<u64, u32> {
    let _alarm = Alarm(cluster);
    let reader = applier.reader();
    let mut applied = BTreeMap::new();
    let mut buf = [0; 64];
    loop {
        cluster.alive();
        let done = cluster.done.load(Acquire);
        let committed = reader.committed(applier.applied());
        for index in applier.applied() + 1..=committed {
            let entry = match reader.copy(index, &mut buf) {
                Ok(copied) if !copied.position.precedes(reader.flushed()) => break,
                Ok(copied) => chained(&buf[..copied.size], index),
                Err(_) => cluster.store.lock().unwrap()[&index], // flushed, or it would be there
            };
            applied.insert(index, entry.0);
            applier.publish(index);
        }
        if done && applier.applied() == reader.committed(applier.applied()) {
            return applied;
        }
        thread::yield_now();
    }
}

#[test]
fn leaders_come_and_go_while_others_read() {
    let mut storage = Storage::<128, 16>::new();
    let origin = Origin { position: Position::new(u32::MAX - 999), ..Origin::default() };
    let ends = storage.split(origin, checksum());
    let cluster = Cluster {
        store: Mutex::default(),
        commits: (0..TERMS).map(|_| AtomicU64::new(0)).collect(),
        accepted: Wake::default(),
        flushed: Wake::default(),
        done: AtomicBool::new(false),
        failed: AtomicBool::new(false),
    };
    let (committed, applied, (sent, stale)) = thread::scope(|scope| {
        let log_writer = scope.spawn(|| log_writer(ends.flusher, &cluster));
        let replicator = scope.spawn(|| replicator(ends.reader, &cluster));
        let applier = scope.spawn(|| applier(ends.applier, &cluster));
        let committed = core(ends.writer, &cluster);
        log_writer.join().unwrap();
        (committed, applier.join().unwrap(), replicator.join().unwrap())
    });
    assert_eq!(applied, committed, "what was committed is what was applied");
    assert!(!committed.is_empty());
    let durable: BTreeMap<_, _> = cluster.store.lock().unwrap().iter().map(|(&i, e)| (i, e.0)).collect();
    assert!(committed.iter().all(|entry| durable.get(entry.0) == Some(entry.1)), "and is durable");
    assert!(cfg!(miri) || (sent > 100 && stale > 100), "sent {sent}, stale {stale}: nothing was tried");
}
