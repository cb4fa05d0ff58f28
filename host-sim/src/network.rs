//! The links between nodes: each direction of each pair delays, loses, doubles, damages, reorders or cuts frames on its own.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Poll, Waker};

use allocation_counter::opt_out;
use quoring::Transport;
use quoring_core::wire::Envelope;
use quoring_core::{ClusterId, NodeId, Term};
use quoring_ring::DEFAULT_CRC32C;

use crate::event::Event;
use crate::prng::Prng;
use crate::tally::Fault;
use crate::timeline::Micros;
use crate::trace::Source;
use crate::world::{CLUSTER, World};

/// How many frames wait for a node that does not receive; more are lost, as in a socket's buffer.
const BACKLOG: usize = 64;

/// What the links do to frames. Shares are per million frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Weather {
    /// The shortest way takes this long; the longest without reordering `jitter` more.
    pub(crate) delay: Micros,
    pub(crate) jitter: Micros,
    pub(crate) loss: u32,
    pub(crate) duplication: u32,
    pub(crate) corruption: u32,
    /// Frames that take up to 20 times as long and do not keep the order.
    pub(crate) reorder: u32,
    /// Calls of `send` and `receive` that fail.
    pub(crate) refusal: u32,
    /// Calls of `send` that wait for the link first.
    pub(crate) congestion: u32,
}

impl Weather {
    /// Every frame arrives, in order.
    pub(crate) const fn fair(delay: Micros) -> Self {
        Self { delay, jitter: delay, loss: 0, duplication: 0, corruption: 0, reorder: 0, refusal: 0, congestion: 0 }
    }
}

/// A frame on its way.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Counts the frames of the link.
    number: u64,
    pub(crate) frame: Vec<u8>,
}

pub(crate) struct Network {
    weather: Weather,
    /// Bit `to` of `cut[from]`: nothing gets through.
    cut: Vec<u32>,
    /// A frame has been stopped by the present cut.
    cut_felt: bool,
    links: Vec<Link>,
    ports: Vec<Port>,
    prng: Prng,
    /// Buffers of frames that have arrived.
    spare: Vec<Vec<u8>>,
}

/// One direction between two nodes.
#[derive(Clone, Copy, Default)]
struct Link {
    sent: u64,
    /// When the latest frame that keeps the order arrives.
    latest: Micros,
    /// The highest number that has arrived, plus one.
    arrived: u64,
}

/// Where a node receives.
#[derive(Default)]
struct Port {
    open: bool,
    waiting: VecDeque<Vec<u8>>,
    waker: Option<Waker>,
}

impl Network {
    pub(crate) fn new(nodes: usize, seed: u64, weather: Weather) -> Self {
        Self {
            weather,
            cut: vec![0; nodes],
            cut_felt: false,
            links: vec![Link::default(); nodes * nodes],
            ports: (0..nodes).map(|_| Port::default()).collect(),
            prng: Prng::new(seed, "network"),
            spare: Vec::new(),
        }
    }

    pub(crate) const fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Replaces all cuts: bit `to` of `cut[from]`.
    pub(crate) fn set_cut(&mut self, cut: Vec<u32>) {
        self.cut_felt = false;
        self.cut = cut;
    }

    /// The node began to listen, or stopped; what was waiting for it is gone.
    pub(crate) fn set_open(&mut self, node: usize, open: bool) {
        let port = &mut self.ports[node];
        port.open = open;
        port.waker = None;
        self.spare.extend(port.waiting.drain(..));
    }

    /// Sends a frame: what arrives of it, and when; none, one or two deliveries.
    pub(crate) fn send(
        &mut self,
        now: Micros,
        (from, to): (usize, usize),
        frame: &[u8],
        count: &mut dyn FnMut(Fault),
    ) -> [Option<(Micros, Delivery)>; 2] {
        if self.cut[from] & (1 << to) != 0 {
            count(Fault::Cut);
            if !std::mem::replace(&mut self.cut_felt, true) {
                count(Fault::Partitions);
            }
            return [None, None];
        }
        if self.prng.chance(self.weather.loss) {
            count(Fault::Dropped);
            return [None, None];
        }
        let first = self.dispatch(now, (from, to), frame, count);
        let again = self.prng.chance(self.weather.duplication).then(|| {
            count(Fault::Duplicated);
            self.dispatch(now, (from, to), frame, count)
        });
        [Some(first), again]
    }

    /// Hands a delivery to its node; whether anybody took it.
    pub(crate) fn arrive(&mut self, delivery: Delivery, count: &mut dyn FnMut(Fault)) -> bool {
        let link = &mut self.links[delivery.from * self.ports.len() + delivery.to];
        let port = &mut self.ports[delivery.to];
        if !port.open || port.waiting.len() >= BACKLOG {
            self.spare.push(delivery.frame);
            return false;
        }
        if delivery.number < link.arrived {
            count(Fault::Reordered);
        }
        link.arrived = link.arrived.max(delivery.number + 1);
        port.waiting.push_back(delivery.frame);
        if let Some(waker) = port.waker.take() {
            waker.wake();
        }
        true
    }

    /// Takes the next frame that waits for `node`, or leaves its waker.
    fn receive(&mut self, node: usize, buffer: &mut [u8], waker: &Waker) -> Poll<usize> {
        let port = &mut self.ports[node];
        while let Some(frame) = port.waiting.pop_front() {
            let taken = buffer.get_mut(..frame.len()).map(|buffer| buffer.copy_from_slice(&frame));
            let len = frame.len();
            self.spare.push(frame);
            if taken.is_some() {
                return Poll::Ready(len);
            }
        }
        port.waker = Some(waker.clone());
        Poll::Pending
    }

    fn dispatch(
        &mut self,
        now: Micros,
        (from, to): (usize, usize),
        frame: &[u8],
        count: &mut dyn FnMut(Fault),
    ) -> (Micros, Delivery) {
        let (prng, weather) = (&mut self.prng, &self.weather);
        let link = &mut self.links[from * self.ports.len() + to];
        let usual = now + weather.delay + prng.below(weather.jitter + 1);
        let at = if prng.chance(weather.reorder) {
            usual + prng.below(20 * (weather.delay + weather.jitter))
        } else {
            link.latest = link.latest.max(usual);
            link.latest
        };
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(frame);
        if prng.chance(weather.corruption) {
            count(if damage(&mut copy, prng) { Fault::Corrupted } else { Fault::Foreign });
        }
        link.sent += 1;
        (at, Delivery { from, to, number: link.sent - 1, frame: copy })
    }
}

/// Flips bits, cuts the frame or overwrites a stretch of it: true. Or replaces it by noise or a frame of another cluster: false.
fn damage(frame: &mut Vec<u8>, prng: &mut Prng) -> bool {
    let len = frame.len() as u64;
    match prng.below(9) {
        0 => frame.truncate(prng.below(len) as usize),
        1 => {
            let start = prng.below(len) as usize;
            let end = (start + prng.between(1, 32) as usize).min(frame.len());
            frame[start..end].iter_mut().for_each(|byte| *byte ^= prng.next() as u8 | 1);
        }
        2 => {
            let len = prng.between(1, len);
            frame.clear();
            frame.extend((0..len).map(|_| prng.next() as u8));
            return false;
        }
        3 => {
            if let Some(foreign) = of_another_cluster(frame, prng) {
                *frame = foreign;
                return false;
            }
            frame.clear();
        }
        _ => {
            // An odd number of flips never cancels out.
            for _ in 0..(prng.below(3) * 2 + 1) {
                let bit = prng.below(len * 8) as usize;
                frame[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
    true
}

/// The same message between the same nodes of another cluster, in a later term: valid in all but that.
fn of_another_cluster(frame: &[u8], prng: &mut Prng) -> Option<Vec<u8>> {
    let (&from, &to) = (frame.get(6)?, frame.get(7)?);
    let envelope = |cluster, node| Some(Envelope { cluster, node: NodeId::new(node)?, crc: DEFAULT_CRC32C });
    let original = envelope(CLUSTER, to)?.open(frame).ok()?;
    let term = Term(original.term.0 + prng.below(3) as u32);
    let mut foreign = frame.to_vec();
    envelope(ClusterId(CLUSTER.0 ^ 1), from)?.seal(original.to, term, &original.message, &mut foreign)?;
    Some(foreign)
}

/// The link refused a frame, or failed to receive one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkFailed;

/// A node's handle on its links.
pub(crate) struct SimTransport {
    pub(crate) world: Rc<World>,
    pub(crate) node: usize,
}

impl Transport for SimTransport {
    type Error = LinkFailed;

    async fn send(&self, peer: NodeId, frame: &[u8]) -> Result<(), LinkFailed> {
        let world = &self.world;
        let (refused, wait) = {
            let network = &mut *world.network.borrow_mut();
            let (prng, weather) = (&mut network.prng, &network.weather);
            (prng.chance(weather.refusal), prng.chance(weather.congestion).then(|| prng.octaves(10, 5_000)))
        };
        if let Some(wait) = wait {
            world.sleep_until(world.now() + wait).await;
        }
        if refused {
            world.count(Fault::Refused);
            return Err(LinkFailed);
        }
        opt_out(|| world.transmit(self.node, usize::from(peer.get()), frame));
        Ok(())
    }

    async fn receive(&self, buffer: &mut [u8]) -> Result<usize, LinkFailed> {
        let world = &self.world;
        let received = std::future::poll_fn(|cx| {
            let mut received = Poll::Pending;
            opt_out(|| received = world.network.borrow_mut().receive(self.node, buffer, cx.waker()));
            received
        });
        let len = received.await;
        let network = &mut *world.network.borrow_mut();
        if network.prng.chance(network.weather.refusal) {
            world.count(Fault::Refused);
            return Err(LinkFailed);
        }
        Ok(len)
    }
}

impl World {
    /// Puts a frame on the link, with the checkers looking on.
    fn transmit(&self, from: usize, to: usize, frame: &[u8]) {
        let now = self.now();
        self.oracle.borrow_mut().sends(now, from, frame);
        if self.transfers.borrow_mut().interrupted(to, frame) {
            self.count(Fault::SnapshotsInterrupted);
        }
        let deliveries = self.network.borrow_mut().send(now, (from, to), frame, &mut |fault| {
            self.count(fault);
            self.trace(Source::Network, fault.name(), format_args!("{from} -> {to}"));
        });
        self.trace_frame(from, to, frame);
        for (at, delivery) in deliveries.into_iter().flatten() {
            self.arrange(at, Event::Arrives(delivery));
        }
    }

    /// A frame has come to the end of its link.
    pub(crate) fn arrive(&self, delivery: Delivery) {
        let (from, to) = (delivery.from, delivery.to);
        let taken = self.network.borrow_mut().arrive(delivery, &mut |fault| self.count(fault));
        if !taken {
            self.trace(Source::Network, "unheard", format_args!("{from} -> {to}"));
        }
    }
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
