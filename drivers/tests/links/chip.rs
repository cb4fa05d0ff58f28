//! A network chip that tests look into, and its driver.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use quoring::Duration;

use super::Random;
use super::world::World;

/// The largest packet.
pub(crate) const MTU: usize = 1514;

pub(crate) type Packet = Vec<u8>;

/// A chip that the test looks into, and its driver.
#[derive(Clone)]
pub(crate) struct Chip(pub(crate) Rc<RefCell<Insides>>);

pub(crate) struct Insides {
    medium: HardwareAddress,
    pub(crate) incoming: VecDeque<Packet>,
    pub(crate) outgoing: VecDeque<Packet>,
    /// How many packets go out before there is no room.
    pub(crate) room: usize,
    pub(crate) link: LinkState,
    /// Whom it wakes for what comes in, for room, and for the link: an odd driver keeps one waker for all, whoever asked last.
    wakers: [Option<Waker>; 3],
    shares_waker: bool,
    /// How often it was asked.
    pub(crate) asked: usize,
}

impl Chip {
    pub(crate) fn new(medium: HardwareAddress, shares_waker: bool) -> Self {
        Self(Rc::new(RefCell::new(Insides {
            medium,
            incoming: VecDeque::new(),
            outgoing: VecDeque::new(),
            room: 4,
            link: LinkState::Up,
            wakers: [const { None }; 3],
            shares_waker,
            asked: 0,
        })))
    }

    /// A packet comes in.
    pub(crate) fn hear(&self, packet: impl Into<Packet>) {
        self.0.borrow_mut().incoming.push_back(packet.into());
        self.wake(0);
    }

    /// A packet goes out, and leaves room.
    pub(crate) fn leave(&self) -> Option<Packet> {
        let packet = self.0.borrow_mut().outgoing.pop_front()?;
        self.wake(1);
        Some(packet)
    }

    pub(crate) fn set_link(&self, link: LinkState) {
        self.0.borrow_mut().link = link;
        self.wake(2);
    }

    fn wake(&self, event: usize) {
        let mut insides = self.0.borrow_mut();
        let event = if insides.shares_waker { 0 } else { event };
        let waker = insides.wakers[event].take();
        drop(insides);
        waker.into_iter().for_each(Waker::wake);
    }

    /// As many drivers do, whether there is something to wait for or not.
    fn ask(&self, event: usize, cx: &mut Context<'_>) {
        let mut insides = self.0.borrow_mut();
        let event = if insides.shares_waker { 0 } else { event };
        insides.wakers[event] = Some(cx.waker().clone());
        insides.asked += 1;
    }
}

pub(crate) struct Come(Packet);

impl RxToken for Come {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, f: F) -> R {
        f(&mut self.0)
    }
}

pub(crate) struct Go<'c>(&'c Chip);

impl TxToken for Go<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        assert!(len <= MTU);
        // What was in the buffer before.
        let mut packet = vec![0xEE; len];
        let result = f(&mut packet);
        packet.resize(len.max(60), 0xEE);
        self.0.0.borrow_mut().outgoing.push_back(packet);
        result
    }
}

impl Driver for Chip {
    type RxToken<'a> = Come;
    type TxToken<'a> = Go<'a>;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Come, Go<'_>)> {
        self.ask(0, cx);
        let packet = self.0.borrow_mut().incoming.pop_front()?;
        Some((Come(packet), Go(self)))
    }

    fn transmit(&mut self, cx: &mut Context<'_>) -> Option<Go<'_>> {
        self.ask(1, cx);
        let insides = self.0.borrow();
        let has_room = insides.outgoing.len() < insides.room;
        drop(insides);
        has_room.then_some(Go(self))
    }

    fn link_state(&mut self, cx: &mut Context<'_>) -> LinkState {
        self.ask(2, cx);
        self.0.borrow().link
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = MTU;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        self.0.borrow().medium
    }
}

/// Carries packets between chips, a hundred microseconds each, and loses and damages one of so many.
pub(crate) async fn segment(world: &World, chips: &[Chip; 3], one_of: usize, faults: &Cell<usize>) {
    let mut random = Random(9);
    loop {
        let packets: Vec<_> = chips.iter().filter_map(Chip::leave).collect();
        for mut packet in packets {
            match random.below(2 * one_of) {
                0 => {
                    faults.set(faults.get() + 1);
                    continue;
                }
                1 => {
                    faults.set(faults.get() + 1);
                    let at = random.below(packet.len());
                    packet[at] ^= 1 << random.below(8);
                }
                _ => {}
            }
            // A switch that has not learned who is where.
            chips.iter().for_each(|chip| chip.hear(&packet[..]));
        }
        world.sleep(Duration::from_micros(100)).await;
    }
}
