//! A switch between boards, over unix sockets as QEMU's `-netdev stream` speaks them: 4 bytes of length, big-endian, before each frame.
//!
//! It learns nothing: a port belongs to a station for good, frames go by their destination, and those for a group of stations go to all others.
//! It waits for nobody: what a board does not take is queued, up to a bound, and lost beyond that.

mod faults;
mod port;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fastrand::Rng;
use rustix::event::{PollFd, PollFlags};

use self::faults::Ways;
pub use self::faults::{Counts, Faults};
use self::port::Port;
use crate::board::Mac;
use crate::qemu::listen;
use crate::wait;

/// A switch. Dropping it ends it.
#[derive(Debug)]
pub struct Switch {
    sockets: Vec<PathBuf>,
    shared: Arc<Shared>,
    /// Closing it ends the thread.
    wake: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    connected: Condvar,
}

#[derive(Debug)]
struct State {
    faults: Faults,
    ways: Ways,
    counts: Counts,
    /// Connections that each port has had.
    connections: Vec<u64>,
    rng: Rng,
}

impl Switch {
    /// A switch with a port for each of these stations. Its sockets are in `folder`; `seed` draws its faults, of which it has none at first.
    ///
    /// # Errors
    /// The sockets cannot be made.
    pub fn start(folder: &Path, stations: &[Mac], seed: u64) -> Result<Self> {
        let sockets: Vec<_> = (0..stations.len()).map(|port| folder.join(format!("port-{port}"))).collect();
        let port = |(&mac, socket): (&Mac, &PathBuf)| Port::new(mac, listen(socket)?);
        let ports = stations.iter().zip(&sockets).map(port).collect::<Result<Vec<_>>>()?;
        let state = State {
            faults: Faults::default(),
            ways: Ways::new(ports.len()),
            counts: Counts::default(),
            connections: vec![0; ports.len()],
            rng: Rng::with_seed(seed),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), connected: Condvar::new() });
        let (wake, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let fabric = Fabric { ports, held: BinaryHeap::new(), latest: vec![Instant::now(); stations.len()], number: 0 };
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || fabric.run(&shared, &woken)
        });
        Ok(Self { sockets, shared, wake: Some(wake), thread: Some(thread) })
    }

    /// The socket of a port.
    #[must_use]
    pub fn socket(&self, port: usize) -> &Path {
        &self.sockets[port]
    }

    /// How many connections a port has had.
    #[must_use]
    pub fn connections(&self, port: usize) -> u64 {
        self.state().connections[port]
    }

    /// Waits until a port has had more connections than `before`.
    ///
    /// # Errors
    /// Nobody connected in this time.
    pub fn connected(&self, port: usize, before: u64, timeout: Duration) -> Result<()> {
        let (connected, state) = (&self.shared.connected, self.state());
        let waited = connected.wait_timeout_while(state, timeout, |state| state.connections[port] <= before);
        let (state, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        ensure!(state.connections[port] > before, "nobody connected to port {port} of the switch");
        Ok(())
    }

    /// From now on these faults are drawn.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Nothing that comes in at port `from` goes out at port `to` any more.
    pub fn cut(&self, from: usize, to: usize) {
        self.state().ways.cut(from, to);
    }

    /// Ports of different groups no longer reach each other; a port that is in no group reaches nobody.
    pub fn partition(&self, groups: &[&[usize]]) {
        let mut state = self.state();
        let group = |port: usize| groups.iter().position(|group| group.contains(&port));
        state.ways.open();
        for (from, to) in (0..self.sockets.len()).flat_map(|from| (0..self.sockets.len()).map(move |to| (from, to))) {
            if group(from).is_none() || group(from) != group(to) {
                state.ways.cut(from, to);
            }
        }
    }

    /// All ways are open again, and there are no faults any more. What is held back still arrives.
    pub fn heal(&self) {
        let mut state = self.state();
        state.ways.open();
        state.faults = Faults::default();
    }

    /// What it has done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.wake = None;
        self.thread.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What the switch's thread owns.
struct Fabric {
    ports: Vec<Port>,
    held: BinaryHeap<Reverse<Held>>,
    /// For each port, when the last frame that keeps its order goes out.
    latest: Vec<Instant>,
    /// Frames that were held back so far.
    number: u64,
}

/// A frame that is held back: until when, its number, the port that it goes out at.
type Held = (Instant, u64, usize, Vec<u8>);

impl Fabric {
    /// Moves frames until the other end of `woken` is closed.
    fn run(mut self, shared: &Shared, mut woken: &UnixStream) {
        while !matches!(woken.read(&mut [0]), Ok(0)) {
            if self.wait(woken).is_err() {
                return;
            }
            let mut state = shared.lock();
            for port in 0..self.ports.len() {
                if self.ports[port].accept() {
                    state.connections[port] += 1;
                    shared.connected.notify_all();
                }
                for frame in self.ports[port].receive() {
                    self.route(&mut state, port, &frame);
                }
            }
            self.release(&mut state);
            for port in &mut self.ports {
                state.counts.delivered += port.send();
            }
        }
    }

    /// Until something can be done.
    fn wait(&self, woken: &UnixStream) -> Result<()> {
        let mut polled = vec![PollFd::new(woken, PollFlags::IN)];
        for port in &self.ports {
            polled.push(PollFd::new(&port.listener, PollFlags::IN));
            let events = if port.has_to_send() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            polled.extend(port.stream.as_ref().map(|stream| PollFd::from_borrowed_fd(stream.as_fd(), events)));
        }
        let next = self.held.peek().map(|Reverse((due, ..))| due.saturating_duration_since(Instant::now()));
        wait::any(&mut polled, next)
    }

    fn route(&mut self, state: &mut State, from: usize, frame: &[u8]) {
        state.counts.received += 1;
        let Some(destination) = frame.first_chunk::<6>() else { return };
        let is_group = destination[0] & 1 == 1;
        let goes_to = |to: &usize| *to != from && (is_group || self.ports[*to].mac == *destination);
        let receivers: Vec<_> = (0..self.ports.len()).filter(goes_to).collect();
        if receivers.is_empty() {
            state.counts.undeliverable += 1;
        }
        for to in receivers {
            if state.ways.is_open(from, to) {
                self.suffer(state, to, frame.to_vec());
            } else {
                state.counts.cut += 1;
            }
        }
    }

    /// Does to a frame what chance wants.
    fn suffer(&mut self, state: &mut State, to: usize, mut frame: Vec<u8>) {
        let State { faults, rng, counts, .. } = state;
        let mut happens = |per_mille: u32| rng.u32(..1000) < per_mille;
        if happens(faults.lost) {
            counts.lost += 1;
            return;
        }
        let (twice, corrupted, overtaken) =
            (happens(faults.duplicated), happens(faults.corrupted), happens(faults.reordered));
        if twice {
            counts.duplicated += 1;
            self.hold(faults, rng, to, overtaken, frame.clone());
        }
        if corrupted {
            counts.corrupted += 1;
            for _ in 0..rng.usize(1..=3) {
                let byte = rng.usize(..frame.len());
                frame[byte] ^= 1 << rng.u32(..8);
            }
        }
        counts.reordered += u64::from(overtaken);
        self.hold(faults, rng, to, overtaken, frame);
    }

    fn hold(&mut self, faults: &Faults, rng: &mut Rng, to: usize, overtaken: bool, frame: Vec<u8>) {
        let mut delay = || faults.delay.mul_f64(rng.f64());
        let due = (Instant::now() + delay()).max(self.latest[to]);
        let due = if overtaken {
            due + delay() + Duration::from_millis(1)
        } else {
            self.latest[to] = due;
            due
        };
        self.number += 1;
        self.held.push(Reverse((due, self.number, to, frame)));
    }

    /// Queues what is due, at boards that are connected.
    fn release(&mut self, state: &mut State) {
        let now = Instant::now();
        while self.held.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            let Some(Reverse((_, _, to, frame))) = self.held.pop() else { return };
            if self.ports[to].stream.is_none() {
                state.counts.undeliverable += 1;
            } else if !self.ports[to].queue(&frame) {
                state.counts.overflowed += 1;
            }
        }
    }
}
