//! How frames travel: the contract of a [`Transport`], and the transports of this crate.
//!
//! | module | feature | link |
//! |---|---|---|
//! | `embassy_udp` | `embassy-net` | UDP sockets of `embassy-net` |
//! | `ethernet` | `ethernet` | network chips with drivers of `embassy-net-driver`, without IP |
//! | [`fragment`] | | any of these whose datagrams are smaller than a frame, from 8 bytes: CAN, CAN FD, radio |
//! | [`memory`] | | tasks of one process or firmware |
//! | `serial` | `serial` | byte streams of `embedded-io-async`: UART, RS-485, USB CDC |
//! | `udp` | `std` | UDP sockets of a host |

use core::fmt::Debug;

use quoring_core::NodeId;

#[cfg(feature = "embassy-net")]
pub mod embassy_udp;
#[cfg(feature = "ethernet")]
pub mod ethernet;
pub mod fragment;
pub mod memory;
#[cfg(feature = "serial")]
pub mod serial;
#[cfg(feature = "std")]
pub mod udp;

/// Datagrams between nodes.
///
/// # Contract
/// 1. **Whole or not at all**: a frame arrives as it was sent, or damaged (its checksum tells), never joined with another.
/// 2. **Unreliable**: frames may be lost, duplicated, reordered and delayed without bound.
/// 3. **Shared**: one task per peer sends while another receives, all through `&self`.
/// 4. **No lasting block**: `send` to a dead peer ends; it drops the frame rather than wait for the peer.
/// 5. **Cancel-safe**: dropping a future loses at most the frame it was for.
#[allow(async_fn_in_trait)] // Tasks run where their executor is.
pub trait Transport {
    /// What can go wrong with the link.
    type Error: Debug;

    /// Sends `frame` to `peer`.
    ///
    /// # Errors
    /// The link refused it. The frame counts as lost; the node goes on.
    async fn send(&self, peer: NodeId, frame: &[u8]) -> Result<(), Self::Error>;

    /// Whether several frames may be on their way to a peer at a time. If not, a client stream has one command on its way (C3); and the node's
    /// configuration should allow one append in flight.
    fn pipelines(&self) -> bool {
        true
    }

    /// Waits for the next frame and copies it into `buffer`; its length. A longer frame than `buffer` is dropped or cut.
    ///
    /// # Errors
    /// The link failed. The node goes on and tries again.
    async fn receive(&self, buffer: &mut [u8]) -> Result<usize, Self::Error>;
}

/// A transport that lies in a static of its own.
impl<T: Transport> Transport for &T {
    type Error = T::Error;

    async fn send(&self, peer: NodeId, frame: &[u8]) -> Result<(), Self::Error> {
        T::send(self, peer, frame).await
    }

    fn pipelines(&self) -> bool {
        T::pipelines(self)
    }

    async fn receive(&self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        T::receive(self, buffer).await
    }
}

/// Moves bytes into `place` until it is full or they end; how many.
fn fill(place: &mut [u8], bytes: &mut impl Iterator<Item = u8>) -> usize {
    let mut len = 0;
    for (place, byte) in place.iter_mut().zip(bytes) {
        *place = byte;
        len += 1;
    }
    len
}
