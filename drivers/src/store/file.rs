//! A log in a folder of a host.

mod error;
mod folder;
mod layout;
mod medium;
mod offsets;
mod scan;
#[cfg(test)]
mod tests;

use std::io::IoSlice;
use std::path::Path;

use quoring_core::{ClusterId, LogIndex, NodeId, Recovery};
use quoring_ring::{Checksum, DEFAULT_CRC32C, HEADER, Header, Record};

pub use self::error::{Damage, Error};
use self::folder::Folder;
use self::layout::{BATCH_HEADER, BatchHeader, FILE_HEADER};
use self::medium::Medium;
use self::offsets::Offsets;
use super::entries::Entries;
use super::{LogStore, ReadError};

/// The most bytes that one append takes: 1 MiB. Bounds what a torn tail can be.
pub const BATCH_LIMIT: usize = 1 << 20;

/// A log in a folder of its own.
///
/// ```text
/// lock       held while the folder is open
/// log        | file header | batch header, records | batch header, records | ...          durable, only ever appended to
/// offsets    | - | offset of entry 1 | of entry 2 | ...       8 bytes each; rebuilt by recovery, never trusted, never synced
/// ```
///
/// An append is one write at the end of `log` and one `fdatasync`. It **blocks the thread**: run the log writer on a thread of its
/// own (`Runner::split`). The first error of an append latches: all later ones are refused until the log is recovered.
///
/// # End of log
/// Recovery reads batches until one does not check. If that one can have been torn, it is cut off, durably, before the node starts:
/// it was never acknowledged. If anything shows that a later batch was begun, it had been acknowledged and was damaged since: that is
/// [`Error::Corrupt`], the node does not start and nothing is changed. Damage to the very last batch cannot be told from a torn write.
/// What is found is made durable again before it counts, since a file cache may show what a failed sync left behind.
///
/// A node whose log is lost or damaged must not start with an empty folder under its old id: it could vote twice in one term.
///
/// Memory is constant: about 4 KiB here, and 128 KiB of stack during [`recover`](LogStore::recover).
#[derive(Debug)]
pub struct FileLog {
    log: Medium,
    offsets: Offsets,
    checksum: Checksum,
    salt: u64,
    phase: Phase,
    tail: Tail,
    _folder: Folder,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Opened,
    Running,
    Failed,
}

/// Where the next batch goes, and what it continues.
#[derive(Clone, Copy, Debug)]
struct Tail {
    end: u64,
    sequence: u64,
    last: LogIndex,
}

impl Tail {
    const START: Self = Self { end: FILE_HEADER as u64, sequence: 0, last: LogIndex::ZERO };

    /// After one more batch of `length` bytes.
    const fn after(self, length: usize, last: LogIndex) -> Self {
        Self { end: self.end + (BATCH_HEADER + length) as u64, sequence: self.sequence + 1, last }
    }
}

impl FileLog {
    /// Opens the log of `node` in `folder`, or begins a new one there. To be [recovered](LogStore::recover) before it is written.
    ///
    /// # Errors
    /// The folder cannot be used, is open elsewhere, or holds the log of another node, cluster or version.
    pub fn open(folder: impl AsRef<Path>, cluster: ClusterId, node: NodeId) -> Result<Self, Error> {
        let folder = Folder::open(folder.as_ref())?;
        let (log, salt) = folder.log(cluster, node)?;
        Ok(Self {
            log,
            offsets: Offsets::new(folder.file("offsets")?),
            checksum: Checksum::new(cluster.0, DEFAULT_CRC32C),
            salt,
            phase: Phase::Opened,
            tail: Tail::START,
            _folder: folder,
        })
    }

    fn write(&mut self, batch: &[u8]) -> Result<(), Error> {
        let tail = self.tail;
        let last = Entries::new(batch, tail.last).finish().map_err(Error::Record)?;
        let header = BatchHeader::of(batch, tail.sequence).ok_or(Error::TooLarge(batch.len()))?;
        let header = header.encode(self.salt, tail.end);
        self.log.write_at(tail.end, &mut [IoSlice::new(&header), IoSlice::new(batch)])?;
        self.log.sync_data()?;
        self.offsets.note(batch, tail)?;
        self.tail = tail.after(batch.len(), last);
        Ok(())
    }

    fn fetch(&self, index: LogIndex, buffer: &mut [u8]) -> Result<usize, ReadError<Error>> {
        if index == LogIndex::ZERO || index > self.tail.last {
            return Err(ReadError::Missing);
        }
        let at = self.offsets.get(index).map_err(ReadError::Store)?;
        let mut header = [0; HEADER];
        self.log.read_exact_at(at, &mut header).map_err(ReadError::Store)?;
        let header = self.expect(index, at, Header::decode(&header)).map_err(ReadError::Store)?;
        let size = header.size();
        let bytes = buffer.get_mut(..size).ok_or(ReadError::TooSmall(size))?;
        self.log.read_exact_at(at, bytes).map_err(ReadError::Store)?;
        let record = self.log.sound(at, Record::parse(bytes)).map_err(ReadError::Store)?;
        let checked = self.checksum.verify(&record, (index.0 >> 32) as u32);
        self.log.sound(at, checked).map_err(ReadError::Store)?;
        Ok(size)
    }

    /// The header found at `at` if it is one of entry `index`.
    fn expect<E: Into<Damage>>(&self, index: LogIndex, at: u64, found: Result<Header, E>) -> Result<Header, Error> {
        let header = self.log.sound(at, found)?;
        if header.kind.is_entry() && header.index_low == index.0 as u32 {
            Ok(header)
        } else {
            Err(self.log.corrupt(at, Damage::OtherEntry))
        }
    }
}

impl LogStore for FileLog {
    type Error = Error;

    async fn recover(&mut self, log: &mut Recovery) -> Result<(), Error> {
        self.phase = Phase::Failed;
        self.tail = self.scan(log)?;
        self.phase = Phase::Running;
        Ok(())
    }

    async fn append(&mut self, batch: &[u8]) -> Result<(), Error> {
        match self.phase {
            Phase::Opened => return Err(Error::NotRecovered),
            Phase::Failed => return Err(Error::Halted),
            Phase::Running if batch.is_empty() => return Ok(()),
            Phase::Running => self.phase = Phase::Failed, // It stays so unless all goes well.
        }
        self.write(batch)?;
        self.phase = Phase::Running;
        Ok(())
    }

    async fn read(&mut self, index: LogIndex, buffer: &mut [u8]) -> Result<usize, ReadError<Error>> {
        self.fetch(index, buffer)
    }
}
