//! Leader completeness (Raft section 5.4): who is elected has every entry that was committed in an earlier term.

use quoring_core::{Role, Status, Term};
use quoring_ring::Position;

use super::Verdict;
use super::commit::Commit;
use super::matching::Logs;

/// Leaders whose logs are still to be looked at.
pub(crate) struct Completeness {
    nodes: Vec<Office>,
}

#[derive(Clone, Copy, Default)]
struct Office {
    /// The last term in which the node led.
    term: Term,
    /// Its log at its election, to be compared when it is durable up to here: the end of its ring, and the last entry that counts.
    due: Option<(Position, u64)>,
}

impl Completeness {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { nodes: vec![Office::default(); nodes] }
    }

    /// The node lost what it had not yet written.
    pub(crate) fn restart(&mut self, node: usize) {
        self.nodes[node].due = None;
    }

    /// The node was seen, perhaps as a new leader.
    pub(crate) fn look(&mut self, node: usize, status: &Status, logs: &Logs, commit: &Commit) -> Verdict {
        let office = &mut self.nodes[node];
        if status.role != Role::Leader {
            office.due = None;
            return Ok(());
        }
        if office.term != status.term {
            let needed = commit.last_before(status.term.0);
            *office = Office { term: status.term, due: Some((status.accepted, needed)) };
            if status.last.0 < needed {
                return Err(format!(
                    "leads term {} with {} entries; {needed} were committed before",
                    status.term, status.last
                ));
            }
        }
        // What is accepted but not written may still replace what the medium holds.
        let Some((_, needed)) = office.due.take_if(|(accepted, _)| !status.flushed.precedes(*accepted)) else {
            return Ok(());
        };
        match (1..=needed).find(|&index| !logs.of(node).holds(index, commit.get(index))) {
            Some(index) => Err(format!("leads term {} without entry {index}, which was committed before", status.term)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::matching::tests::logs;
    use super::super::pointer::tests::status;
    use super::*;

    fn leader(term: u32, last: u64, flushed: u32) -> Status {
        let (accepted, flushed) = (Position::new(8), Position::new(flushed));
        Status { role: Role::Leader, accepted, flushed, ..status(term, [last, 0, 0, 0]) }
    }

    fn elect(node: usize, leaders: &[Status]) -> Verdict {
        let logs = logs(&[&[1, 1, 2], &[1, 1], &[1, 3]]);
        let mut commit = Commit::new(3);
        commit.advance(0, &status(1, [3, 2, 0, 3]), &logs).unwrap();
        let mut completeness = Completeness::new(3);
        leaders.iter().try_for_each(|status| completeness.look(node, status, &logs, &commit))
    }

    #[test]
    fn a_leader_with_every_committed_entry_is_right() {
        assert_eq!(elect(1, &[leader(4, 2, 8)]), Ok(()));
    }

    #[test]
    fn a_leader_with_a_shorter_log_or_another_entry_is_not() {
        assert!(elect(2, &[leader(4, 1, 8)]).is_err());
        assert!(elect(2, &[leader(4, 2, 8)]).is_err());
    }

    #[test]
    fn its_log_is_compared_when_all_of_it_is_durable() {
        assert_eq!(elect(2, &[leader(4, 2, 6)]), Ok(()));
        assert!(elect(2, &[leader(4, 2, 6), leader(4, 3, 8)]).is_err());
        assert_eq!(elect(2, &[leader(4, 2, 6), status(4, [2, 0, 0, 0]), leader(4, 3, 8)]), Ok(()));
    }

    #[test]
    fn a_late_leader_of_an_early_term_need_not_have_what_was_committed_later() {
        assert_eq!(elect(2, &[leader(1, 1, 8)]), Ok(()));
    }
}
