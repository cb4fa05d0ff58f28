//! The clock of an `embassy-time` driver.

use embassy_time::{TICK_HZ, Timer};
use quoring_core::Instant;

use super::Clock;

/// Microseconds since the board started, by the time driver that is linked into the firmware, whatever its tick rate.
///
/// Takes no memory. Tasks that sleep run on an executor that this driver can wake: any, or embassy's, if the driver keeps its queue in the tasks.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EmbassyClock;

impl Clock for EmbassyClock {
    fn now(&self) -> Instant {
        RATE.instant(embassy_time::Instant::now().as_ticks())
    }

    async fn sleep_until(&self, deadline: Instant) {
        // A timer that is over when it is made would still take a round of the executor.
        if self.now() < deadline {
            Timer::at(embassy_time::Instant::from_ticks(RATE.ticks(deadline))).await;
        }
    }
}

const RATE: Rate = Rate::of(TICK_HZ);

/// How long a tick is: `ticks` of them last `micros` microseconds, and the two have no common divisor.
struct Rate {
    ticks: u64,
    micros: u64,
}

impl Rate {
    /// This many ticks a second, at least one.
    const fn of(hertz: u64) -> Self {
        let (mut divisor, mut rest) = (1_000_000, hertz);
        while rest != 0 {
            (divisor, rest) = (rest, divisor % rest);
        }
        Self { ticks: hertz / divisor, micros: 1_000_000 / divisor }
    }

    /// When this tick begins, rounded down.
    const fn instant(&self, ticks: u64) -> Instant {
        Instant(scale(ticks, self.ticks, self.micros, Rounding::Down))
    }

    /// The first tick that does not begin before `instant`, so that nobody who waits for it wakes up early.
    const fn ticks(&self, instant: Instant) -> u64 {
        scale(instant.0, self.micros, self.ticks, Rounding::Up)
    }
}

enum Rounding {
    Down,
    Up,
}

/// `value * to / from`, or the end of time. Both factors are below 2^33, and one below 2^20: what is left of a division by one fits times the other.
const fn scale(value: u64, from: u64, to: u64, rounding: Rounding) -> u64 {
    let rest = (value % from) * to;
    let rest = match rounding {
        Rounding::Down => rest / from,
        Rounding::Up => rest.div_ceil(from),
    };
    (value / from).saturating_mul(to).saturating_add(rest)
}

const _: () = assert!(TICK_HZ < 1 << 33, "the scale has room for 2^20 times 2^33");

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use embassy_futures::select::{Either, select};
    use futures_lite::future::block_on;
    use quoring_core::Duration;

    use super::*;

    /// Slow, fast, powers of two, of ten, and of chips.
    const RATES: [u64; 12] = [
        1,
        100,
        1000,
        32_768,
        1_000_000,
        1_048_576,
        12_500_000,
        25_000_000,
        131_072_000,
        168_000_000,
        1_000_000_000,
        5_242_880_000,
    ];

    fn values() -> Vec<u64> {
        let powers = (0..64).map(|bits| 1 << bits);
        let round = powers.chain((0..20).map(|digits| 10_u64.pow(digits)));
        let near = round.flat_map(|value| (0..4).map(move |step| value.saturating_add(step)));
        near.chain([0, 999_999, 1_500_001, u64::MAX]).collect()
    }

    fn exact(value: u64, from: u64, to: u64) -> (u64, u64) {
        let product = u128::from(value) * u128::from(to);
        let fit = |value: u128| u64::try_from(value).unwrap_or(u64::MAX);
        (fit(product / u128::from(from)), fit(product.div_ceil(u128::from(from))))
    }

    /// covers: F3
    #[test]
    fn time_is_exact_at_every_rate_and_ends_at_the_last_microsecond() {
        for hertz in RATES {
            let rate = Rate::of(hertz);
            for value in values() {
                assert_eq!(rate.instant(value).0, exact(value, hertz, 1_000_000).0, "{value} ticks at {hertz}");
                assert_eq!(rate.ticks(Instant(value)), exact(value, 1_000_000, hertz).1, "{value} us at {hertz}");
            }
        }
    }

    /// covers: F3
    #[test]
    fn the_tick_of_a_deadline_is_the_first_that_is_not_before_it() {
        for hertz in RATES {
            let rate = Rate::of(hertz);
            for deadline in values().into_iter().map(Instant) {
                let tick = rate.ticks(deadline);
                assert!(tick == u64::MAX || rate.instant(tick) >= deadline, "{deadline:?} at {hertz}");
                assert!(tick == 0 || rate.instant(tick - 1) < deadline, "{deadline:?} at {hertz}");
            }
        }
    }

    /// covers: F3
    #[test]
    fn sleep_ends_at_the_deadline_and_not_before() {
        let clock = EmbassyClock;
        block_on(async {
            let deadline = clock.now() + Duration::from_millis(5);
            clock.sleep_until(deadline).await;
            assert!(clock.now() >= deadline);
            clock.sleep_until(Instant(0)).await;
            let never = select(clock.sleep_until(Instant(u64::MAX)), clock.sleep_until(clock.now() + Duration(1)));
            assert!(matches!(never.await, Either::Second(())));
        });
    }
}
