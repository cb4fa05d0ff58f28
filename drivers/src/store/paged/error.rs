//! What can go wrong with a log on pages.

use core::fmt;

use quoring_core::RecoveryError;

use super::format::Owner;

/// Why a [`PagedLog`](super::PagedLog) refused. Nothing that was acknowledged was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error<E> {
    /// The medium failed: see its reason.
    Medium(E),
    /// Live entries that may not go fill the log: make it larger, or let a snapshot cover more of them. What of the batch came before is
    /// durable.
    Full,
    /// The record has this many bytes, more than the log was made for. Nothing was written.
    TooLarge(u32),
    /// The batch is not a sequence of whole records that continues the log. Nothing was written. A fault of the caller.
    Record(RecoveryError),
    /// Something that was acknowledged is damaged. Have the cluster replace this node by one with another id.
    Corrupt {
        /// The page.
        page: u32,
        /// Where, in bytes from the page's beginning.
        offset: u32,
        /// What is wrong there.
        damage: Damage,
    },
    /// The log is another node's: start that node here, or erase the medium.
    Foreign(Owner),
    /// The log is of a format that this version cannot read.
    Version(u8),
    /// The log was written with other sizes: open it with those it has.
    Geometry,
    /// The log was not recovered yet.
    NotRecovered,
    /// An earlier write failed or was cancelled: recover the log.
    Halted,
    /// No page can be begun any more after 2^32 of them.
    Exhausted,
}

/// What is wrong with a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Damage {
    /// Something was written where no batch begins, and more behind it.
    Header,
    /// A batch that was written to its end does not check.
    Batch,
    /// A batch that checks has another number than the one that is due.
    Number,
    /// Batches are missing that the next page counts.
    Missing,
    /// A page is missing before this one, or two stand for the same.
    Order,
    /// A record in a batch that checks is none that continues the log.
    Record(RecoveryError),
    /// An entry is not where the log has it.
    Entry,
}

/// Why a log cannot be laid out like that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LayoutError {
    /// Words have this many bytes: not a power of two, above 256, or above the log's buffer.
    Word(u32),
    /// Pages have this many bytes: not a multiple of the word and of 16, or above 1 MiB.
    Page(u32),
    /// The log has this many pages: it needs 3, and no more than its table holds.
    TooFewPages(u16),
    /// Log and snapshots need this many pages, more than the medium or the log's table has.
    TooManyPages(u32),
    /// Pages need at least this many bytes for the largest record.
    PageTooSmall(u32),
    /// The largest record has this many bytes: not a multiple of 16, or below 64 or above 128 KiB.
    Record(u32),
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Medium(error) => error.fmt(f),
            Self::Full => f.write_str("the log is full of entries that may not go: enlarge it or make a snapshot"),
            Self::TooLarge(size) => write!(f, "a record of {size} bytes is above what the log was made for"),
            Self::Record(error) => write!(f, "the batch does not continue the log: {error}"),
            Self::Corrupt { page, offset, damage } => {
                write!(f, "page {page} is damaged at byte {offset}: {damage}; the node must not start from it")
            }
            Self::Foreign(owner) => {
                write!(f, "the log is that of node {} of cluster {:#010x}", owner.node, owner.cluster.0)
            }
            Self::Version(found) => write!(f, "the log has format {found}, which is not supported"),
            Self::Geometry => f.write_str("the log was written with another word, page or layout: open it with those"),
            Self::NotRecovered => f.write_str("the log must be recovered before it is used"),
            Self::Halted => f.write_str("the log takes nothing after a write that failed or was cancelled: recover it"),
            Self::Exhausted => f.write_str("the log has begun all the pages it can number"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for Error<E> {}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the beginning of a batch does not check, but was written past"),
            Self::Batch => f.write_str("a batch does not check, but was written to its end"),
            Self::Number => f.write_str("a batch is missing before this one"),
            Self::Missing => f.write_str("batches are missing that the next page counts"),
            Self::Order => f.write_str("a page is missing before this one, or is there twice"),
            Self::Record(error) => error.fmt(f),
            Self::Entry => f.write_str("an entry is not where the log has it"),
        }
    }
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "words of {word} bytes: use a power of two up to 256 and to the buffer"),
            Self::Page(page) => write!(f, "pages of {page} bytes: use a multiple of the word and of 16, up to 1 MiB"),
            Self::TooFewPages(pages) => write!(f, "a log of {pages} pages: give it 3 or more"),
            Self::TooManyPages(pages) => write!(f, "log and snapshots need {pages} pages, more than there are"),
            Self::PageTooSmall(least) => write!(f, "pages need {least} bytes or more for the largest record"),
            Self::Record(size) => write!(f, "a largest record of {size} bytes: use a multiple of 16 from 64 to 131072"),
        }
    }
}

impl core::error::Error for LayoutError {}
