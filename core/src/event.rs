//! What the core tells of itself: events for a log, a status for the curious, a counter for every refusal.

use quoring_ring::Position;

use crate::types::{LogIndex, NodeId, Term};

/// What a node is in its term (Raft figure 4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Role {
    /// Listens to a leader, or waits for one.
    #[default]
    Follower,
    /// Asks whether it would be elected.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Appends and replicates.
    Leader,
    /// Stopped for good: its store failed.
    Halted,
}

/// Something that happened, worth a line in a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event {
    /// The node follows in this term; the leader, once it is known.
    Follows {
        /// The term.
        term: Term,
        /// Whom.
        leader: Option<NodeId>,
    },
    /// The node asks whether it would be elected in this term.
    AsksPreVote {
        /// The term it would campaign in.
        term: Term,
    },
    /// The node campaigns.
    Campaigns {
        /// The term.
        term: Term,
    },
    /// The node granted its vote.
    Votes {
        /// The term.
        term: Term,
        /// For whom.
        candidate: NodeId,
    },
    /// The node was elected.
    Leads {
        /// The term.
        term: Term,
    },
    /// The leader steps down by itself.
    StepsDown {
        /// The term it led.
        term: Term,
        /// Why.
        reason: StepDown,
    },
    /// A conflicting tail is being replaced.
    Truncates {
        /// The first entry that goes.
        from: LogIndex,
    },
    /// A snapshot of this node's application became durable.
    Saves {
        /// The last entry it covers.
        last: LogIndex,
    },
    /// A leader's snapshot takes the place of the log.
    Installs {
        /// The last entry it covers.
        last: LogIndex,
    },
    /// The node stopped: nothing leaves it any more.
    Halts,
}

/// Why a leader gives up its office without having heard of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum StepDown {
    /// No quorum answered for an election timeout (CheckQuorum).
    NoQuorum,
    /// The own store made nothing durable for an election timeout.
    StoreStalled,
    /// The no-op of its term found no room.
    NoRoom,
}

/// A node at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Status {
    /// The node.
    pub id: NodeId,
    /// What it is.
    pub role: Role,
    /// In which term.
    pub term: Term,
    /// The leader it knows of.
    pub leader: Option<NodeId>,
    /// The last entry.
    pub last: LogIndex,
    /// The last entry known to be committed.
    pub committed: LogIndex,
    /// The last entry the application has finished.
    pub applied: LogIndex,
    /// The last entry that is durable here.
    pub durable: LogIndex,
    /// The last entry that the newest durable snapshot covers; 0 if there is none.
    pub snapshot: LogIndex,
    /// Entries up to this one are gone from the log.
    pub start: LogIndex,
    /// The end of what the ring has accepted.
    pub accepted: Position,
    /// The end of what is durable.
    pub flushed: Position,
}

/// How often the core refused or ignored an input, by reason (F6). Counters wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Refusals {
    /// Frames that could not be read, were damaged, of another cluster or version.
    pub frame: u32,
    /// Frames from nodes that are not members.
    pub stranger: u32,
    /// Messages of an earlier term.
    pub stale_term: u32,
    /// Answers and appends of an earlier pipeline (L8), or refusals of what has matched since (L7).
    pub stale_answer: u32,
    /// Answers that claim more than the leader's log has (R12), and other messages no correct node sends.
    pub impossible: u32,
    /// Records in an append that did not check.
    pub record: u32,
    /// Candidates refused because a leader is heard (E1).
    pub disruptive: u32,
    /// Chunks of snapshots that do not follow on those before, or of snapshots this store cannot hold.
    pub chunk: u32,
    /// Appends that did not fit, in whole or in part (P11).
    pub ring_full: u32,
    /// Proposals refused for want of room (P10).
    pub busy: u32,
    /// Elections not begun at the term ceiling (E7), or for want of room (P12).
    pub unable: u32,
    /// Events dropped because nobody took them.
    pub events: u32,
}

impl Refusals {
    /// Each reason and its counter, in the order of the fields: for who would print them in a tenth of the code that `Debug` takes.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u32)> {
        const REASONS: &[&str] = &[
            "frame",
            "stranger",
            "stale_term",
            "stale_answer",
            "impossible",
            "record",
            "disruptive",
            "chunk",
            "ring_full",
            "busy",
            "unable",
            "events",
        ];
        let Self { frame, stranger, stale_term, stale_answer, impossible, record, .. } = *self;
        let Self { disruptive, chunk, ring_full, busy, unable, events, .. } = *self;
        REASONS.iter().copied().zip([
            frame,
            stranger,
            stale_term,
            stale_answer,
            impossible,
            record,
            disruptive,
            chunk,
            ring_full,
            busy,
            unable,
            events,
        ])
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;

    use super::*;

    #[test]
    fn every_counter_is_listed_once_under_its_own_name() {
        let refusals = Refusals {
            frame: 1,
            stranger: 2,
            stale_term: 3,
            stale_answer: 4,
            impossible: 5,
            record: 6,
            disruptive: 7,
            chunk: 8,
            ring_full: 9,
            busy: 10,
            unable: 11,
            events: 12,
        };
        let listed: String = refusals.iter().map(|(reason, count)| format!("{reason}: {count}, ")).collect();
        assert_eq!(format!("{refusals:?}"), format!("Refusals {{ {} }}", listed.trim_end_matches(", ")));
    }
}
