//! Datagrams within one process.

use core::cell::RefCell;
use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::RawMutex;
use quoring_core::NodeId;

use super::Transport;

/// A network of `NODES` nodes, each with a mailbox of `DEPTH` frames of at most `FRAME` bytes.
///
/// Nothing is allocated and the initial image is all zero. A frame for a full mailbox is lost, as on any network.
/// `M` guards the mailboxes: `NoopRawMutex` on one executor, `CriticalSectionRawMutex` between threads or interrupts.
#[derive(Debug)]
pub struct MemoryNetwork<M: RawMutex, const NODES: usize, const FRAME: usize, const DEPTH: usize> {
    mailboxes: [Mailbox<M, FRAME, DEPTH>; NODES],
}

impl<M: RawMutex, const NODES: usize, const FRAME: usize, const DEPTH: usize> MemoryNetwork<M, NODES, FRAME, DEPTH> {
    /// A network without frames.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(DEPTH > 0, "a mailbox of no frames loses them all") };
        Self { mailboxes: [const { Mailbox::new() }; NODES] }
    }

    /// The transport of `node`, or `None` if it is not one of the `NODES`.
    pub fn endpoint(&self, node: NodeId) -> Option<MemoryTransport<'_, M, FRAME, DEPTH>> {
        let own = self.mailboxes.get(usize::from(node.get()))?;
        Some(MemoryTransport { mailboxes: &self.mailboxes, own })
    }
}

impl<M: RawMutex, const NODES: usize, const FRAME: usize, const DEPTH: usize> Default
    for MemoryNetwork<M, NODES, FRAME, DEPTH>
{
    fn default() -> Self {
        Self::new()
    }
}

/// One node's end of a [`MemoryNetwork`].
#[derive(Debug)]
pub struct MemoryTransport<'n, M: RawMutex, const FRAME: usize, const DEPTH: usize> {
    mailboxes: &'n [Mailbox<M, FRAME, DEPTH>],
    own: &'n Mailbox<M, FRAME, DEPTH>,
}

impl<M: RawMutex, const FRAME: usize, const DEPTH: usize> Clone for MemoryTransport<'_, M, FRAME, DEPTH> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: RawMutex, const FRAME: usize, const DEPTH: usize> Copy for MemoryTransport<'_, M, FRAME, DEPTH> {}

/// Why a frame was not sent. Receiving does not fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// The network has no such node.
    UnknownPeer(NodeId),
    /// The frame is larger than the network's `FRAME`: make smaller ones.
    TooLarge(usize),
}

impl<M: RawMutex, const FRAME: usize, const DEPTH: usize> Transport for MemoryTransport<'_, M, FRAME, DEPTH> {
    type Error = Error;

    async fn send(&self, peer: NodeId, frame: &[u8]) -> Result<(), Error> {
        if frame.len() > FRAME {
            return Err(Error::TooLarge(frame.len()));
        }
        let mailbox = self.mailboxes.get(usize::from(peer.get())).ok_or(Error::UnknownPeer(peer))?;
        mailbox.put(frame);
        Ok(())
    }

    async fn receive(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        Ok(poll_fn(|cx| self.own.poll_take(cx, buffer)).await)
    }
}

/// The frames on their way to one node.
#[derive(Debug)]
struct Mailbox<M: RawMutex, const FRAME: usize, const DEPTH: usize> {
    queue: Mutex<M, RefCell<Queue<FRAME, DEPTH>>>,
}

impl<M: RawMutex, const FRAME: usize, const DEPTH: usize> Mailbox<M, FRAME, DEPTH> {
    const fn new() -> Self {
        Self { queue: Mutex::new(RefCell::new(Queue::new())) }
    }

    fn put(&self, frame: &[u8]) {
        let receiver = self.queue.lock(|queue| {
            let mut queue = queue.borrow_mut();
            queue.push(frame);
            queue.receiver.take()
        });
        // Outside the lock: a waker is foreign code.
        if let Some(receiver) = receiver {
            receiver.wake();
        }
    }

    fn poll_take(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<usize> {
        let (taken, displaced) = self.queue.lock(|queue| {
            let mut queue = queue.borrow_mut();
            match queue.pop(buffer) {
                Some(size) => (Poll::Ready(size), None),
                None => (Poll::Pending, queue.register(cx.waker())),
            }
        });
        if let Some(displaced) = displaced {
            displaced.wake();
        }
        taken
    }
}

/// A ring of frames.
#[derive(Debug)]
struct Queue<const FRAME: usize, const DEPTH: usize> {
    frames: [[u8; FRAME]; DEPTH],
    sizes: [usize; DEPTH],
    first: usize,
    count: usize,
    receiver: Option<Waker>,
}

impl<const FRAME: usize, const DEPTH: usize> Queue<FRAME, DEPTH> {
    const fn new() -> Self {
        Self { frames: [[0; FRAME]; DEPTH], sizes: [0; DEPTH], first: 0, count: 0, receiver: None }
    }

    /// Takes a frame of at most `FRAME` bytes, or loses it.
    fn push(&mut self, frame: &[u8]) {
        let slot = (self.first + self.count) % DEPTH;
        if let (true, Some(place), Some(size)) = (
            self.count < DEPTH,
            self.frames.get_mut(slot).and_then(|bytes| bytes.get_mut(..frame.len())),
            self.sizes.get_mut(slot),
        ) {
            place.copy_from_slice(frame);
            *size = frame.len();
            self.count += 1;
        }
    }

    /// Hands out the oldest frame that fits into `buffer`, and drops larger ones before it.
    fn pop(&mut self, buffer: &mut [u8]) -> Option<usize> {
        while self.count > 0 {
            let slot = self.first;
            self.first = (slot + 1) % DEPTH;
            self.count -= 1;
            let size = self.sizes.get(slot).copied()?;
            if let (Some(frame), Some(place)) =
                (self.frames.get(slot).and_then(|bytes| bytes.get(..size)), buffer.get_mut(..size))
            {
                place.copy_from_slice(frame);
                return Some(size);
            }
        }
        None
    }

    /// Notes whom to wake; the receiver noted before, if it was another task.
    fn register(&mut self, waker: &Waker) -> Option<Waker> {
        match &self.receiver {
            Some(receiver) if receiver.will_wake(waker) => None,
            _ => self.receiver.replace(waker.clone()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownPeer(peer) => write!(f, "the network has no node {peer}"),
            Self::TooLarge(size) => write!(f, "a frame of {size} bytes is too large for the network"),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use embassy_futures::join::join;
    use embassy_futures::{poll_once, yield_now};
    use embassy_sync::blocking_mutex::raw::NoopRawMutex;
    use futures_lite::future::block_on;

    use super::*;

    type Network<M> = MemoryNetwork<M, 3, 8, 2>;

    fn node(id: u8) -> NodeId {
        NodeId::new(id).unwrap()
    }

    #[test]
    fn frames_arrive_in_order_at_the_node_they_were_sent_to() {
        let network = Network::<NoopRawMutex>::new();
        let [a, b, c] = [0, 1, 2].map(|id| network.endpoint(node(id)).unwrap());
        block_on(async {
            a.send(node(1), b"one").await.unwrap();
            c.send(node(1), b"").await.unwrap();
            let mut buffer = [0; 8];
            assert_eq!((b.receive(&mut buffer).await, &buffer[..3]), (Ok(3), &b"one"[..]));
            assert_eq!(b.receive(&mut buffer).await, Ok(0));
            assert!(poll_once(a.receive(&mut buffer)).is_pending());
        });
    }

    #[test]
    fn a_full_mailbox_loses_the_newest_frame_and_takes_the_next_once_it_has_room() {
        let network = Network::<NoopRawMutex>::new();
        let [a, b] = [0, 1].map(|id| network.endpoint(node(id)).unwrap());
        let mut buffer = [0; 8];
        block_on(async {
            for round in 0..5_u8 {
                for frame in [round, round + 100, round + 200] {
                    assert_eq!(a.send(node(1), &[frame]).await, Ok(()));
                }
                for expected in [round, round + 100] {
                    assert_eq!((b.receive(&mut buffer).await, buffer[0]), (Ok(1), expected));
                }
                assert!(poll_once(b.receive(&mut buffer)).is_pending());
            }
        });
    }

    #[test]
    fn what_does_not_fit_is_refused_or_dropped() {
        let network = Network::<NoopRawMutex>::new();
        let [a, b] = [0, 1].map(|id| network.endpoint(node(id)).unwrap());
        assert!(network.endpoint(node(3)).is_none());
        block_on(async {
            assert_eq!(a.send(node(3), b"?").await, Err(Error::UnknownPeer(node(3))));
            assert_eq!(a.send(node(1), &[0; 9]).await, Err(Error::TooLarge(9)));
            a.send(node(1), &[1; 8]).await.unwrap();
            a.send(node(1), &[2; 4]).await.unwrap();
            assert_eq!(b.receive(&mut [0; 4]).await, Ok(4));
        });
    }

    #[test]
    fn a_waiting_receiver_is_woken() {
        let network = Network::<NoopRawMutex>::new();
        let [a, b] = [0, 1].map(|id| network.endpoint(node(id)).unwrap());
        let mut buffer = [0; 8];
        let received = block_on(join(b.receive(&mut buffer), async {
            yield_now().await;
            a.send(node(1), b"late").await
        }));
        assert_eq!(received, (Ok(4), Ok(())));
    }

    #[cfg(feature = "std")] // It brings the critical section of threads.
    #[test]
    fn a_receiver_on_another_thread_gets_every_frame() {
        use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
        static NETWORK: Network<CriticalSectionRawMutex> = Network::new();
        let [a, b] = [0, 1].map(|id| NETWORK.endpoint(node(id)).unwrap());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for round in 0..1000_u32 {
                    let mut buffer = [0; 8];
                    assert_eq!(block_on(b.receive(&mut buffer)), Ok(4));
                    assert_eq!(buffer[..4], round.to_le_bytes());
                    block_on(b.send(node(0), b"ack")).unwrap();
                }
            });
            for round in 0..1000_u32 {
                block_on(a.send(node(1), &round.to_le_bytes())).unwrap();
                assert_eq!(block_on(a.receive(&mut [0; 8])), Ok(3));
            }
        });
    }
}
