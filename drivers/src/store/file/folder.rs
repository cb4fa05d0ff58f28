//! The folder of a log: locked, and its names durable.

use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use quoring_core::{ClusterId, NodeId};

use super::error::Error;
use super::layout::FileHeader;
use super::medium::Medium;

#[derive(Debug)]
pub(super) struct Folder {
    path: Arc<Path>,
    /// Unlocked when it is closed, also when the process is killed.
    _lock: Medium,
}

impl Folder {
    /// Opens the folder for this process alone; makes it if it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        make(path).map_err(|cause| Error::Io { action: "make", path: path.into(), cause })?;
        let lock = Medium::open(path.join("lock"))?;
        match lock.file().try_lock() {
            Ok(()) => Ok(Self { path: path.into(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked(path.into())),
            Err(TryLockError::Error(cause)) => Err(Error::Io { action: "lock", path: lock.path(), cause }),
        }
    }

    /// A file of the folder.
    pub(super) fn file(&self, name: &str) -> Result<Medium, Error> {
        Medium::open(self.path.join(name))
    }

    /// The log and its salt; a new one if there is none.
    pub(super) fn log(&self, cluster: ClusterId, node: NodeId) -> Result<(Medium, u64), Error> {
        let path = self.path.join("log");
        if !path.try_exists().map_err(|cause| self.failed("examine", cause))? {
            self.begin(&path, FileHeader { cluster, node, salt: RandomState::new().build_hasher().finish() })?;
        }
        sync(&self.path).map_err(|cause| self.failed("sync", cause))?;
        let log = Medium::open(path)?;
        let header = FileHeader::read(&log)?;
        if (header.cluster, header.node) != (cluster, node) {
            return Err(Error::Foreign { path: log.path(), cluster: header.cluster, node: header.node });
        }
        Ok((log, header.salt))
    }

    /// A log gets its name once its header is durable, so that there is never a log without one.
    fn begin(&self, path: &Path, header: FileHeader) -> Result<(), Error> {
        let draft = self.file("log.new")?;
        draft.cut(0)?;
        draft.write_at(0, &mut [IoSlice::new(&header.encode())])?;
        draft.sync_all()?;
        fs::rename(draft.path(), path).map_err(|cause| self.failed("begin a log in", cause))
    }

    fn failed(&self, action: &'static str, cause: io::Error) -> Error {
        Error::Io { action, path: Arc::clone(&self.path), cause }
    }
}

/// Makes a folder and those above it, durably.
fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    sync(parent)
}

/// Makes the names in a folder durable. Only Unix has a call for it.
fn sync(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
