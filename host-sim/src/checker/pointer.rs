//! Pointers only go forward within an incarnation and keep their order (P4, P5); a new incarnation goes on from what is durable.

use quoring_core::Status;
use quoring_ring::Position;

use super::Verdict;
use super::matching::Log;

/// The last status of each node's incarnation.
pub(crate) struct Pointers {
    nodes: Vec<Option<Status>>,
}

impl Pointers {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { nodes: vec![None; nodes] }
    }

    /// A new incarnation: its log, term and vote are what was durable.
    pub(crate) fn starts(&mut self, node: usize, status: &Status, log: &Log) -> Verdict {
        self.nodes[node] = Some(*status);
        let (last, term) = (status.last.0, status.term.0);
        if (last, term) != (log.resumes(), log.term()) {
            let (durable, durable_term) = (log.resumes(), log.term());
            return Err(format!(
                "started with {last} entries in term {term}; durable were {durable} in term {durable_term}"
            ));
        }
        in_order(status, log)
    }

    /// Whether the status is another than the last one.
    pub(crate) fn changes(&self, node: usize, status: &Status) -> bool {
        self.nodes[node].as_ref() != Some(status)
    }

    /// The incarnation goes on.
    pub(crate) fn moves(&mut self, node: usize, status: &Status, log: &Log) -> Verdict {
        let before = self.nodes[node].replace(*status);
        if let Some(before) = before {
            forward("the term", before.term.0.into(), status.term.0.into())?;
            forward("committed", before.committed.0, status.committed.0)?;
            forward("applied", before.applied.0, status.applied.0)?;
            forward("the snapshot", before.snapshot.0, status.snapshot.0)?;
            forward("what is purged", before.start.0, status.start.0)?;
            ordered("flushed", before.flushed, "flushed", status.flushed)?;
            ordered("accepted", before.accepted, "accepted", status.accepted)?;
        }
        in_order(status, log)
    }
}

fn in_order(status: &Status, log: &Log) -> Verdict {
    let Status { last, committed, applied, durable, .. } = *status;
    ordered("flushed", status.flushed, "accepted", status.accepted)?;
    if committed > last || durable > last || applied > committed || applied > durable {
        return Err(format!(
            "applied {applied}, durable {durable}, committed {committed} and last {last} are out of order"
        ));
    }
    if durable.0 > log.end() {
        return Err(format!("believes {durable} entries durable; its medium holds {}", log.end()));
    }
    Ok(())
}

fn forward(name: &str, before: u64, after: u64) -> Verdict {
    if before <= after { Ok(()) } else { Err(format!("{name} went back from {before} to {after}")) }
}

fn ordered(low_name: &str, low: Position, high_name: &str, high: Position) -> Verdict {
    if !high.precedes(low) {
        return Ok(());
    }
    Err(format!("{low_name} at {} is beyond {high_name} at {}", low.get(), high.get()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::matching::tests::logs;
    use super::*;
    use quoring_core::{LogIndex, NodeId, Role, Term};

    /// A follower in `term` with the indices last, committed, applied, durable.
    pub(in super::super) fn status(term: u32, [last, committed, applied, durable]: [u64; 4]) -> Status {
        Status {
            id: NodeId::default(),
            role: Role::Follower,
            term: Term(term),
            leader: None,
            last: LogIndex(last),
            committed: LogIndex(committed),
            applied: LogIndex(applied),
            durable: LogIndex(durable),
            snapshot: LogIndex::ZERO,
            start: LogIndex::ZERO,
            accepted: Position::new(8),
            flushed: Position::new(8),
        }
    }

    fn run(steps: &[Status]) -> Verdict {
        let logs = logs(&[&[1, 1, 1]]);
        let mut pointers = Pointers::new(1);
        pointers.starts(0, &status(1, [3, 0, 0, 3]), logs.of(0))?;
        steps.iter().try_for_each(|status| pointers.moves(0, status, logs.of(0)))
    }

    #[test]
    fn pointers_that_go_forward_in_order_are_right() {
        assert_eq!(run(&[status(1, [3, 2, 1, 3]), status(2, [2, 2, 2, 2]), status(2, [3, 3, 2, 2])]), Ok(()));
    }

    #[test]
    fn no_pointer_goes_back_and_none_overtakes_another() {
        let at = status(2, [3, 2, 2, 3]);
        let wrong = [
            status(1, [3, 2, 2, 3]),
            status(2, [3, 1, 1, 3]),
            status(2, [3, 2, 1, 3]),
            status(2, [3, 2, 3, 3]),
            status(2, [3, 3, 3, 2]),
            status(2, [3, 4, 2, 3]),
            status(2, [4, 2, 2, 4]),
            Status { flushed: Position::new(6), ..at },
            Status { accepted: Position::new(6), flushed: Position::new(6), ..at },
            Status { flushed: Position::new(10), ..at },
        ];
        for status in wrong {
            assert!(run(&[at, status]).is_err(), "{status:?}");
        }
    }

    #[test]
    fn positions_are_compared_across_their_wrap() {
        let at = |accepted, flushed| Status {
            accepted: Position::new(accepted),
            flushed: Position::new(flushed),
            ..status(1, [3, 0, 0, 3])
        };
        let mut pointers = Pointers::new(1);
        let logs = logs(&[&[1, 1, 1]]);
        assert_eq!(pointers.starts(0, &at(u32::MAX - 1, u32::MAX - 1), logs.of(0)), Ok(()));
        assert_eq!(pointers.moves(0, &at(6, u32::MAX - 1), logs.of(0)), Ok(()));
        assert!(pointers.moves(0, &at(u32::MAX - 1, u32::MAX - 1), logs.of(0)).is_err());
    }

    #[test]
    fn a_new_incarnation_has_what_was_durable() {
        let logs = logs(&[&[1, 1]]);
        let mut pointers = Pointers::new(1);
        assert!(pointers.starts(0, &status(1, [1, 0, 0, 1]), logs.of(0)).is_err());
        assert!(pointers.starts(0, &status(0, [2, 0, 0, 2]), logs.of(0)).is_err());
        assert_eq!(pointers.starts(0, &status(1, [2, 0, 0, 2]), logs.of(0)), Ok(()));
    }
}
