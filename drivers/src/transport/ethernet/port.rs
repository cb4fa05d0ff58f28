//! The driver, and who waits for it.
//!
//! A driver keeps the waker of whoever asked last; some keep one for all that can happen. So it is shown only one waker as long as anybody waits, the
//! keeper's, and the keeper tells the others:
//!
//! ```text
//!             a receiver waits                  a sender waits
//!   driver ----> receiver ----> senders   or   driver ----> sender ----> other senders
//! ```
//!
//! A keeper that goes away wakes a sender, which is the next one if it still has to wait. A receiver takes over at once.

use core::task::{Context, Poll, Waker};

use embassy_net_driver::{Driver, LinkState, RxToken, TxToken};

use super::senders::{Senders, Turn};
use super::{Address, Dropped, ETHERTYPE, Error};

/// Bytes in front of a frame: two addresses, ethertype and length.
const HEADER: usize = 16;

/// How often a sender is polled before it drops its frame: more often than the smallest packets come in while seven of the largest leave, if only packets
/// wake it.
const TRIES: u8 = 128;

/// The driver's side of a transport, under its lock.
pub(super) struct Port<D> {
    driver: D,
    own: Address,
    pub(super) ethertype: [u8; 2],
    /// The largest frame.
    limit: usize,
    pub(super) dropped: Dropped,
    keeper: Keeper,
    /// The keeper's waker; of no meaning if there is none.
    waker: Option<Waker>,
    senders: Senders,
}

/// Whom the driver wakes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeper {
    Nobody,
    Receiver,
    Sender,
}

/// A sender's part, in its future.
pub(super) struct Wait {
    turn: Turn,
    /// How often it found no room.
    tries: u8,
}

/// What became of a packet that came in.
enum Packet {
    Frame(usize),
    Foreign,
    Broken,
    Overlong,
}

/// What is left to do outside of the lock: the code of wakers is the executor's.
#[derive(Default)]
pub(super) struct After {
    wake: Option<Waker>,
    /// A sender's, and a keeper's, that were displaced.
    sender: Option<Waker>,
    keeper: Option<Waker>,
}

impl<D: Driver> Port<D> {
    pub(super) fn new(driver: D, own: Address) -> Self {
        let limit = driver.capabilities().max_transmission_unit.saturating_sub(HEADER).min(usize::from(u16::MAX));
        Self {
            driver,
            own,
            ethertype: ETHERTYPE.to_be_bytes(),
            limit,
            dropped: Dropped::default(),
            keeper: Keeper::Nobody,
            waker: None,
            senders: Senders::new(),
        }
    }

    /// The length of a frame that came in, or nothing if a packet did that has none.
    pub(super) fn receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        after: &mut After,
    ) -> Poll<Option<usize>> {
        let Some((packet, _)) = self.driver.receive(cx) else {
            self.keep(Keeper::Receiver, cx.waker(), after);
            self.look(cx, after);
            return Poll::Pending;
        };
        let (own, ethertype) = (self.own, self.ethertype);
        let packet = packet.consume(|packet| read(packet, own, ethertype, buffer));
        self.retire(after);
        let dropped = match packet {
            Packet::Frame(len) => return Poll::Ready(Some(len)),
            Packet::Foreign => return Poll::Ready(None),
            Packet::Broken => &mut self.dropped.broken,
            Packet::Overlong => &mut self.dropped.overlong,
        };
        *dropped = dropped.wrapping_add(1);
        Poll::Ready(None)
    }

    /// Hands a packet to the driver, if there is room.
    pub(super) fn send(
        &mut self,
        cx: &mut Context<'_>,
        to: Address,
        frame: &[u8],
        wait: &mut Wait,
        after: &mut After,
    ) -> Poll<Result<(), Error>> {
        if frame.len() > self.limit {
            return Poll::Ready(Err(Error::TooLarge(frame.len())));
        }
        // A sender that keeps the driver may have moved to another task; then this is its waker.
        let keeper = self.waker.as_ref().filter(|_| self.keeper == Keeper::Receiver);
        let mut shown = Context::from_waker(keeper.unwrap_or(cx.waker()));
        if let Some(packet) = self.driver.transmit(&mut shown) {
            let (own, ethertype) = (self.own, self.ethertype);
            packet.consume(HEADER + frame.len(), |packet| write(packet, to, own, ethertype, frame));
            return Poll::Ready(Ok(()));
        }
        if self.driver.link_state(&mut shown) == LinkState::Down {
            return Poll::Ready(Err(Error::Down));
        }
        wait.tries += 1;
        if wait.tries == TRIES {
            return Poll::Ready(Err(Error::Busy));
        }
        let Some(displaced) = self.senders.join(&mut wait.turn, cx.waker()) else {
            return Poll::Ready(Err(Error::Busy));
        };
        after.sender = displaced;
        if self.keeper != Keeper::Receiver {
            self.keep(Keeper::Sender, cx.waker(), after);
        }
        Poll::Pending
    }

    /// The receiver looks for the senders: whether there is room now, or none to wait for.
    fn look(&mut self, cx: &mut Context<'_>, after: &mut After) {
        if self.senders.wait() && (self.driver.transmit(cx).is_some() || self.driver.link_state(cx) == LinkState::Down)
        {
            after.wake = self.senders.wake();
        }
    }
}

impl<D> Port<D> {
    /// The receiver waits no longer.
    pub(super) fn retire(&mut self, after: &mut After) {
        self.keeper = Keeper::Nobody;
        after.wake = self.senders.wake();
    }

    /// A sender waits no longer.
    pub(super) fn leave(&mut self, wait: &mut Wait, after: &mut After) {
        if self.keeper == Keeper::Sender {
            self.keeper = Keeper::Nobody;
        }
        after.sender = self.senders.leave(&mut wait.turn);
        after.wake = self.senders.wake();
    }

    fn keep(&mut self, keeper: Keeper, waker: &Waker, after: &mut After) {
        self.keeper = keeper;
        if !self.waker.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            after.keeper = self.waker.replace(waker.clone());
        }
    }
}

impl Wait {
    /// Has not begun.
    pub(super) const NONE: Self = Self { turn: Turn::NONE, tries: 0 };

    pub(super) const fn has_begun(&self) -> bool {
        self.turn.is_taken()
    }
}

impl After {
    pub(super) fn happen(self) {
        if let Some(waker) = self.wake {
            waker.wake();
        }
    }
}

/// Makes a packet of a frame.
fn write(packet: &mut [u8], to: Address, from: Address, ethertype: [u8; 2], frame: &[u8]) -> Option<()> {
    let (place, rest) = packet.split_first_chunk_mut()?;
    *place = to;
    let (place, rest) = rest.split_first_chunk_mut()?;
    *place = from;
    let (place, rest) = rest.split_first_chunk_mut()?;
    *place = ethertype;
    let (place, rest) = rest.split_first_chunk_mut()?;
    *place = (frame.len() as u16).to_le_bytes();
    rest.get_mut(..frame.len())?.copy_from_slice(frame);
    Some(())
}

/// Copies the frame out of a packet.
fn read(packet: &[u8], own: Address, ethertype: [u8; 2], buffer: &mut [u8]) -> Packet {
    let Some(payload) = payload(packet, own, ethertype) else { return Packet::Foreign };
    let Some((&length, rest)) = payload.split_first_chunk() else { return Packet::Broken };
    let Some(frame) = rest.get(..usize::from(u16::from_le_bytes(length))) else { return Packet::Broken };
    let Some(place) = buffer.get_mut(..frame.len()) else { return Packet::Overlong };
    place.copy_from_slice(frame);
    Packet::Frame(frame.len())
}

/// What a packet carries, if it is of this ethertype, and to this address or a group's.
fn payload(packet: &[u8], own: Address, ethertype: [u8; 2]) -> Option<&[u8]> {
    let (to, rest) = packet.split_first_chunk()?;
    let (_from, rest) = rest.split_first_chunk::<6>()?;
    let (kind, payload) = rest.split_first_chunk()?;
    let is_to_group = to.first().is_some_and(|first| first & 1 == 1);
    (*kind == ethertype && (*to == own || is_to_group)).then_some(payload)
}
