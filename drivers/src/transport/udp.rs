//! Datagrams over UDP.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};

use async_io::Async;
use quoring_core::NodeId;

use super::Transport;

/// A UDP socket and the addresses of the peers.
///
/// A frame is one datagram: keep frames below the path's MTU, 1472 bytes on Ethernet. Frames from unknown addresses are handed up
/// too, for an address proves nothing: the frame's own cluster, source and checksum decide.
#[derive(Debug)]
pub struct UdpTransport {
    socket: Async<UdpSocket>,
    peers: [Option<SocketAddr>; NodeId::COUNT],
}

/// Why a frame was not sent or received.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No address is known for this peer: [set](UdpTransport::set_peer) it.
    UnknownPeer(NodeId),
    /// The operating system refused: see its reason.
    Io(io::Error),
}

impl UdpTransport {
    /// Opens a socket at `address`.
    ///
    /// # Errors
    /// The address cannot be used.
    pub fn bind(address: impl Into<SocketAddr>, peers: &[(NodeId, SocketAddr)]) -> io::Result<Self> {
        let socket = Async::<UdpSocket>::bind(address)?;
        let mut transport = Self { socket, peers: [None; NodeId::COUNT] };
        for &(peer, address) in peers {
            transport.set_peer(peer, address);
        }
        Ok(transport)
    }

    /// Says where `peer` is; replaces what was said before.
    pub fn set_peer(&mut self, peer: NodeId, address: SocketAddr) {
        if let Some(place) = self.peers.get_mut(usize::from(peer.get())) {
            *place = Some(address);
        }
    }

    /// The address of this socket.
    ///
    /// # Errors
    /// The operating system does not tell.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }
}

impl Transport for UdpTransport {
    type Error = Error;

    async fn send(&self, peer: NodeId, frame: &[u8]) -> Result<(), Error> {
        let known = self.peers.get(usize::from(peer.get())).copied().flatten();
        let address = known.ok_or(Error::UnknownPeer(peer))?;
        self.socket.send_to(frame, address).await.map(drop).map_err(Error::Io)
    }

    async fn receive(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            match self.socket.recv_from(buffer).await {
                Ok((size, _)) => return Ok(size),
                Err(error) if is_about_a_frame_sent(&error) => {}
                Err(error) => return Err(Error::Io(error)),
            }
        }
    }
}

/// Whether a receiver is only told that a frame sent earlier found nobody: a dead peer's host answers with ICMP.
fn is_about_a_frame_sent(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownPeer(peer) => write!(f, "no address is known for node {peer}"),
            Self::Io(cause) => cause.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(cause) => Some(cause),
            Self::UnknownPeer(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_lite::future::block_on;

    use super::*;

    const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

    fn node(id: u8) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn pair() -> (UdpTransport, UdpTransport) {
        let mut a = UdpTransport::bind(ANY, &[]).unwrap();
        let b = UdpTransport::bind(ANY, &[(node(0), a.local_address().unwrap())]).unwrap();
        a.set_peer(node(1), b.local_address().unwrap());
        (a, b)
    }

    #[test]
    fn a_frame_arrives_as_it_was_sent_and_a_longer_one_is_cut() {
        let (a, b) = pair();
        block_on(async {
            let mut buffer = [0; 1472];
            a.send(node(1), &[7; 1472]).await.unwrap();
            assert_eq!((b.receive(&mut buffer).await.unwrap(), buffer), (1472, [7; 1472]));
            b.send(node(0), b"").await.unwrap();
            assert_eq!(a.receive(&mut buffer).await.unwrap(), 0);
            a.send(node(1), &[9; 100]).await.unwrap();
            assert!(b.receive(&mut buffer[..10]).await.unwrap() <= 10);
        });
    }

    #[test]
    fn a_frame_of_a_stranger_is_handed_up() {
        let (a, _) = pair();
        let stranger = UdpSocket::bind(ANY).unwrap();
        stranger.send_to(b"hello", a.local_address().unwrap()).unwrap();
        assert_eq!(block_on(a.receive(&mut [0; 8])).unwrap(), 5);
    }

    #[test]
    fn a_peer_without_an_address_is_an_error() {
        let (a, _) = pair();
        assert!(matches!(block_on(a.send(node(31), b"x")), Err(Error::UnknownPeer(peer)) if peer == node(31)));
    }

    /// A connected socket is told of refusals on every system; an unconnected one only on some. The peer has a loopback address of
    /// its own, so that no other test can take its port.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_dead_peer_does_not_end_the_receiver() {
        let (a, _) = pair();
        let peer = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).unwrap();
        let address = peer.local_addr().unwrap();
        a.socket.get_ref().connect(address).unwrap();
        drop(peer);
        a.socket.get_ref().send(b"to nobody").unwrap();
        let reborn = UdpSocket::bind(address).unwrap();
        reborn.send_to(b"alive", a.local_address().unwrap()).unwrap();
        assert_eq!(block_on(a.receive(&mut [0; 8])).unwrap(), 5);
    }
}
