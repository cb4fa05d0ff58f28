//! Snapshots: when the application makes one, how a leader's takes the place of the log, what may be purged (Raft section 7).
//!
//! ```text
//!   leader                                  follower
//!   poll_transmit: read a chunk, seal  -->  handle_message: Handled::Chunk, written to the store
//!   offset = received                  <--  handle_chunk: SnapshotAnswer(received)
//!   ...                                     the last one: finished in the store, hence durable (S3); then
//!   probe behind it                    <--  install: the log starts anew behind it; AppendAnswer(matched)
//! ```
//!
//! # Why a snapshot may be installed at any moment
//! What a snapshot covers is committed. If the log has the snapshot's last entry, it has all before it too (log matching), and nothing of the log goes. If
//! it has not, everything in it above what is committed either lies below that entry, and is covered, or contradicts it, and will never be committed. So
//! no promise is broken, at whatever moment the store makes the snapshot its newest, also when power goes before the log was started anew: recovery comes
//! to the same decision. But a *claim* may be broken: a candidate asks for votes with the log it has. So it gives up its candidacy before the log changes
//! (S2). A leader's log has everything that is committed (leader completeness): there is nothing to install.

use quoring_ring::{ALIGN, AppendError, Position};

use super::store_room::Fill;
use super::transmit::Transmit;
use super::{Handled, Raft, Recorded, Rule, count};
use crate::event::{Event, Role};
use crate::progress::{Mode, Peer};
use crate::recovery::Recovered;
use crate::snapshot::Snapshot;
use crate::term_runs::TermRuns;
use crate::types::{EntryId, Instant, LogIndex, NodeId, Term};
use crate::wire::{CHUNK_HEADER, InstallSnapshot, Message, SnapshotAnswer};

/// What a node knows of snapshots, its own and those on their way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Snapshots {
    /// The newest that is durable here.
    pub(super) newest: Option<Snapshot>,
    /// What comes in from a leader, and how many bytes of it the store has. Outlives the leader: what it is says which bytes it has (S1, S2).
    incoming: Option<(Snapshot, u64)>,
    /// Finished in the store; the record that starts the log anew waits for room in the ring.
    installing: Option<EntryId>,
    /// Entries up to this one may go. All that the newest covers but its last entry, as long as a log that contradicts it has not been started anew,
    /// durably: without the contradiction, what lies behind would seem to follow on the snapshot after a loss of power.
    purgeable: LogIndex,
    /// Where the record that started the log anew ends in the ring, until it is durable.
    restarted: Option<Position>,
    /// How far the application was when it was last asked for a snapshot and made none.
    declined: LogIndex,
    /// When that was, or a piece of a leader's snapshot came.
    moved_at: Instant,
}

impl Snapshots {
    /// What is left of them after a restart.
    pub(super) fn new(recovered: &Recovered) -> Self {
        let installing = recovered.restart.then_some(recovered.start);
        let purgeable = recovered.purgeable();
        Self { newest: recovered.snapshot, installing, purgeable, ..Self::default() }
    }
}

/// A chunk that a follower should write to its store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Chunk {
    /// Of which snapshot.
    pub snapshot: Snapshot,
    /// Where it begins in the snapshot. At 0 the store begins a new one.
    pub offset: u64,
    /// Where it begins in the frame.
    pub at: usize,
    /// Its length in bytes.
    pub len: usize,
}

impl Chunk {
    /// Whether the snapshot is complete with it: the store then finishes it.
    pub const fn is_last(&self) -> bool {
        self.offset + self.len as u64 == self.snapshot.length
    }
}

/// What became of a [`Chunk`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Stored {
    /// It is in the store, and if it was the last one, so is the whole snapshot, durably.
    Yes,
    /// The snapshot is not what it says, or its place was taken by another: it must come again from the beginning.
    Broken,
    /// The store has no room for such a snapshot.
    TooLarge,
}

/// A chunk to read from the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ChunkBatch {
    /// The term in which it may leave.
    pub term: Term,
    /// Of which snapshot.
    pub snapshot: Snapshot,
    /// Where it begins in the snapshot.
    pub offset: u64,
    /// Where it goes in the frame.
    pub at: usize,
    /// Its length in bytes.
    pub len: usize,
    peer: NodeId,
    session: u32,
}

impl Raft<'_> {
    /// The newest snapshot that is durable here.
    pub const fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshots.newest.as_ref()
    }

    /// Entries up to this one are gone.
    pub const fn start(&self) -> LogIndex {
        self.start.index
    }

    /// Entries up to this one may go: a durable snapshot covers them (S3).
    pub fn may_purge(&self) -> LogIndex {
        if self.breaks(Rule::PurgeUncovered) {
            return LogIndex(self.ring.applied());
        }
        self.snapshots.purgeable
    }

    /// Whether the application should make a snapshot: after as many entries as the configuration says, or sooner if the log is half full. Not while a
    /// snapshot travels from or to this node, which a new one would disturb, nor soon after the application declined. If the log is almost full, at once, also
    /// while one travels from here; but if the application is behind, it goes on first, since a snapshot makes no more room than it has applied.
    pub fn wants_snapshot(&self) -> bool {
        let (every, applied, fill) = (self.config.snapshot_after, self.applied(), self.store.fill());
        let covered = self.covered().index;
        let since = entries_between(covered.max(self.snapshots.declined), applied);
        // Asked after every step: the answer is hardly ever another.
        if since < every && fill == Fill::Low {
            return false;
        }
        if since == 0 || applied <= covered || self.role == Role::Halted {
            return false;
        }
        if self.snapshots.incoming.is_some_and(|(snapshot, _)| snapshot.last.index > self.committed()) {
            return false;
        }
        let soon = every.div_ceil(4);
        if fill == Fill::AlmostFull
            && (applied >= self.committed().min(self.durable) || entries_between(covered, applied) >= soon)
        {
            return true;
        }
        (since >= every || since >= soon && fill >= Fill::Half) && !self.sends_snapshot()
    }

    /// The application was asked for a snapshot when it had come to `applied`, and made none. It is asked again after more entries; or after some time, if
    /// the log is almost full and takes no more.
    pub fn handle_declined(&mut self, now: Instant, applied: LogIndex) {
        self.snapshots.declined = applied;
        self.snapshots.moved_at = now;
    }

    /// With a log that is almost full, nothing moves before there is a snapshot: after a while it is asked for again, whoever declined, and whoever began
    /// to send one.
    pub(super) fn retry_snapshot(&mut self, now: Instant) {
        let patience = self.config.election_timeout.times(16);
        if self.store.fill() == Fill::AlmostFull && now - self.snapshots.moved_at >= patience {
            self.snapshots.declined = LogIndex::ZERO;
            self.snapshots.incoming = None;
        }
    }

    /// A snapshot of this node's application is durable.
    pub fn handle_saved(&mut self, snapshot: &Snapshot) {
        if snapshot.last.index > self.covered().index {
            self.snapshots.newest = Some(*snapshot);
            self.snapshots.purgeable = snapshot.last.index;
            self.tell(Event::Saves { last: snapshot.last.index });
        }
    }

    /// The application has restored the snapshot up to `index`, and `applied` is about to jump there.
    pub fn handle_restored(&mut self, index: LogIndex) {
        self.ring.restored(index.0);
    }

    /// The entry that the newest snapshot covers last.
    pub(super) fn covered(&self) -> EntryId {
        self.snapshots.newest.map_or(EntryId::ZERO, |snapshot| snapshot.last)
    }

    fn sends_snapshot(&self) -> bool {
        let patience = self.config.election_timeout;
        self.role == Role::Leader && self.peers.iter().any(|peer| peer.takes_snapshot(patience))
    }
}

/// How many entries lie in `(earlier, later]`; `u32::MAX` for more.
fn entries_between(earlier: LogIndex, later: LogIndex) -> u32 {
    u32::try_from(later.since(earlier)).unwrap_or(u32::MAX)
}

// As a follower.
impl Raft<'_> {
    /// A chunk of the leader's snapshot, of this term.
    #[cold]
    pub(super) fn handle_install_snapshot(
        &mut self,
        now: Instant,
        from: NodeId,
        chunk: &InstallSnapshot<'_>,
    ) -> Handled {
        if !self.hear(now, from, chunk.session) {
            return Handled::Done;
        }
        let last = chunk.snapshot.last;
        if last.term > self.term || last.index == LogIndex::ZERO || chunk.snapshot.voters != self.config.voters {
            count(&mut self.refusals.impossible);
            return Handled::Done;
        }
        let stale = self.breaks(Rule::InstallStale);
        if last.index <= self.committed() && !stale {
            // Refused but answered (S2): what is committed is in the leader's log.
            self.holds(self.committed());
            return Handled::Done;
        }
        if last.index <= self.last() && !stale {
            match self.term_of(last.index) {
                Some(term) if term == last.term => {
                    // The log has it already: it is the leader's up to there, and committed.
                    self.ring.commit(last.index.0);
                    self.holds(last.index);
                    return Handled::Done;
                }
                Some(_) => {}
                None => return Handled::NeedsTerm(last.index),
            }
        }
        let received = match self.snapshots.incoming {
            Some((snapshot, received)) if snapshot == chunk.snapshot => received,
            _ => 0,
        };
        if chunk.offset != received {
            count(&mut self.refusals.chunk);
            self.answer_chunk(last.index, received);
            return Handled::Done;
        }
        Handled::Chunk(Chunk {
            snapshot: chunk.snapshot,
            offset: chunk.offset,
            at: CHUNK_HEADER,
            len: chunk.data.len(),
        })
    }

    /// The store has written a [`Chunk`], or could not.
    #[inline(never)]
    pub fn handle_chunk(&mut self, now: Instant, chunk: &Chunk, stored: Stored) {
        if self.role == Role::Halted {
            return;
        }
        let received = match stored {
            Stored::Yes => chunk.offset + chunk.len as u64,
            Stored::Broken | Stored::TooLarge => 0,
        };
        self.snapshots.incoming = (received > 0).then_some((chunk.snapshot, received));
        self.snapshots.moved_at = now;
        match stored {
            Stored::Yes if chunk.is_last() => self.install(now, &chunk.snapshot),
            Stored::Yes => self.answer_chunk(chunk.snapshot.last.index, received),
            Stored::Broken => {
                count(&mut self.refusals.chunk);
                self.answer_chunk(chunk.snapshot.last.index, 0);
            }
            // The leader tries again, ever more rarely.
            Stored::TooLarge => count(&mut self.refusals.chunk),
        }
    }

    /// A leader's snapshot is durable here.
    fn install(&mut self, now: Instant, snapshot: &Snapshot) {
        let last = snapshot.last;
        self.snapshots.incoming = None;
        self.snapshots.newest = Some(*snapshot);
        if last.index <= self.last() && self.term_of(last.index) == Some(last.term) {
            self.snapshots.purgeable = last.index;
            self.ring.commit(last.index.0);
            return self.holds(last.index);
        }
        if self.role == Role::Leader {
            return count(&mut self.refusals.impossible);
        }
        if self.role != Role::Follower {
            self.follow(now, None);
        }
        self.snapshots.installing = Some(last);
        self.snapshots.purgeable = self.snapshots.purgeable.max(last.index.previous());
        self.restart_log();
    }

    /// Starts the log anew behind the snapshot, or remembers to when the log writer has made room. Until then no append is taken.
    #[cold]
    pub(super) fn restart_log(&mut self) {
        let Some(last) = self.snapshots.installing else { return };
        if self.recorded == Recorded::Pending {
            // The term goes first.
            return;
        }
        match self.ring.append_start(last.term.0, last.index.0) {
            Ok(_) => {}
            Err(AppendError::Full) => return,
            // More was committed meanwhile: the log had it after all.
            Err(_) => {
                self.snapshots.installing = None;
                return;
            }
        }
        self.snapshots.installing = None;
        self.snapshots.restarted = Some(self.ring.accepted());
        self.start = last;
        self.runs = TermRuns::behind(last);
        // The snapshot is, and covers all that the log now has.
        self.durable = last.index;
        self.tell(Event::Installs { last: last.index });
        if self.leader.is_some() {
            self.holds(last.index);
        }
    }

    /// `flushed` has moved: the log that was started anew may be so durably, or there may be room to do it.
    pub(super) fn follow_restart(&mut self) {
        if self.snapshots.installing.is_some() {
            self.restart_log();
        }
        if self.snapshots.restarted.is_some_and(|end| !self.ring.flushed().precedes(end)) {
            self.snapshots.restarted = None;
            self.snapshots.purgeable = self.snapshots.purgeable.max(self.start.index);
        }
    }

    /// Whether the log waits to be started anew.
    pub(super) const fn is_installing(&self) -> bool {
        self.snapshots.installing.is_some()
    }

    /// The log is this leader's up to `index`, which is committed: it should hear of it.
    #[inline(never)]
    fn holds(&mut self, index: LogIndex) {
        self.following.matched = self.following.matched.max(index);
        self.following.respond = true;
        self.answer_leader();
    }

    fn answer_chunk(&mut self, last: LogIndex, received: u64) {
        self.following.chunk = Some((last, received));
        self.answer_leader();
    }
}

// As a leader.
impl Raft<'_> {
    /// A peer whose next entry is this one or below must have the snapshot: that entry is gone, or nobody knows the term of the one before.
    pub(super) fn purged(&self) -> LogIndex {
        let start = self.start.index;
        if self.term_of(start).is_some() { start } else { start.next() }
    }

    /// The next chunk for a peer that needs what has been purged. One at a time: the peer writes it before it answers.
    #[cold]
    pub(super) fn poll_chunk(&mut self, now: Instant, to: NodeId, frame: &[u8]) -> Option<Transmit> {
        let (term, snapshot) = (self.term, self.snapshots.newest?);
        let peer = self.peer(to)?;
        if peer.mode != Mode::Snapshot || peer.sending != snapshot.last.index {
            peer.send_snapshot(snapshot.last.index, now);
        }
        if peer.probed {
            return None;
        }
        let Peer { offset, session, .. } = *peer;
        let rest = usize::try_from(snapshot.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let room = frame.len().saturating_sub(CHUNK_HEADER) / ALIGN * ALIGN;
        if room == 0 {
            // A node whose store holds snapshots does not start with such frames.
            return None;
        }
        let batch = ChunkBatch { term, snapshot, offset, at: CHUNK_HEADER, len: room.min(rest), peer: to, session };
        Some(Transmit::FromSnapshot(batch))
    }

    /// The bytes of a [`ChunkBatch`] are in the frame: puts the header before them. The frame's length, or `None` if it should not be sent any more.
    #[inline(never)]
    pub fn seal_chunk(&mut self, now: Instant, batch: &ChunkBatch, frame: &mut [u8]) -> Option<usize> {
        let peer = self.of_pipeline(batch.peer, batch.term, batch.session)?;
        if peer.mode != Mode::Snapshot || peer.offset != batch.offset {
            return None;
        }
        let (header, data) = frame.split_at_mut_checked(batch.at)?;
        let data = data.get(..batch.len)?;
        let chunk = InstallSnapshot { snapshot: batch.snapshot, offset: batch.offset, session: batch.session, data };
        let header = self.envelope.seal(batch.peer, batch.term, &Message::InstallSnapshot(chunk), header)?;
        let peer = self.peer(batch.peer)?;
        (peer.sent, peer.probed) = (true, true);
        peer.retry_at = now + peer.backoff;
        Some(header + batch.len)
    }

    #[cold]
    /// Only progress is answered at once. A snapshot that has to begin anew, because it does not check, is tried again ever more rarely, and does not keep this
    /// node from making a better one.
    pub(super) fn handle_snapshot_answer(&mut self, now: Instant, from: NodeId, answer: &SnapshotAnswer) {
        let (beat, newest) = (self.config.heartbeat_interval, self.snapshots.newest);
        let Some(peer) = self.answering(now, from, answer.session) else { return };
        let sending = newest.filter(|newest| peer.mode == Mode::Snapshot && newest.last.index == answer.last);
        if sending.is_none_or(|snapshot| answer.received > snapshot.length) {
            return count(&mut self.refusals.stale_answer);
        }
        if answer.received == 0 {
            return peer.begin_anew(now, beat);
        }
        let progress = answer.received > peer.offset;
        peer.offset = answer.received;
        if progress {
            peer.backoff = beat;
            peer.probed = false;
            self.ready.insert(from);
        }
    }
}
