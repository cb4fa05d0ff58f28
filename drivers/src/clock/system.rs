//! The monotonic clock of the host.

use std::time;

use async_io::Timer;
use quoring_core::Instant;

use super::Clock;

/// Microseconds since this clock was made.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: time::Instant,
}

impl SystemClock {
    /// A clock that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    async fn sleep_until(&self, deadline: Instant) {
        while self.now() < deadline {
            match self.origin.checked_add(time::Duration::from_micros(deadline.0)) {
                Some(deadline) => Timer::at(deadline).await,
                None => Timer::never().await, // Beyond what the host can tell.
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use embassy_futures::select::{Either, select};
    use futures_lite::future::block_on;
    use quoring_core::Duration;

    use super::*;

    #[test]
    fn sleep_ends_at_the_deadline_and_not_before() {
        let clock = SystemClock::new();
        block_on(async {
            let deadline = clock.now() + Duration::from_millis(5);
            clock.sleep_until(deadline).await;
            assert!(clock.now() >= deadline);
            clock.sleep_until(Instant(0)).await;
        });
    }

    #[test]
    fn a_later_sleep_does_not_hold_up_an_earlier_one() {
        let clock = SystemClock::new();
        let soon = clock.now() + Duration::from_millis(2);
        let first = block_on(select(clock.sleep_until(Instant(u64::MAX)), clock.sleep_until(soon)));
        assert!(matches!(first, Either::Second(())));
    }
}
