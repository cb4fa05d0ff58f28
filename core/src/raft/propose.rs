//! New entries of a leader, and who may have room for them.

use core::fmt;

use quoring_ring::{AppendError, HEADER, Kind, record_size};

use super::{Raft, count};
use crate::event::Role;
use crate::types::{EntryId, NodeId};
use crate::wire::APPEND_HEADER;

/// Why a command was not taken. Nothing of it was stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ProposeError {
    /// Propose at this node instead, if it is known.
    NotLeader(Option<NodeId>),
    /// No record of the ring, or no frame, takes more than this many bytes (L10).
    TooLarge(usize),
    /// The store or the application is behind: wait until it has caught up (P10).
    Busy,
    /// The node has stopped.
    Halted,
}

/// The largest command for a ring of `capacity` bytes and frames of `frame` bytes, so that every entry fits both (L10).
pub const fn command_limit(capacity: usize, frame: usize) -> Option<usize> {
    let Some(in_frame) = frame.checked_sub(APPEND_HEADER) else { return None };
    // The length of a frame's records has 16 bits.
    let in_frame = if in_frame > u16::MAX as usize { u16::MAX as usize } else { in_frame };
    let record = if capacity / 2 < in_frame { capacity / 2 } else { in_frame };
    // Records are padded to whole headers.
    (record / HEADER * HEADER).checked_sub(HEADER)
}

impl Raft<'_> {
    /// Appends a command to the leader's log. It is not yet durable or committed.
    ///
    /// # Errors
    /// See [`ProposeError`]; nothing was stored.
    pub fn propose(&mut self, command: &[u8]) -> Result<EntryId, ProposeError> {
        self.may_propose()?;
        if command.len() > self.command_limit {
            return Err(ProposeError::TooLarge(self.command_limit));
        }
        if !self.has_room_for_clients(record_size(command.len())) {
            count(&mut self.refusals.busy);
            return Err(ProposeError::Busy);
        }
        self.append_own(Kind::Command, command).map_err(|_| {
            count(&mut self.refusals.busy);
            ProposeError::Busy
        })
    }

    /// Whether this is the node to propose at.
    ///
    /// # Errors
    /// [`ProposeError::NotLeader`] or [`ProposeError::Halted`].
    pub fn may_propose(&self) -> Result<(), ProposeError> {
        match self.role {
            Role::Leader => Ok(()),
            Role::Halted => Err(ProposeError::Halted),
            _ => Err(ProposeError::NotLeader(self.leader)),
        }
    }

    /// Appends an entry of this term.
    pub(super) fn append_own(&mut self, kind: Kind, payload: &[u8]) -> Result<EntryId, AppendError> {
        let id = EntryId { term: self.term, index: self.last().next() };
        self.ring.append(kind, id.term.0, id.index.0, payload)?;
        self.runs.append(id.index, id.term);
        self.ready = self.config.peers();
        Ok(id)
    }

    /// Clients may fill half of the ring with what is not durable, and three quarters of it, and of the slots, with what is not applied. The rest is for
    /// votes, no-ops and configurations, which are never refused (P12).
    fn has_room_for_clients(&self, size: usize) -> bool {
        let capacity = self.ring.capacity();
        let unflushed = self.since(self.ring.flushed()) + size;
        let (last, applied) = (self.ring.last(), self.ring.applied());
        let unapplied = match self.ring.position(applied.saturating_add(1)) {
            _ if applied >= last => 0,
            Some(start) => self.since(start) + size,
            // The application reads from the store, more than a ring behind.
            None => usize::MAX,
        };
        unflushed <= capacity / 2
            && self.store.takes_from_client(unflushed)
            && unapplied <= capacity / 4 * 3
            && last.saturating_sub(applied) < (self.ring.slots() / 4 * 3) as u64
    }
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader(Some(leader)) => write!(f, "node {leader} leads"),
            Self::NotLeader(None) => f.write_str("no leader is known"),
            Self::TooLarge(limit) => write!(f, "a command has at most {limit} bytes"),
            Self::Busy => f.write_str("the store or the application is behind"),
            Self::Halted => f.write_str("the node has stopped"),
        }
    }
}

impl core::error::Error for ProposeError {}
