//! UDP over the network stack of `embassy-net`.

use core::cell::Cell;
use core::fmt;
use core::task::Poll;

use embassy_futures::{poll_once, yield_now};
use embassy_net::udp::{BindError, PacketMetadata, SendError, UdpSocket};
use embassy_net::{IpEndpoint, Stack};
use embassy_time::{Duration, with_timeout};
use quoring_core::NodeId;

use super::Transport;

/// How long a frame waits for room in the queue to its peer.
const PATIENCE: Duration = Duration::from_millis(20);

/// The room of a transport to `PEERS` peers: `1 + PEERS` queues of up to `DEPTH` frames of up to `FRAME` bytes each.
///
/// Its initial image is not all zero, for the queues of `embassy-net` are not: a `StaticCell` that is filled at the start has it in `.bss` all the same.
#[derive(Debug)]
pub struct Buffers<const FRAME: usize, const DEPTH: usize, const PEERS: usize> {
    incoming: Queue<FRAME, DEPTH>,
    outgoing: [Queue<FRAME, DEPTH>; PEERS],
}

#[derive(Debug)]
struct Queue<const FRAME: usize, const DEPTH: usize> {
    packets: [PacketMetadata; DEPTH],
    bytes: [[u8; FRAME]; DEPTH],
}

/// UDP sockets to `PEERS` peers, on the executor that runs the stack.
///
/// It is not `Send`, for a stack is not: put it into embassy-sync's `ThreadModeMutex` where a `ConstStaticCell` holds the node's memory.
///
/// A frame is one datagram: keep frames below the path's MTU, 1472 bytes on Ethernet. Frames from unknown addresses are handed up
/// too, for an address proves nothing: the frame's own cluster, source and checksum decide. They are those of `udp`: nodes with either
/// make one cluster.
///
/// One socket receives, and each peer has another that sends. With one for all, a frame for a peer that does not answer ARP would hold up all behind
/// it, for as long as that peer is dead.
///
/// A frame waits for room in the queue to its peer for 20 ms at most; then it is dropped.
pub struct EmbassyUdp<'d, const PEERS: usize> {
    incoming: UdpSocket<'d>,
    peers: [(NodeId, IpEndpoint); PEERS],
    /// In the order of the peers.
    outgoing: [UdpSocket<'d>; PEERS],
    dropped: Cell<u32>,
}

/// Why a frame was not sent. Receiving does not fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// The node is not one of the peers.
    UnknownPeer(NodeId),
    /// The frame is larger than a queue: make smaller ones.
    TooLarge(usize),
    /// The peer's address or port is none.
    NoRoute,
    /// The queue to the peer was full for too long: the peer is dead, the link is down or slow, or the stack does not run.
    Busy,
}

impl<const FRAME: usize, const DEPTH: usize, const PEERS: usize> Buffers<FRAME, DEPTH, PEERS> {
    /// Room without frames.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(DEPTH > 0, "a queue of no frames loses them all") };
        Self { incoming: Queue::EMPTY, outgoing: [const { Queue::EMPTY }; PEERS] }
    }
}

impl<const FRAME: usize, const DEPTH: usize, const PEERS: usize> Default for Buffers<FRAME, DEPTH, PEERS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const FRAME: usize, const DEPTH: usize> Queue<FRAME, DEPTH> {
    const EMPTY: Self = Self { packets: [PacketMetadata::EMPTY; DEPTH], bytes: [[0; FRAME]; DEPTH] };
}

impl<'d, const PEERS: usize> EmbassyUdp<'d, PEERS> {
    /// Opens `1 + PEERS` sockets, so many of those that the stack's resources are for, and receives at `port`.
    ///
    /// # Errors
    /// The port cannot be used.
    pub fn new<const FRAME: usize, const DEPTH: usize>(
        stack: Stack<'d>,
        port: u16,
        peers: [(NodeId, IpEndpoint); PEERS],
        buffers: &'d mut Buffers<FRAME, DEPTH, PEERS>,
    ) -> Result<Self, BindError> {
        let Queue { packets, bytes } = &mut buffers.incoming;
        let mut incoming = UdpSocket::new(stack, packets, bytes.as_flattened_mut(), &mut [], &mut []);
        incoming.bind(port)?;
        let mut outgoing = buffers
            .outgoing
            .each_mut()
            .map(|Queue { packets, bytes }| UdpSocket::new(stack, &mut [], &mut [], packets, bytes.as_flattened_mut()));
        for socket in &mut outgoing {
            // Any port: it receives nothing.
            socket.bind(0)?;
        }
        Ok(Self { incoming, peers, outgoing, dropped: Cell::new(0) })
    }

    /// How many frames came in that were longer than the receiver's buffer, and were dropped. Wraps.
    pub fn dropped(&self) -> u32 {
        self.dropped.get()
    }
}

impl<const PEERS: usize> Transport for EmbassyUdp<'_, PEERS> {
    type Error = Error;

    /// Cancel-safe: the frame is in the queue, or lost.
    async fn send(&self, peer: NodeId, frame: &[u8]) -> Result<(), Error> {
        let mut known = self.peers.iter().zip(&self.outgoing);
        let ((_, endpoint), socket) = known.find(|((node, _), _)| *node == peer).ok_or(Error::UnknownPeer(peer))?;
        let sent = match poll_once(socket.send_to(frame, *endpoint)) {
            Poll::Ready(sent) => Ok(sent),
            Poll::Pending => with_timeout(PATIENCE, socket.send_to(frame, *endpoint)).await,
        };
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(SendError::PacketTooLarge)) => Err(Error::TooLarge(frame.len())),
            Ok(Err(SendError::NoRoute | SendError::SocketNotBound)) => Err(Error::NoRoute),
            Err(_) => Err(Error::Busy),
        }
    }

    /// Cancel-safe: no frame is taken from the queue.
    async fn receive(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            if let Ok((len, _)) = self.incoming.recv_from(buffer).await {
                return Ok(len);
            }
            self.dropped.set(self.dropped.get().wrapping_add(1));
            // A link that always has another frame must not keep the others from running.
            yield_now().await;
        }
    }
}

impl<const PEERS: usize> fmt::Debug for EmbassyUdp<'_, PEERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbassyUdp").field("peers", &self.peers).field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownPeer(peer) => write!(f, "no address is known for node {peer}"),
            Self::TooLarge(size) => write!(f, "a frame of {size} bytes is too large for the queue to its peer"),
            Self::NoRoute => f.write_str("the peer's address is none"),
            Self::Busy => f.write_str("the queue to the peer was full for too long"),
        }
    }
}

impl core::error::Error for Error {}
