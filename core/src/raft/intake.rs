//! What followers forward, as their leader takes it: in order, batch by batch, each whole or not at all (C1, C4). The follower's side is in `window.rs`.

use quoring_ring::Kind;

use super::propose::Batch;
use super::turn::Room;
use super::{ProposeError, Raft, Rule, count};
use crate::capabilities::Capabilities;
use crate::event::Role;
use crate::progress::Due;
use crate::request::{ClientId, RequestId};
use crate::types::{Instant, NodeId};
use crate::wire::{Forward, ForwardAnswer, Intake, Item, Items};

/// A leader's side of a follower's window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerIntake {
    client: ClientId,
    /// Items below this number have been appended.
    next: u32,
    state: Intake,
    pub(super) waits: Waits,
    /// The follower should be called.
    goes_on: bool,
    /// Whether the follower waits to hear that the window is open,
    pub(super) is_opening: bool,
    /// which it does when this round is over.
    pub(super) round: u64,
}

/// The next batch of a window, if there was no room for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waits {
    /// Nothing waits.
    No,
    /// It waits for room.
    ForRoom(Room),
    /// There is room again, and the follower was called.
    Called(Room),
}

impl Waits {
    /// How much room it takes.
    pub(super) const fn room(self) -> Room {
        match self {
            Self::No => Room { size: 0, count: 0 },
            Self::ForRoom(room) | Self::Called(room) => room,
        }
    }
}

impl PeerIntake {
    pub(crate) const NONE: Self = Self {
        client: ClientId::NONE,
        next: 0,
        state: Intake::Open,
        waits: Waits::No,
        goes_on: false,
        is_opening: false,
        round: 0,
    };

    /// The next batch, which takes this room, was not appended.
    const fn refuse(&mut self, error: ProposeError, room: Room) {
        self.waits = Waits::No;
        match error {
            ProposeError::Rejected(rejection) => self.state = Intake::Rejected(rejection),
            ProposeError::TooLarge(_) => self.state = Intake::TooLarge,
            ProposeError::Unsupported => self.state = Intake::Unsupported,
            _ => self.waits = Waits::ForRoom(room),
        }
    }
}

impl Raft<'_> {
    /// Whether this node and all peers that have said what they can do know entries that name their client (C9).
    pub(super) fn all_know_clients(&self) -> bool {
        let able = |capabilities: Capabilities| capabilities.has(Capabilities::CLIENTS);
        able(self.config.capabilities) && self.peers.iter().all(|peer| peer.capabilities.is_none_or(able))
    }

    /// For how many sessions this node and all peers that have said so have places.
    pub(super) fn places_for_sessions(&self) -> u32 {
        let own = self.config.capabilities.sessions();
        let peers = self.peers.iter().filter_map(|peer| peer.capabilities);
        peers.fold(own, |places, peer| places.min(peer.sessions()))
    }

    /// Commands of the clients of a follower.
    #[cold]
    pub(super) fn handle_forward(&mut self, now: Instant, from: NodeId, forward: &Forward<'_>) {
        if self.role != Role::Leader {
            return count(&mut self.refusals.stale_answer);
        }
        if forward.client.node() != Some(from) {
            return count(&mut self.refusals.impossible);
        }
        let Some(peer) = self.peer(from) else { return };
        peer.heard_at = now;
        peer.capabilities = Some(forward.capabilities);
        let mut intake = peer.intake;
        if forward.client != intake.client {
            // The windows of a node are numbered, within a boot and from boot to boot.
            if forward.client < intake.client || forward.first != 0 || !forward.items.is_empty() {
                return count(&mut self.refusals.stale_answer);
            }
            let round = self.join_round(now);
            self.leading.introduced.get_or_insert(round);
            intake = PeerIntake { client: forward.client, is_opening: true, round, ..PeerIntake::NONE };
        }
        if !intake.is_opening && intake.state == Intake::Open {
            self.take_items(now, from, forward, &mut intake);
        }
        let sure = !intake.is_opening || self.rounds.is_done(intake.round);
        self.keep_intake(from, intake, sure);
    }

    /// Appends the items that come next, batch by batch. The one place where what a client of another node sent is refused, and nothing behind what was
    /// refused is looked at (C4).
    fn take_items(&mut self, now: Instant, from: NodeId, forward: &Forward<'_>, intake: &mut PeerIntake) {
        let mut number = forward.first;
        let mut items = Items::new(forward.items);
        loop {
            let batch = items.clone();
            let Some(len) = items.by_ref().position(|item| !item.more) else { return };
            let batch = batch.take(len + 1);
            let all = len as u32 + 1;
            let (begin, end) = (number, number.wrapping_add(all));
            number = end;
            if end.wrapping_sub(intake.next).cast_signed() <= 0 {
                // A repetition.
                continue;
            }
            let gap = begin != intake.next;
            if gap && !self.breaks(Rule::StreamGap) {
                return;
            }
            let numbers = (0..all).map(|more| begin.wrapping_add(more));
            if !batch.clone().zip(numbers).all(|(item, number)| is_from(&item, forward.client, number)) {
                return count(&mut self.refusals.impossible);
            }
            let requests = batch.filter_map(|item| Some((item.kind, RequestId::decode(item.payload)?)));
            let requests = requests.map(|(kind, (request, command))| (kind, request, command));
            // Room is kept from others only.
            let ticks = self.lift_turn(from);
            let mut batch = Batch::default();
            let appended = self.append_requests(now, requests, &mut batch);
            let room = Room { size: batch.size, count: batch.count };
            if let Err(error) = appended {
                self.keep_turn(ticks);
                return intake.refuse(error, room);
            }
            if ticks > 0 {
                // As much as this for all others.
                self.end_turn(2 * room.size);
            }
            // What came behind a batch that had to wait does not change that.
            (intake.next, intake.waits) = (end, Waits::No);
        }
    }

    fn keep_intake(&mut self, from: NodeId, intake: PeerIntake, answer: bool) {
        if let Some(peer) = self.peer(from) {
            peer.intake = intake;
        }
        if intake.waits == Waits::No {
            self.give_up_turn(from);
        }
        self.note_waits();
        if self.intakes_wait {
            self.begin_turn();
        }
        if answer {
            self.owe(from, Due::FORWARD_ANSWER);
        }
    }

    /// Whether a follower's window waits for room.
    pub const fn intakes_wait(&self) -> bool {
        self.intakes_wait
    }

    /// Something became durable or was applied: there may be room again for what followers have forwarded.
    pub fn resume_intakes(&mut self) {
        if self.intakes_wait {
            self.go_on_with_turn();
            self.call_peers();
        }
    }

    /// Followers whose batches wait are told to go on, as far as there is room.
    pub(super) fn call_peers(&mut self) {
        if !self.intakes_wait {
            return;
        }
        self.begin_turn();
        for node in self.config.peers().iter() {
            let Waits::ForRoom(room) = self.waits(node) else { continue };
            let ticks = self.lift_turn(node);
            let may_come = self.may_take(room.size, room.count.into());
            self.keep_turn(ticks);
            if let Some(peer) = self.peer(node).filter(|_| may_come) {
                (peer.intake.waits, peer.intake.goes_on) = (Waits::Called(room), true);
                self.owe(node, Due::FORWARD_ANSWER);
            }
        }
        self.note_waits();
    }

    #[inline(never)]
    fn note_waits(&mut self) {
        self.intakes_wait = self.peers.iter().any(|peer| matches!(peer.intake.waits, Waits::ForRoom(_)));
    }

    /// What of `node` waits.
    #[inline(never)]
    pub(super) fn waits(&self, node: NodeId) -> Waits {
        let place = self.places.get(usize::from(node.get())).and_then(|place| self.peers.get(usize::from(*place)));
        place.map_or(Waits::No, |peer| peer.intake.waits)
    }

    /// If `node` was called, it was in vain.
    pub(super) fn forget_called(&mut self, node: NodeId) {
        if let Some(peer) = self.peer(node)
            && let Waits::Called(_) = peer.intake.waits
        {
            peer.intake.waits = Waits::No;
        }
    }

    /// What the follower should hear about its window.
    pub(super) fn forward_answer(&mut self, to: NodeId) -> Option<ForwardAnswer> {
        let (rounds, able) = (self.rounds, self.all_know_clients());
        let intake = &mut self.peer(to)?.intake;
        if intake.is_opening {
            if !rounds.is_done(intake.round) {
                return None;
            }
            intake.is_opening = false;
            if !able {
                intake.state = Intake::Unsupported;
            }
        }
        let goes_on = core::mem::replace(&mut intake.goes_on, false) && intake.state == Intake::Open;
        let state = if goes_on { Intake::GoOn } else { intake.state };
        Some(ForwardAnswer { client: intake.client, next: intake.next, state })
    }
}

/// Whether the item is what its place says: one of a stream is numbered as the window is, one of a session as its client likes.
fn is_from(item: &Item<'_>, client: ClientId, number: u32) -> bool {
    match RequestId::decode(item.payload) {
        Some((request, _)) if item.kind == Kind::Stream => request.client == client && request.sequence == number,
        Some((request, _)) => item.kind == Kind::Session && request.client.node().is_some(),
        None => false,
    }
}
