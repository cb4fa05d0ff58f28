//! The waker cells of this platform.

use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Waker;

use embassy_sync::blocking_mutex::raw::RawMutex;
use quoring_ring::WakerCell;

/// Where a task leaves its waker. On hosts, where tasks run on threads, a lock-free cell; on bare metal one guarded by the node's mutex:
/// there, a lock-free `register` over a preempted `wake` would wake itself for ever (ring rule 6).
pub(crate) struct Cell<M: RawMutex> {
    #[cfg(feature = "std")]
    cell: atomic_waker::AtomicWaker,
    #[cfg(not(feature = "std"))]
    cell: embassy_sync::waitqueue::GenericAtomicWaker<M>,
    _mutex: core::marker::PhantomData<M>,
}

/// A pointer's watcher.
pub(crate) type Wake<M> = quoring_ring::Wake<Cell<M>>;

/// What a replicator watches: whether the core may have something for its peer. So it need not ask the core before it sleeps.
pub(crate) struct Line<M: RawMutex> {
    is_called: AtomicBool,
    pub(crate) wake: Wake<M>,
}

impl<M: RawMutex> Line<M> {
    pub(crate) const fn new() -> Self {
        Self { is_called: AtomicBool::new(false), wake: Wake::new(Cell::new()) }
    }

    /// There may be something to send.
    pub(crate) fn call(&self) {
        self.is_called.store(true, Ordering::Release);
        self.wake.notify();
    }

    /// Whether there may be, which then must be looked for. What is called while this takes the call back has been stepped before, and is found: both
    /// look under the node's lock.
    pub(crate) fn take_call(&self) -> bool {
        let is_called = self.is_called.load(Ordering::Acquire);
        if is_called {
            self.is_called.store(false, Ordering::Relaxed);
        }
        is_called
    }
}

impl<M: RawMutex> Cell<M> {
    pub(crate) const fn new() -> Self {
        Self {
            #[cfg(feature = "std")]
            cell: atomic_waker::AtomicWaker::new(),
            #[cfg(not(feature = "std"))]
            cell: embassy_sync::waitqueue::GenericAtomicWaker::new(M::INIT),
            _mutex: core::marker::PhantomData,
        }
    }
}

impl<M: RawMutex> WakerCell for Cell<M> {
    fn register(&self, waker: &Waker) {
        self.cell.register(waker);
    }

    fn wake(&self) {
        self.cell.wake();
    }
}
