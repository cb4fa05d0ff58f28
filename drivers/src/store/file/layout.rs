//! The bytes of a log file: a file header, then batches. All numbers are little-endian, all checksums CRC-32C.

use quoring_core::{ClusterId, NodeId};
use quoring_ring::{ALIGN, DEFAULT_CRC32C};

use super::BATCH_LIMIT;
use super::error::{Damage, Error};
use super::medium::Medium;

/// Bytes of a [`FileHeader`].
pub(super) const FILE_HEADER: usize = 32;
/// Bytes of a [`BatchHeader`].
pub(super) const BATCH_HEADER: usize = 32;

const VERSION: u16 = 1;
const FILE_MAGIC: [u8; 8] = *b"QUORLOG\0";
const BATCH_MAGIC: [u8; 4] = *b"QBAT";

const _: () = assert!(
    FILE_HEADER.is_multiple_of(ALIGN) && BATCH_HEADER.is_multiple_of(ALIGN),
    "a torn tail is searched in steps of ALIGN"
);
const _: () = assert!(BATCH_LIMIT.is_multiple_of(ALIGN) && BATCH_LIMIT <= u32::MAX as usize, "a length has four bytes");

/// Whose log it is.
///
/// ```text
///  0                 8       10   11   12        16             24     28         32
///  +-----------------+-------+----+----+---------+--------------+------+----------+
///  | "QUORLOG" 0     |version|node| 0  | cluster | salt         | 0    | checksum |
///  +-----------------+-------+----+----+---------+--------------+------+----------+
/// ```
/// The checksum covers bytes 0..28. The salt is random, chosen when the log is begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileHeader {
    pub(super) cluster: ClusterId,
    pub(super) node: NodeId,
    pub(super) salt: u64,
}

impl FileHeader {
    pub(super) fn encode(&self) -> [u8; FILE_HEADER] {
        let mut bytes = [0; FILE_HEADER];
        put(&mut bytes, 0, FILE_MAGIC);
        put(&mut bytes, 8, VERSION.to_le_bytes());
        put(&mut bytes, 10, [self.node.get()]);
        put(&mut bytes, 12, self.cluster.0.to_le_bytes());
        put(&mut bytes, 16, self.salt.to_le_bytes());
        let checksum = crc(0, &bytes[..28]);
        put(&mut bytes, 28, checksum.to_le_bytes());
        bytes
    }

    /// The header of `log`.
    pub(super) fn read(log: &Medium) -> Result<Self, Error> {
        let mut bytes = [0; FILE_HEADER];
        let length = log.read_at(0, &mut bytes)?;
        if length < FILE_HEADER || get(&bytes, 0) != FILE_MAGIC {
            return Err(Error::NotALog(log.path()));
        }
        let found = u16::from_le_bytes(get(&bytes, 8));
        if found != VERSION {
            return Err(Error::Version { path: log.path(), found });
        }
        Self::decode(&bytes).ok_or_else(|| log.corrupt(0, Damage::FileHeader))
    }

    fn decode(bytes: &[u8; FILE_HEADER]) -> Option<Self> {
        let [id] = get(bytes, 10);
        let header = Self {
            cluster: ClusterId(u32::from_le_bytes(get(bytes, 12))),
            node: NodeId::new(id)?,
            salt: u64::from_le_bytes(get(bytes, 16)),
        };
        (header.encode() == *bytes).then_some(header)
    }
}

/// What stands before each batch, as one append wrote it.
///
/// ```text
///  0       4       6    8              16       20       24     28         32          32 + length
///  +-------+-------+----+--------------+--------+--------+------+----------+------------+
///  | "QBAT"|version| 0  | sequence     | length | body   | 0    | checksum | records    |
///  +-------+-------+----+--------------+--------+--------+------+----------+------------+
/// ```
/// `body` is the checksum of the records. `checksum` covers the log's salt, the batch's own offset in the file (eight bytes each)
/// and bytes 0..28: no command that looks like a batch, not even a copy of this log, is ever taken for one.
/// Sequences count from 0 without a gap. `length` is a multiple of 16, and at most [`BATCH_LIMIT`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BatchHeader {
    pub(super) sequence: u64,
    pub(super) length: u32,
    pub(super) body: u32,
}

impl BatchHeader {
    /// The header of `batch`, unless it is empty, too large, or not made of records.
    pub(super) fn of(batch: &[u8], sequence: u64) -> Option<Self> {
        let length = u32::try_from(batch.len()).ok()?;
        let header = Self { sequence, length, body: crc(0, batch) };
        header.is_sized().then_some(header)
    }

    /// Bytes of header and records.
    pub(super) const fn extent(&self) -> u64 {
        BATCH_HEADER as u64 + self.length as u64
    }

    pub(super) fn encode(&self, salt: u64, offset: u64) -> [u8; BATCH_HEADER] {
        let mut bytes = [0; BATCH_HEADER];
        put(&mut bytes, 0, BATCH_MAGIC);
        put(&mut bytes, 4, VERSION.to_le_bytes());
        put(&mut bytes, 8, self.sequence.to_le_bytes());
        put(&mut bytes, 16, self.length.to_le_bytes());
        put(&mut bytes, 20, self.body.to_le_bytes());
        let place = crc(crc(0, &salt.to_le_bytes()), &offset.to_le_bytes());
        let checksum = crc(place, &bytes[..28]);
        put(&mut bytes, 28, checksum.to_le_bytes());
        bytes
    }

    /// The header at the beginning of `bytes`, if it is one that was written at `offset` of the log with this salt.
    pub(super) fn decode(bytes: &[u8], salt: u64, offset: u64) -> Option<Self> {
        let bytes: &[u8; BATCH_HEADER] = bytes.first_chunk()?;
        if get(bytes, 0) != BATCH_MAGIC {
            return None;
        }
        let header = Self {
            sequence: u64::from_le_bytes(get(bytes, 8)),
            length: u32::from_le_bytes(get(bytes, 16)),
            body: u32::from_le_bytes(get(bytes, 20)),
        };
        (header.is_sized() && header.encode(salt, offset) == *bytes).then_some(header)
    }

    const fn is_sized(&self) -> bool {
        self.length > 0 && self.length as usize <= BATCH_LIMIT && (self.length as usize).is_multiple_of(ALIGN)
    }
}

/// CRC-32C of `bytes`, going on from `crc`.
pub(super) fn crc(crc: u32, bytes: &[u8]) -> u32 {
    DEFAULT_CRC32C(crc, bytes)
}

/// Field of `N` bytes at `at`. Both headers are arrays of constant size, and all fields lie within.
fn get<const N: usize>(bytes: &[u8; 32], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

fn put<const N: usize>(bytes: &mut [u8; 32], at: usize, field: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&field);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::node;

    #[test]
    fn the_file_header_is_byte_for_byte_as_drawn() {
        let header = FileHeader { cluster: ClusterId(0x0403_0201), node: node(7), salt: 0x1817_1615_1413_1211 };
        let bytes = header.encode();
        assert_eq!(bytes[..8], *b"QUORLOG\0");
        assert_eq!(bytes[8..16], [1, 0, 7, 0, 1, 2, 3, 4]);
        assert_eq!(bytes[16..24], [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]);
        assert_eq!(bytes[24..], FILE_GOLDEN);
        assert_eq!(FileHeader::decode(&bytes), Some(header));
    }

    #[test]
    fn the_batch_header_is_byte_for_byte_as_drawn() {
        let header = BatchHeader::of(&[0x5A; 48], 0x0807_0605_0403_0201).unwrap();
        let bytes = header.encode(0x1817_1615_1413_1211, 80);
        assert_eq!(bytes[..8], *b"QBAT\x01\0\0\0");
        assert_eq!(bytes[8..20], [1, 2, 3, 4, 5, 6, 7, 8, 48, 0, 0, 0]);
        assert_eq!(bytes[20..], BATCH_GOLDEN);
        assert_eq!(BatchHeader::decode(&bytes, 0x1817_1615_1413_1211, 80), Some(header));
    }

    #[test]
    fn a_batch_header_counts_only_at_its_own_offset_of_its_own_log() {
        let bytes = BatchHeader::of(&[1; 16], 3).unwrap().encode(9, 64);
        assert!(BatchHeader::decode(&bytes, 9, 64).is_some());
        assert_eq!(BatchHeader::decode(&bytes, 9, 80), None);
        assert_eq!(BatchHeader::decode(&bytes, 8, 64), None);
        assert_eq!(BatchHeader::decode(&bytes[..31], 9, 64), None);
    }

    #[test]
    fn a_batch_is_neither_empty_nor_uneven_nor_above_the_limit() {
        assert_eq!(BatchHeader::of(&[], 0), None);
        assert_eq!(BatchHeader::of(&[0; 17], 0), None);
        assert!(BatchHeader::of(&std::vec![0; BATCH_LIMIT], 0).is_some());
        assert_eq!(BatchHeader::of(&std::vec![0; BATCH_LIMIT + 16], 0), None);
    }

    // Computed by a CRC-32C of their own, from the drawings.
    const FILE_GOLDEN: [u8; 8] = [0, 0, 0, 0, 0x8D, 0x29, 0x46, 0x80];
    const BATCH_GOLDEN: [u8; 12] = [0xA8, 0x42, 0x45, 0x1D, 0, 0, 0, 0, 0xFA, 0x14, 0x94, 0x71];
}
