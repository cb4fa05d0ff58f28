//! The clocks of the nodes: each starts anywhere, runs at its own rate and may stand still for a while.

use std::rc::Rc;

use quoring::Clock;
use quoring_core::Instant;

use crate::tally::Fault;
use crate::timeline::Micros;
use crate::world::World;

const MILLION: u128 = 1_000_000;

/// How one node's clock relates to the world's time.
///
/// ```text
///   local                  .--   rate: 1 + ppm / 10^6
///     |              ____./
///     |         ____/    ^ thaw
///     |    .---'    ^ frozen
///     '---------------------------> world
/// ```
#[derive(Clone, Debug)]
pub(crate) struct LocalClock {
    /// At this moment of the world ...
    world: Micros,
    /// ... the clock showed this; since then it was frozen first and then ran at one rate.
    local: u64,
    thaw: Micros,
    ppm: i32,
    /// The present freeze has been seen by the node.
    seen: bool,
}

impl LocalClock {
    /// A clock that shows `local` at moment `world`.
    pub(crate) const fn new(world: Micros, local: u64) -> Self {
        Self { world, local, thaw: 0, ppm: 0, seen: true }
    }

    /// What the clock shows at `world`, not before the last change.
    pub(crate) fn show(&self, world: Micros) -> u64 {
        let run = world.saturating_sub(self.world.max(self.thaw));
        self.local + (u128::from(run) * self.rate() / MILLION) as u64
    }

    /// The first moment of the world at which the clock shows `local`, unless it is changed before.
    pub(crate) fn reach(&self, local: u64) -> Micros {
        let span = u128::from(local.saturating_sub(self.local));
        if span == 0 {
            return self.world;
        }
        let run = (span * MILLION).div_ceil(self.rate());
        self.world.max(self.thaw).saturating_add(u64::try_from(run).unwrap_or(u64::MAX))
    }

    /// Runs at `ppm` millionths more than the world from now on.
    pub(crate) fn drift(&mut self, world: Micros, ppm: i32) {
        self.rebase(world);
        self.ppm = ppm;
    }

    /// Stands still until `thaw`.
    pub(crate) fn freeze(&mut self, world: Micros, thaw: Micros) {
        self.rebase(world);
        self.thaw = self.thaw.max(thaw);
        self.seen = false;
    }

    /// Whether this is the first look at a freeze.
    fn notice_freeze(&mut self, world: Micros) -> bool {
        world < self.thaw && !std::mem::replace(&mut self.seen, true)
    }

    fn rebase(&mut self, world: Micros) {
        self.local = self.show(world);
        self.world = world;
    }

    fn rate(&self) -> u128 {
        (1_000_000 + i64::from(self.ppm)) as u128
    }
}

/// A node's handle on its clock.
pub(crate) struct SimClock {
    pub(crate) world: Rc<World>,
    pub(crate) node: usize,
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        let (world, now) = (&self.world, self.world.now());
        world.looks_at_clock();
        let mut clock = world.clocks[self.node].borrow_mut();
        if clock.notice_freeze(now) {
            world.count(Fault::ClockStalls);
        }
        Instant(clock.show(now))
    }

    async fn sleep_until(&self, deadline: Instant) {
        // The clock may have been frozen or slowed down since the time to wake was computed: look again.
        while self.now() < deadline {
            let moment = self.world.clocks[self.node].borrow().reach(deadline.0);
            self.world.sleep_until(moment).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_drifts_from_the_moment_it_is_told_to_and_never_goes_back() {
        let mut clock = LocalClock::new(1000, 50);
        assert_eq!(clock.show(1100), 150);
        clock.drift(1100, -60_000);
        assert_eq!((clock.show(1100), clock.show(1_001_100)), (150, 150 + 940_000));
        clock.drift(1_001_100, 60_000);
        assert_eq!(clock.show(2_001_100), 150 + 940_000 + 1_060_000);
    }

    #[test]
    fn a_frozen_clock_stands_still_and_goes_on_from_there() {
        let mut clock = LocalClock::new(0, 0);
        clock.freeze(100, 500);
        assert_eq!((clock.show(100), clock.show(499), clock.show(600)), (100, 100, 200));
        assert!(clock.notice_freeze(200) && !clock.notice_freeze(300) && !clock.notice_freeze(600));
        clock.freeze(600, 700);
        assert_eq!(clock.show(1000), 500);
    }

    #[test]
    fn a_deadline_is_reached_at_the_first_moment_the_clock_shows_it() {
        for ppm in [-60_000, -1, 0, 1, 33_333, 60_000] {
            let mut clock = LocalClock::new(10, 1_000);
            clock.drift(20, ppm);
            clock.freeze(30, 45);
            for deadline in [1_021, 1_022, 1_500, 77_777, 1_000_000_007] {
                let moment = clock.reach(deadline);
                assert!(clock.show(moment) >= deadline && clock.show(moment - 1) < deadline, "{ppm} {deadline}");
            }
            assert!(clock.reach(5) <= 30);
            assert!(clock.reach(u64::MAX) > u64::MAX / 2);
        }
    }
}
