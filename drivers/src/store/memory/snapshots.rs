//! Two snapshots: the newest, and the one that is being written.

use quoring_core::{EntryId, Snapshot};
use quoring_ring::DEFAULT_CRC32C;

use super::Error;
use crate::store::SnapshotError;

/// Two slots of `BYTES` bytes, written in turn. The initial image is all zero.
#[derive(Debug)]
pub(super) struct Snapshots<const BYTES: usize> {
    slots: [Slot<BYTES>; 2],
    /// Which of them was finished last.
    newest: bool,
}

#[derive(Debug)]
struct Slot<const BYTES: usize> {
    bytes: [u8; BYTES],
    content: Content,
}

/// What is in a slot. Its tag is written out so that "nothing" is zero.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum Content {
    Nothing = 0,
    /// The first bytes of the snapshot that covers the log up to `last`.
    Part {
        last: EntryId,
        length: usize,
    } = 1,
    Whole(Snapshot) = 2,
}

impl<const BYTES: usize> Snapshots<BYTES> {
    pub(super) const fn new() -> Self {
        const { assert!(BYTES as u64 <= u32::MAX as u64, "a snapshot in RAM") };
        Self { slots: [const { Slot { bytes: [0; BYTES], content: Content::Nothing } }; 2], newest: false }
    }

    /// The one that was finished last.
    pub(super) fn newest(&self) -> Option<&Snapshot> {
        let [first, second] = &self.slots;
        match if self.newest { second } else { first }.content {
            Content::Whole(ref snapshot) => Some(snapshot),
            _ => None,
        }
    }

    /// Begins a new one in the other slot.
    pub(super) fn begin(&mut self, last: EntryId) {
        self.other().content = Content::Part { last, length: 0 };
    }

    pub(super) fn write(&mut self, last: EntryId, offset: u64, bytes: &[u8]) -> Result<(), SnapshotError<Error>> {
        let slot = self.other();
        let length = match slot.content {
            Content::Part { last: part, length } if part == last => length,
            _ => return Err(SnapshotError::Superseded),
        };
        if offset != length as u64 {
            return Err(SnapshotError::Mismatch);
        }
        let room = slot.bytes.get_mut(length..).unwrap_or_default();
        room.get_mut(..bytes.len()).ok_or(SnapshotError::TooLarge)?.copy_from_slice(bytes);
        slot.content = Content::Part { last, length: length.saturating_add(bytes.len()) };
        Ok(())
    }

    pub(super) fn finish(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError<Error>> {
        if self.newest().is_some_and(|newest| newest.last.index >= snapshot.last.index) {
            return Err(SnapshotError::Superseded);
        }
        let slot = self.other();
        let length = match slot.content {
            Content::Part { last, length } if last == snapshot.last => length,
            _ => return Err(SnapshotError::Superseded),
        };
        let bytes = slot.bytes.get(..length).unwrap_or_default();
        if (length as u64, DEFAULT_CRC32C(0, bytes)) != (snapshot.length, snapshot.checksum) {
            return Err(SnapshotError::Mismatch);
        }
        slot.content = Content::Whole(*snapshot);
        self.newest = !self.newest;
        Ok(())
    }

    pub(super) fn read(
        &self,
        snapshot: &Snapshot,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, SnapshotError<Error>> {
        let whole = |slot: &&Slot<BYTES>| matches!(&slot.content, Content::Whole(whole) if whole == snapshot);
        let slot = self.slots.iter().find(whole).ok_or(SnapshotError::Superseded)?;
        let from = offset.min(snapshot.length) as usize;
        let rest = slot.bytes.get(from..snapshot.length as usize).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer.iter_mut().zip(rest).for_each(|(to, &byte)| *to = byte);
        Ok(count)
    }

    /// The slot that is not the newest.
    const fn other(&mut self) -> &mut Slot<BYTES> {
        let [first, second] = &mut self.slots;
        if self.newest { first } else { second }
    }
}
