//! The envelope of every frame: checksum, version, kind, from whom, to whom, of which cluster, in which term.

use core::fmt;

use quoring_ring::Crc32c;

use super::VERSION;
use super::bytes::{put_u32, u8_at, u32_at};
use super::message::{CHUNK_HEADER, FORWARD, INSTALL_SNAPSHOT, Message, fixed_size};
use crate::types::{ClusterId, NodeId, Term};

/// Bytes of the envelope, which every frame begins with.
pub const HEADER: usize = 16;

/// Room for the fixed part of any frame: all of it but records, items, or a piece of a snapshot.
pub(super) type Fixed = [u8; CHUNK_HEADER];

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
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
#[derive(Clone, Copy, Debug)]
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
        let message = self.read(bytes, Message::open)?;
        let (from, term) = self.sender(bytes)?;
        Ok(Frame { from, to: self.node, term, message })
    }

    /// Reads what a frame says, by `open`.
    #[inline(always)]
    pub(crate) fn read<'b, M>(
        &self,
        bytes: &'b [u8],
        open: impl FnOnce(&'b [u8], Crc32c) -> Result<M, FrameError>,
    ) -> Result<M, FrameError> {
        let header = bytes.first_chunk::<HEADER>().ok_or(FrameError::Length)?;
        match u8_at::<4, HEADER>(header) {
            VERSION => open(bytes, self.crc),
            version => Err(FrameError::Version(version)),
        }
    }

    /// From whom a frame comes, and in which term, if it is for this node. To be asked behind [`read`](Self::read), which tells whether it is undamaged.
    pub(crate) fn sender(&self, bytes: &[u8]) -> Result<(NodeId, Term), FrameError> {
        let header = bytes.first_chunk::<HEADER>().ok_or(FrameError::Length)?;
        let cluster = ClusterId(u32_at::<8, HEADER>(header));
        if cluster != self.cluster {
            return Err(FrameError::Cluster(cluster));
        }
        let from = NodeId::new(u8_at::<6, HEADER>(header));
        match from.filter(|&from| from != self.node && u8_at::<7, HEADER>(header) == self.node.get()) {
            Some(from) => Ok((from, Term(u32_at::<12, HEADER>(header)))),
            None => Err(FrameError::Address),
        }
    }

    /// Writes the frame, without records that may follow it, into `buffer`; its length, or `None` if it does not fit.
    pub fn seal(&self, to: NodeId, term: Term, message: &Message<'_>, buffer: &mut [u8]) -> Option<usize> {
        let mut fixed: Fixed = [0; CHUNK_HEADER];
        let kind = message.kind();
        self.address(to, term, kind, fixed.first_chunk_mut()?);
        let items = message.write(&mut fixed, self.crc)?;
        let fixed = fixed.get_mut(..fixed_size(kind)?)?;
        let (sum, counted) = fixed.split_first_chunk_mut()?;
        *sum = (self.crc)(0, counted).to_le_bytes();
        let (head, rest) = buffer.split_at_mut_checked(fixed.len())?;
        head.copy_from_slice(fixed);
        rest.get_mut(..items.len())?.copy_from_slice(items);
        Some(fixed.len() + items.len())
    }

    /// Writes all of the envelope but its checksum.
    pub(crate) fn address(&self, to: NodeId, term: Term, kind: u8, header: &mut [u8; HEADER]) {
        put_u32::<4, HEADER>(header, u32::from_le_bytes([VERSION, kind, self.node.get(), to.get()]));
        put_u32::<8, HEADER>(header, self.cluster.0);
        put_u32::<12, HEADER>(header, term.0);
    }
}

/// What kind of message the frame says that it has; 0, which is none, if it is too short to say so.
#[inline(always)]
pub(crate) fn kind(bytes: &[u8]) -> u8 {
    bytes.first_chunk::<HEADER>().map_or(0, u8_at::<5, HEADER>)
}

/// The fixed part of a frame of `N` bytes, if it is there and undamaged.
#[inline(always)]
pub(super) fn check<const N: usize>(bytes: &[u8], crc: Crc32c) -> Result<&[u8; N], FrameError> {
    let fixed = bytes.first_chunk::<N>().ok_or(FrameError::Length)?;
    if u32_at::<0, N>(fixed) == checksum(fixed, crc) { Ok(fixed) } else { Err(FrameError::Checksum) }
}

/// The same for a frame of this kind, with what follows: only pieces of snapshots and items of a forward may.
pub(super) fn check_rare(kind: u8, bytes: &[u8], crc: Crc32c) -> Result<(Fixed, &[u8]), FrameError> {
    let size = fixed_size(kind).ok_or(FrameError::Malformed)?;
    let (head, rest) = bytes.split_at_checked(size).ok_or(FrameError::Length)?;
    let mut fixed = [0; CHUNK_HEADER];
    let (Some(to), Some((sum, counted))) = (fixed.get_mut(..size), head.split_first_chunk()) else {
        return Err(FrameError::Length);
    };
    if !rest.is_empty() && !matches!(kind, INSTALL_SNAPSHOT | FORWARD) {
        return Err(FrameError::Length);
    }
    if u32::from_le_bytes(*sum) != crc(0, counted) {
        return Err(FrameError::Checksum);
    }
    to.copy_from_slice(head);
    Ok((fixed, rest))
}

/// Puts the checksum on the fixed part of a frame; its length.
#[inline(always)]
pub(super) fn finish<const N: usize>(fixed: &mut [u8; N], crc: Crc32c) -> usize {
    put_u32::<0, N>(fixed, checksum(fixed, crc));
    N
}

#[inline(always)]
fn checksum<const N: usize>(fixed: &[u8; N], crc: Crc32c) -> u32 {
    crc(0, fixed.get(4..).unwrap_or_default())
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
