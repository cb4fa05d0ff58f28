//! Records: what a log is made of, in the ring, on the wire and in the store.

use crate::position::{ALIGN, UNIT};

/// Bytes of an encoded [`Header`].
pub const HEADER: usize = 16;

/// Bytes of a record with `payload` bytes of payload: header and payload, padded to a multiple of
/// 16.
#[must_use]
pub const fn record_size(payload: usize) -> usize {
    payload.saturating_add(HEADER + ALIGN - 1) & !(ALIGN - 1)
}

/// What a record is. Zero is no kind, so zeroed memory is no record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Kind {
    /// An entry with a client's command.
    Command = 1,
    /// An entry that does nothing: what a new leader begins its term with.
    NoOp = 2,
    /// An entry with a configuration of the cluster.
    Configuration = 3,
    /// A term and a vote. No entry: it has a place in the order of writes, but no index. Its user has 32 bits more in the place of one.
    Vote = 4,
    /// An entry with a command of a client's session, behind the request that says which: it takes effect once.
    Session = 5,
    /// The log starts anew, behind a snapshot: nothing before this record counts any more, and the next entry follows the one that its term
    /// and payload name. No entry itself: it has a place in the order of writes, but no index.
    Start = 6,
    /// An entry with a command of a client's stream, behind the request that says which.
    Stream = 7,
    /// Fills the end of the arena. Never leaves the ring.
    Pad = 0xF,
}

impl Kind {
    /// Whether records of this kind are entries of the log, that is, have an index.
    #[must_use]
    pub const fn is_entry(self) -> bool {
        matches!(self, Self::Command | Self::NoOp | Self::Configuration | Self::Session | Self::Stream)
    }

    /// The kind that this byte stands for.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Command,
            2 => Self::NoOp,
            3 => Self::Configuration,
            4 => Self::Vote,
            5 => Self::Session,
            6 => Self::Start,
            7 => Self::Stream,
            0xF => Self::Pad,
            _ => return None,
        })
    }
}

/// The first 16 bytes of a record, all little-endian.
///
/// ```text
///  0        4        8           12    14     15      16                16 + len
///  +--------+--------+-----------+-----+------+-------+------------------+---------------------+
///  |checksum|  term  | index-low | len | kind | flags | payload (len)    | zeros to 16-multiple|
///  +--------+--------+-----------+-----+------+-------+------------------+---------------------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Header {
    /// [`Checksum::of`](crate::Checksum::of) this header and the payload.
    pub checksum: u32,
    /// The term in which the record was made.
    pub term: u32,
    /// Low half of the entry's index; free for the user of the ring in a vote.
    pub index_low: u32,
    /// Bytes of the payload.
    pub len: u16,
    /// What the record is.
    pub kind: Kind,
    /// Free for the user of the ring, by kind.
    pub flags: u8,
}

impl Header {
    /// Bytes of the whole record, padding included.
    #[must_use]
    pub const fn size(&self) -> usize {
        (self.len as usize + HEADER + ALIGN - 1) & !(ALIGN - 1)
    }

    /// The header at the beginning of `bytes`.
    ///
    /// # Errors
    /// [`RecordError::Truncated`] below 16 bytes, [`RecordError::UnknownKind`].
    #[inline(always)] // Returned, it would be copied byte by byte.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let bytes = bytes.first_chunk().ok_or(RecordError::Truncated)?;
        Self::from_array(bytes).ok_or(RecordError::UnknownKind)
    }

    /// Whether this is the header of an entry of `index`, as far as its low half tells.
    pub(crate) const fn is_entry_of(&self, index: u64) -> bool {
        self.kind.is_entry() && self.index_low == index as u32
    }

    #[inline(always)]
    pub(crate) fn from_array(bytes: &[u8; HEADER]) -> Option<Self> {
        let [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13, b14, b15] = *bytes;
        let first = u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
        Self::from_units(first, u64::from_le_bytes([b8, b9, b10, b11, b12, b13, b14, b15]))
    }

    /// The header of which these are the two units.
    #[inline(always)]
    pub(crate) const fn from_units(first: u64, second: u64) -> Option<Self> {
        let Some(kind) = Kind::from_byte((second >> 48) as u8) else { return None };
        Some(Self {
            checksum: first as u32,
            term: (first >> 32) as u32,
            index_low: second as u32,
            len: (second >> 32) as u16,
            kind,
            flags: (second >> 56) as u8,
        })
    }

    /// The second unit: what a record is, of which index, and how long.
    pub(crate) const fn second_unit(&self) -> u64 {
        self.index_low as u64 | (self.len as u64) << 32 | (self.kind as u64) << 48 | (self.flags as u64) << 56
    }

    /// The header's bytes.
    #[must_use]
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub fn encode(&self) -> [u8; HEADER] {
        let first = u64::from(self.checksum) | u64::from(self.term) << 32;
        let mut bytes = [0; HEADER];
        let (head, tail) = bytes.split_at_mut(UNIT);
        head.copy_from_slice(&first.to_le_bytes());
        tail.copy_from_slice(&self.second_unit().to_le_bytes());
        bytes
    }
}

/// One record of a byte string.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Record<'b> {
    /// The decoded header.
    pub header: Header,
    /// The payload without padding: `header.len` bytes.
    pub payload: &'b [u8],
    /// The whole record, header and padding included: `header.size()` bytes.
    pub bytes: &'b [u8],
}

impl<'b> Record<'b> {
    /// The record at the beginning of `bytes`, its checksum unchecked.
    ///
    /// # Errors
    /// Any [`RecordError`] but [`BadChecksum`](RecordError::BadChecksum).
    pub fn parse(bytes: &'b [u8]) -> Result<Self, RecordError> {
        let header = Header::decode(bytes)?;
        let bytes = bytes.get(..header.size()).ok_or(RecordError::Truncated)?;
        let (payload, padding) = bytes
            .split_at_checked(HEADER)
            .and_then(|(_, body)| body.split_at_checked(usize::from(header.len)))
            .ok_or(RecordError::Truncated)?;
        if padding.iter().any(|&byte| byte != 0) {
            return Err(RecordError::NonZeroPadding);
        }
        Ok(Self { header, payload, bytes })
    }

    /// The index of the entry that a [`Kind::Start`] names: the log goes on behind it.
    #[must_use]
    pub fn start(&self) -> Option<u64> {
        let payload = <[u8; 8]>::try_from(self.payload).ok()?;
        (self.header.kind == Kind::Start).then_some(u64::from_le_bytes(payload))
    }
}

/// The records of a byte string in which they lie end to end: a frame's body, a store's batch.
///
/// Checksums are left unchecked. Ends at the end of the bytes, or after the first error.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Records<'b> {
    rest: &'b [u8],
}

impl<'b> Records<'b> {
    /// The records in `bytes`.
    #[must_use]
    pub const fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'b> Iterator for Records<'b> {
    type Item = Result<Record<'b>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = Record::parse(self.rest);
        self.rest = match record {
            Ok(record) => self.rest.get(record.bytes.len()..).unwrap_or_default(),
            Err(_) => &[],
        };
        Some(record)
    }
}

impl core::iter::FusedIterator for Records<'_> {}

/// Why bytes are no record. None of them says anything about the bytes that follow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RecordError {
    /// The bytes end before the record does: wait for more, or treat as torn.
    Truncated,
    /// No record begins here, or one of a later version.
    UnknownKind,
    /// Damaged, of another cluster, or of another 2^32 of the index: drop it.
    BadChecksum,
    /// The payload may be right, but not byte for byte what its author encoded: drop it.
    NonZeroPadding,
}

impl core::fmt::Display for RecordError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the bytes end before the record does",
            Self::UnknownKind => "no known kind of record",
            Self::BadChecksum => "the checksum does not fit the record, its cluster or its index",
            Self::NonZeroPadding => "the padding of the record is not zero",
        })
    }
}

impl core::error::Error for RecordError {}
