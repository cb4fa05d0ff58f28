//! Virtual time: what happens next, and who sleeps until when. Nothing ever waits; time jumps to the next event.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::task::Waker;

/// Microseconds since the beginning of the simulation.
pub(crate) type Micros = u64;

/// The future of a simulation, in order of time and, within one microsecond, of arrangement.
pub(crate) struct Timeline<E> {
    now: Micros,
    arranged: u64,
    upcoming: BinaryHeap<Reverse<Upcoming<E>>>,
    sleepers: Vec<Sleeper>,
    free: Vec<usize>,
}

/// A sleeping task; a place is used again when its task is awake or gone.
#[derive(Default)]
struct Sleeper {
    waker: Option<Waker>,
    /// Tells this use of the place from earlier ones.
    lap: u32,
}

/// Names a sleep, so that it can be cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SleepId {
    place: usize,
    lap: u32,
}

struct Upcoming<E> {
    at: Micros,
    order: u64,
    what: What<E>,
}

enum What<E> {
    Wake(SleepId),
    Event(E),
}

impl<E> Timeline<E> {
    pub(crate) fn new() -> Self {
        Self { now: 0, arranged: 0, upcoming: BinaryHeap::new(), sleepers: Vec::new(), free: Vec::new() }
    }

    /// The present.
    pub(crate) const fn now(&self) -> Micros {
        self.now
    }

    /// Lets `event` happen at `at`, or now if that is past.
    pub(crate) fn arrange(&mut self, at: Micros, event: E) {
        self.push(at, What::Event(event));
    }

    /// Wakes the task at `at`.
    pub(crate) fn sleep(&mut self, at: Micros, waker: Waker) -> SleepId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.sleepers.push(Sleeper::default());
            self.sleepers.len() - 1
        });
        self.sleepers[place].waker = Some(waker);
        let id = SleepId { place, lap: self.sleepers[place].lap };
        self.push(at, What::Wake(id));
        id
    }

    /// The task need not be woken any more.
    pub(crate) fn cancel(&mut self, id: SleepId) {
        drop(self.end_sleep(id));
    }

    /// Goes on to the next event and returns it, waking on the way all who sleep until then; `None` when somebody was woken first or
    /// nothing is left to come, which [`is_over`](Self::is_over) tells apart.
    pub(crate) fn advance(&mut self) -> Option<E> {
        while let Some(Reverse(next)) = self.upcoming.pop() {
            match next.what {
                What::Event(event) => {
                    self.now = next.at;
                    return Some(event);
                }
                What::Wake(id) => {
                    if let Some(waker) = self.end_sleep(id) {
                        self.now = next.at;
                        waker.wake();
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Whether nothing will ever happen again.
    pub(crate) fn is_over(&self) -> bool {
        self.upcoming.is_empty()
    }

    fn push(&mut self, at: Micros, what: What<E>) {
        self.arranged += 1;
        self.upcoming.push(Reverse(Upcoming { at: at.max(self.now), order: self.arranged, what }));
    }

    fn end_sleep(&mut self, id: SleepId) -> Option<Waker> {
        let sleeper = &mut self.sleepers[id.place];
        if sleeper.lap != id.lap {
            return None;
        }
        sleeper.lap = sleeper.lap.wrapping_add(1);
        self.free.push(id.place);
        sleeper.waker.take()
    }
}

impl<E> Ord for Upcoming<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl<E> PartialOrd for Upcoming<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Upcoming<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<E> Eq for Upcoming<E> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Ready;

    #[test]
    fn events_happen_in_order_of_time_and_then_of_arrangement() {
        let mut line = Timeline::new();
        for (at, name) in [(30, "c"), (10, "a"), (30, "d"), (20, "b")] {
            line.arrange(at, name);
        }
        let seen: Vec<_> = std::iter::from_fn(|| line.advance().map(|event| (line.now(), event))).collect();
        assert_eq!(seen, [(10, "a"), (20, "b"), (30, "c"), (30, "d")]);
        line.arrange(5, "late");
        assert_eq!((line.advance(), line.now()), (Some("late"), 30));
        assert!(line.is_over());
    }

    #[test]
    fn a_cancelled_sleep_wakes_nobody_not_even_the_next_in_its_place() {
        let mut line = Timeline::<()>::new();
        let ready = Ready::new();
        let first = line.sleep(10, ready.waker(1));
        line.cancel(first);
        let second = line.sleep(20, ready.waker(2));
        assert_eq!(first.place, second.place);
        line.cancel(first);
        assert_eq!(line.advance(), None);
        assert_eq!((line.now(), ready.mask()), (20, 1 << 2));
    }
}
