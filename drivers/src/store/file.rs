//! A log in a folder of a host.

mod error;
mod folder;
mod header;
mod medium;
mod named;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use quoring_core::{ClusterId, EntryId, LogIndex, NodeId, Recovery, Snapshot, Space};

pub use self::error::Error;
use self::folder::Folder;
use self::header::{FileHeader, RESERVED};
pub use self::medium::FileMedium;
use self::medium::WORD;
pub use self::named::IoError;
use super::medium::Medium;
use super::paged::{self, Layout, LayoutError, Owner, PagedLog};
use super::{LogStore, ReadError, SnapshotError};

/// The most pages that the log in a folder has.
pub const PAGES: usize = 256;

/// Bytes of the largest record there can be.
pub const LARGEST: usize = quoring_ring::record_size(u16::MAX as usize);

/// A log in a folder of its own.
///
/// ```text
/// lock       held while the folder is open
/// log        | file header | pages of the log | snapshot | snapshot |          durable, never longer than on its first day
/// ```
///
/// The pages are those of a [`PagedLog`], the same as on flash. An append is one or two writes and one `fdatasync`. It **blocks the thread**: run the log
/// writer on a thread of its own (`Runner::split`).
///
/// All blocks are written when the log is begun: a disk that is full shows then, not later. What is found at the start is made durable again before it
/// counts, since a file cache may show what a failed sync left behind.
///
/// A node whose log is lost or damaged must not start with an empty folder under its old id: it could vote twice in one term.
///
/// `RECORD` is the bytes of the largest record that the node makes or receives: none is larger than its frames.
#[derive(Debug)]
pub struct FileLog<const RECORD: usize = LARGEST> {
    log: Pages<FileMedium, RECORD>,
    path: Arc<Path>,
    _folder: Folder,
}

type Pages<M, const RECORD: usize> = PagedLog<M, PAGES, { WORD as usize }, RECORD>;

/// How large a [`FileLog`] is, from its first day to its last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileSize {
    /// Bytes of a page: a multiple of 16, larger than the largest record by a quarter and 512 bytes. Entries go by whole pages.
    pub page: u32,
    /// Pages of the log: 3 to [`PAGES`].
    pub log_pages: u16,
    /// Pages of each of the two snapshots; 0 for a log that keeps none, and hence every entry.
    pub snapshot_pages: u16,
}

impl FileSize {
    /// Pages of log and snapshots.
    const fn pages(&self) -> u32 {
        self.log_pages as u32 + 2 * self.snapshot_pages as u32
    }

    /// Bytes of the file.
    const fn file(&self) -> u64 {
        RESERVED as u64 + self.page as u64 * self.pages() as u64
    }
}

impl Default for FileSize {
    /// 16 MiB of log, in pages that hold any record, and twice 4 MiB for snapshots.
    fn default() -> Self {
        Self { page: 128 << 10, log_pages: 128, snapshot_pages: 32 }
    }
}

impl fmt::Display for FileSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { page, log_pages, snapshot_pages } = self;
        write!(f, "{log_pages} pages of log and 2 times {snapshot_pages} of snapshot, of {page} bytes each")
    }
}

impl<const RECORD: usize> FileLog<RECORD> {
    /// Opens the log of `node` in `folder`, or begins a new one there. To be [recovered](LogStore::recover) before it is written.
    ///
    /// # Errors
    /// The folder cannot be used, is open elsewhere, or holds a log of another node, cluster, version or size.
    pub fn open(folder: impl AsRef<Path>, cluster: ClusterId, node: NodeId, size: FileSize) -> Result<Self, Error> {
        let header = FileHeader { owner: Owner { cluster, node }, size };
        let folder = Folder::open(folder.as_ref())?;
        let medium = folder.log::<RECORD>(header)?;
        let path = medium.path();
        let salt = RandomState::new().build_hasher().finish() as u32;
        Ok(Self { log: pages(medium, &header)?.with_salt(salt), path, _folder: folder })
    }
}

/// The log on the pages of a medium.
fn pages<M: Medium, const RECORD: usize>(medium: M, header: &FileHeader) -> Result<Pages<M, RECORD>, LayoutError> {
    let FileSize { log_pages, snapshot_pages, .. } = header.size;
    PagedLog::new(medium, header.owner, Layout { log_pages, slot_pages: snapshot_pages })
}

impl<const RECORD: usize> LogStore for FileLog<RECORD> {
    type Error = Error;

    async fn recover(&mut self, log: &mut Recovery) -> Result<(), Error> {
        self.log.recover(log).await.map_err(in_file(&self.path))
    }

    async fn append(&mut self, batch: &[u8]) -> Result<(), Error> {
        self.log.append(batch).await.map_err(in_file(&self.path))
    }

    async fn read(&mut self, index: LogIndex, buffer: &mut [u8]) -> Result<usize, ReadError<Error>> {
        self.log.read(index, buffer).await.map_err(|error| match error {
            ReadError::Missing => ReadError::Missing,
            ReadError::TooSmall(size) => ReadError::TooSmall(size),
            ReadError::Store(error) => ReadError::Store(in_file(&self.path)(error)),
        })
    }

    fn record_limit(&self) -> usize {
        self.log.record_limit()
    }

    fn space(&self) -> Space {
        self.log.space()
    }

    fn purge(&mut self, index: LogIndex) {
        self.log.purge(index);
    }

    fn is_tidy(&self) -> bool {
        self.log.is_tidy()
    }

    async fn tidy(&mut self) -> Result<bool, Error> {
        self.log.tidy().await.map_err(in_file(&self.path))
    }

    fn snapshot_limit(&self) -> u64 {
        self.log.snapshot_limit()
    }

    async fn begin_snapshot(&mut self, last: EntryId) -> Result<(), Error> {
        self.log.begin_snapshot(last).await.map_err(in_file(&self.path))
    }

    async fn write_snapshot(&mut self, last: EntryId, offset: u64, bytes: &[u8]) -> Result<(), SnapshotError<Error>> {
        self.log.write_snapshot(last, offset, bytes).await.map_err(in_snapshot(&self.path))
    }

    async fn finish_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError<Error>> {
        self.log.finish_snapshot(snapshot).await.map_err(in_snapshot(&self.path))
    }

    async fn read_snapshot(
        &mut self,
        snapshot: &Snapshot,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, SnapshotError<Error>> {
        self.log.read_snapshot(snapshot, offset, buffer).await.map_err(in_snapshot(&self.path))
    }
}

/// What went wrong, and in which file.
fn in_file(path: &Arc<Path>) -> impl Fn(paged::Error<IoError>) -> Error {
    |error| match error {
        paged::Error::Medium(error) => Error::Io(error),
        error => Error::Log { path: Arc::clone(path), error },
    }
}

fn in_snapshot(path: &Arc<Path>) -> impl Fn(SnapshotError<paged::Error<IoError>>) -> SnapshotError<Error> {
    |error| match error {
        SnapshotError::Superseded => SnapshotError::Superseded,
        SnapshotError::TooLarge => SnapshotError::TooLarge,
        SnapshotError::Mismatch => SnapshotError::Mismatch,
        SnapshotError::Store(error) => SnapshotError::Store(in_file(path)(error)),
    }
}
