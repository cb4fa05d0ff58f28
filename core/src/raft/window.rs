//! A follower's window, through which the commands of its clients come to the leader in order (C1, C2). The leader's side is in `intake.rs`.
//!
//! ```text
//!   follower                                            leader
//!   open_window      Forward(first 0, no items)   -->   joins a round, so that it is sure to lead
//!                                                 <--   ForwardAnswer(next 0)
//!   forward(items)   Forward(first, items)        -->   each batch is admitted and appended whole, or nothing of it
//!                                                 <--   ForwardAnswer(next): all below are in the leader's log
//! ```
//!
//! The items that are not in the leader's log yet lie in one buffer, which fits a frame: to repeat is to send it again. The window belongs to one term of one
//! leader. The leader appends an item only after all before it; its log is replicated and truncated in order; so what commits is a prefix of what was put
//! in. A frame of an earlier window of the same follower, however late, is told by its client id, which no other window has (R15); one of an earlier
//! leader by its term.

use quoring_ring::{Kind, record_size};

use super::{Raft, count};
use crate::capabilities::Capabilities;
use crate::config::Rejection;
use crate::event::Role;
use crate::progress::Due;
use crate::request::{ClientId, RequestId};
use crate::types::{Instant, NodeId};
use crate::wire::{FORWARD_HEADER, Forward, ForwardAnswer, Intake, Item, Items};

/// A follower's window.
#[derive(Debug, Default)]
pub(super) struct Window<'a> {
    buffer: &'a mut [u8],
    /// Bytes of the items in it.
    used: usize,
    state: WindowState,
    client: ClientId,
    /// The number of the first item in the buffer: all below are in the leader's log.
    first: u32,
    /// The number of the next one to come.
    next: u32,
    /// Items below this number have been sent at least once.
    sent: u32,
    /// The largest batch, so that it fits a frame.
    limit: usize,
    /// Where the first that should be sent begins.
    unsent: usize,
    /// Its number.
    resume: u32,
    /// Whether several frames may be on their way.
    pipelines: bool,
    /// When the leader last answered, or was first asked for what it has not answered.
    heard_at: Instant,
    /// Clients that have been numbered in this boot.
    pub(super) numbered: u32,
}

/// Whether a follower's window takes commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum WindowState {
    /// Nobody has opened it.
    #[default]
    Unused,
    /// The leader has not answered yet.
    Opening,
    /// It takes commands.
    Open,
    /// It is closed for good, for this reason.
    Closed(Closed),
}

/// Why a window closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Closed {
    /// The leader it leads to leads no longer.
    LeaderLost,
    /// The leader did not answer.
    NoAnswer,
    /// The leader, or a peer of it, does not know what it would have to append.
    Unsupported,
    /// The leader refused the next command, before anything of it was stored.
    Rejected(Rejection),
    /// The leader has no place for a command, or batch, that large.
    TooLarge,
    /// Whoever opened it closed it.
    Owner,
    /// The node has stopped.
    Halted,
}

/// A follower's window at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct WindowStatus {
    /// Whether it takes commands.
    pub state: WindowState,
    /// Whose it is.
    pub client: ClientId,
    /// Items below this number are in the leader's log.
    pub accepted: u32,
    /// Items from this number on have never left this node.
    pub sent: u32,
    /// The number of the next item.
    pub next: u32,
    /// Whether several items may be on their way.
    pub pipelines: bool,
}

/// Why a window could not be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum WindowError {
    /// No leader is known.
    NoLeader,
    /// This node leads: there is nothing to forward to.
    Leads,
    /// The leader does not take forwarded commands.
    Unsupported,
    /// This node was given no memory for a window.
    NoMemory,
    /// The node has stopped.
    Halted,
}

/// Why items were not taken. Nothing of them was stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ForwardError {
    /// The window is full, or not open yet: wait.
    NotReady,
    /// The window is closed.
    Closed,
    /// No window takes that much at once.
    TooLarge,
}

impl<'a> Raft<'a> {
    /// Gives the node memory for the commands that its clients send to the leader: as much as may be on its way at a time. `pipelines` is false if the link
    /// does not take a second frame before the first is answered: then one item or batch is on its way at a time (C3).
    pub fn lend_window(&mut self, buffer: &'a mut [u8], pipelines: bool) {
        let limit = self.frame.saturating_sub(FORWARD_HEADER).min(buffer.len());
        self.window = Window { buffer, limit, pipelines, ..Window::default() };
    }

    /// A name that no other client ever had or will have (R15).
    pub fn new_client(&mut self) -> ClientId {
        self.begin_boot();
        if self.window.numbered == ClientId::NUMBERS {
            self.boot_again();
        }
        self.window.numbered += 1;
        ClientId::new(self.config.id, self.boot, self.window.numbered)
    }

    /// Opens the window to the leader of this term, or anew. Its state tells when it is open.
    ///
    /// # Errors
    /// See [`WindowError`].
    pub fn open_window(&mut self, now: Instant) -> Result<ClientId, WindowError> {
        let leader = match (self.role, self.leader) {
            (Role::Halted, _) => return Err(WindowError::Halted),
            (Role::Leader, _) => return Err(WindowError::Leads),
            (_, None) => return Err(WindowError::NoLeader),
            (_, Some(leader)) => leader,
        };
        if self.following.capabilities.is_some_and(|leader| !leader.has(Capabilities::CLIENTS)) {
            return Err(WindowError::Unsupported);
        }
        if self.window.buffer.is_empty() {
            return Err(WindowError::NoMemory);
        }
        let client = self.new_client();
        self.expect_answer(now);
        let window = &mut self.window;
        (window.state, window.client, window.heard_at) = (WindowState::Opening, client, now);
        (window.used, window.unsent) = (0, 0);
        (window.first, window.next, window.sent, window.resume) = (0, 0, 0, 0);
        self.owe(leader, Due::FORWARD);
        Ok(client)
    }

    /// Puts commands into the window: all of them, or none. `request` names each; they reach the leader's log in this order. The number of the first.
    ///
    /// # Errors
    /// See [`ForwardError`]; nothing was taken.
    pub fn forward<'c, I>(&mut self, now: Instant, kind: Kind, requests: I) -> Result<u32, ForwardError>
    where
        I: Iterator<Item = (RequestId, &'c [u8])> + Clone,
    {
        let Some(leader) = self.leader else { return Err(ForwardError::Closed) };
        let window = &mut self.window;
        let sizes = requests.clone().map(|(_, command)| Item::size(RequestId::SIZE, command.len()));
        let size = sizes.fold(0, usize::saturating_add);
        let longest = self.command_limit.saturating_sub(RequestId::SIZE);
        let lengths = requests.clone().map(|(_, command)| command.len());
        if size > window.limit || lengths.clone().any(|length| length > longest) || !self.may_be_batch(lengths) {
            return Err(ForwardError::TooLarge);
        }
        let window = &mut self.window;
        match window.state {
            WindowState::Open => {}
            WindowState::Opening => return Err(ForwardError::NotReady),
            WindowState::Unused | WindowState::Closed(_) => return Err(ForwardError::Closed),
        }
        let full = size > window.buffer.len() - window.used || !window.pipelines && window.used > 0;
        if full {
            return Err(ForwardError::NotReady);
        }
        self.expect_answer(now);
        let window = &mut self.window;
        if window.used == 0 {
            window.heard_at = now;
        }
        let first = window.next;
        let mut left = requests.clone().count();
        for (request, command) in requests {
            left -= 1;
            let rest = window.buffer.get_mut(window.used..).unwrap_or_default();
            // There is room: the sizes were counted.
            let size = Item::encode(kind, left > 0, &request.encode(), command, rest).unwrap_or(0);
            window.used += size;
            window.next = window.next.wrapping_add(1);
        }
        self.owe(leader, Due::FORWARD);
        Ok(first)
    }

    /// Whether commands of these lengths can be one batch, on whichever node: the window takes them at once, and so do the ring and the store of a leader that
    /// is like this node.
    pub fn may_be_batch(&self, lengths: impl Iterator<Item = usize>) -> bool {
        let (mut items, mut records, mut count) = (0_usize, 0_usize, 0);
        for length in lengths {
            items = items.saturating_add(Item::size(RequestId::SIZE, length));
            records = records.saturating_add(record_size(RequestId::SIZE + length));
            count += 1;
        }
        count <= 1
            || items <= self.window.limit
                && count <= self.ring.slots() / 2
                && records <= self.ring.capacity() / 2
                && self.store.ever_takes_from_client(records, self.ring.capacity())
    }

    /// How far the window has come.
    pub fn window(&self) -> WindowStatus {
        let Window { state, client, first, sent, next, pipelines, .. } = self.window;
        WindowStatus { state, client, accepted: first, sent, next, pipelines }
    }

    /// Closes the window. What was put in may be in the leader's log or not.
    #[inline(never)]
    pub fn close_window(&mut self, reason: Closed) {
        if matches!(self.window.state, WindowState::Open | WindowState::Opening) {
            self.window.state = WindowState::Closed(reason);
            self.window.used = 0;
            self.tell_window();
        }
    }

    /// Something is about to be asked of the leader, and asked again at the next tick. The tick of an earlier question is not put off.
    pub(super) fn expect_answer(&mut self, now: Instant) {
        if self.role == Role::Follower && !self.awaits_leader() {
            self.arm_tick(now);
        }
    }

    /// Whether something was sent to the leader that should be answered.
    pub(super) const fn awaits_leader(&self) -> bool {
        self.awaits_answer() || self.rounds.are_under_way()
    }

    #[inline(never)]
    const fn awaits_answer(&self) -> bool {
        match self.window.state {
            WindowState::Opening => true,
            WindowState::Open => self.window.used > 0,
            WindowState::Unused | WindowState::Closed(_) => false,
        }
    }

    /// The questions and commands that were not answered are sent again: they, or the answers, may be lost.
    pub(super) fn repeat_to_leader(&mut self, now: Instant) {
        let Some(leader) = self.leader else { return };
        // A leader that hears this node no more may lead on: who waits for it learns so. One that is gone is missed before.
        let patience = self.config.election_timeout.times(2);
        if self.rounds.are_under_way() && self.rounds.age(now) > patience {
            self.lose_rounds();
        } else if self.rounds.are_under_way() {
            self.owe(leader, Due::READ);
        }
        if self.awaits_answer() && now - self.window.heard_at > patience {
            return self.close_window(Closed::NoAnswer);
        }
        match self.window.state {
            WindowState::Opening => self.owe(leader, Due::FORWARD),
            WindowState::Open if self.window.used > 0 => self.send_again(leader),
            _ => {}
        }
    }

    fn send_again(&mut self, leader: NodeId) {
        (self.window.unsent, self.window.resume) = (0, self.window.first);
        self.owe(leader, Due::FORWARD);
    }

    /// Writes the frame with what should be sent; its length.
    #[cold]
    pub(super) fn poll_forward(&mut self, to: NodeId, frame: &mut [u8]) -> Option<usize> {
        let Window { used, unsent, client, resume, state, .. } = self.window;
        let items = match state {
            WindowState::Opening => 0..0,
            WindowState::Open if unsent < used => unsent..used,
            _ => return None,
        };
        let limit = frame.len().saturating_sub(FORWARD_HEADER);
        // A window larger than a frame goes in several.
        let (bytes, count) = whole_batches(self.window.buffer.get(items).unwrap_or_default(), limit);
        let items = self.window.buffer.get(unsent..unsent + bytes).unwrap_or_default();
        let forward = Forward { client, first: resume, capabilities: self.config.capabilities, items };
        let len = self.envelope.seal(to, self.term, &crate::wire::Message::Forward(forward), frame)?;
        let window = &mut self.window;
        (window.unsent, window.resume) = (unsent + bytes, resume.wrapping_add(count));
        if window.resume.wrapping_sub(window.sent).cast_signed() > 0 {
            window.sent = window.resume;
        }
        if count > 0 && window.unsent < window.used {
            self.owe(to, Due::FORWARD);
        }
        Some(len)
    }

    #[cold]
    pub(super) fn handle_forward_answer(&mut self, now: Instant, from: NodeId, answer: &ForwardAnswer) {
        let window = &mut self.window;
        let open = matches!(window.state, WindowState::Opening | WindowState::Open);
        let taken = answer.next.wrapping_sub(window.first);
        let expected =
            self.role == Role::Follower && self.leader == Some(from) && open && window.client == answer.client;
        // No more than was sent can be in the leader's log; less than was told before is an old answer.
        if !expected || taken > window.sent.wrapping_sub(window.first) {
            return count(&mut self.refusals.stale_answer);
        }
        window.take_off(taken);
        (window.state, window.heard_at) = (WindowState::Open, now);
        match answer.state {
            Intake::Open => {}
            Intake::GoOn => self.send_again(from),
            Intake::Unsupported => self.close_window(Closed::Unsupported),
            Intake::Rejected(rejection) => self.close_window(Closed::Rejected(rejection)),
            Intake::TooLarge => self.close_window(Closed::TooLarge),
        }
        self.tell_window();
    }
}

impl Window<'_> {
    /// The first `count` items are in the leader's log.
    fn take_off(&mut self, count: u32) {
        let items = self.buffer.get_mut(..self.used).unwrap_or_default();
        let mut all = Items::new(items);
        all.by_ref().take(count as usize).for_each(drop);
        let rest = all.rest();
        // So the compiler knows that no more goes than there is, and that nothing panics.
        let gone = items.len().saturating_sub(rest);
        items.copy_within(gone.., 0);
        self.used = rest;
        self.first = self.first.wrapping_add(count);
        if self.unsent >= gone {
            self.unsent -= gone;
        } else {
            (self.unsent, self.resume) = (0, self.first);
        }
    }
}

/// How many bytes and items at the beginning of `items` are whole batches and fit into `limit` bytes.
fn whole_batches(items: &[u8], limit: usize) -> (usize, u32) {
    let mut whole = (0, 0);
    let mut all = Items::new(items);
    let mut count = 0;
    while let Some(item) = all.next() {
        count += 1;
        let bytes = items.len() - all.rest();
        if bytes > limit {
            break;
        }
        if !item.more {
            whole = (bytes, count);
        }
    }
    whole
}
