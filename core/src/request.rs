//! Who asked for an entry: a client and the number of the command among its own.

use core::fmt;

use crate::types::NodeId;

/// A client of the cluster: a session, or a stream that is open. Unique for as long as boot numbers are: no two clients of one node and boot have the same
/// number, and no two boots of a node that had clients the same boot number (R15).
///
/// ```text
///  63     56                       24               0
///  +--------+------------------------+---------------+
///  | node   | boot                   | number        |      numbers count from 1
///  +--------+------------------------+---------------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ClientId(pub u64);

impl ClientId {
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// The highest number of a client in one boot.
    pub(crate) const NUMBERS: u32 = (1 << 24) - 1;

    /// Client `number` of a boot of `node`.
    pub(crate) const fn new(node: NodeId, boot: u32, number: u32) -> Self {
        Self((node.get() as u64) << 56 | (boot as u64) << 24 | (number & Self::NUMBERS) as u64)
    }

    /// The node it came to; `None` if there is no such node.
    pub const fn node(self) -> Option<NodeId> {
        NodeId::new((self.0 >> 56) as u8)
    }

    /// The boot of that node.
    pub const fn boot(self) -> u32 {
        (self.0 >> 24) as u32
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0 >> 56, self.boot(), self.0 as u32 & Self::NUMBERS)
    }
}

/// Which request of which client: what stands before the command in an entry of the kinds [`Session`](quoring_ring::Kind::Session) and
/// [`Stream`](quoring_ring::Kind::Stream).
///
/// ```text
///  0        8          12      16
///  +--------+----------+-------+----------------
///  | client | sequence | table | command ...          little-endian
///  +--------+----------+-------+----------------
/// ```
/// In a session sequence 0 opens it; the others name the session that they are of by the client and the entry that opened it. The client alone would not do: what
/// opens a session may stand in the log twice, if it was handed in again after a change of leader, and between the two the session may have served commands and
/// expired. The second one then opens another session, to which the commands of the first must not be new ones. Two sessions of one client would have the same name
/// if 2^32 entries lay between their openings: nobody hands the same one in again for that long.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RequestId {
    /// The client.
    pub client: ClientId,
    /// The number of the request among the client's own.
    pub sequence: u32,
    /// What it says of the cluster's table of sessions: if it opens one, how many sessions that keeps; else where in the log its session was opened, the low half
    /// of that index. 0 in a stream.
    pub table: u32,
}

impl RequestId {
    /// Bytes of the encoded form.
    pub const SIZE: usize = 16;

    /// The bytes before the command.
    pub const fn encode(&self) -> [u8; Self::SIZE] {
        let [a, b, c, d, e, f, g, h] = self.client.0.to_le_bytes();
        let ([i, j, k, l], [m, n, o, p]) = (self.sequence.to_le_bytes(), self.table.to_le_bytes());
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// The request at the beginning of an entry's payload, and the command behind it.
    pub fn decode(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (head, command) = payload.split_first_chunk::<{ Self::SIZE }>()?;
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *head;
        let client = ClientId(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
        let (sequence, table) = (u32::from_le_bytes([i, j, k, l]), u32::from_le_bytes([m, n, o, p]));
        Some((Self { client, sequence, table }, command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// covers: C10
    #[test]
    fn a_request_says_which_node_which_boot_and_which_client() {
        let client = ClientId::new(NodeId::new(31).unwrap(), 0xDEAD_BEEF, 7);
        assert_eq!((client.node(), client.boot(), client.0 & 0xFF_FFFF), (NodeId::new(31), 0xDEAD_BEEF, 7));
        assert_eq!(std::format!("{client}"), "31.3735928559.7");
        let request = RequestId { client, sequence: 5, table: 8 };
        let bytes = [&request.encode()[..], b"on"].concat();
        assert_eq!(RequestId::decode(&bytes), Some((request, &b"on"[..])));
        assert_eq!(RequestId::decode(&bytes[..15]), None);
        assert_eq!(ClientId(u64::MAX).node(), None);
    }
}
