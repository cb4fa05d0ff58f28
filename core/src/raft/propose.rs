//! New entries of a leader, and who may have room for them.

use core::fmt;

use quoring_ring::{AppendError, HEADER, Kind, Position, UNIT, Writer, record_size};

use super::{Raft, Recorded, count};
use crate::config::Rejection;
use crate::event::Role;
use crate::request::RequestId;
use crate::types::{EntryId, Instant, NodeId};
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
    /// The application refuses it ([`Config::admit`](crate::Config::admit)).
    Rejected(Rejection),
    /// This node, or a peer of it, does not know entries that name their client (C9).
    Unsupported,
    /// The store or the application is behind, or the leader hands over its office: wait (P10).
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
        self.admits(command, 0)?;
        self.has_room(record_size(command.len()), 1)?;
        self.append_own(Kind::Command, command).map_err(|_| self.is_busy())
    }

    /// Appends a command that names its client, of the kind [`Session`](Kind::Session) or [`Stream`](Kind::Stream).
    ///
    /// # Errors
    /// See [`ProposeError`]; nothing was stored.
    pub fn propose_request(
        &mut self,
        now: Instant,
        kind: Kind,
        request: &RequestId,
        command: &[u8],
    ) -> Result<EntryId, ProposeError> {
        self.propose_batch(now, kind, core::iter::once((*request, command)))
    }

    /// Appends commands that name their client and follow on each other: all of them, or none (C4, C8). The last of them, or of the log if there are none.
    ///
    /// # Errors
    /// See [`ProposeError`]; nothing was stored.
    pub fn propose_batch<'c>(
        &mut self,
        now: Instant,
        kind: Kind,
        requests: impl Iterator<Item = (RequestId, &'c [u8])> + Clone,
    ) -> Result<EntryId, ProposeError> {
        let requests = requests.map(|(request, command)| (kind, request, command));
        self.append_requests(now, requests, &mut Batch::default())?;
        Ok(EntryId { term: self.term, index: self.last() })
    }

    /// The same for any kinds. What they take is told if there is no room for them.
    pub(super) fn append_requests<'c>(
        &mut self,
        now: Instant,
        requests: impl Iterator<Item = (Kind, RequestId, &'c [u8])> + Clone,
        batch: &mut Batch,
    ) -> Result<(), ProposeError> {
        self.may_propose()?;
        for (kind, request, command) in requests.clone() {
            self.admits(command, RequestId::SIZE)?;
            batch.add(kind, &request, command);
        }
        let places = self.prepare(now, batch)?;
        for (kind, request, command) in requests {
            self.append_request(kind, request, command, places)?;
        }
        Ok(())
    }

    /// Whether a batch can be appended now; and for how many sessions each node has places, if it opens one.
    fn prepare(&mut self, now: Instant, batch: &Batch) -> Result<u32, ProposeError> {
        self.may_name_clients(now)?;
        let places = if batch.opens { self.places_for_sessions() } else { u32::MAX };
        if places == 0 {
            return Err(ProposeError::Unsupported);
        }
        self.has_room_for_batch(batch.size, batch.count)?;
        Ok(places)
    }

    fn append_request(
        &mut self,
        kind: Kind,
        mut request: RequestId,
        command: &[u8],
        places: u32,
    ) -> Result<(), ProposeError> {
        if opens_session(kind, &request) && request.table > places {
            // No more sessions are kept than every node has places for: one with fewer would have to stop. Before the next one is opened, all are asked
            // again; not before there was room for this one, or a full leader would ask without end.
            request.table = places;
            self.leading.introduced = None;
        }
        let id = EntryId { term: self.term, index: self.last().next() };
        let appended = self.ring.append_parts(kind, id.term.0, id.index.0, &request.encode(), command);
        appended.map_err(|_| self.is_busy())?;
        self.is_appended(id);
        Ok(())
    }

    /// Whether a command, behind `head` bytes, would be refused for good: the one place where it is, whoever's it is, before anything of it is stored (C4). To be
    /// asked by a node that does not lead before it forwards the command.
    ///
    /// # Errors
    /// [`ProposeError::TooLarge`] or [`ProposeError::Rejected`].
    pub fn admits(&self, command: &[u8], head: usize) -> Result<(), ProposeError> {
        let limit = self.command_limit.saturating_sub(head);
        if command.len() > limit {
            return Err(ProposeError::TooLarge(limit));
        }
        (self.config.admit)(command).map_err(ProposeError::Rejected)
    }

    /// Whether this node and all peers know entries that name their client (C9). Each peer is asked once in a term, and all that have not answered when a
    /// quorum has are taken to be like those: none of this version is unable, but one that says so.
    ///
    /// # Errors
    /// [`ProposeError::Busy`] until a quorum has answered, and the number of this boot is durable, then [`ProposeError::Unsupported`] if one of them does not; or the node does not lead.
    pub fn may_name_clients(&mut self, now: Instant) -> Result<(), ProposeError> {
        self.may_propose()?;
        let round = match self.leading.introduced {
            Some(round) => round,
            None => self.join_round(now),
        };
        self.leading.introduced = Some(round);
        // Followers may keep an entry that this node forgets with its boot: the next boot would have the same names.
        if !self.rounds.is_done(round) || self.booted != Recorded::Durable {
            return Err(self.is_busy());
        }
        if self.all_know_clients() {
            return Ok(());
        }
        // Who is unable now may not be when the next client comes: it is asked again.
        self.leading.introduced = None;
        Err(ProposeError::Unsupported)
    }

    /// Whether clients may have `count` entries of `size` bytes in all now.
    fn has_room(&mut self, size: usize, count: u64) -> Result<(), ProposeError> {
        if self.may_take(size, count) { Ok(()) } else { Err(self.is_busy()) }
    }

    /// Whether a leader that does not hand over has room for that much.
    pub(super) fn may_take(&mut self, size: usize, count: u64) -> bool {
        self.leading.transfer.is_none() && self.has_room_for_clients(size, count)
    }

    /// Whether they have room now, and can be appended one after the other without fail.
    fn has_room_for_batch(&mut self, size: usize, count: u32) -> Result<(), ProposeError> {
        let ring = self.ring.capacity();
        // Clients never have more than half of the ring, or of what the store takes.
        let fits = size <= ring / 2 && count as usize <= self.ring.slots() / 2;
        if !fits || count > 1 && !self.store.ever_takes_from_client(size, ring) {
            return Err(ProposeError::TooLarge(ring / 2));
        }
        self.has_room(size, count.into())?;
        if count <= 1 || self.ring.takes(size, count) { Ok(()) } else { Err(self.is_busy()) }
    }

    fn is_busy(&mut self) -> ProposeError {
        count(&mut self.refusals.busy);
        ProposeError::Busy
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
        self.is_appended(id);
        Ok(id)
    }

    fn is_appended(&mut self, id: EntryId) {
        if id.term != self.runs.last_term() {
            self.runs.append(id.index, id.term);
        }
        self.ready = self.config.peers();
    }

    /// Whether so much more stays within the room for clients. It is reckoned only when the room that was there does not suffice.
    fn has_room_for_clients(&mut self, size: usize, count: u64) -> bool {
        self.client_room.takes(&self.ring, size, count) || {
            self.client_room = self.reckon_client_room();
            self.client_room.takes(&self.ring, size, count)
        }
    }

    /// Clients may fill half of the ring with what is not durable, and three quarters of it, and of the slots, with what is not applied. The rest is for
    /// votes, no-ops and configurations, which are never refused (P12). Who has the turn has its part to itself.
    #[cold]
    fn reckon_client_room(&self) -> ClientRoom {
        let units = |bytes: usize| u32::try_from(bytes / UNIT).unwrap_or(u32::MAX);
        let (capacity, accepted) = (self.ring.capacity(), self.ring.accepted());
        let unflushed = accepted.since(self.ring.flushed());
        let to_flush = units(self.store.room_for_clients().min(capacity / 2)).saturating_sub(unflushed);
        let (last, applied) = (self.ring.last(), self.ring.applied());
        let unapplied = match self.ring.position(applied.saturating_add(1)) {
            _ if applied >= last => 0,
            Some(start) => accepted.since(start),
            // The application reads from the store, more than a ring behind.
            None => u32::MAX,
        };
        let to_apply = units(capacity / 4 * 3).saturating_sub(unapplied);
        let last = applied.saturating_add((self.ring.slots() / 4 * 3) as u64);
        let kept = self.kept_room();
        let room = to_flush.min(to_apply).saturating_sub(units(kept.size));
        ClientRoom { end: accepted.advanced(room), last: last.saturating_sub(kept.count.into()) }
    }
}

/// What requests that are appended together, or not at all, take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Batch {
    /// Bytes of their records.
    pub(super) size: usize,
    pub(super) count: u32,
    /// Whether one of them opens a session.
    opens: bool,
}

impl Batch {
    fn add(&mut self, kind: Kind, request: &RequestId, command: &[u8]) {
        self.size = record_size(RequestId::SIZE + command.len()).saturating_add(self.size);
        self.count += 1;
        self.opens |= opens_session(kind, request);
    }
}

fn opens_session(kind: Kind, request: &RequestId) -> bool {
    kind == Kind::Session && request.sequence == 0
}

/// How far clients' entries may reach. What that depends on only moves on, the store apart, so it stays right until it is used up, and longer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClientRoom {
    end: Position,
    /// The last index; 0 if nothing is known.
    last: u64,
}

impl ClientRoom {
    /// Whether `count` entries of `size` bytes in all, behind the last one, stay within.
    fn takes(&self, ring: &Writer<'_>, size: usize, count: u64) -> bool {
        let (room, capacity) = (self.end.since(ring.accepted()) as usize, ring.capacity() / UNIT);
        // An end that has been passed seems to lie almost the whole axis ahead: more units than there are, whose bytes a small machine could not count.
        room <= capacity && size <= room * UNIT && ring.last().saturating_add(count) <= self.last
    }
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader(Some(leader)) => write!(f, "node {leader} leads"),
            Self::NotLeader(None) => f.write_str("no leader is known"),
            Self::TooLarge(limit) => write!(f, "a command has at most {limit} bytes"),
            Self::Rejected(Rejection(code)) => write!(f, "the application refuses the command, for reason {code}"),
            Self::Unsupported => f.write_str("a node of the cluster does not know such entries"),
            Self::Busy => f.write_str("the store or the application is behind"),
            Self::Halted => f.write_str("the node has stopped"),
        }
    }
}

impl core::error::Error for ProposeError {}
