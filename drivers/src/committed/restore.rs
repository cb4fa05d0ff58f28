//! Restoring a snapshot: the application reads the state that takes the place of its own.

use core::fmt;

use quoring_core::{LogIndex, Snapshot, Term};

use super::Committed;
use crate::answer::ANSWER;
use crate::halt::Halt;
use crate::platform::Platform;
use crate::sessions::{HEAD, ITEM, answer_len, count};
use crate::store::{LogStore, SnapshotError};

/// A snapshot that takes the place of the application's state.
///
/// Read it to its end, then [`finish`](Self::finish). If it is dropped before, the next step is to restore again: the application's state may be anything until
/// then, but it must not answer from it.
pub struct Restore<'s, 'a, P: Platform> {
    committed: &'s mut Committed<'a, P>,
    snapshot: Snapshot,
    read: Read,
    /// Bytes of the sessions, which come first and are not the application's.
    sessions: u64,
}

/// How far a snapshot has been read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Read {
    /// Bytes.
    offset: u64,
    /// Of those.
    checksum: u32,
}

/// Why a snapshot was not restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RestoreError {
    /// A newer one has taken its place: drop it and ask for the next step.
    Superseded,
    /// Not all of it has been read.
    Incomplete,
    /// The node has stopped.
    Halted(Halt),
}

impl<'s, 'a, P: Platform> Restore<'s, 'a, P> {
    /// What has been `read` of it are the sessions.
    pub(super) const fn new(committed: &'s mut Committed<'a, P>, snapshot: Snapshot, read: Read) -> Self {
        Self { committed, snapshot, read, sessions: read.offset }
    }

    /// The last entry whose effect it has.
    pub const fn index(&self) -> LogIndex {
        self.snapshot.last.index
    }

    /// The term of that entry.
    pub const fn term(&self) -> Term {
        self.snapshot.last.term
    }

    /// Bytes of the application's state.
    pub const fn length(&self) -> u64 {
        self.snapshot.length.saturating_sub(self.sessions)
    }

    /// Copies the next bytes into `buffer`; how many, 0 at the end. The last ones come only if the checksum over all of them is right.
    ///
    /// # Errors
    /// See [`RestoreError`].
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, RestoreError> {
        let (shared, snapshot, offset) = (self.committed.shared, self.snapshot, self.read.offset);
        let rest = usize::try_from(snapshot.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        // A piece at a time, so that the log writer need not wait for all of them.
        let piece = buffer.len().min(rest).min(self.committed.buffer.len());
        let piece = buffer.get_mut(..piece).unwrap_or_default();
        if piece.is_empty() {
            return Ok(0);
        }
        let read = shared.use_store(&shared.wakes.committed, async |store| {
            store.read_snapshot(&snapshot, offset, piece).await.map(|len| (len, piece))
        });
        let corrupt = || RestoreError::Halted(shared.halt(Halt::Snapshot));
        let (len, piece) = match read.await {
            Ok((len, piece)) if len > 0 => (len, piece),
            Err(SnapshotError::Superseded) if self.is_superseded() => return Err(RestoreError::Superseded),
            _ => return Err(corrupt()),
        };
        self.read.checksum = (shared.crc)(self.read.checksum, piece.get(..len).unwrap_or_default());
        self.read.offset = offset.saturating_add(len as u64);
        if self.read.offset == snapshot.length && self.read.checksum != snapshot.checksum {
            return Err(corrupt());
        }
        Ok(len)
    }

    /// The application's state is that of the snapshot now: the entries behind it come next.
    ///
    /// # Errors
    /// [`RestoreError::Incomplete`].
    pub fn finish(self) -> Result<(), RestoreError> {
        if self.read.offset < self.snapshot.length {
            return Err(RestoreError::Incomplete);
        }
        self.committed.jump(self.snapshot.last);
        Ok(())
    }

    /// Reads the sessions.
    async fn read_sessions(&mut self) -> Result<(), RestoreError> {
        let mut head = [0; HEAD];
        self.fill(&mut head).await?;
        let count = count(head, self.snapshot.length).ok_or_else(|| self.halt(Halt::Snapshot))?;
        if !self.committed.sessions.begin_image(count) {
            return Err(self.halt(Halt::Sessions { needed: count.into() }));
        }
        for _ in 0..count {
            let (mut item, mut answer) = ([0; ITEM], [0; ANSWER]);
            self.fill(&mut item).await?;
            let answer = answer.get_mut(..answer_len(&item)).ok_or_else(|| self.halt(Halt::Snapshot))?;
            self.fill(answer).await?;
            if !self.committed.sessions.read_item(self.snapshot.last.index, &item, answer) {
                return Err(self.halt(Halt::Snapshot));
            }
        }
        Ok(())
    }

    /// Reads as many bytes as there is room for.
    async fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), RestoreError> {
        while !buffer.is_empty() {
            let len = self.read(buffer).await?;
            buffer = match buffer.get_mut(len..) {
                Some(rest) if len > 0 => rest,
                _ => return Err(self.halt(Halt::Snapshot)),
            };
        }
        Ok(())
    }

    fn halt(&self, halt: Halt) -> RestoreError {
        RestoreError::Halted(self.committed.shared.halt(halt))
    }

    /// Whether the store holds a newer one.
    fn is_superseded(&self) -> bool {
        self.committed.shared.with(|state| state.raft.snapshot() != Some(&self.snapshot))
    }
}

impl<P: Platform> Committed<'_, P> {
    /// Reads the sessions at the beginning of the snapshot; `None` if a newer one has taken its place. From now on there is no way back to entries before the snapshot,
    /// also if this future is dropped: the table is that of the snapshot, or part of it.
    pub(super) async fn read_sessions(&mut self, snapshot: Snapshot) -> Result<Option<Read>, Halt> {
        let mut restore = Restore::new(self, snapshot, Read::default());
        match restore.read_sessions().await {
            Ok(()) => Ok(Some(restore.read)),
            Err(RestoreError::Halted(halt)) => Err(halt),
            Err(RestoreError::Superseded | RestoreError::Incomplete) => Ok(None),
        }
    }
}

impl<P: Platform> Drop for Restore<'_, '_, P> {
    fn drop(&mut self) {
        // If it was not finished, it is the next step again.
        self.committed.shared.detour.store(true, core::sync::atomic::Ordering::Release);
    }
}

impl<P: Platform> fmt::Debug for Restore<'_, '_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restore").field("snapshot", &self.snapshot).field("read", &self.read).finish()
    }
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superseded => f.write_str("a newer snapshot has taken its place"),
            Self::Incomplete => f.write_str("not all of the snapshot has been read"),
            Self::Halted(halt) => halt.fmt(f),
        }
    }
}

impl core::error::Error for RestoreError {}
