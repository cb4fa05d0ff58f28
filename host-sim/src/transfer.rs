//! Snapshots on their way from a leader to a follower, as the frames on the links tell of them.

use quoring_core::wire::{Envelope, InstallSnapshot, Message};
use quoring_core::{LogIndex, NodeId};
use quoring_ring::DEFAULT_CRC32C;

use crate::world::CLUSTER;

/// What the fifth byte of a frame says that carries a piece of a snapshot.
const KIND: u8 = 8;

/// The newest piece that was sent to each node.
pub(crate) struct Transfers {
    to: Vec<Option<Piece>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Piece {
    from: NodeId,
    last: LogIndex,
    offset: u64,
    /// The snapshot ends with it.
    ends: bool,
}

impl Transfers {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { to: vec![None; nodes] }
    }

    /// A frame is sent. True if it carries a piece of a snapshot that does not go on where the one before it ended: that was lost, or another
    /// leader sends now, or another snapshot is sent.
    pub(crate) fn interrupted(&mut self, to: usize, frame: &[u8]) -> bool {
        let Some(piece) = piece(to, frame) else { return false };
        let Some(before) = self.to[to].replace(piece) else { return false };
        let goes_on = (piece.from, piece.last) == (before.from, before.last) && piece.offset > before.offset;
        !before.ends && !goes_on
    }
}

fn piece(to: usize, frame: &[u8]) -> Option<Piece> {
    let kind = *frame.get(5)?;
    let envelope = Envelope { cluster: CLUSTER, node: NodeId::new(to as u8)?, crc: DEFAULT_CRC32C };
    let frame = if kind == KIND { envelope.open(frame).ok()? } else { return None };
    let Message::InstallSnapshot(InstallSnapshot { snapshot, offset, data, .. }) = frame.message else { return None };
    let ends = offset + data.len() as u64 == snapshot.length;
    Some(Piece { from: frame.from, last: snapshot.last.index, offset, ends })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quoring_core::{EntryId, NodeSet, Snapshot, Term};

    fn frame(from: u8, last: u64, offset: u64) -> Vec<u8> {
        let last = EntryId { term: Term(1), index: LogIndex(last) };
        let snapshot = Snapshot { last, length: 64, checksum: 0, voters: NodeSet::first(3) };
        let message = Message::InstallSnapshot(InstallSnapshot { snapshot, offset, session: 1, data: &[7; 16] });
        let envelope = Envelope { cluster: CLUSTER, node: NodeId::new(from).unwrap(), crc: DEFAULT_CRC32C };
        let mut bytes = vec![0; 256];
        let header = envelope.seal(NodeId::new(2).unwrap(), Term(1), &message, &mut bytes).unwrap();
        bytes.truncate(header);
        bytes.extend([7; 16]);
        bytes
    }

    #[test]
    fn a_transfer_is_interrupted_when_it_does_not_go_on_where_it_was() {
        let mut transfers = Transfers::new(3);
        let mut sends = |from, last, offset| transfers.interrupted(2, &frame(from, last, offset));
        assert_eq!([sends(0, 10, 0), sends(0, 10, 16), sends(0, 10, 32)], [false; 3]);
        assert!(sends(0, 10, 32), "again");
        assert!(sends(1, 10, 48), "from another leader");
        assert!(!sends(1, 20, 0), "the next one");
        assert!(sends(1, 30, 0), "another one before its end");
        assert!(!transfers.interrupted(2, b"nonsense"));
    }
}
