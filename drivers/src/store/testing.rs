//! Records for the tests of the stores.

use std::vec::Vec;

#[cfg(feature = "std")]
use quoring_core::NodeId;
use quoring_core::{ClusterId, LogIndex, Recovery};
use quoring_ring::{Checksum, DEFAULT_CRC32C, Header, Kind};

pub(crate) const CLUSTER: ClusterId = ClusterId(0xC1A5_7E12);

/// Node `id`.
#[cfg(feature = "std")]
pub(crate) fn node(id: u8) -> NodeId {
    NodeId::new(id).expect("a small number")
}

/// A recovery that has seen nothing.
pub(crate) fn recovery() -> Recovery {
    Recovery::new(CLUSTER, DEFAULT_CRC32C)
}

/// An encoded record.
pub(crate) fn record(kind: Kind, term: u32, index: LogIndex, flags: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).expect("a payload");
    let mut header = Header { checksum: 0, term, index_low: index.0 as u32, len, kind, flags };
    header.checksum = Checksum::new(CLUSTER.0, DEFAULT_CRC32C).of(&header, (index.0 >> 32) as u32, payload);
    let mut bytes = [&header.encode(), payload].concat();
    bytes.resize(header.size(), 0);
    bytes
}

/// A vote of term 1 for node 0.
pub(crate) fn vote() -> Vec<u8> {
    record(Kind::Vote, 1, LogIndex::ZERO, 0x80, b"")
}

/// Makes entries one after another.
pub(crate) struct Script {
    next: LogIndex,
    term: u32,
}

impl Script {
    pub(crate) fn starting_at(next: LogIndex) -> Self {
        Self { next, term: 1 }
    }

    /// The next entry.
    pub(crate) fn entry(&mut self, payload: &[u8]) -> Vec<u8> {
        let bytes = record(Kind::Command, self.term, self.next, 0, payload);
        self.next = self.next.next();
        bytes
    }

    /// A new leader goes on from `next`.
    pub(crate) fn truncate(&mut self, next: LogIndex) {
        (self.next, self.term) = (next, self.term + 1);
    }
}
