//! A file that is read and written at offsets, and that names itself in its errors.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The operating system refused something.
#[derive(Debug)]
pub struct IoError {
    /// What was tried.
    pub action: &'static str,
    /// With which file or folder.
    pub path: Arc<Path>,
    /// The system's reason.
    pub cause: io::Error,
}

#[derive(Debug)]
pub(super) struct NamedFile {
    file: File,
    path: Arc<Path>,
}

impl NamedFile {
    /// Opens a file for reading and writing; makes it if it is not there.
    pub(super) fn open(path: impl Into<Arc<Path>>) -> Result<Self, IoError> {
        Self::open_as(OpenOptions::new().read(true).write(true).create(true).truncate(false), path.into())
    }

    /// Opens a new file in the place of an old one.
    pub(super) fn begin(path: impl Into<Arc<Path>>) -> Result<Self, IoError> {
        Self::open_as(OpenOptions::new().write(true).create(true).truncate(true), path.into())
    }

    /// Opens a file as it is, for reading alone.
    pub(super) fn examine(path: impl Into<Arc<Path>>) -> Result<Self, IoError> {
        Self::open_as(OpenOptions::new().read(true), path.into())
    }

    fn open_as(options: &OpenOptions, path: Arc<Path>) -> Result<Self, IoError> {
        match options.open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(cause) => Err(IoError { action: "open", path, cause }),
        }
    }

    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn path(&self) -> Arc<Path> {
        Arc::clone(&self.path)
    }

    /// Bytes in the file.
    pub(super) fn length(&self) -> Result<u64, IoError> {
        self.told("examine", self.file.metadata()).map(|data| data.len())
    }

    /// Fills `bytes`; a file that ends before that is an error.
    pub(super) fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), IoError> {
        self.told("read", read_at(&self.file, offset, bytes))
    }

    pub(super) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        self.told("write", write_at(&self.file, offset, bytes))
    }

    /// Makes the content durable.
    pub(super) fn sync_data(&self) -> Result<(), IoError> {
        self.told("sync", self.file.sync_data())
    }

    /// Makes content and length durable.
    pub(super) fn sync_all(&self) -> Result<(), IoError> {
        self.told("sync", self.file.sync_all())
    }

    /// Writes everything once more, the same bytes in the same places.
    pub(super) fn rewrite(&self) -> Result<(), IoError> {
        let mut chunk = [0; 16 * 1024];
        let (mut at, end) = (0, self.length()?);
        while at < end {
            let size = chunk.len().min((end - at) as usize);
            let bytes = &mut chunk[..size];
            self.read_at(at, bytes)?;
            self.write_at(at, bytes)?;
            at += size as u64;
        }
        Ok(())
    }

    pub(super) fn told<T>(&self, action: &'static str, result: io::Result<T>) -> Result<T, IoError> {
        result.map_err(|cause| IoError { action, path: self.path(), cause })
    }
}

/// One call of the system.
#[cfg(unix)]
fn read_at(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(unix)]
fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(bytes))
}

#[cfg(not(unix))]
fn write_at(mut file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    use std::io::{Seek, SeekFrom, Write};
    file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(bytes))
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.action, self.path.display(), self.cause)
    }
}

impl std::error::Error for IoError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}
