//! The clients that wait for their entries: a fixed table, so that their number costs no memory (P15).

use quoring_core::EntryId;

use crate::answer::Answer;
use crate::node::Lost;

/// One waiting client. Its initial image is all zero.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Proposal {
    /// Nobody waits here.
    Free = 0,
    /// The entry has been accepted.
    Waiting(EntryId) = 1,
    /// The application has finished the entry.
    Applied(Answer) = 2,
    /// The outcome will not be known here.
    Lost(Lost) = 3,
}

/// The table; its slots lie in the node's resources.
pub(crate) struct Proposals<'a> {
    slots: &'a mut [Proposal],
    /// How many are `Waiting`: when none is, completing costs one comparison.
    waiting: usize,
}

/// Slots whose clients are to be woken, one bit each.
#[derive(Clone, Copy, Default)]
pub(crate) struct Woken(pub(crate) u64);

impl<'a> Proposals<'a> {
    pub(crate) const fn new(slots: &'a mut [Proposal]) -> Self {
        Self { slots, waiting: 0 }
    }

    /// A free slot, if there is one.
    pub(crate) fn free(&self) -> Option<usize> {
        self.slots.iter().position(|slot| matches!(slot, Proposal::Free))
    }

    /// Somebody waits in `slot` for the entry.
    pub(crate) fn wait(&mut self, slot: usize, entry: EntryId) {
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Proposal::Waiting(entry);
            self.waiting += 1;
        }
    }

    /// The outcome in `slot`, if there is one; frees the slot.
    pub(crate) fn take(&mut self, slot: usize) -> Option<Result<Answer, Lost>> {
        let place = self.slots.get_mut(slot)?;
        let outcome = match *place {
            Proposal::Applied(answer) => Ok(answer),
            Proposal::Lost(lost) => Err(lost),
            Proposal::Free | Proposal::Waiting(_) => return None,
        };
        *place = Proposal::Free;
        Some(outcome)
    }

    /// Nobody waits in `slot` any more.
    pub(crate) fn abandon(&mut self, slot: usize) {
        if let Some(place) = self.slots.get_mut(slot) {
            if matches!(place, Proposal::Waiting(_)) {
                self.waiting -= 1;
            }
            *place = Proposal::Free;
        }
    }

    /// The application has finished `entry`: who waited for it gets the answer, who waited for another entry at or below that index
    /// learns that it will never be committed.
    pub(crate) fn applied(&mut self, entry: EntryId, answer: &Answer) -> Woken {
        self.complete(|waiting| {
            if waiting == entry {
                Some(Proposal::Applied(*answer))
            } else {
                (waiting.index <= entry.index).then_some(Proposal::Lost(Lost::Superseded))
            }
        })
    }

    /// All who wait learn this.
    pub(crate) fn lose(&mut self, lost: Lost) -> Woken {
        self.complete(|_| Some(Proposal::Lost(lost)))
    }

    fn complete(&mut self, outcome: impl Fn(EntryId) -> Option<Proposal>) -> Woken {
        let mut woken = Woken::default();
        if self.waiting == 0 {
            return woken;
        }
        for (bit, slot) in self.slots.iter_mut().enumerate() {
            if let Proposal::Waiting(entry) = *slot
                && let Some(outcome) = outcome(entry)
            {
                *slot = outcome;
                self.waiting -= 1;
                woken.0 |= 1 << bit;
            }
        }
        woken
    }
}
