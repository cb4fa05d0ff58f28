//! How a vote is written into the flags of a 16-byte vote record: bit 7 says that there is a vote, bits 0..=4 for whom,
//! so that a vote for node 0 differs from no vote (E8).

use crate::types::NodeId;

const CAST: u8 = 0x80;

pub(crate) const fn to_flags(vote: Option<NodeId>) -> u8 {
    match vote {
        Some(candidate) => CAST | candidate.get(),
        None => 0,
    }
}

pub(crate) const fn from_flags(flags: u8) -> Option<NodeId> {
    if flags & CAST == 0 { None } else { NodeId::new(flags & !CAST) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vote_for_node_zero_differs_from_no_vote() {
        // covers: E8
        assert_ne!(to_flags(NodeId::new(0)), to_flags(None));
        for vote in [None, NodeId::new(0), NodeId::new(31)] {
            assert_eq!(from_flags(to_flags(vote)), vote);
        }
    }
}
