//! What is stored: entries with commands of 32 bytes, as bare commands or as log records.

use std::ops::Range;

use quoring_core::ClusterId;
use quoring_ring::{Checksum, Header, Kind, Records, record_size, software_crc32c};

/// The cluster whose log it is.
pub(crate) const CLUSTER: ClusterId = ClusterId(0xF1A5);
/// Bytes of a command.
pub(crate) const COMMAND: usize = 32;
/// Bytes of the record of such an entry.
pub(crate) const RECORD: usize = record_size(COMMAND);
/// Bytes of the buffer for reading; a batch of eight records fits.
pub(crate) const BUFFER: usize = 512;
const TERM: u32 = 3;

/// What is stored of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// The command alone.
    Command,
    /// The record that a log needs: 16 bytes with term, index, kind and checksum, and the command.
    Record,
}

/// The bytes of these entries.
#[must_use]
pub(crate) fn batch(form: Form, entries: Range<u64>) -> Vec<u8> {
    let checksum = Checksum::new(CLUSTER.0, software_crc32c);
    let mut bytes = Vec::new();
    for index in entries {
        let command = command(index);
        if form == Form::Record {
            let (len, low, high) = (COMMAND as u16, index as u32, (index >> 32) as u32);
            let header = Header { checksum: 0, term: TERM, index_low: low, len, kind: Kind::Command, flags: 0 };
            bytes.extend(Header { checksum: checksum.of(&header, high, &command), ..header }.encode());
        }
        bytes.extend(command);
    }
    bytes
}

/// Takes note of the entries in `bytes`.
///
/// # Panics
/// They are none, or do not follow on those found before.
pub(crate) fn follow(found: &mut Option<Range<u64>>, form: Form, bytes: &[u8]) {
    let mut take = |command: &[u8]| {
        let index = u64::from_le_bytes(command[..8].try_into().expect("eight bytes"));
        let range = found.get_or_insert(index..index);
        assert_eq!(range.end, index, "no entry is missing");
        range.end += 1;
    };
    match form {
        Form::Command => bytes.chunks(COMMAND).for_each(take),
        Form::Record => Records::new(bytes).for_each(|record| take(record.expect("a whole record").payload)),
    }
}

/// The command of an entry: its index, and bytes of no meaning.
fn command(index: u64) -> [u8; COMMAND] {
    let mut bytes = [0x5A; COMMAND];
    bytes[..8].copy_from_slice(&index.to_le_bytes());
    bytes
}
