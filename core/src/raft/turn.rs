//! Turns. A leader's own clients take room as it comes, and those of other nodes ask from afar and find none: so a full leader keeps room for these (P10).
//!
//! ```text
//!              1 a batch of a window waits for room
//!   nobody's -----------------------------------------> kept   nobody else gets the room that it takes;
//!      ^                                                  |    2 once there is as much, its follower is called
//!      '--------------------------------------------------'
//!              3 the batch has come, or TICKS have passed in vain
//! ```
//!
//! Room is kept for one batch of one peer at a time, so a leader's own clients go on beside it; and they, or whoever comes, have as much before the next turn
//! begins, so they do not starve for those of others. Peers that wait have their turns one after the other. What is kept is a part of what clients may
//! have: room for what must never be refused lies apart (P12).

use quoring_ring::{Position, UNIT};

use super::Raft;
use super::intake::Waits;
use super::propose::ClientRoom;
use crate::types::NodeId;

/// Heartbeat ticks for which room is kept while nothing goes on: two whole intervals at least. Who is called and does not hear it asks again each interval.
const TICKS: u8 = 3;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    /// What was accepted when it began; if it is nobody's, what must have been before the next one does.
    begins_at: Position,
    /// The peer whose turn it is, or was last.
    peer: NodeId,
    /// For how many ticks it lasts yet; 0 if it is nobody's.
    ticks: u8,
}

/// What entries take that are appended together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Room {
    /// Bytes of their records.
    pub(super) size: usize,
    pub(super) count: u32,
}

impl Raft<'_> {
    /// What nobody gets but the peer whose turn it is.
    pub(super) fn kept_room(&self) -> Room {
        if self.turn.ticks == 0 { Room::default() } else { self.waits(self.turn.peer).room() }
    }

    /// If it is nobody's turn, it is that of the next peer that waits, once all others had as much since the last one began as that was for.
    #[inline(never)]
    pub(super) fn begin_turn(&mut self) {
        let ahead = self.turn.begins_at.since(self.ring.accepted()) as usize;
        // What has been passed seems to lie almost the whole axis ahead.
        let too_early = ahead > 0 && ahead <= self.ring.capacity() / UNIT;
        if self.turn.ticks > 0 || too_early {
            return;
        }
        let last = self.turn.peer;
        let behind = self.peers.iter().filter(|peer| peer.node > last);
        // Also one that was called without a turn: it may come too late.
        let next = behind.chain(self.peers.iter()).find(|peer| peer.intake.waits != Waits::No);
        if let Some(peer) = next {
            (self.turn.peer, self.turn.begins_at) = (peer.node, self.ring.accepted());
            self.keep_turn(TICKS);
        }
    }

    /// It lasts for so many ticks from now on.
    #[inline(never)]
    pub(super) fn keep_turn(&mut self, ticks: u8) {
        if ticks > 0 {
            self.turn.ticks = ticks;
            // What was reckoned leaves no room for it.
            self.client_room = ClientRoom::default();
        }
    }

    /// For how many ticks it is the turn of `peer`; it is nobody's from now on, until it is kept.
    #[inline(never)]
    pub(super) fn lift_turn(&mut self, peer: NodeId) -> u8 {
        if self.turn.peer == peer { core::mem::replace(&mut self.turn.ticks, 0) } else { 0 }
    }

    /// It is nobody's turn, until so many bytes have been accepted since it began.
    pub(super) fn end_turn(&mut self, bytes: usize) {
        self.turn.ticks = 0;
        self.turn.begins_at = self.turn.begins_at.advanced((bytes / UNIT) as u32);
    }

    /// Nothing of `peer` waits: if it is its turn, others may have the room.
    pub(super) fn give_up_turn(&mut self, peer: NodeId) {
        if self.lift_turn(peer) > 0 {
            self.tell_clients();
        }
    }

    /// A heartbeat tick has passed. A peer that was called and did not come waits no more.
    pub(super) fn tick_turn(&mut self) {
        let Turn { peer, ticks, .. } = self.turn;
        self.turn.ticks = ticks.saturating_sub(1);
        if ticks == 1 {
            self.end_turn(self.waits(peer).room().size);
            self.forget_called(peer);
            self.tell_clients();
        }
    }

    /// Something goes on: who has the turn, and waits for room, will have it.
    pub(super) fn go_on_with_turn(&mut self) {
        if self.turn.ticks > 0 && matches!(self.waits(self.turn.peer), Waits::ForRoom(_)) {
            self.turn.ticks = TICKS;
        }
    }

    pub(super) fn assert_turn(&self) {
        assert!(
            self.turn.ticks == 0 || self.waits(self.turn.peer) != Waits::No,
            "who has the turn waits: {:?}",
            self.turn
        );
    }
}
