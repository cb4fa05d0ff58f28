//! Any number of clients that wait for the same news, in the node's memory of one waker (P15, C12).
//!
//! Whoever comes leaves its waker on top, and keeps the one that lay there in its own future. Whoever is woken wakes the one it keeps:
//!
//! ```text
//!   node            client 3        client 2        client 1
//!   top: waker 3    below: waker 2  below: waker 1  below: none
//! ```
//!
//! So a client costs the node nothing, and each wake-up wakes one more. A client that goes away early takes the ones below out of the chain: it wakes them,
//! and they come in again at the top.

use core::task::Waker;

/// The node's part.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    top: Option<Waker>,
    /// Rises when clients have to come in again.
    chain: u32,
}

/// A client's part, in its future.
#[derive(Debug, Default)]
pub(crate) struct Place {
    own: Option<Waker>,
    below: Option<Waker>,
    chain: u32,
}

/// Wakers to wake or to drop, both outside of the lock: their code is the executor's.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Left {
    wake: Option<Waker>,
    _drop: Option<Waker>,
}

impl Place {
    /// Outside of any chain.
    pub(crate) const NONE: Self = Self { own: None, below: None, chain: 0 };
}

impl Waiting {
    /// A client waits, if it does not already.
    pub(crate) fn join(&mut self, place: &mut Place, waker: &Waker) -> Left {
        if place.chain == self.chain && place.own.as_ref().is_some_and(|own| own.will_wake(waker)) {
            return Left::default();
        }
        place.chain = self.chain;
        let drop = place.own.replace(waker.clone());
        let below = self.top.replace(waker.clone());
        Left { wake: core::mem::replace(&mut place.below, below), _drop: drop }
    }

    /// A client waits no longer.
    pub(crate) fn leave(&mut self, place: &mut Place) -> Left {
        let below = place.below.take();
        if below.is_some() {
            // They are no longer reached from the top.
            self.chain = self.chain.wrapping_add(1);
        }
        Left { wake: below, _drop: place.own.take() }
    }

    /// There is news for all.
    pub(crate) fn wake_all(&mut self) -> Left {
        self.chain = self.chain.wrapping_add(1);
        Left { wake: self.top.take(), _drop: None }
    }
}

impl Left {
    /// Wakes who is to be woken.
    pub(crate) fn wake(self) {
        if let Some(waker) = self.wake {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::Wake;
    use std::vec::Vec;

    use super::*;

    #[derive(Default)]
    struct Client(AtomicUsize);

    impl Wake for Client {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    struct Crowd {
        waiting: Waiting,
        clients: Vec<(Arc<Client>, Place)>,
    }

    impl Crowd {
        fn new(count: usize) -> Self {
            let clients = (0..count).map(|_| Default::default()).collect();
            let mut crowd = Self { waiting: Waiting::default(), clients };
            (0..count).for_each(|client| crowd.join(client));
            crowd
        }

        fn join(&mut self, client: usize) {
            let (wakes, place) = &mut self.clients[client];
            self.waiting.join(place, &Waker::from(Arc::clone(wakes))).wake();
        }

        fn leave(&mut self, client: usize) {
            self.waiting.leave(&mut self.clients[client].1).wake();
        }

        /// Who has been woken since the last look.
        fn woken(&self) -> Vec<usize> {
            (0..self.clients.len()).filter(|&client| self.clients[client].0.0.swap(0, SeqCst) > 0).collect()
        }

        /// Lets whoever is woken do `act`, until nobody is; how many did.
        fn settle(&mut self, act: impl Fn(&mut Self, usize)) -> usize {
            let mut acted = 0;
            loop {
                let woken = self.woken();
                if woken.is_empty() {
                    return acted;
                }
                acted += woken.len();
                woken.into_iter().for_each(|client| act(self, client));
            }
        }
    }

    /// covers: C12, P15
    #[test]
    fn all_who_wait_are_woken_one_by_the_other() {
        let mut crowd = Crowd::new(1000);
        assert_eq!(crowd.woken(), []);
        crowd.waiting.wake_all().wake();
        assert_eq!(crowd.settle(Crowd::leave), 1000);
    }

    /// covers: R7, R9
    #[test]
    fn who_goes_away_early_cuts_nobody_off() {
        let mut crowd = Crowd::new(10);
        crowd.leave(4);
        crowd.settle(Crowd::join);
        crowd.leave(9);
        crowd.settle(Crowd::join);
        // Polled again for no reason, and once with another waker.
        crowd.join(2);
        crowd.clients[3].0 = Arc::default();
        crowd.join(3);
        crowd.settle(Crowd::join);
        crowd.waiting.wake_all().wake();
        let mut woken = Vec::new();
        loop {
            let next = crowd.woken();
            if next.is_empty() {
                break;
            }
            next.iter().for_each(|&client| crowd.leave(client));
            woken.extend(next);
        }
        woken.retain(|client| ![4, 9].contains(client));
        woken.sort_unstable();
        woken.dedup();
        assert_eq!(woken, [0, 1, 2, 3, 5, 6, 7, 8]);
    }
}
