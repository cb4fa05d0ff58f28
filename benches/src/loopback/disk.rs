//! Where the logs are, and what they write there.

use std::fs;
use std::path::{Path, PathBuf};

use quoring::store::file::FileSize;
use quoring_ring::record_size;

/// Bytes of a command.
pub(crate) const COMMAND: usize = 32;

/// Bytes of the frame that carries one: `core/WIRE.md`.
pub(crate) const FRAME: usize = 48 + record_size(COMMAND);

/// Bytes that the log writes for one, `drivers/STORE.md`: a batch of its own.
pub(crate) const BATCH: usize = 12 + record_size(COMMAND) + 4;

/// 16 MiB of log, and snapshots of a page.
pub(crate) const SIZE: FileSize = FileSize { page: 128 << 10, log_pages: 128, snapshot_pages: 1 };

/// A folder that is removed with all that is in it.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    /// Makes one in `folder`.
    pub(crate) fn new(folder: &Path) -> std::io::Result<Self> {
        let path = folder.join(format!("quoring-loopback-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The file system that a folder is on, where the system tells.
pub(crate) fn file_system(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let above = mounts.filter(|(place, _)| folder.starts_with(place));
    // Of those at the same place the last one lies on top.
    above.max_by_key(|(place, _)| place.len()).map(|(_, kind)| kind.into())
}
