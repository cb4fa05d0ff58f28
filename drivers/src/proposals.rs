//! The clients that wait for their entries: a fixed table, so that their number costs no memory (P15).

#[cfg(test)]
mod tests;

use quoring_core::{EntryId, LogIndex, RequestId};
use quoring_ring::Kind;

use crate::answer::Answer;
use crate::node::Lost;
use crate::sessions::SessionTable;

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
    /// The request is on its way to the log, wherever that will have it.
    Requested(RequestKey) = 5,
}

impl Proposal {
    /// The wait is over. Always true.
    pub(crate) fn end(&mut self, outcome: Result<&Answer, Lost>) -> bool {
        match outcome {
            Ok(answer) => *self = Self::Applied(*answer),
            Err(lost) => *self = Self::Lost(lost),
        }
        true
    }

    /// What it adds to the numbers of those that are queued and that wait.
    const fn counts(&self) -> (usize, usize) {
        match self {
            Self::Queued => (1, 0),
            Self::Waiting(_) | Self::Requested(_) => (0, 1),
            Self::Free | Self::Applied(_) | Self::Lost(_) => (0, 0),
        }
    }
}

/// A request of a client that has a number of its own for it: it is the same one in whichever entry it comes. All of it counts, also where the session was
/// opened: what comes in under a wrong name of a session must not end the wait of who has the right one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RequestKey {
    /// [`Kind::Session`] or [`Kind::Stream`].
    pub(crate) kind: Kind,
    /// Whose it is, and which.
    pub(crate) request: RequestId,
}

impl RequestKey {
    /// Whether an entry with this request ends the wait for the other. The leader may have lowered how many sessions are kept, which is in what opens one.
    fn ends(&self, other: &Self) -> bool {
        let opens = self.request.sequence == 0 && other.request.sequence == 0;
        let of = |key: &Self| {
            (key.kind, key.request.client, key.request.sequence, if opens { 0 } else { key.request.table })
        };
        of(self) == of(other)
    }
}

/// The table; its slots lie in the node's resources.
pub(crate) struct Proposals<'a> {
    slots: &'a mut [Proposal],
    /// How many are `Waiting` or `Requested`: when none is, completing costs one comparison.
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

    /// How many clients can wait.
    pub(crate) const fn places(&self) -> usize {
        self.slots.len()
    }

    /// As many free slots, if there are.
    pub(crate) fn free_slots<const N: usize>(&self) -> Option<[usize; N]> {
        let mut slots = [0; N];
        let mut free = self.slots.iter().enumerate().filter(|(_, slot)| matches!(slot, Proposal::Free));
        for slot in &mut slots {
            *slot = free.next()?.0;
        }
        Some(slots)
    }

    /// Those who wait for a session's request should look again: there may be another way to hand it in.
    pub(crate) fn requesting(&self) -> Woken {
        let is_session = |slot: &Proposal| matches!(slot, Proposal::Requested(key) if key.kind == Kind::Session);
        let requesting = self.slots.iter().enumerate().filter(|(_, slot)| is_session(slot));
        Woken(requesting.fold(0, |woken, (bit, _)| woken | 1 << bit))
    }

    /// Somebody waits in `slot` until there is room for a command.
    pub(crate) fn queue(&mut self, slot: usize) {
        self.put(slot, Proposal::Queued);
    }

    /// Somebody waits in `slot` for the entry.
    pub(crate) fn wait(&mut self, slot: usize, entry: EntryId) {
        self.put(slot, Proposal::Waiting(entry));
    }

    /// Somebody waits in `slot` until the request has been applied here, whatever its entry.
    pub(crate) fn wait_for_request(&mut self, slot: usize, key: RequestKey) {
        self.put(slot, Proposal::Requested(key));
    }

    /// The outcome in `slot`, if there is one.
    pub(crate) fn outcome(&self, slot: usize) -> Option<Result<Answer, Lost>> {
        match *self.slots.get(slot)? {
            Proposal::Applied(answer) => Some(Ok(answer)),
            Proposal::Lost(lost) => Some(Err(lost)),
            Proposal::Free | Proposal::Queued | Proposal::Waiting(_) | Proposal::Requested(_) => None,
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

    /// The application has finished `entry`: who waits for it gets the outcome.
    pub(crate) fn applied(&mut self, entry: EntryId, outcome: Result<&Answer, Lost>) -> Woken {
        self.complete(|slot| matches!(slot, Proposal::Waiting(other) if *other == entry) && slot.end(outcome))
    }

    /// An entry with this request has been passed: who waits for it gets the outcome.
    pub(crate) fn applied_request(&mut self, key: RequestKey, outcome: Result<&Answer, Lost>) -> Woken {
        self.complete(|slot| matches!(slot, Proposal::Requested(other) if key.ends(other)) && slot.end(outcome))
    }

    /// A snapshot took the place of the entries up to `index`, with these `sessions` (R7). A request that is not in it may still come; but a stream's has no answer
    /// any more that could be found.
    pub(crate) fn restored(&mut self, index: LogIndex, sessions: &SessionTable<'_>) -> Woken {
        self.complete(|slot| match slot {
            Proposal::Waiting(entry) if entry.index <= index => slot.end(Err(Lost::Covered)),
            Proposal::Requested(RequestKey { kind: Kind::Session, request }) => {
                sessions.outcome(index, request).is_some_and(|outcome| slot.end(outcome.as_ref().map_err(|lost| *lost)))
            }
            Proposal::Requested(_) => slot.end(Err(Lost::Covered)),
            _ => false,
        })
    }

    /// All who wait learn this; if it is only that the node leads no longer, those who wait for an entry that it appended: a request may come in the entry of
    /// another leader.
    pub(crate) fn lose(&mut self, lost: Lost) -> Woken {
        let entries_only = lost == Lost::LeadershipLost;
        self.complete(|slot| (!entries_only || matches!(slot, Proposal::Waiting(_))) && slot.end(Err(lost)))
    }

    /// Wakes those whose wait is ended by `end`. Asks nobody but who waits for an entry or a request.
    pub(crate) fn complete(&mut self, end: impl Fn(&mut Proposal) -> bool) -> Woken {
        let mut woken = Woken::default();
        if self.waiting == 0 {
            return woken;
        }
        for (bit, slot) in self.slots.iter_mut().enumerate() {
            if matches!(slot, Proposal::Waiting(_) | Proposal::Requested(_)) && end(slot) {
                self.waiting -= 1;
                woken.0 |= 1 << bit;
            }
        }
        woken
    }

    #[inline] // The new state is then written where it goes.
    fn put(&mut self, slot: usize, proposal: Proposal) {
        let Some(place) = self.slots.get_mut(slot) else { return };
        let (before, after) = (place.counts(), proposal.counts());
        *place = proposal;
        self.queued = self.queued + after.0 - before.0;
        self.waiting = self.waiting + after.1 - before.1;
    }
}

impl Woken {
    /// Both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
