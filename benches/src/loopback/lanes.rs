//! The executor of a node that has one thread.

use async_executor::{LocalExecutor, Task};
use futures_lite::future::{self, FutureExt};

/// Tasks on one thread: those of a later lane run while those of the earlier ones have nothing to do.
///
/// So one frame takes along all that there is to say, and one sync what all clients have proposed. Peers and clients must wait for answers now and then, as
/// those of a cluster do: whoever never stops would keep the log from being written.
#[derive(Default)]
pub(crate) struct Lanes<'a> {
    /// What comes in: frames, deadlines, committed commands, clients.
    pub(crate) input: LocalExecutor<'a>,
    /// What goes out: frames.
    pub(crate) output: LocalExecutor<'a>,
    /// What blocks: the log.
    pub(crate) log: LocalExecutor<'a>,
}

impl<'a> Lanes<'a> {
    /// Runs them until `end` is done.
    pub(crate) async fn run<T: 'a>(&self, end: impl Future<Output = T> + 'a) -> T {
        let end: Task<T> = self.input.spawn(end);
        end.or(self.run_for_ever()).await
    }

    async fn run_for_ever<T>(&self) -> T {
        loop {
            if self.input.try_tick() || self.output.try_tick() {
                continue;
            }
            // What has come in meanwhile goes first.
            future::yield_now().await;
            if !self.input.try_tick() && !self.log.try_tick() {
                self.input.tick().or(self.output.tick()).or(self.log.tick()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_later_lane_runs_when_the_earlier_ones_have_nothing_to_do() {
        let (lanes, seen) = (Lanes::default(), Rc::new(RefCell::new(Vec::new())));
        let step = |name| {
            let seen = Rc::clone(&seen);
            async move { seen.borrow_mut().push(name) }
        };
        let log = lanes.log.spawn(step("log"));
        lanes.output.spawn(step("output")).detach();
        lanes.input.spawn(step("input")).detach();
        lanes.input.spawn(step("more input")).detach();
        future::block_on(lanes.run(log));
        assert_eq!(*seen.borrow(), ["input", "more input", "output", "log"]);
    }
}
