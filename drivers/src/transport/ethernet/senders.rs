//! Senders that wait for room, in turns: one is woken, and wakes the next when it is done.

use core::mem::replace;
use core::task::Waker;

/// How many may wait. All that come then drop their frames.
const PLACES: usize = 8;

/// Who waits.
pub(super) struct Senders {
    places: [Place; PLACES],
    /// How many sleep.
    asleep: usize,
    /// The place after that of who was woken last.
    next: usize,
}

/// Free, or a sender's.
enum Place {
    Free,
    Asleep(Waker),
    /// Woken, and not back yet.
    Awake,
}

/// A sender's part, in its future.
pub(super) struct Turn {
    place: Option<usize>,
}

impl Senders {
    pub(super) const fn new() -> Self {
        Self { places: [const { Place::Free }; PLACES], asleep: 0, next: 0 }
    }

    /// Somebody waits who has not been woken.
    pub(super) const fn wait(&self) -> bool {
        self.asleep > 0
    }

    /// A sender waits, if there is a place for it; the waker that it displaces, to drop it outside of the lock.
    pub(super) fn join(&mut self, turn: &mut Turn, waker: &Waker) -> Option<Option<Waker>> {
        let free = || self.places.iter().position(|place| matches!(place, Place::Free));
        let at = turn.place.or_else(free)?;
        turn.place = Some(at);
        if matches!(self.places.get(at), Some(Place::Asleep(asleep)) if asleep.will_wake(waker)) {
            return Some(None);
        }
        Some(self.put(at, Place::Asleep(waker.clone())))
    }

    /// A sender waits no longer; its waker.
    pub(super) fn leave(&mut self, turn: &mut Turn) -> Option<Waker> {
        let at = turn.place.take()?;
        self.put(at, Place::Free)
    }

    /// Whose turn it is.
    pub(super) fn wake(&mut self) -> Option<Waker> {
        if !self.wait() {
            return None;
        }
        let mut turns = (0..PLACES).map(|step| (self.next + step) % PLACES);
        let at = turns.find(|&at| matches!(self.places.get(at), Some(Place::Asleep(_))))?;
        self.next = at + 1;
        self.put(at, Place::Awake)
    }

    /// Changes a place; the waker that was there.
    fn put(&mut self, at: usize, place: Place) -> Option<Waker> {
        self.asleep += usize::from(matches!(place, Place::Asleep(_)));
        match replace(self.places.get_mut(at)?, place) {
            Place::Asleep(waker) => {
                self.asleep -= 1;
                Some(waker)
            }
            Place::Free | Place::Awake => None,
        }
    }
}

impl Turn {
    /// Of nobody who waits.
    pub(super) const NONE: Self = Self { place: None };

    /// Whether there is anything to leave.
    pub(super) const fn is_taken(&self) -> bool {
        self.place.is_some()
    }
}
