//! The waker cells of this platform.

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
