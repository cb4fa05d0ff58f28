//! The envelope of every frame: checksum, version, kind, from whom, to whom, of which cluster, in which term.

use core::fmt;

use quoring_ring::Crc32c;

use super::VERSION;
use super::bytes::{Sink, Source};
use super::message::Message;
use crate::types::{ClusterId, NodeId, Term};

/// Bytes of the envelope, which every frame begins with.
pub const HEADER: usize = 16;
const CHECKSUM: usize = 4;

/// A frame as it travels:
///
/// ```text
///  0        4         5      6      7    8         12      16
/// +--------+---------+------+------+----+---------+-------+-----------+-----------------+
/// | crc32c | version | kind | from | to | cluster | term  | message.. | records, if any |
/// +--------+---------+------+------+----+---------+-------+-----------+-----------------+
///          '--------------- covered by the checksum -----------------' '- by their own -'
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'b> {
    /// Who sent it.
    pub from: NodeId,
    /// Whom it is for.
    pub to: NodeId,
    /// The sender's term.
    pub term: Term,
    /// What it says.
    pub message: Message<'b>,
}

/// What a node puts on all its frames and asks of all it gets.
#[derive(Clone, Copy)]
pub struct Envelope {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// The checksum function.
    pub crc: Crc32c,
}

/// Why a frame was refused. Nothing of it was used; the frame counts as lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FrameError {
    /// Shorter than its kind, or longer.
    Length,
    /// Of a version this node does not speak.
    Version(u8),
    /// Damaged on the way (T2).
    Checksum,
    /// Of another cluster (T3).
    Cluster(ClusterId),
    /// For another node, or from no possible one.
    Address,
    /// Of a kind this version does not have, or with a field out of its range.
    Malformed,
}

impl Envelope {
    /// Reads a frame.
    ///
    /// # Errors
    /// See [`FrameError`]; records are checked by their own checksums when they are taken.
    pub fn open<'b>(&self, bytes: &'b [u8]) -> Result<Frame<'b>, FrameError> {
        let mut source = Source::new(bytes);
        let (checksum, version) = (source.u32(), source.u8());
        match version {
            None => return Err(FrameError::Length),
            Some(VERSION) => {}
            Some(other) => return Err(FrameError::Version(other)),
        }
        let kind = source.u8().ok_or(FrameError::Length)?;
        let covered = HEADER + Message::size(kind).ok_or(FrameError::Malformed)?;
        let sealed = bytes.get(CHECKSUM..covered).ok_or(FrameError::Length)?;
        if checksum != Some((self.crc)(0, sealed)) {
            return Err(FrameError::Checksum);
        }
        let (from, to) = (source.u8(), source.u8());
        let cluster = ClusterId(source.u32().ok_or(FrameError::Length)?);
        if cluster != self.cluster {
            return Err(FrameError::Cluster(cluster));
        }
        let from = from.and_then(NodeId::new).filter(|&from| from != self.node).ok_or(FrameError::Address)?;
        let to = to.and_then(NodeId::new).filter(|&to| to == self.node).ok_or(FrameError::Address)?;
        let term = Term(source.u32().ok_or(FrameError::Length)?);
        let message = Message::decode(kind, source)?;
        Ok(Frame { from, to, term, message })
    }

    /// Writes the frame, without records that may follow it, into `buffer`; its length, or `None` if it does not fit.
    pub fn seal(&self, to: NodeId, term: Term, message: &Message<'_>, buffer: &mut [u8]) -> Option<usize> {
        let mut sink = Sink::new(buffer);
        sink.u32(0);
        sink.u8(VERSION);
        sink.u8(message.kind());
        sink.u8(self.node.get());
        sink.u8(to.get());
        sink.u32(self.cluster.0);
        sink.u32(term.0);
        message.encode(&mut sink);
        let written = sink.finish()?;
        let checksum = (self.crc)(0, written.get(CHECKSUM..)?);
        *written.first_chunk_mut()? = checksum.to_le_bytes();
        Some(written.len())
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("frame of the wrong length"),
            Self::Version(version) => write!(f, "frame of version {version}, this node speaks {VERSION}"),
            Self::Checksum => f.write_str("frame with a wrong checksum"),
            Self::Cluster(cluster) => write!(f, "frame of cluster {:#x}", cluster.0),
            Self::Address => f.write_str("frame for another node"),
            Self::Malformed => f.write_str("frame of an unknown kind or with a field out of range"),
        }
    }
}

impl core::error::Error for FrameError {}
