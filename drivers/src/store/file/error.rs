//! What can go wrong with a log in a folder.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::FileSize;
use super::named::IoError;
use crate::store::paged::{self, LayoutError, Owner};

/// Why a [`FileLog`](super::FileLog) refused. Nothing was deleted.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused: see its reason.
    Io(IoError),
    /// Another process, or another log of this one, has the folder open: stop it, or use another folder.
    Locked(Arc<Path>),
    /// The file is no log: use another folder.
    NotALog(Arc<Path>),
    /// The log is of a format that this version cannot read.
    Version {
        /// The log.
        path: Arc<Path>,
        /// Its format.
        found: u16,
    },
    /// The log is another node's: use that node's own folder.
    Foreign {
        /// The log.
        path: Arc<Path>,
        /// Whose it is.
        owner: Owner,
    },
    /// The log was begun with another size: open it with that one.
    Resized {
        /// The log.
        path: Arc<Path>,
        /// Its size.
        found: FileSize,
    },
    /// No log can have such a size: see [`FileSize`].
    Layout(LayoutError),
    /// The file header does not check: the file is damaged. Restore its content, or have the cluster replace this node by one with another id.
    Header(Arc<Path>),
    /// The file was cut or stretched: restore its content, or have the cluster replace this node by one with another id.
    Length {
        /// The log.
        path: Arc<Path>,
        /// Bytes in it.
        found: u64,
        /// Bytes that there should be.
        due: u64,
    },
    /// The pages of the log say no: see their reason.
    Log {
        /// The log.
        path: Arc<Path>,
        /// The reason.
        error: paged::Error<IoError>,
    },
}

impl From<IoError> for Error {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

impl From<LayoutError> for Error {
    fn from(error: LayoutError) -> Self {
        Self::Layout(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Locked(path) => write!(f, "{} is in use by another process", path.display()),
            Self::NotALog(path) => write!(f, "{} is not a log", path.display()),
            Self::Version { path, found } => write!(f, "{} has format {found}, which is not supported", path.display()),
            Self::Foreign { path, owner: Owner { cluster, node } } => {
                write!(f, "{} is the log of node {node} of cluster {:#010x}", path.display(), cluster.0)
            }
            Self::Resized { path, found } => write!(f, "{} was begun as {found}: open it so", path.display()),
            Self::Layout(error) => error.fmt(f),
            Self::Header(path) => {
                write!(f, "the header of {} does not check; the node must not start from it", path.display())
            }
            Self::Length { path, found, due } => {
                write!(f, "{} has {found} bytes instead of {due}; the node must not start from it", path.display())
            }
            Self::Log { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Layout(error) => Some(error),
            Self::Log { error, .. } => Some(error),
            _ => None,
        }
    }
}
