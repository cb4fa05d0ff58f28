//! Tasks, run one by one as they are woken.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Wake, Waker};

/// A task with its waker: all memory it takes is there before it runs.
pub(crate) struct Task {
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    woken: Arc<Woken>,
    waker: Waker,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

impl Task {
    pub(crate) fn new(future: impl Future<Output = ()> + 'static) -> Self {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        Self { future: Some(Box::pin(future)), waker: Waker::from(Arc::clone(&woken)), woken }
    }

    /// Runs it if it was woken; whether it was.
    pub(crate) fn run(&mut self) -> bool {
        let Some(future) = self.future.as_mut().filter(|_| self.woken.0.swap(false, Relaxed)) else { return false };
        if future.as_mut().poll(&mut Context::from_waker(&self.waker)).is_ready() {
            self.future = None;
        }
        true
    }
}
