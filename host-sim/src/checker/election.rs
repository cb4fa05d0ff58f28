//! Election safety (Raft section 5.2): at most one leader a term, and one vote of each node a term, over all its incarnations.

use std::collections::BTreeMap;

use quoring_core::{Role, Status};

use super::Verdict;

/// Who led and who voted in each term.
#[derive(Default)]
pub(crate) struct Election {
    leaders: BTreeMap<u32, usize>,
    votes: BTreeMap<(usize, u32), u8>,
}

impl Election {
    /// How many terms had a leader.
    pub(crate) fn won(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// Who led in that term.
    pub(crate) fn leader(&self, term: u32) -> Option<usize> {
        self.leaders.get(&term).copied()
    }

    /// The node says that it was elected.
    pub(crate) fn leads(&mut self, node: usize, term: u32) -> Verdict {
        match *self.leaders.entry(term).or_insert(node) {
            first if first == node => Ok(()),
            first => Err(format!("leads term {term}, which node {first} leads")),
        }
    }

    /// The node's role was seen.
    pub(crate) fn role(&mut self, node: usize, status: &Status) -> Verdict {
        if status.role == Role::Leader { self.leads(node, status.term.0) } else { Ok(()) }
    }

    /// A vote is durable; `flags` tell for whom, 0 for nobody.
    pub(crate) fn votes(&mut self, node: usize, term: u32, flags: u8) -> Verdict {
        if flags == 0 {
            return Ok(());
        }
        match *self.votes.entry((node, term)).or_insert(flags) {
            first if first == flags => Ok(()),
            first => {
                Err(format!("voted for node {} in term {term}, after it had voted for node {}", flags & 31, first & 31))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_has_one_leader_however_often_it_says_so() {
        let mut election = Election::default();
        assert_eq!([election.leads(0, 1), election.leads(0, 1), election.leads(1, 2)], [Ok(()), Ok(()), Ok(())]);
        assert!(election.leads(2, 1).is_err());
        assert_eq!(election.won(), 2);
    }

    #[test]
    fn a_node_votes_once_a_term_and_no_vote_is_not_a_vote() {
        let mut election = Election::default();
        for (node, term, flags) in [(0, 1, 0), (0, 1, 0x81), (0, 1, 0x81), (0, 2, 0x80), (1, 1, 0x82)] {
            assert_eq!(election.votes(node, term, flags), Ok(()));
        }
        assert!(election.votes(0, 2, 0x81).is_err());
    }
}
