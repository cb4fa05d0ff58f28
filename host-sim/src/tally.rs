//! How often each fault took effect, and what clients and operators did. A fault that found nothing to harm is not counted, nor an action without effect.

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Fault {
    /// A frame was lost.
    Dropped,
    /// A frame was delivered twice.
    Duplicated,
    /// A frame was overtaken by a later one of its link.
    Reordered,
    /// A frame was damaged.
    Corrupted,
    /// A frame of nobody in this cluster was delivered: noise, or of another cluster.
    Foreign,
    /// The link refused a frame, or reception failed.
    Refused,
    /// A partition or one-way link stopped at least one frame.
    Partitions,
    /// A frame was stopped by a partition or one-way link.
    Cut,
    /// A running node lost power.
    Crashes,
    /// All nodes lost power at once.
    PowerLosses,
    /// A write was cut by a power loss within its words.
    TornWrites,
    /// A write was lost whole by a power loss.
    LostWrites,
    /// A write or read waited for a store that hung.
    StoreStalls,
    /// A write or read met a store slowed down tenfold or more.
    StoreSlow,
    /// The store failed; the node stops until it is started again.
    StoreFailures,
    /// An operation of a chip failed, or never ended.
    FlashFailures,
    /// Bits flipped on a chip: its node does not start any more, or goes on from its older snapshot.
    BitRot,
    /// A node began with an empty chip long after the others.
    LateStarts,
    /// A leader's snapshot took the place of a follower's log.
    SnapshotsSent,
    /// A piece of a snapshot was sent that does not go on where the one before it ended.
    SnapshotsInterrupted,
    /// An application declined to make a snapshot, or gave it up half-way.
    SavesAbandoned,
    /// An application was interrupted while it restored a snapshot.
    RestoresAbandoned,
    /// A node read a clock that stood still.
    ClockStalls,
    /// A node's clock began to run at another rate.
    ClockDrifts,
    /// A node with work to do was not run for a while.
    Pauses,
    /// A ready task was set aside while others ran.
    TaskDelays,
    /// An application took its time for an entry, or gave no answer.
    Dawdled,
    /// A client took back a proposal that waited for its answer.
    Cancelled,
}

impl Fault {
    /// All kinds, in the order of the report.
    pub const ALL: [Self; 28] = [
        Self::Dropped,
        Self::Duplicated,
        Self::Reordered,
        Self::Corrupted,
        Self::Foreign,
        Self::Refused,
        Self::Partitions,
        Self::Cut,
        Self::Crashes,
        Self::PowerLosses,
        Self::TornWrites,
        Self::LostWrites,
        Self::StoreStalls,
        Self::StoreSlow,
        Self::StoreFailures,
        Self::FlashFailures,
        Self::BitRot,
        Self::LateStarts,
        Self::SnapshotsSent,
        Self::SnapshotsInterrupted,
        Self::SavesAbandoned,
        Self::RestoresAbandoned,
        Self::ClockStalls,
        Self::ClockDrifts,
        Self::Pauses,
        Self::TaskDelays,
        Self::Dawdled,
        Self::Cancelled,
    ];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::Corrupted => "corrupted",
            Self::Foreign => "foreign",
            Self::Refused => "refused",
            Self::Partitions => "partitions",
            Self::Cut => "cut",
            Self::Crashes => "crashes",
            Self::PowerLosses => "power_losses",
            Self::TornWrites => "torn_writes",
            Self::LostWrites => "lost_writes",
            Self::StoreStalls => "store_stalls",
            Self::StoreSlow => "store_slow",
            Self::StoreFailures => "store_failures",
            Self::FlashFailures => "flash_failures",
            Self::BitRot => "bit_rot",
            Self::LateStarts => "late_starts",
            Self::SnapshotsSent => "snapshots_sent",
            Self::SnapshotsInterrupted => "snapshots_interrupted",
            Self::SavesAbandoned => "saves_abandoned",
            Self::RestoresAbandoned => "restores_abandoned",
            Self::ClockStalls => "clock_stalls",
            Self::ClockDrifts => "clock_drifts",
            Self::Pauses => "pauses",
            Self::TaskDelays => "task_delays",
            Self::Dawdled => "dawdled",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Something that clients or operators did, or that came of it. No fault, but a run without it proves nothing about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Action {
    /// A stream was opened on the leader,
    StreamsAtLeader,
    /// or on another node.
    StreamsAtFollower,
    /// A stream broke under its client.
    StreamsBroken,
    /// An item was sent in a stream on the leader,
    ItemsAtLeader,
    /// or through another node.
    ItemsForwarded,
    /// A session was opened.
    SessionsOpened,
    /// A client learnt that its session has expired.
    SessionsExpired,
    /// A session's command that had been sent in the time of another leader was answered.
    SessionRetries,
    /// A session's command that had been answered was sent again and got the same answer.
    SessionRepeats,
    /// A client read on the leader,
    ReadsAtLeader,
    /// on another node,
    ReadsAtFollower,
    /// or on a leader that asked nobody.
    LeaseReads,
    /// A leader handed over.
    Transfers,
    /// A command that is forbidden was refused.
    Rejected,
    /// A node took a boot number.
    Boots,
}

impl Action {
    /// All kinds, in the order of the report.
    pub const ALL: [Self; 15] = [
        Self::StreamsAtLeader,
        Self::StreamsAtFollower,
        Self::StreamsBroken,
        Self::ItemsAtLeader,
        Self::ItemsForwarded,
        Self::SessionsOpened,
        Self::SessionsExpired,
        Self::SessionRetries,
        Self::SessionRepeats,
        Self::ReadsAtLeader,
        Self::ReadsAtFollower,
        Self::LeaseReads,
        Self::Transfers,
        Self::Rejected,
        Self::Boots,
    ];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StreamsAtLeader => "streams_at_leader",
            Self::StreamsAtFollower => "streams_at_follower",
            Self::StreamsBroken => "streams_broken",
            Self::ItemsAtLeader => "items_at_leader",
            Self::ItemsForwarded => "items_forwarded",
            Self::SessionsOpened => "sessions_opened",
            Self::SessionsExpired => "sessions_expired",
            Self::SessionRetries => "session_retries",
            Self::SessionRepeats => "session_repeats",
            Self::ReadsAtLeader => "reads_at_leader",
            Self::ReadsAtFollower => "reads_at_follower",
            Self::LeaseReads => "lease_reads",
            Self::Transfers => "transfers",
            Self::Rejected => "rejected",
            Self::Boots => "boots",
        }
    }
}

/// A count for each kind of fault, and of action.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    faults: [u64; Fault::ALL.len()],
    actions: [u64; Action::ALL.len()],
}

impl Tally {
    /// How often `fault` took effect.
    pub const fn of(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }

    /// How often that was done.
    pub const fn done(&self, action: Action) -> u64 {
        self.actions[action as usize]
    }

    /// All faults together, the frames that a partition stopped counted as one.
    pub fn total(&self) -> u64 {
        self.faults.iter().sum::<u64>() - self.of(Fault::Cut)
    }

    pub(crate) fn count(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions[action as usize] += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.faults.iter_mut().zip(other.faults).for_each(|(mine, theirs)| *mine += theirs);
        self.actions.iter_mut().zip(other.actions).for_each(|(mine, theirs)| *mine += theirs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_fault_and_action_has_a_count_and_a_name_of_its_own() {
        let mut tally = Tally::default();
        for (place, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, place);
            (0..=place).for_each(|_| tally.count(fault));
        }
        assert!(Fault::ALL.iter().enumerate().all(|(place, &fault)| tally.of(fault) == place as u64 + 1));
        for (place, action) in Action::ALL.into_iter().enumerate() {
            assert_eq!(action as usize, place);
            (0..=place).for_each(|_| tally.act(action));
            assert_eq!(tally.done(action), place as u64 + 1);
        }
        let mut names = [&Fault::ALL.map(Fault::name)[..], &Action::ALL.map(Action::name)].concat();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
