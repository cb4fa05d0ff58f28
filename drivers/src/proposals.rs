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
    /// The command waits for room.
    Queued = 1,
    /// The entry has been accepted.
    Waiting(EntryId) = 2,
    /// The application has finished the entry.
    Applied(Answer) = 3,
    /// The outcome will not be known here.
    Lost(Lost) = 4,
}

/// The table; its slots lie in the node's resources.
pub(crate) struct Proposals<'a> {
    slots: &'a mut [Proposal],
    /// How many are `Waiting`: when none is, completing costs one comparison.
    waiting: usize,
    /// How many are `Queued`.
    queued: usize,
}

/// Slots whose clients are to be woken, one bit each.
#[derive(Clone, Copy, Default)]
pub(crate) struct Woken(pub(crate) u64);

impl<'a> Proposals<'a> {
    pub(crate) const fn new(slots: &'a mut [Proposal]) -> Self {
        Self { slots, waiting: 0, queued: 0 }
    }

    /// A free slot, if there is one.
    pub(crate) fn free(&self) -> Option<usize> {
        self.slots.iter().position(|slot| matches!(slot, Proposal::Free))
    }

    /// Somebody waits in `slot` until there is room for a command.
    pub(crate) fn queue(&mut self, slot: usize) {
        self.put(slot, Proposal::Queued);
    }

    /// Somebody waits in `slot` for the entry.
    pub(crate) fn wait(&mut self, slot: usize, entry: EntryId) {
        self.put(slot, Proposal::Waiting(entry));
    }

    /// The outcome in `slot`, if there is one.
    pub(crate) fn outcome(&self, slot: usize) -> Option<Result<Answer, Lost>> {
        match *self.slots.get(slot)? {
            Proposal::Applied(answer) => Some(Ok(answer)),
            Proposal::Lost(lost) => Some(Err(lost)),
            Proposal::Free | Proposal::Queued | Proposal::Waiting(_) => None,
        }
    }

    /// Nobody waits in `slot` any more.
    pub(crate) fn leave(&mut self, slot: usize) {
        self.put(slot, Proposal::Free);
    }

    /// Those who wait for room should look again.
    pub(crate) fn room(&self) -> Woken {
        if self.queued == 0 {
            return Woken::default();
        }
        let queued = self.slots.iter().enumerate().filter(|(_, slot)| matches!(slot, Proposal::Queued));
        Woken(queued.fold(0, |woken, (bit, _)| woken | 1 << bit))
    }

    /// The application has finished `entry`: who waits for it gets the answer.
    pub(crate) fn applied(&mut self, entry: EntryId, answer: &Answer) -> Woken {
        self.complete(|waiting| (waiting == entry).then_some(Proposal::Applied(*answer)))
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

    fn put(&mut self, slot: usize, proposal: Proposal) {
        let Some(place) = self.slots.get_mut(slot) else { return };
        let before = core::mem::replace(place, proposal);
        for (state, enters) in [(before, false), (proposal, true)] {
            let count = match state {
                Proposal::Queued => &mut self.queued,
                Proposal::Waiting(_) => &mut self.waiting,
                Proposal::Free | Proposal::Applied(_) | Proposal::Lost(_) => continue,
            };
            *count = if enters { *count + 1 } else { *count - 1 };
        }
    }
}

impl Woken {
    /// Both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
