//! What is known of a snapshot; what is in it is the business of those who make it and store it.

use crate::members::NodeSet;
use crate::types::EntryId;

/// The state after an entry, as bytes that core does not look into: the sessions of the cluster, then what only the application understands (`drivers/SNAPSHOT.md`).
///
/// Two snapshots that agree in all of this have the same bytes, whoever made them: a transfer that one leader began, another may finish (S1, S2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Snapshot {
    /// The last entry that it covers.
    pub last: EntryId,
    /// Bytes of both together; 64 bits on every target (S1).
    pub length: u64,
    /// CRC-32C of them.
    pub checksum: u32,
    /// Who votes after that entry (S6).
    pub voters: NodeSet,
}
