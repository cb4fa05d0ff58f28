//! Wake-ups: how a task learns that a watermark it watches has moved.

use crate::sync::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst, Step, fence};
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};

/// A cell that holds the waker of whoever watches, for any number of publishers.
///
/// On threads an atomic cell; on bare metal one under a critical section: an atomic cell's register
/// by a task of higher priority, over a wake it has preempted, would wake itself for ever.
pub trait WakerCell {
    /// Keeps `waker` for the next wake, in place of an earlier one of the same task.
    fn register(&self, waker: &Waker);
    /// Wakes what is registered, if anything.
    fn wake(&self);
}

/// Tells a watcher that a watermark has moved; touches the waker cell only if somebody wants to
/// know.
///
/// ```text
/// watcher                           publisher
/// register the waker                store the watermark (Release)
/// want = true                       fence(SeqCst)
/// fence(SeqCst)                     if want { want = false; wake }
/// look at the watermark, or sleep
/// ```
///
/// Of the two looks at least one sees the other side's store, so no wake-up is lost (P2, R9);
/// nobody loops, so none lives on itself. With several publishers, each one that has taken `want`
/// back wakes afterwards. A watcher may be woken for nothing.
#[derive(Debug, Default)]
pub struct Wake<C> {
    want: AtomicBool,
    cell: C,
}

impl<C> Wake<C> {
    /// Nobody watches yet.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new(cell: C) -> Self {
        Self { want: AtomicBool::new(false), cell }
    }

    /// Nobody watches yet.
    #[cfg(loom)]
    #[must_use]
    pub fn new(cell: C) -> Self {
        Self { want: AtomicBool::new(false), cell }
    }
}

impl<C: WakerCell> Wake<C> {
    /// Wakes whoever watches. To be called after a watermark was published.
    #[inline]
    pub fn notify(&self) {
        fence(Step::Notify, SeqCst);
        if self.want.load(Relaxed) {
            self.wake();
        }
    }

    /// Wakes who wants to be woken.
    #[cfg_attr(target_pointer_width = "32", inline(never))] // Only the look before it is worth a copy wherever somebody publishes.
    fn wake(&self) {
        // First take it back, then wake: in the other order, the wish of the woken could be taken back unheard.
        self.want.store(false, Relaxed);
        self.cell.wake();
    }

    /// Ready with what `condition` finds; else pending, and woken when it may find something.
    pub fn poll_until<T>(&self, cx: &mut Context<'_>, mut condition: impl FnMut() -> Option<T>) -> Poll<T> {
        self.poll_watching(false, cx, &mut condition)
    }

    /// The same, for who has registered its waker already (`watches`), or not yet.
    #[cfg_attr(target_pointer_width = "64", inline)]
    fn poll_watching<T>(
        &self,
        mut watches: bool,
        cx: &mut Context<'_>,
        condition: &mut impl FnMut() -> Option<T>,
    ) -> Poll<T> {
        // A loop, and not two looks in a row: a condition is often large, and so stands here once.
        loop {
            if let Some(found) = condition() {
                return Poll::Ready(found);
            }
            if watches {
                return Poll::Pending;
            }
            watches = true;
            self.watch(cx.waker());
        }
    }

    /// As [`until`](Self::until), for who has just found something and likely finds nothing now: registers before its first look, which so is the only one
    /// before it sleeps.
    ///
    /// Cancel-safe, as that is.
    pub fn until_next<T>(&self, mut condition: impl FnMut() -> Option<T>) -> impl Future<Output = T> {
        let mut is_first = true;
        poll_fn(move |cx| {
            if is_first {
                self.watch(cx.waker());
            }
            let watches = core::mem::replace(&mut is_first, false);
            self.poll_watching(watches, cx, &mut condition)
        })
    }

    /// From now on `waker` is woken. To be followed by a look.
    #[inline(never)]
    fn watch(&self, waker: &Waker) {
        self.cell.register(waker);
        self.want.store(true, Relaxed);
        fence(Step::Want, SeqCst);
    }

    /// Waits until `condition` finds something.
    ///
    /// Cancel-safe: dropped at any time, it costs at most one wake-up for nothing. Polled after its end, it looks again: unlike the future of an
    /// `async fn`, it never panics.
    pub fn until<T>(&self, mut condition: impl FnMut() -> Option<T>) -> impl Future<Output = T> {
        poll_fn(move |cx| self.poll_until(cx, &mut condition))
    }
}

#[cfg(feature = "defmt")]
impl<C> defmt::Format for Wake<C> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Wake {{ want: {=bool} }}", self.want.load(Relaxed));
    }
}
