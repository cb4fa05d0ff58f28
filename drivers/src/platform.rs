//! What a node stands on.

use embassy_sync::blocking_mutex::raw::RawMutex;

use crate::clock::Clock;
use crate::store::LogStore;
use crate::transport::Transport;

/// The four things a board or host provides, named once, so that every handle has one type parameter.
///
/// ```
/// # use quoring::{Platform, store::memory::MemoryLog, transport::memory::MemoryTransport};
/// # use embassy_sync::blocking_mutex::raw::NoopRawMutex;
/// # struct ManualClock;
/// # impl quoring::Clock for ManualClock { fn now(&self) -> quoring::Instant { quoring::Instant(0) } async fn sleep_until(&self, _: quoring::Instant) {} }
/// struct Board;
///
/// impl Platform for Board {
///     type Mutex = NoopRawMutex; // all tasks on one executor
///     type Store = MemoryLog<65536>;
///     type Transport = MemoryTransport<'static, NoopRawMutex, 256, 8>;
///     type Clock = ManualClock;
/// }
/// ```
pub trait Platform {
    /// How the node is locked for the time of one step: `NoopRawMutex` on one executor, `ThreadModeRawMutex` or `CriticalSectionRawMutex` across
    /// executors, priorities and threads.
    type Mutex: RawMutex;
    /// Where the log becomes durable.
    type Store: LogStore;
    /// How frames travel.
    type Transport: Transport;
    /// What time it is.
    type Clock: Clock;
}
