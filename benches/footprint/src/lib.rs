//! One static for each configuration of which the documentation tells the size. Devices take no memory of their own here.
#![no_std]

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use quoring::store::ReadError;
use quoring::{Clock, Instant, LogIndex, LogStore, NodeId, Platform, Resources, Transport};
use static_cell::ConstStaticCell;

/// A three-node member: 2 KiB of ring, 64 slots, frames of 256 bytes, 16 waiting clients, 8 sessions.
#[used]
pub static THREE_NODES: ConstStaticCell<Resources<'static, Bare, 256, 64, 2, 256, 16, 8>> =
    ConstStaticCell::new(Resources::new());

/// A five-node member: 8 KiB of ring, 256 slots, frames of 512 bytes, 16 waiting clients, 8 sessions.
#[used]
pub static FIVE_NODES: ConstStaticCell<Resources<'static, Bare, 1024, 256, 4, 512, 16, 8>> =
    ConstStaticCell::new(Resources::new());

/// The smallest three-node member that does useful work: 512 bytes of ring, 16 slots, frames of 128 bytes, 2 waiting clients, 2 sessions.
#[used]
pub static SMALLEST: ConstStaticCell<Resources<'static, Bare, 64, 16, 2, 128, 2, 2>> =
    ConstStaticCell::new(Resources::new());

/// Devices that take no memory.
#[derive(Clone, Copy, Debug)]
pub struct Bare;

impl Platform for Bare {
    type Mutex = CriticalSectionRawMutex;
    type Store = Self;
    type Transport = Self;
    type Clock = Self;
}

impl LogStore for Bare {
    type Error = ();

    async fn recover(&mut self, _log: &mut quoring::Recovery) -> Result<(), ()> {
        Err(())
    }

    async fn append(&mut self, _batch: &[u8]) -> Result<(), ()> {
        Err(())
    }

    async fn read(&mut self, _index: LogIndex, _buffer: &mut [u8]) -> Result<usize, ReadError<()>> {
        Err(ReadError::Missing)
    }
}

impl Transport for Bare {
    type Error = ();

    async fn send(&self, _peer: NodeId, _frame: &[u8]) -> Result<(), ()> {
        Err(())
    }

    async fn receive(&self, _buffer: &mut [u8]) -> Result<usize, ()> {
        core::future::pending().await
    }
}

impl Clock for Bare {
    fn now(&self) -> Instant {
        Instant(0)
    }

    async fn sleep_until(&self, _deadline: Instant) {
        core::future::pending().await
    }
}
