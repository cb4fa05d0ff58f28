//! What can go wrong with a log in a folder.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use quoring_core::{ClusterId, NodeId, RecoveryError};
use quoring_ring::RecordError;

use super::BATCH_LIMIT;

/// Why a [`FileLog`](super::FileLog) refused. Nothing was deleted.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused: see its reason.
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or folder.
        path: Arc<Path>,
        /// The system's reason.
        cause: io::Error,
    },
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
        /// Whose cluster it is of.
        cluster: ClusterId,
        /// Whose it is.
        node: NodeId,
    },
    /// Something that was acknowledged is damaged. Restore the disk's content, or have the cluster replace this node by one
    /// with another id.
    Corrupt {
        /// The damaged file.
        path: Arc<Path>,
        /// Where, in bytes from its start.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },
    /// The batch has this many bytes, above [`BATCH_LIMIT`]: append less at a time. Nothing was written.
    TooLarge(usize),
    /// The batch is not a sequence of whole records that continues the log. Nothing was written. A fault of the caller.
    Record(RecoveryError),
    /// The log was not recovered yet.
    NotRecovered,
    /// An earlier append or recovery failed: recover the log, or open it anew.
    Halted,
}

/// What is wrong with a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Damage {
    /// The checksum of the file header.
    FileHeader,
    /// A batch that does not check, though a later one was begun.
    Batch,
    /// A batch that checks, with another sequence number than the one that is due.
    Sequence,
    /// A record, in a batch that checks.
    Record(RecoveryError),
    /// There is another record than the entry looked for.
    OtherEntry,
}

impl From<RecordError> for Damage {
    fn from(error: RecordError) -> Self {
        Self::Record(RecoveryError::Record(error))
    }
}

impl From<RecoveryError> for Damage {
    fn from(error: RecoveryError) -> Self {
        Self::Record(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { action, path, cause } => write!(f, "cannot {action} {}: {cause}", path.display()),
            Self::Locked(path) => write!(f, "{} is in use by another process", path.display()),
            Self::NotALog(path) => write!(f, "{} is not a log", path.display()),
            Self::Version { path, found } => write!(f, "{} has format {found}, which is not supported", path.display()),
            Self::Foreign { path, cluster, node } => {
                write!(f, "{} is the log of node {node} of cluster {:#010x}", path.display(), cluster.0)
            }
            Self::Corrupt { path, offset, damage } => {
                write!(f, "{} is damaged at byte {offset}: {damage}; the node must not start from it", path.display())
            }
            Self::TooLarge(size) => write!(f, "a batch of {size} bytes is above the limit of {BATCH_LIMIT}"),
            Self::Record(error) => write!(f, "the batch does not continue the log: {error}"),
            Self::NotRecovered => f.write_str("the log must be recovered before it is written"),
            Self::Halted => f.write_str("the log takes nothing after an append or a recovery that failed"),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileHeader => f.write_str("the file header does not check"),
            Self::Batch => f.write_str("a batch does not check, but is not the last one"),
            Self::Sequence => f.write_str("a batch is missing before this one"),
            Self::Record(error) => write!(f, "{error}"),
            Self::OtherEntry => f.write_str("there is another record than the entry looked for"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { cause, .. } => Some(cause),
            Self::Record(error) | Self::Corrupt { damage: Damage::Record(error), .. } => Some(error),
            _ => None,
        }
    }
}
