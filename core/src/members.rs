//! Sets of nodes, and the quorums they form.

use crate::types::NodeId;

/// A set of nodes: one bit for each of the 32 ids.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NodeSet(u32);

impl NodeSet {
    /// Nobody.
    pub const EMPTY: Self = Self(0);

    /// The set whose bit `n` stands for node `n`.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Nodes 0 to `count - 1`; all 32 for any larger count.
    pub const fn first(count: u32) -> Self {
        if count >= u32::BITS { Self(u32::MAX) } else { Self((1 << count) - 1) }
    }

    /// Bit `n` stands for node `n`.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// How many nodes there are.
    #[cfg_attr(target_pointer_width = "32", inline(never))] // Bits are counted one by one there.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `node` is in it.
    pub const fn contains(self, node: NodeId) -> bool {
        self.0 & bit(node) != 0
    }

    /// Adds `node`.
    #[cfg_attr(target_pointer_width = "32", inline(never))] // Half a dozen instructions there, in a dozen places.
    pub const fn insert(&mut self, node: NodeId) {
        self.0 |= bit(node);
    }

    /// Takes `node` out.
    pub const fn remove(&mut self, node: NodeId) {
        self.0 &= !bit(node);
    }

    /// This set and `node`.
    #[must_use]
    pub const fn with(self, node: NodeId) -> Self {
        Self(self.0 | bit(node))
    }

    /// This set but for `node`.
    #[must_use]
    pub const fn without(self, node: NodeId) -> Self {
        Self(self.0 & !bit(node))
    }

    /// Those in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// How many members have a smaller id: the place of `node` in an array with one element a member.
    pub const fn rank(self, node: NodeId) -> usize {
        (self.0 & (bit(node) - 1)).count_ones() as usize
    }

    /// The members in ascending order.
    pub fn iter(self) -> impl Iterator<Item = NodeId> {
        Members(self)
    }

    /// Whether these nodes are a majority of `voters`.
    pub const fn is_quorum_of(self, voters: Self) -> bool {
        self.intersection(voters).len() * 2 > voters.len()
    }
}

/// Those members that come yet.
struct Members(NodeSet);

impl Iterator for Members {
    type Item = NodeId;

    #[cfg_attr(target_pointer_width = "32", inline(never))] // A dozen instructions there, in as many places.
    fn next(&mut self) -> Option<NodeId> {
        let rest = self.0.0;
        let lowest = NodeId::new(rest.trailing_zeros() as u8)?;
        self.0 = NodeSet(rest & (rest - 1));
        Some(lowest)
    }
}

const fn bit(node: NodeId) -> u32 {
    1 << node.get()
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        nodes.into_iter().fold(Self::EMPTY, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u8) -> NodeId {
        NodeId::new(id).unwrap()
    }

    #[test]
    fn a_set_lists_its_members_in_order_and_ranks_them() {
        let set = NodeSet::from_bits(0x8000_0005);
        assert!(set.iter().eq([node(0), node(2), node(31)]));
        assert!(set.iter().map(|n| set.rank(n)).eq(0..3));
        assert_eq!(set.iter().collect::<NodeSet>(), set);
    }

    #[test]
    fn a_quorum_is_more_than_half_of_the_voters_and_counts_nobody_else() {
        let voters = NodeSet::first(4);
        assert!(!NodeSet::first(2).is_quorum_of(voters));
        assert!(NodeSet::first(3).is_quorum_of(voters));
        assert!(!NodeSet::from_bits(0xFF03).is_quorum_of(voters));
        assert!(!NodeSet::EMPTY.is_quorum_of(NodeSet::EMPTY));
        assert_eq!(NodeSet::first(32), NodeSet::first(99));
    }
}
