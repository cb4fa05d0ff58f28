//! Encoded records to measure with.

use std::ops::Range;

use quoring_core::{ClusterId, LogIndex};
use quoring_ring::{Checksum, DEFAULT_CRC32C, Header, Kind};

/// Whose records they are.
pub const CLUSTER: ClusterId = ClusterId(0xF1A5);

/// A command of so many bytes.
#[must_use]
pub fn command(bytes: usize) -> Vec<u8> {
    vec![0x5A; bytes]
}

/// The record of an entry of term 1.
///
/// # Panics
/// The command does not fit a record.
#[must_use]
pub fn entry(index: u64, command: &[u8]) -> Vec<u8> {
    let len = u16::try_from(command.len()).expect("a command of a record");
    let header = Header { checksum: 0, term: 1, index_low: index as u32, len, kind: Kind::Command, flags: 0 };
    let checksum = Checksum::new(CLUSTER.0, DEFAULT_CRC32C).of(&header, (index >> 32) as u32, command);
    let mut bytes = [&Header { checksum, ..header }.encode()[..], command].concat();
    bytes.resize(header.size(), 0);
    bytes
}

/// Entries of the same command, `size` to a batch: the records of each batch end to end, and its last entry.
///
/// # Panics
/// The command does not fit a record, or `size` is 0.
#[must_use]
pub fn batches(indices: Range<u64>, size: u64, command: &[u8]) -> Vec<(Vec<u8>, LogIndex)> {
    let batch = |first| (first..first + size).flat_map(|index| entry(index, command)).collect();
    indices.step_by(size as usize).map(|first| (batch(first), LogIndex(first + size - 1))).collect()
}
