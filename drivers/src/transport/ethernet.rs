//! Ethernet without a stack of protocols: any network chip with a driver of `embassy-net-driver`. The bytes are drawn in `LINKS.md`.

mod port;
mod senders;

use core::cell::RefCell;
use core::fmt;
use core::future::poll_fn;
use core::task::Poll;

use embassy_futures::yield_now;
use embassy_net_driver::{Driver, HardwareAddress};
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::RawMutex;
use quoring_core::NodeId;

use self::port::{After, Port, Wait};
use super::Transport;

/// An Ethernet address.
pub type Address = [u8; 6];

/// The address of everybody.
pub const BROADCAST: Address = [0xFF; 6];

/// IEEE 802 local experimental ethertype 1.
pub const ETHERTYPE: u16 = 0x88B5;

/// Frames in raw Ethernet packets, between nodes on one segment or behind switches.
///
/// Of what comes in, packets of this ethertype to this address or a group's are looked at. Frames have up to the driver's largest packet less
/// 16 bytes: 1498 on most.
///
/// No byte is copied but into and out of the driver's buffers. This happens under `M`: `NoopRawMutex` on one executor; between threads or interrupts
/// `CriticalSectionRawMutex`, which holds up all others meanwhile.
///
/// A frame waits while the driver has no room for it, of up to eight senders at a time. It is dropped when the link is down, and when other packets come in
/// and go and there is still none: nobody waits for ever for a transmitter that is stuck.
pub struct Ethernet<M: RawMutex, D> {
    port: Mutex<M, RefCell<Port<D>>>,
    address_of: fn(NodeId) -> Address,
}

/// Packets of this ethertype that came in and were not handed up. The counters wrap.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Dropped {
    /// Shorter than the frame they tell of.
    pub broken: u32,
    /// Of frames that are longer than the receiver's buffer.
    pub overlong: u32,
}

/// Why a frame was not sent. Receiving does not fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// The frame does not fit into the driver's packets: make smaller ones.
    TooLarge(usize),
    /// The link is down: mend it.
    Down,
    /// The driver had no room for a packet for too long: give it more, or send less.
    Busy,
}

/// The driver is not one of Ethernet: its medium has no addresses, or others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NotEthernet(pub HardwareAddress);

impl<M: RawMutex, D: Driver> Ethernet<M, D> {
    /// The transport of this driver's node; `address_of` tells where any node is, which may be [`BROADCAST`].
    ///
    /// # Errors
    /// See [`NotEthernet`].
    pub fn new(driver: D, address_of: fn(NodeId) -> Address) -> Result<Self, NotEthernet> {
        match driver.hardware_address() {
            HardwareAddress::Ethernet(own) => {
                Ok(Self { port: Mutex::new(RefCell::new(Port::new(driver, own))), address_of })
            }
            other => Err(NotEthernet(other)),
        }
    }

    /// Uses this ethertype, 0x0600 or above, in place of [`ETHERTYPE`]: all nodes use the same.
    #[must_use]
    pub fn with_ethertype(mut self, ethertype: u16) -> Self {
        self.port.get_mut().get_mut().ethertype = ethertype.to_be_bytes();
        self
    }
}

impl<M: RawMutex, D> Ethernet<M, D> {
    /// What came in and was dropped since the start.
    pub fn dropped(&self) -> Dropped {
        self.with(|port, _| port.dropped).unwrap_or_default()
    }

    /// Works on the port; or not at all, if this is the driver's own code that calls in here.
    fn with<R>(&self, work: impl FnOnce(&mut Port<D>, &mut After) -> R) -> Option<R> {
        let mut after = After::default();
        let result = self.port.lock(|port| Some(work(&mut *port.try_borrow_mut().ok()?, &mut after)));
        after.happen();
        result
    }
}

impl<M: RawMutex, D: Driver> Transport for Ethernet<M, D> {
    type Error = Error;

    /// Cancel-safe: the frame is with the driver, or lost.
    async fn send(&self, peer: NodeId, frame: &[u8]) -> Result<(), Error> {
        let to = (self.address_of)(peer);
        let mut sending = Sending { ethernet: self, wait: Wait::NONE };
        poll_fn(|cx| {
            let sent = self.with(|port, after| port.send(cx, to, frame, &mut sending.wait, after));
            sent.unwrap_or(Poll::Ready(Err(Error::Busy)))
        })
        .await
    }

    /// Cancel-safe: no packet is taken from the driver.
    async fn receive(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut receiving = Receiving { ethernet: self, waits: false };
        loop {
            let received = poll_fn(|cx| {
                let received = self.with(|port, after| port.receive(cx, buffer, after)).unwrap_or(Poll::Ready(None));
                receiving.waits = received.is_pending();
                received
            });
            match received.await {
                Some(len) => return Ok(len),
                // A link that always has another packet must not keep the others from running.
                None => yield_now().await,
            }
        }
    }
}

/// A sender, which may go away.
struct Sending<'e, M: RawMutex, D> {
    ethernet: &'e Ethernet<M, D>,
    wait: Wait,
}

impl<M: RawMutex, D> Drop for Sending<'_, M, D> {
    fn drop(&mut self) {
        if self.wait.has_begun() {
            self.ethernet.with(|port, after| port.leave(&mut self.wait, after));
        }
    }
}

/// The receiver, which may go away.
struct Receiving<'e, M: RawMutex, D> {
    ethernet: &'e Ethernet<M, D>,
    waits: bool,
}

impl<M: RawMutex, D> Drop for Receiving<'_, M, D> {
    fn drop(&mut self) {
        if self.waits {
            self.ethernet.with(|port, after| port.retire(after));
        }
    }
}

impl<M: RawMutex, D> fmt::Debug for Ethernet<M, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ethernet").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(size) => write!(f, "a frame of {size} bytes is too large for the link"),
            Self::Down => f.write_str("the link is down"),
            Self::Busy => f.write_str("the driver had no room for a packet for too long"),
        }
    }
}

impl core::error::Error for Error {}

impl fmt::Display for NotEthernet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a driver of Ethernet: {:?}", self.0)
    }
}

impl core::error::Error for NotEthernet {}
