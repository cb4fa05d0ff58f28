//! The tasks of one node, polled one at a time in an order the seed chooses.
//!
//! ```text
//!   wake ---> Ready (one bit a task) ---> Tasks::poll_one: a random set bit, cleared, its future polled once
//! ```
//! Between two polls the node may crash: every await point of every task is reached.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::prng::Prng;

/// Which tasks of a node are ready: bit `n` stands for task `n`, the last one for the node's start.
#[derive(Clone, Debug)]
pub(crate) struct Ready(Arc<AtomicU64>);

impl Ready {
    /// How many tasks there can be.
    const TASKS: usize = 63;
    /// The start, which comes before all tasks.
    pub(crate) const START: usize = 63;

    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(0)))
    }

    /// The ready tasks.
    pub(crate) fn mask(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// What wakes `task`. Cloning and waking it allocate nothing.
    pub(crate) fn waker(&self, task: usize) -> Waker {
        Waker::from(Arc::new(TaskWaker { ready: Arc::clone(&self.0), bit: 1 << task }))
    }

    pub(crate) fn clear(&self, task: usize) {
        self.0.fetch_and(!(1 << task), Ordering::Relaxed);
    }
}

struct TaskWaker {
    ready: Arc<AtomicU64>,
    bit: u64,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.fetch_or(self.bit, Ordering::Relaxed);
    }
}

/// The tasks of a node that has started. A task ends with `T`, if it ever does.
pub(crate) struct Tasks<'t, T> {
    ready: Ready,
    tasks: Vec<Task<'t, T>>,
}

struct Task<'t, T> {
    name: &'static str,
    waker: Waker,
    future: Option<Pin<Box<dyn Future<Output = T> + 't>>>,
}

/// A poll and what came of it.
pub(crate) struct Polled<T> {
    /// The task's name.
    pub(crate) name: &'static str,
    /// What it ended with.
    pub(crate) end: Option<T>,
}

impl<'t, T> Tasks<'t, T> {
    /// No tasks yet; their readiness is shown in `ready`.
    pub(crate) fn new(ready: Ready) -> Self {
        Self { ready, tasks: Vec::with_capacity(Ready::TASKS) }
    }

    /// Adds a task, ready to run.
    ///
    /// # Panics
    /// There are 63 already.
    pub(crate) fn spawn(&mut self, name: &'static str, future: impl Future<Output = T> + 't) {
        assert!(self.tasks.len() < Ready::TASKS, "one bit a task");
        let waker = self.ready.waker(self.tasks.len());
        waker.wake_by_ref();
        self.tasks.push(Task { name, waker, future: Some(Box::pin(future)) });
    }

    /// Chooses one of the ready tasks and takes it off the ready ones.
    pub(crate) fn choose(&self, prng: &mut Prng) -> Option<usize> {
        let task = prng.pick_bit(self.ready.mask() & !(1 << Ready::START))? as usize;
        self.ready.clear(task);
        Some(task)
    }

    /// What makes `task` ready again.
    pub(crate) fn waker(&self, task: usize) -> Option<Waker> {
        self.tasks.get(task).map(|task| task.waker.clone())
    }

    /// Polls `task` once; `None` if it has ended before.
    pub(crate) fn poll(&mut self, task: usize) -> Option<Polled<T>> {
        let Task { name, waker, future } = self.tasks.get_mut(task)?;
        let end = match future.as_mut()?.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Ready(end) => {
                *future = None;
                Some(end)
            }
            Poll::Pending => None,
        };
        Some(Polled { name, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    async fn yield_once() {
        let mut yielded = false;
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    fn order(seed: u64) -> Vec<u8> {
        let seen = RefCell::new(Vec::new());
        let mut tasks = Tasks::new(Ready::new());
        for id in 0..4 {
            let seen = &seen;
            tasks.spawn("task", async move {
                for _ in 0..3 {
                    seen.borrow_mut().push(id);
                    yield_once().await;
                }
            });
        }
        let mut prng = Prng::new(seed, "schedule");
        while let Some(task) = tasks.choose(&mut prng) {
            tasks.poll(task);
        }
        drop(tasks);
        seen.into_inner()
    }

    #[test]
    fn the_seed_alone_decides_the_order_of_the_tasks_and_all_of_them_run() {
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        assert!((0..4).all(|id| order(3).iter().filter(|&&seen| seen == id).count() == 3));
    }

    #[test]
    fn a_task_that_has_ended_is_polled_no_more_however_often_it_is_woken() {
        let mut tasks = Tasks::new(Ready::new());
        tasks.spawn("once", async { 7 });
        let mut prng = Prng::new(1, "schedule");
        let task = tasks.choose(&mut prng).unwrap();
        assert_eq!(tasks.poll(task).unwrap().end, Some(7));
        tasks.waker(task).unwrap().wake();
        assert_eq!(tasks.choose(&mut prng), Some(task));
        assert!(tasks.poll(task).is_none());
    }
}
