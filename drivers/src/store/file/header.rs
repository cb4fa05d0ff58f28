//! What a log file begins with: whose it is, and how large. Little-endian.

use quoring_core::{ClusterId, NodeId};
use quoring_ring::DEFAULT_CRC32C;

use super::FileSize;
use super::error::Error;
use super::named::NamedFile;
use crate::store::paged::Owner;

/// Bytes before the first page; a block of any disk.
pub(super) const RESERVED: u32 = 4096;

/// Bytes of a [`FileHeader`].
const SIZE: usize = 32;
const VERSION: u16 = 2;
const MAGIC: [u8; 8] = *b"QUORLOG\0";

/// Whose log it is, and what its pages are.
///
/// ```text
///  0                 8       10   11   12        16     20          22               24   28         32      4096
///  +-----------------+-------+----+----+---------+------+-----------+----------------+----+----------+-------+--
///  | "QUORLOG" 0     |version|node| 0  | cluster | page | log pages | snapshot pages | 0  | checksum | zeros | pages
///  +-----------------+-------+----+----+---------+------+-----------+----------------+----+----------+-------+--
/// ```
/// `page` is the bytes of a page, `snapshot pages` those of one snapshot. The checksum is the CRC-32C of bytes 0..28.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileHeader {
    pub(super) owner: Owner,
    pub(super) size: FileSize,
}

impl FileHeader {
    pub(super) fn encode(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, VERSION.to_le_bytes());
        put(&mut bytes, 10, [self.owner.node.get()]);
        put(&mut bytes, 12, self.owner.cluster.0.to_le_bytes());
        put(&mut bytes, 16, self.size.page.to_le_bytes());
        put(&mut bytes, 20, self.size.log_pages.to_le_bytes());
        put(&mut bytes, 22, self.size.snapshot_pages.to_le_bytes());
        let checksum = DEFAULT_CRC32C(0, &bytes[..28]);
        put(&mut bytes, 28, checksum.to_le_bytes());
        bytes
    }

    /// The header of `log`, which is as long as it says.
    pub(super) fn read(log: &NamedFile) -> Result<Self, Error> {
        let length = log.length()?;
        if length < u64::from(RESERVED) {
            return Err(Error::NotALog(log.path()));
        }
        let mut bytes = [0; SIZE];
        log.read_at(0, &mut bytes)?;
        if get(&bytes, 0) != MAGIC {
            return Err(Error::NotALog(log.path()));
        }
        let found = u16::from_le_bytes(get(&bytes, 8));
        if found != VERSION {
            return Err(Error::Version { path: log.path(), found });
        }
        let header = Self::decode(&bytes).ok_or_else(|| Error::Header(log.path()))?;
        let due = header.size.file();
        if length != due {
            return Err(Error::Length { path: log.path(), found: length, due });
        }
        Ok(header)
    }

    fn decode(bytes: &[u8; SIZE]) -> Option<Self> {
        let [id] = get(bytes, 10);
        let cluster = ClusterId(u32::from_le_bytes(get(bytes, 12)));
        let pages = |at| u16::from_le_bytes(get(bytes, at));
        let page = u32::from_le_bytes(get(bytes, 16));
        let header = Self {
            owner: Owner { cluster, node: NodeId::new(id)? },
            size: FileSize { page, log_pages: pages(20), snapshot_pages: pages(22) },
        };
        (header.encode() == *bytes).then_some(header)
    }
}

/// Field of `N` bytes at `at`. The header is an array of constant size, and all fields lie within.
fn get<const N: usize>(bytes: &[u8; SIZE], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

fn put<const N: usize>(bytes: &mut [u8; SIZE], at: usize, field: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&field);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::node;

    /// covers: D7
    #[test]
    fn the_file_header_is_byte_for_byte_as_drawn() {
        let size = FileSize { page: 0x0002_0000, log_pages: 0x81, snapshot_pages: 0x21 };
        let header = FileHeader { owner: Owner { cluster: ClusterId(0x0403_0201), node: node(7) }, size };
        let bytes = header.encode();
        assert_eq!(bytes[..8], *b"QUORLOG\0");
        assert_eq!(bytes[8..16], [2, 0, 7, 0, 1, 2, 3, 4]);
        assert_eq!(bytes[16..24], [0, 0, 2, 0, 0x81, 0, 0x21, 0]);
        assert_eq!(bytes[24..], GOLDEN);
        assert_eq!(FileHeader::decode(&bytes), Some(header));
    }

    // Computed by a CRC-32C of its own, from the drawing.
    const GOLDEN: [u8; 8] = [0, 0, 0, 0, 0x39, 0x45, 0x71, 0x74];
}
