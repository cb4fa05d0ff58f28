//! State machine safety (Raft section 5.4.3): every node's application is given the committed commands, each once and in order, and only
//! when they are durable on that node (P5).

use quoring_ring::Kind;

use super::Verdict;
use super::commit::Commit;
use super::matching::{Entry, Log};

/// How far each incarnation's application has come.
pub(crate) struct Apply {
    nodes: Vec<u64>,
}

impl Apply {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { nodes: vec![0; nodes] }
    }

    /// A new incarnation's application begins anew.
    pub(crate) fn restart(&mut self, node: usize) {
        self.nodes[node] = 0;
    }

    /// The application is given the command `entry` of `index`.
    pub(crate) fn applies(&mut self, node: usize, index: u64, entry: &Entry, log: &Log, commit: &Commit) -> Verdict {
        let before = std::mem::replace(&mut self.nodes[node], index);
        if index <= before {
            return Err(format!("applied entry {index} after entry {before}"));
        }
        let is_command = |index: &u64| commit.get(*index).is_some_and(|entry| entry.kind == Kind::Command);
        if let Some(skipped) = (before + 1..index).find(is_command) {
            return Err(format!("applied entry {index} and skipped entry {skipped}"));
        }
        match commit.get(index) {
            None => return Err(format!("applied entry {index}; only {} are committed", commit.last())),
            Some(committed) if committed != entry => {
                return Err(format!("applied at index {index} another command than the committed one"));
            }
            Some(_) => {}
        }
        if log.get(index) != Some(entry) {
            return Err(format!("applied entry {index}, which is not durable on this node"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::matching::Logs;
    use super::super::matching::tests::{command, logs};
    use super::super::pointer::tests::status;
    use super::*;

    fn setting() -> (Logs, Commit, Apply) {
        let mut logs = logs(&[&[1], &[1], &[]]);
        for node in [0, 1] {
            logs.append(node, 2, Entry::new(2, Kind::NoOp, b"")).unwrap();
            logs.append(node, 3, command(2, "x")).unwrap();
        }
        let mut commit = Commit::new(3);
        commit.advance(0, &status(2, [3, 3, 0, 3]), &logs).unwrap();
        (logs, commit, Apply::new(3))
    }

    #[test]
    fn committed_durable_commands_in_order_are_right_and_a_no_op_is_passed_over() {
        let (logs, commit, mut apply) = setting();
        assert_eq!(apply.applies(0, 1, &command(1, "x"), logs.of(0), &commit), Ok(()));
        assert_eq!(apply.applies(0, 3, &command(2, "x"), logs.of(0), &commit), Ok(()));
        assert!(apply.applies(0, 3, &command(2, "x"), logs.of(0), &commit).is_err(), "twice");
        apply.restart(0);
        assert_eq!(apply.applies(0, 1, &command(1, "x"), logs.of(0), &commit), Ok(()));
    }

    #[test]
    fn a_command_that_is_skipped_changed_uncommitted_or_not_durable_is_wrong() {
        let wrong =
            [(0, 3, command(2, "x")), (0, 1, command(1, "y")), (0, 4, command(2, "x")), (2, 1, command(1, "x"))];
        for (node, index, entry) in wrong {
            let (logs, commit, mut apply) = setting();
            assert!(apply.applies(node, index, &entry, logs.of(node), &commit).is_err(), "{node} {index}");
        }
    }
}
