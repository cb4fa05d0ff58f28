//! The board's network chip, a LAN9118 of SMSC: bytes go in and out through two FIFOs, word by word.

use core::task::Context;

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_sync::waitqueue::AtomicWaker;
use static_cell::ConstStaticCell;

use crate::interrupts::Interrupt;
use quoring_mmio::Register;

const BASE: usize = 0x4020_0000;

// SAFETY: the chip is there, and only this module drives it.
const RECEIVE_DATA: Register = unsafe { Register::at(BASE) };
// SAFETY: as above.
const TRANSMIT_DATA: Register = unsafe { Register::at(BASE + 0x20) };
// SAFETY: as above.
const RECEIVE_STATUS: Register = unsafe { Register::at(BASE + 0x40) };
// SAFETY: as above.
const INTERRUPT_CONFIG: Register = unsafe { Register::at(BASE + 0x54) };
// SAFETY: as above.
const INTERRUPT_STATUS: Register = unsafe { Register::at(BASE + 0x58) };
// SAFETY: as above.
const INTERRUPT_ENABLE: Register = unsafe { Register::at(BASE + 0x5C) };
// SAFETY: as above.
const FIFO_INTERRUPTS: Register = unsafe { Register::at(BASE + 0x68) };
// SAFETY: as above.
const TRANSMIT_CONFIG: Register = unsafe { Register::at(BASE + 0x70) };
// SAFETY: as above.
const RECEIVE_USED: Register = unsafe { Register::at(BASE + 0x7C) };
// SAFETY: as above.
const TRANSMIT_FREE: Register = unsafe { Register::at(BASE + 0x80) };
// SAFETY: as above.
const MAC_COMMAND: Register = unsafe { Register::at(BASE + 0xA4) };
// SAFETY: as above.
const MAC_DATA: Register = unsafe { Register::at(BASE + 0xA8) };

/// Interrupts: a frame has come; there is room for one.
const RECEIVED: u32 = 1 << 3;
const ROOM: u32 = 1 << 9;

/// Behind a frame there is its check sequence, in the count and in the FIFO.
const CHECK: usize = 4;

/// Registers of the chip's MAC, which are reached through two others.
const MAC_CONTROL: u32 = 1;
const MAC_ADDRESS_HIGH: u32 = 2;
const MAC_ADDRESS_LOW: u32 = 3;

/// Bytes of the largest frame: more than the node ever sends.
const LARGEST: usize = 608;
const _: () = assert!(LARGEST.is_multiple_of(4), "the FIFOs take and give words");
const _: () = assert!(LARGEST >= 14 + 576, "IPv4 asks for packets of 576 bytes, behind a header of 14");

/// What a frame takes of the transmit FIFO, with its two commands.
const ROOM_FOR_ONE: u32 = LARGEST as u32 + 8;

static RECEIVER: AtomicWaker = AtomicWaker::new();
static SENDER: AtomicWaker = AtomicWaker::new();

/// The chip.
#[derive(Debug)]
pub struct Lan9118 {
    address: [u8; 6],
    received: &'static mut [u8; LARGEST],
    sent: &'static mut [u8; LARGEST],
}

impl Lan9118 {
    /// To be called once.
    pub(crate) fn take() -> Self {
        let [a, b, c, d] = mac_read(MAC_ADDRESS_LOW).to_le_bytes();
        let [e, f, ..] = mac_read(MAC_ADDRESS_HIGH).to_le_bytes();
        // Transmitter on; nobody reads what became of each frame, and that is to stop nothing.
        TRANSMIT_CONFIG.write(1 << 1 | 1 << 2);
        // Full duplex, transmitter and receiver on.
        mac_write(MAC_CONTROL, 1 << 20 | 1 << 3 | 1 << 2);
        // With the first frame that comes; and when a whole one has room, in blocks of 64 bytes.
        FIFO_INTERRUPTS.write(ROOM_FOR_ONE.div_ceil(64) << 24);
        INTERRUPT_STATUS.write(u32::MAX);
        INTERRUPT_ENABLE.write(RECEIVED);
        // Push-pull, active high, on.
        INTERRUPT_CONFIG.write(1 << 8 | 1 << 4 | 1);
        Interrupt::Ethernet.enable();
        /// Aligned, so that frames are copied word by word.
        #[repr(align(4))]
        struct Buffers([[u8; LARGEST]; 2]);
        static BUFFERS: ConstStaticCell<Buffers> = ConstStaticCell::new(Buffers([[0; LARGEST]; 2]));
        let [received, sent] = &mut BUFFERS.take().0;
        Self { address: [a, b, c, d, e, f], received, sent }
    }

    /// The address in the chip's EEPROM.
    pub const fn address(&self) -> [u8; 6] {
        self.address
    }
}

pub(crate) extern "C" fn on_frame() {
    let status = INTERRUPT_STATUS.read();
    INTERRUPT_STATUS.write(status);
    if status & RECEIVED != 0 {
        RECEIVER.wake();
    }
    if status & ROOM != 0 {
        INTERRUPT_ENABLE.write(RECEIVED);
        SENDER.wake();
    }
}

impl Driver for Lan9118 {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Received<'_>, Room<'_>)> {
        // Register, then look: a frame that comes in between wakes.
        if !has_frame() {
            RECEIVER.register(cx.waker());
            if !has_frame() {
                return None;
            }
        }
        if !has_room(cx) {
            return None;
        }
        Some((Received(self.received), Room(self.sent)))
    }

    fn transmit(&mut self, cx: &mut Context<'_>) -> Option<Room<'_>> {
        has_room(cx).then_some(Room(self.sent))
    }

    /// A frame that is sent while the cable is out is lost like any other.
    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = LARGEST;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.address)
    }
}

/// A frame is in the FIFO.
#[derive(Debug)]
pub struct Received<'a>(&'a mut [u8; LARGEST]);

impl RxToken for Received<'_> {
    /// A frame that is too long is handed over without bytes.
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, take: F) -> R {
        let len = (RECEIVE_STATUS.read() >> 16 & 0x3FFF) as usize;
        let (places, _) = self.0.as_chunks_mut::<4>();
        let mut places = places.iter_mut();
        // All of it is taken out, whether there is a place for it or not: passing over the rest takes the chip time, and is not for the shortest.
        for _ in 0..len.div_ceil(4) {
            let word = RECEIVE_DATA.read().to_le_bytes();
            if let Some(place) = places.next() {
                *place = word;
            }
        }
        let frame = len.checked_sub(CHECK).filter(|len| *len <= LARGEST).unwrap_or_default();
        take(self.0.get_mut(..frame).unwrap_or_default())
    }
}

/// A frame fits into the FIFO.
#[derive(Debug)]
pub struct Room<'a>(&'a mut [u8; LARGEST]);

impl TxToken for Room<'_> {
    /// A frame that is too long is not sent.
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, make: F) -> R {
        let len = len.min(LARGEST);
        let made = make(self.0.get_mut(..len).unwrap_or_default());
        // One buffer, the first and the last of its frame.
        TRANSMIT_DATA.write(1 << 13 | 1 << 12 | len as u32);
        TRANSMIT_DATA.write(len as u32);
        let (words, _) = self.0.as_chunks::<4>();
        words.iter().take(len.div_ceil(4)).for_each(|word| TRANSMIT_DATA.write(u32::from_le_bytes(*word)));
        made
    }
}

fn has_frame() -> bool {
    RECEIVE_USED.read() >> 16 & 0xFF != 0
}

/// Whether a whole frame fits into the FIFO. Wakes when it does.
fn has_room(cx: &Context<'_>) -> bool {
    let room = || TRANSMIT_FREE.read() & 0xFFFF >= ROOM_FOR_ONE;
    room() || {
        SENDER.register(cx.waker());
        critical_section::with(|_| INTERRUPT_ENABLE.write(RECEIVED | ROOM));
        room()
    }
}

const BUSY: u32 = 1 << 31;
const READ: u32 = 1 << 30;

fn mac_read(register: u32) -> u32 {
    MAC_COMMAND.write(BUSY | READ | register);
    while MAC_COMMAND.read() & BUSY != 0 {}
    MAC_DATA.read()
}

fn mac_write(register: u32, value: u32) {
    MAC_DATA.write(value);
    MAC_COMMAND.write(BUSY | register);
    while MAC_COMMAND.read() & BUSY != 0 {}
}
