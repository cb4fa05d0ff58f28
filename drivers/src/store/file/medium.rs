//! The pages of a log in a file.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::error::Error;
use super::header::{FileHeader, RESERVED};
use super::named::{IoError, NamedFile};
use crate::store::medium::{Geometry, Medium};

/// Bytes that are written together: the alignment of records.
pub(super) const WORD: u32 = 16;

/// A file as a [`Medium`]: its blocks are there from the beginning, words are written over, nothing is ever erased.
///
/// What is written stays in the system's file cache until [`sync`](Medium::sync); until then a loss of power may leave any part of it, in any order.
///
/// After a sync that failed, maybe that of an earlier process, the cache shows what never reached the disk, and may hold it for clean, so that no later sync
/// writes it. So the first sync writes everything once more, and so does the next one after a failure.
#[derive(Debug)]
pub struct FileMedium {
    file: NamedFile,
    geometry: Geometry,
    /// The last sync did not succeed, or there was none.
    doubtful: bool,
}

impl FileMedium {
    /// Opens the file of a log as it is, for reading alone: to look at it. The log need not be closed, but one that is being written changes
    /// under the reader.
    ///
    /// # Errors
    /// The file cannot be read or is no log.
    pub fn examine(path: impl AsRef<Path>) -> Result<Self, Error> {
        let file = NamedFile::examine(path.as_ref())?;
        let header = FileHeader::read(&file)?;
        Ok(Self { doubtful: false, ..Self::new(file, &header) })
    }

    /// The pages behind this header.
    pub(super) const fn new(file: NamedFile, header: &FileHeader) -> Self {
        let size = header.size;
        let geometry = Geometry { word: WORD, page: size.page, pages: size.pages(), erased: None, ordered: false };
        Self { file, geometry, doubtful: true }
    }

    pub(super) fn path(&self) -> Arc<Path> {
        self.file.path()
    }

    /// Where these bytes lie in the file, which never grows.
    fn place(&self, action: &'static str, offset: u32, bytes: usize) -> Result<u64, IoError> {
        let end = u64::from(self.geometry.page) * u64::from(self.geometry.pages);
        let within = u64::from(offset).saturating_add(bytes as u64) <= end;
        self.file.told(action, if within { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) })?;
        Ok(u64::from(RESERVED) + u64::from(offset))
    }
}

impl Medium for FileMedium {
    type Error = IoError;

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), IoError> {
        self.file.read_at(self.place("read", offset, bytes.len())?, bytes)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), IoError> {
        self.file.write_at(self.place("write", offset, bytes.len())?, bytes)
    }

    async fn erase(&mut self, _: u32) -> Result<(), IoError> {
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), IoError> {
        if std::mem::replace(&mut self.doubtful, true) {
            self.file.rewrite()?;
        }
        self.file.sync_data()?;
        self.doubtful = false;
        Ok(())
    }
}
