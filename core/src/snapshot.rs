//! What is known of a snapshot; its bytes are the application's and the store's.

use crate::members::NodeSet;
use crate::types::EntryId;

/// The state of the application after an entry, as bytes that only the application understands.
///
/// Two snapshots that agree in all of this have the same bytes, whoever made them: a transfer that one leader began, another may finish (S1, S2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Snapshot {
    /// The last entry that it covers.
    pub last: EntryId,
    /// Bytes of the application's state; 64 bits on every target (S1).
    pub length: u64,
    /// CRC-32C of them.
    pub checksum: u32,
    /// Who votes after that entry (S6).
    pub voters: NodeSet,
}
