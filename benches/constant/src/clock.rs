//! Time, which the run moves on.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use quoring::{Clock, Duration, Instant};

/// Tasks that may sleep at a time: those of the nodes, and all clients.
const SLEEPERS: usize = 64;

/// The one clock of all. Its memory is there from the beginning.
#[derive(Clone, Debug)]
pub(crate) struct Hand(Rc<Time>);

#[derive(Debug)]
struct Time {
    now: Cell<Instant>,
    sleepers: RefCell<Vec<(Instant, Waker)>>,
}

impl Hand {
    pub(crate) fn new() -> Self {
        let sleepers = RefCell::new(Vec::with_capacity(SLEEPERS));
        Self(Rc::new(Time { now: Cell::new(Instant(0)), sleepers }))
    }

    /// Moves time on by `step`, and wakes those whose time has come.
    pub(crate) fn advance(&self, step: Duration) {
        self.move_to(Instant(self.now().0 + step.0));
    }

    /// Moves time on to when the next sleeper wakes; whether there is one.
    pub(crate) fn skip(&self) -> bool {
        let next = self.0.sleepers.borrow().iter().map(|(deadline, _)| *deadline).min();
        next.inspect(|&next| self.move_to(next)).is_some()
    }

    pub(crate) async fn sleep(&self, time: Duration) {
        self.sleep_until(Instant(self.now().0 + time.0)).await;
    }

    fn move_to(&self, now: Instant) {
        self.0.now.set(now.max(self.now()));
        self.0.sleepers.borrow_mut().retain(|(deadline, waker)| {
            let sleeps = *deadline > now;
            if !sleeps {
                waker.wake_by_ref();
            }
            sleeps
        });
    }

    /// A task has one place, however many of its parts sleep: it looks at all of them when it is woken.
    fn register(&self, deadline: Instant, cx: &Context<'_>) {
        let mut sleepers = self.0.sleepers.borrow_mut();
        match sleepers.iter_mut().find(|(_, waker)| waker.will_wake(cx.waker())) {
            Some((earlier, _)) => *earlier = deadline.min(*earlier),
            None => sleepers.push((deadline, cx.waker().clone())),
        }
    }
}

impl Clock for Hand {
    fn now(&self) -> Instant {
        self.0.now.get()
    }

    async fn sleep_until(&self, deadline: Instant) {
        poll_fn(|cx| {
            if self.now() >= deadline {
                return Poll::Ready(());
            }
            self.register(deadline, cx);
            Poll::Pending
        })
        .await;
    }
}
