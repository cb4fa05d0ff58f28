//! What the store can take: it must never be so full that a vote has no room (P12).

use quoring_ring::{HEADER, Kind, Position, Record, Records, UNIT};

use super::Raft;
use super::propose::ClientRoom;
use crate::config::ConfigError;
use crate::space::Space;
use crate::types::{EntryId, LogIndex};

/// Bytes of records, beside what is accepted and not yet durable. Everybody leaves room for who must not be refused:
///
/// ```text
///   0                                                            free
///   | clients | a leader's commands | no-ops, configurations | votes |
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) struct StoreRoom {
    /// Of an empty log.
    capacity: u64,
    fill: Fill,
    /// For no-ops and configurations: without them nobody could lead out of a full log.
    control: usize,
    /// For what a leader has taken from its clients, and sends.
    commands: usize,
    /// For clients.
    clients: usize,
    /// The largest entry there can be.
    largest: usize,
}

/// How far the log has filled up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Fill {
    /// Less than half.
    Low,
    /// Half.
    Half,
    /// The next entry may be refused.
    AlmostFull,
}

impl StoreRoom {
    pub(super) fn new(space: &Space, ring: usize, largest: usize) -> Self {
        const VOTES: usize = 4 * HEADER;
        const NO_OPS: usize = 8 * HEADER;
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let control = bytes(space.free).saturating_sub(VOTES);
        let commands = control.saturating_sub(NO_OPS);
        let clients = commands.saturating_sub(bytes(space.capacity / 8).min(ring));
        let fill = match space.free {
            free if free < space.capacity / 4 || clients < largest => Fill::AlmostFull,
            free if free < space.capacity / 2 => Fill::Half,
            _ => Fill::Low,
        };
        Self { capacity: space.capacity, fill, control, commands, clients, largest }
    }

    /// How far the log has filled up.
    pub(super) const fn fill(&self) -> Fill {
        self.fill
    }

    /// Whether entries of a client that take so many bytes ever fit: when half of the store is free.
    pub(super) fn ever_takes_from_client(&self, bytes: usize, ring: usize) -> bool {
        let half = Space { capacity: self.capacity, free: self.capacity / 2, start: LogIndex::ZERO };
        bytes <= Self::new(&half, ring, self.largest).clients
    }

    /// How many bytes of clients' entries fit, with all that is not durable yet.
    pub(super) const fn room_for_clients(&self) -> usize {
        self.clients
    }
}

impl Raft<'_> {
    /// Whether a store of this capacity, for records of so many bytes, can be made use of: even half of it takes the largest entry there can be, so that
    /// purging the other half helps.
    ///
    /// # Errors
    /// [`ConfigError::LogTooSmall`], [`ConfigError::RecordTooSmall`].
    pub fn check_store(&self, space: &Space, record_limit: usize) -> Result<(), ConfigError> {
        if record_limit < self.store.largest {
            return Err(ConfigError::RecordTooSmall);
        }
        let (ring, largest) = (self.ring.capacity(), self.store.largest);
        let room = StoreRoom::new(space, ring, largest);
        if room.ever_takes_from_client(largest, ring) { Ok(()) } else { Err(ConfigError::LogTooSmall) }
    }

    /// The store tells how much room it has and what is gone, after each write.
    pub fn handle_space(&mut self, space: &Space) {
        let ring = self.ring.capacity();
        self.store = StoreRoom::new(space, ring, self.store.largest);
        if self.store.clients < ring {
            // A write takes more of the store than its records.
            self.client_room = ClientRoom::default();
        }
        if space.start > self.start.index {
            self.start = EntryId { term: self.term_of(space.start).unwrap_or_default(), index: space.start };
        }
    }

    /// Bytes that the store can take now: of a leader's entries, whatever they are, but at least of one no-op.
    pub(super) fn store_room(&self) -> usize {
        if self.store.commands / 2 >= self.ring.capacity() {
            // Mostly it takes more than the ring could hold.
            return usize::MAX;
        }
        let unflushed = self.since(self.ring.flushed());
        let control = self.store.control.saturating_sub(unflushed);
        self.store.commands.saturating_sub(unflushed).max(control.min(HEADER))
    }

    /// Whether the store takes these entries of a leader. Mostly it takes more than the ring could hold.
    pub(super) fn store_takes(&self, records: &[u8]) -> bool {
        if records.len().saturating_add(self.ring.capacity()) <= self.store.commands {
            return true;
        }
        let all = records.len().saturating_add(self.since(self.ring.flushed()));
        let is_control = |record: Record<'_>| matches!(record.header.kind, Kind::NoOp | Kind::Configuration);
        all <= self.store.commands
            || all <= self.store.control && Records::new(records).all(|record| record.is_ok_and(is_control))
    }

    /// Whether a no-op of this node fits, and the vote before it.
    pub(super) fn store_takes_no_op(&self) -> bool {
        self.since(self.ring.flushed()) + 2 * HEADER <= self.store.control
    }

    /// Bytes accepted from `start` on.
    pub(super) fn since(&self, start: Position) -> usize {
        self.ring.accepted().since(start) as usize * UNIT
    }
}
