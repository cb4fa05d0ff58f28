//! Wake-ups, one step after the other. Their concurrency is explored in `loom.rs`.
//!
//! covers: P2, R9
#![cfg(not(loom))]

use quoring_ring::{Wake, WakerCell};
use std::cell::Cell;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Counts how often it was used.
#[derive(Default)]
struct Counting {
    registered: Cell<u32>,
    woken: Cell<u32>,
}

impl WakerCell for &Counting {
    fn register(&self, _: &Waker) {
        self.registered.set(self.registered.get() + 1);
    }

    fn wake(&self) {
        self.woken.set(self.woken.get() + 1);
    }
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

#[test]
fn a_publisher_whom_nobody_watches_leaves_the_cell_alone() {
    let cell = Counting::default();
    let wake = Wake::new(&cell);
    wake.notify();
    assert_eq!(wake.poll_until(&mut context(), || Some(5)), Poll::Ready(5));
    wake.notify();
    assert_eq!((cell.registered.get(), cell.woken.get()), (0, 0));
}

#[test]
fn a_watcher_is_woken_once_for_each_time_it_waits() {
    let cell = Counting::default();
    let wake = Wake::new(&cell);
    for waits in 1..=3 {
        assert_eq!(wake.poll_until(&mut context(), || None::<()>), Poll::Pending);
        wake.notify();
        wake.notify();
        assert_eq!((cell.registered.get(), cell.woken.get()), (waits, waits));
    }
}

/// Without the second look, it would sleep on what has come already.
#[test]
fn what_comes_while_a_watcher_registers_is_seen() {
    let cell = Counting::default();
    let wake = Wake::new(&cell);
    let condition = || (cell.registered.get() == 1).then_some(());
    assert_eq!(wake.poll_until(&mut context(), condition), Poll::Ready(()));
}

/// One look before it sleeps, and one when it is woken.
#[test]
fn who_waits_for_what_comes_next_looks_once_before_it_sleeps() {
    let cell = Counting::default();
    let wake = Wake::new(&cell);
    let (looks, there) = (Cell::new(0), Cell::new(false));
    let mut wait = pin!(wake.until_next(|| {
        looks.set(looks.get() + 1);
        assert_eq!(cell.registered.get(), 1, "before the first look");
        there.get().then_some(())
    }));
    assert_eq!(wait.as_mut().poll(&mut context()), Poll::Pending);
    there.set(true);
    wake.notify();
    assert_eq!(wait.as_mut().poll(&mut context()), Poll::Ready(()));
    assert_eq!((looks.get(), cell.woken.get()), (2, 1));
}

/// The future of an `async fn` would panic.
///
/// covers: F5
#[test]
fn a_wait_that_is_over_looks_again_if_it_is_polled_again() {
    let cell = Counting::default();
    let wake = Wake::new(&cell);
    let looks = Cell::new(0);
    let mut wait = pin!(wake.until(|| {
        looks.set(looks.get() + 1);
        (looks.get() % 3 != 0).then_some(looks.get())
    }));
    for look in [1, 2, 4, 5] {
        assert_eq!(wait.as_mut().poll(&mut context()), Poll::Ready(look));
    }
    assert_eq!(cell.registered.get(), 1, "the third look found nothing, and the fourth came after it");
}
