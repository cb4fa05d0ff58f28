//! Making a snapshot: the application writes its state, the store keeps it.

use core::fmt;

use quoring_core::{EntryId, LogIndex, Snapshot, Term};

use super::{Committed, Lent};
use crate::halt::Halt;
use crate::platform::Platform;
use crate::sessions::PIECE;
use crate::shared::Shared;
use crate::store::{LogStore, SnapshotError};

/// A snapshot that the application should make of its state as it is after entry [`index`](Self::index).
///
/// Write the bytes in as many pieces as you like, then [`finish`](Self::finish). Dropping it before declines. No entry is applied meanwhile, but the node
/// goes on. Not cancel-safe: when a future of [`write`](Self::write) or `finish` is dropped before it is done, the store is in the middle of a write, and the
/// node may halt ([`LogStore`], rule 5). The bytes must be the same on every node for the same state only if transfers should survive a change of leader.
pub struct Save<'s, 'a, P: Platform> {
    committed: &'s mut Committed<'a, P>,
    /// Bytes written so far, those of the sessions among them.
    length: u64,
    checksum: u32,
    /// How many pieces of the table of sessions have been written: it goes before the application's state.
    pieces: usize,
}

/// Why a snapshot was not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SaveError {
    /// The store has no room for more than this many bytes. Without snapshots the log fills up, and proposals are refused.
    TooLarge(u64),
    /// A leader's snapshot takes its place: drop it and ask for the next step.
    Superseded,
    /// The node has stopped.
    Halted(Halt),
}

impl<'s, 'a, P: Platform> Save<'s, 'a, P> {
    pub(super) fn new(committed: &'s mut Committed<'a, P>) -> Self {
        Self { committed, length: 0, checksum: 0, pieces: 0 }
    }

    /// The last entry whose effect the snapshot must have.
    pub const fn index(&self) -> LogIndex {
        self.last().index
    }

    /// The term of that entry.
    pub const fn term(&self) -> Term {
        self.last().term
    }

    /// The most bytes that the store takes of the application's state.
    pub fn limit(&self) -> u64 {
        self.committed.shared.snapshot_limit.saturating_sub(self.committed.sessions.image_len())
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// See [`SaveError`]; the snapshot cannot be finished any more.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), SaveError> {
        self.write_sessions().await?;
        // A piece at a time, so that the log writer need not wait for all of them.
        for piece in bytes.chunks(self.committed.buffer.len().max(1)) {
            self.write_piece(piece).await?;
        }
        Ok(())
    }

    /// Makes the snapshot durable; from now on the log below it may go.
    ///
    /// # Errors
    /// See [`SaveError`]; there is no new snapshot then.
    pub async fn finish(mut self) -> Result<(), SaveError> {
        self.write_sessions().await?;
        let (shared, length) = (self.committed.shared, self.length);
        let voters = shared.with(|state| state.raft.config().voters);
        let snapshot = Snapshot { last: self.last(), length, checksum: self.checksum, voters };
        let finish = shared.use_store(&shared.wakes.committed, async |store| {
            shared.may_save(snapshot.last)?;
            store.finish_snapshot(&snapshot).await.map_err(|error| shared.unsaved(error))?;
            // While the store is held: what is its newest is the core's, also if this future is dropped now.
            shared.step(|state| state.raft.handle_saved(&snapshot));
            shared.snapshot_is_durable();
            Ok(())
        });
        finish.await?;
        self.committed.lent = Lent::Nothing;
        Ok(())
    }

    /// Writes what has not yet been written of the table of sessions.
    async fn write_sessions(&mut self) -> Result<(), SaveError> {
        let mut buffer = [0; PIECE];
        while let Some(piece) = self.committed.sessions.piece(self.pieces, &mut buffer) {
            self.write_piece(piece).await?;
            self.pieces += 1;
        }
        Ok(())
    }

    async fn write_piece(&mut self, piece: &[u8]) -> Result<(), SaveError> {
        let (shared, last, offset) = (self.committed.shared, self.last(), self.length);
        if offset + piece.len() as u64 > shared.snapshot_limit {
            return Err(SaveError::TooLarge(self.limit()));
        }
        let write = shared.use_store(&shared.wakes.committed, async |store| {
            shared.may_save(last)?;
            if offset == 0 {
                store.begin_snapshot(last).await.map_err(|error| shared.unsaved(SnapshotError::Store(error)))?;
            }
            store.write_snapshot(last, offset, piece).await.map_err(|error| shared.unsaved(error))
        });
        write.await?;
        self.checksum = (shared.crc)(self.checksum, piece);
        self.length += piece.len() as u64;
        Ok(())
    }

    const fn last(&self) -> EntryId {
        self.committed.applied
    }
}

impl<P: Platform> Shared<'_, P> {
    /// Whether a snapshot up to `last` is still wanted: a newer one may have been installed just now, or the node may have stopped.
    fn may_save(&self, last: EntryId) -> Result<(), SaveError> {
        self.check_halted().map_err(SaveError::Halted)?;
        if self.is_covered(last.index) { Err(SaveError::Superseded) } else { Ok(()) }
    }

    fn unsaved<E>(&self, error: SnapshotError<E>) -> SaveError {
        match error {
            SnapshotError::TooLarge => SaveError::TooLarge(self.snapshot_limit),
            SnapshotError::Superseded | SnapshotError::Mismatch => SaveError::Superseded,
            SnapshotError::Store(_) => SaveError::Halted(self.halt(Halt::Snapshot)),
        }
    }
}

impl<P: Platform> fmt::Debug for Save<'_, '_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Save").field("last", &self.last()).field("length", &self.length).finish()
    }
}

impl fmt::Display for SaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(limit) => write!(f, "the store has room for a snapshot of {limit} bytes"),
            Self::Superseded => f.write_str("a leader's snapshot takes its place"),
            Self::Halted(halt) => halt.fmt(f),
        }
    }
}

impl core::error::Error for SaveError {}
