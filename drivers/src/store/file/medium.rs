//! A file that is read and written at offsets, and that names itself in its errors.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use super::error::{Damage, Error};

#[derive(Debug)]
pub(super) struct Medium {
    file: File,
    path: Arc<Path>,
}

impl Medium {
    /// Opens a file for reading and writing; makes it if it is not there.
    pub(super) fn open(path: impl Into<Arc<Path>>) -> Result<Self, Error> {
        let path = path.into();
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        match opened {
            Ok(file) => Ok(Self { file, path }),
            Err(cause) => Err(Error::Io { action: "open", path, cause }),
        }
    }

    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn path(&self) -> Arc<Path> {
        Arc::clone(&self.path)
    }

    /// Bytes in the file.
    pub(super) fn length(&self) -> Result<u64, Error> {
        self.told("examine", self.file.metadata()).map(|data| data.len())
    }

    /// Fills as much of `buffer` as the file has from `offset` on; how much.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        self.told("read", self.fill(offset, buffer))
    }

    /// Fills `buffer`; a file that ends before that is an error.
    pub(super) fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let read = (&self.file).seek(SeekFrom::Start(offset)).and_then(|_| (&self.file).read_exact(buffer));
        self.told("read", read)
    }

    /// Writes `parts` one after another from `offset` on; in one call if the system takes them so.
    pub(super) fn write_at(&self, offset: u64, parts: &mut [IoSlice<'_>]) -> Result<(), Error> {
        self.told("write", self.put(offset, parts))
    }

    /// Makes the content durable.
    pub(super) fn sync_data(&self) -> Result<(), Error> {
        self.told("sync", self.file.sync_data())
    }

    /// Makes content and length durable.
    pub(super) fn sync_all(&self) -> Result<(), Error> {
        self.told("sync", self.file.sync_all())
    }

    /// Drops everything from `length` on.
    pub(super) fn cut(&self, length: u64) -> Result<(), Error> {
        self.told("cut", self.file.set_len(length))
    }

    pub(super) fn corrupt(&self, offset: u64, damage: Damage) -> Error {
        Error::Corrupt { path: self.path(), offset, damage }
    }

    /// What was found at `offset`, or where the damage is.
    pub(super) fn sound<T, E: Into<Damage>>(&self, offset: u64, found: Result<T, E>) -> Result<T, Error> {
        found.map_err(|damage| self.corrupt(offset, damage.into()))
    }

    fn fill(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset))?;
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read(rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn put(&self, offset: u64, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset))?;
        while !parts.is_empty() {
            match file.write_vectored(parts) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut parts, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn told<T>(&self, action: &'static str, result: io::Result<T>) -> Result<T, Error> {
        result.map_err(|cause| Error::Io { action, path: self.path(), cause })
    }
}
