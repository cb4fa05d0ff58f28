//! One executor and one clock. Only tasks that were woken run, and time passes only when nobody has anything left to do: a lost wake-up
//! shows as time that passes.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use quoring::{Clock, Duration, Instant};

/// A world in which nothing happens for so long is stuck.
const END_OF_TIME: Instant = Instant(600_000_000);

/// A moment in which so much happens is a live-lock.
const STEPS_PER_MOMENT: usize = 1_000_000;

/// The test itself, among the tasks.
const MAIN: usize = 0;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// The executor.
#[derive(Default)]
pub(crate) struct World {
    tasks: RefCell<Vec<Option<Task>>>,
    ready: Arc<Mutex<VecDeque<usize>>>,
    clock: TestClock,
    /// Who waits until nobody else has anything to do.
    idle: RefCell<Vec<Waker>>,
    /// Looks at everything after each step.
    inspections: RefCell<Vec<Box<dyn Fn()>>>,
}

impl World {
    /// Starts a task; its number.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) -> usize {
        let mut tasks = self.tasks.borrow_mut();
        tasks.push(Some(Box::pin(task)));
        self.ready.lock().unwrap().push_back(tasks.len());
        tasks.len()
    }

    /// Drops a task at its await point.
    pub(crate) fn kill(&self, task: usize) {
        let killed = self.tasks.borrow_mut()[task - 1].take();
        drop(killed);
    }

    pub(crate) fn inspect(&self, inspection: impl Fn() + 'static) {
        self.inspections.borrow_mut().push(Box::new(inspection));
    }

    pub(crate) fn clock(&self) -> TestClock {
        self.clock.clone()
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(crate) async fn sleep(&self, span: Duration) {
        self.clock.sleep_until(self.now() + span).await;
    }

    /// Waits until nobody has anything to do at this moment.
    pub(crate) async fn idle(&self) {
        let mut waited = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut waited, true) {
                return Poll::Ready(());
            }
            self.idle.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Runs everything until `main` is done.
    pub(crate) fn run<T>(&self, main: impl Future<Output = T>) -> T {
        let (mut main, main_waker) = (pin!(main), self.waker(MAIN));
        main_waker.wake_by_ref();
        let mut steps = 0;
        loop {
            let next = self.ready.lock().unwrap().pop_front();
            match next {
                Some(MAIN) => {
                    if let Poll::Ready(value) = main.as_mut().poll(&mut Context::from_waker(&main_waker)) {
                        return value;
                    }
                }
                Some(task) => self.step(task),
                None => {
                    steps = 0;
                    self.rest();
                }
            }
            steps += 1;
            assert!(steps < STEPS_PER_MOMENT, "tasks wake each other for ever");
            self.inspections.borrow().iter().for_each(|inspect| inspect());
        }
    }

    fn step(&self, task: usize) {
        // Not borrowed while it runs: it may start and kill others.
        let Some(mut future) = self.tasks.borrow_mut()[task - 1].take() else { return };
        if future.as_mut().poll(&mut Context::from_waker(&self.waker(task))).is_pending() {
            self.tasks.borrow_mut()[task - 1] = Some(future);
        }
    }

    fn rest(&self) {
        let idle = self.idle.take();
        if idle.is_empty() {
            self.clock.advance();
        }
        idle.into_iter().for_each(Waker::wake);
    }

    fn waker(&self, task: usize) -> Waker {
        Arc::new(TaskWaker { task, ready: Arc::clone(&self.ready) }).into()
    }
}

struct TaskWaker {
    task: usize,
    ready: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().unwrap();
        if !ready.contains(&self.task) {
            ready.push_back(self.task);
        }
    }
}

/// The clock of all nodes.
#[derive(Clone, Default)]
pub(crate) struct TestClock(Rc<Sleepers>);

#[derive(Default)]
struct Sleepers {
    now: Cell<Instant>,
    number: Cell<u64>,
    asleep: RefCell<BTreeMap<(Instant, u64), Waker>>,
}

impl TestClock {
    /// Lets time pass until the next sleeper wakes up.
    fn advance(&self) {
        let next = self.0.asleep.borrow_mut().pop_first();
        let ((deadline, _), waker) = next.expect("everybody waits for somebody else");
        assert!(deadline < END_OF_TIME, "what the test waits for never happens");
        self.0.now.set(deadline.max(self.now()));
        waker.wake();
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        self.0.now.get()
    }

    async fn sleep_until(&self, deadline: Instant) {
        let number = self.0.number.replace(self.0.number.get() + 1);
        let sleeping = Sleeping { clock: self, key: (deadline, number) };
        poll_fn(|cx| {
            if sleeping.clock.now() >= deadline {
                return Poll::Ready(());
            }
            self.0.asleep.borrow_mut().insert(sleeping.key, cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Who sleeps no longer is not waited for.
struct Sleeping<'c> {
    clock: &'c TestClock,
    key: (Instant, u64),
}

impl Drop for Sleeping<'_> {
    fn drop(&mut self) {
        self.clock.0.asleep.borrow_mut().remove(&self.key);
    }
}
