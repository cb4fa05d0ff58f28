//! Two slots for snapshots: the newest finished one, and the one that is being written.

use quoring_core::{EntryId, Snapshot};

use super::format::{Commit, HEADER};
use super::io::{Io, Words};
use crate::store::SnapshotError;
use crate::store::medium::Medium;

/// What the two slots hold.
///
/// ```text
///  slot:  | commit record | bytes of the snapshot ...                    |
///          '- written last: only with it does the slot count
/// ```
#[derive(Clone, Debug)]
pub(super) struct Snapshots {
    slots: [Option<(u32, Snapshot)>; 2],
    writing: Option<Writing>,
}

/// A snapshot that is being written.
#[derive(Clone, Copy, Debug)]
struct Writing {
    last: EntryId,
    length: u32,
    checksum: u32,
    words: Words,
    /// Behind the last page that was erased for it.
    erased: u32,
}

impl Snapshots {
    pub(super) const NONE: Self = Self { slots: [None; 2], writing: None };

    /// The one that was finished last.
    pub(super) fn newest(&self) -> Option<Snapshot> {
        self.slots.iter().flatten().max_by_key(|(sequence, _)| *sequence).map(|(_, snapshot)| *snapshot)
    }

    /// The slot that is not the newest.
    fn other(&self) -> usize {
        match self.slots {
            [Some((first, _)), Some((second, _))] => usize::from(first > second),
            [Some(_), None] => 1,
            _ => 0,
        }
    }

    /// Finds those that are finished, and whose bytes check.
    pub(super) async fn find<M: Medium, const W: usize, const R: usize>(
        &mut self,
        io: &mut Io<M, W, R>,
    ) -> Result<(), M::Error> {
        *self = Self::NONE;
        if io.format.layout.slot_pages == 0 {
            return Ok(());
        }
        for (slot, place) in self.slots.iter_mut().enumerate() {
            *place = io.commit(slot).await?.map(|commit| (commit.sequence, commit.snapshot));
        }
        Ok(())
    }

    pub(super) async fn begin<M: Medium, const W: usize, const R: usize>(
        &mut self,
        io: &mut Io<M, W, R>,
        last: EntryId,
    ) -> Result<(), M::Error> {
        self.writing = None;
        if io.format.layout.slot_pages == 0 {
            return Ok(());
        }
        let slot = self.other();
        if let Some(place) = self.slots.get_mut(slot) {
            *place = None;
        }
        let base = io.format.slot(slot);
        io.wipe(base, io.format.header()).await?;
        let words = Words::at(base + io.format.header());
        self.writing = Some(Writing { last, length: 0, checksum: 0, words, erased: base + io.format.page() });
        Ok(())
    }

    pub(super) async fn write<M: Medium, const W: usize, const R: usize>(
        &mut self,
        io: &mut Io<M, W, R>,
        (last, offset): (EntryId, u64),
        bytes: &[u8],
    ) -> Result<(), SnapshotError<M::Error>> {
        let writing = self.writing.filter(|writing| writing.last == last);
        let mut writing = writing.ok_or(SnapshotError::Superseded)?;
        if offset != u64::from(writing.length) {
            return Err(SnapshotError::Mismatch);
        }
        if offset.saturating_add(bytes.len() as u64) > u64::from(io.format.slot_bytes()) {
            return Err(SnapshotError::TooLarge);
        }
        // Stays so if this is cancelled.
        self.writing = None;
        io.forget();
        let end = writing.words.end() + bytes.len() as u32;
        while writing.erased < end {
            if io.format.geometry.erased.is_some() {
                io.medium.erase(writing.erased).await.map_err(SnapshotError::Store)?;
            }
            writing.erased += io.format.page();
        }
        io.push_snapshot(&mut writing.words, bytes).await.map_err(SnapshotError::Store)?;
        writing.length += bytes.len() as u32;
        writing.checksum = (io.format.crc)(writing.checksum, bytes);
        self.writing = Some(writing);
        Ok(())
    }

    pub(super) async fn finish<M: Medium, const W: usize, const R: usize>(
        &mut self,
        io: &mut Io<M, W, R>,
        snapshot: &Snapshot,
    ) -> Result<(), SnapshotError<M::Error>> {
        let is_newer = self.newest().is_none_or(|newest| newest.last.index < snapshot.last.index);
        let writing = self.writing.filter(|writing| is_newer && writing.last == snapshot.last);
        let mut writing = writing.ok_or(SnapshotError::Superseded)?;
        if (u64::from(writing.length), writing.checksum) != (snapshot.length, snapshot.checksum) {
            return Err(SnapshotError::Mismatch);
        }
        self.writing = None;
        let slot = self.other();
        let sequence = self.slots.iter().flatten().map(|(sequence, _)| *sequence).max().unwrap_or(0).saturating_add(1);
        let commit = Commit { owner: io.format.owner, sequence, snapshot: *snapshot };
        io.finish_snapshot(&mut writing.words, slot, &commit).await.map_err(SnapshotError::Store)?;
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some((sequence, *snapshot));
        }
        Ok(())
    }

    pub(super) async fn read<M: Medium, const W: usize, const R: usize>(
        &self,
        io: &mut Io<M, W, R>,
        (snapshot, offset): (&Snapshot, u64),
        buffer: &mut [u8],
    ) -> Result<usize, SnapshotError<M::Error>> {
        let whole = |slot: &Option<(u32, Snapshot)>| slot.is_some_and(|(_, whole)| whole == *snapshot);
        let slot = self.slots.iter().position(whole).ok_or(SnapshotError::Superseded)?;
        let offset = offset.min(snapshot.length);
        let count = buffer.len().min((snapshot.length - offset) as usize);
        let bytes = buffer.get_mut(..count).unwrap_or_default();
        let at = io.format.slot(slot) + io.format.header() + offset as u32;
        io.medium.read(at, bytes).await.map_err(SnapshotError::Store)?;
        Ok(count)
    }
}

impl<M: Medium, const WORD: usize, const RECORD: usize> Io<M, WORD, RECORD> {
    /// The commit record of a slot, if it and the bytes check.
    pub(super) async fn commit(&mut self, slot: usize) -> Result<Option<Commit>, M::Error> {
        let base = self.format.slot(slot);
        let bytes = self.array::<HEADER>(base).await?;
        let Some(commit) = bytes.and_then(|bytes| Commit::decode(&bytes, self.format.crc)) else { return Ok(None) };
        let length = commit.snapshot.length;
        if commit.owner != self.format.owner || length > u64::from(self.format.slot_bytes()) {
            return Ok(None);
        }
        let start = base + self.format.header();
        let sum = self.sum(0, start, start + length as u32).await?;
        Ok((sum == Some(commit.snapshot.checksum)).then_some(commit))
    }

    /// Fills the last word, and writes the record that makes the bytes count: as far as they check.
    async fn finish_snapshot(&mut self, words: &mut Words, slot: usize, commit: &Commit) -> Result<(), M::Error> {
        self.forget();
        self.end_snapshot(words).await?;
        let mut words = Words::at(self.format.slot(slot));
        self.push(&mut words, &commit.encode(self.format.crc)).await?;
        self.push_zeros(&mut words, self.format.header() - HEADER as u32).await?;
        self.medium.sync().await
    }
}
