//! The folder of a log: locked, and its names durable.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::error::Error;
use super::header::FileHeader;
use super::medium::FileMedium;
use super::named::{IoError, NamedFile};

#[derive(Debug)]
pub(super) struct Folder {
    path: Arc<Path>,
    /// Unlocked when it is closed, also when the process is killed.
    _lock: NamedFile,
}

impl Folder {
    /// Opens the folder for this process alone; makes it if it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        make(path).map_err(|cause| IoError { action: "make", path: path.into(), cause })?;
        let lock = NamedFile::open(path.join("lock"))?;
        match lock.file().try_lock() {
            Ok(()) => Ok(Self { path: path.into(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked(path.into())),
            Err(TryLockError::Error(cause)) => Err(lock.told::<()>("lock", Err(cause)).unwrap_err().into()),
        }
    }

    /// The pages of the log; new ones if there are none.
    pub(super) fn log<const RECORD: usize>(&self, header: FileHeader) -> Result<FileMedium, Error> {
        let path = self.path.join("log");
        if !self.told("examine", path.try_exists())? {
            self.begin::<RECORD>(&path, header)?;
        }
        self.told("sync", sync(&self.path))?;
        let log = NamedFile::open(path)?;
        let found = FileHeader::read(&log)?;
        if found.owner != header.owner {
            return Err(Error::Foreign { path: log.path(), owner: found.owner });
        }
        if found.size != header.size {
            return Err(Error::Resized { path: log.path(), found: found.size });
        }
        Ok(FileMedium::new(log, &header))
    }

    /// A log gets its name once its header and all its blocks are durable: there is never a log without one, and never a log that finds the disk
    /// full later.
    fn begin<const RECORD: usize>(&self, path: &Path, header: FileHeader) -> Result<(), Error> {
        static ZEROS: [u8; 64 * 1024] = [0; _];
        let draft = self.path.join("log.new");
        // What cannot be laid out like that is not begun.
        super::pages::<_, RECORD>(FileMedium::new(NamedFile::begin(&*draft)?, &header), &header)?;
        let draft = NamedFile::begin(draft)?;
        let end = header.size.file();
        let mut at = 0;
        while at < end {
            let zeros = ZEROS.get(..(end - at) as usize).unwrap_or(&ZEROS);
            draft.write_at(at, zeros)?;
            at += zeros.len() as u64;
        }
        draft.write_at(0, &header.encode())?;
        draft.sync_all()?;
        Ok(self.told("begin a log in", fs::rename(draft.path(), path))?)
    }

    fn told<T>(&self, action: &'static str, result: io::Result<T>) -> Result<T, IoError> {
        result.map_err(|cause| IoError { action, path: Arc::clone(&self.path), cause })
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
