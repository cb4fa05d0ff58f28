//! State machine safety (Raft section 5.4.3): every node's application is given the committed commands, each once and in order, and only
//! when they are durable on that node (P5).

use std::collections::BTreeMap;

use super::Verdict;
use super::commit::Commit;
use super::matching::{Entry, Log};
use super::session::Sessions;
use crate::application::digest;

/// How far each incarnation's application has come, and to what.
#[derive(Clone)]
pub(crate) struct Apply {
    nodes: Vec<u64>,
    /// The state after each command, as the first application that came to it had it.
    states: BTreeMap<u64, u64>,
    /// What was saved of the state after an entry, by whoever did so first.
    images: BTreeMap<u64, u64>,
}

impl Apply {
    /// Applications that begin with this state.
    pub(crate) fn new(nodes: usize, state: u64) -> Self {
        Self { nodes: vec![0; nodes], states: BTreeMap::from([(0, state)]), images: BTreeMap::new() }
    }

    /// A new incarnation's application begins anew.
    pub(crate) fn restart(&mut self, node: usize) {
        self.nodes[node] = 0;
    }

    /// The application is given the command `entry` of `index`.
    pub(crate) fn applies(
        &mut self,
        node: usize,
        index: u64,
        entry: &Entry,
        (log, commit, sessions): (&Log, &Commit, &Sessions),
    ) -> Verdict {
        let before = std::mem::replace(&mut self.nodes[node], index);
        if index <= before {
            return Err(format!("applied entry {index} after entry {before}"));
        }
        let is_lent = |index: &u64| *index <= commit.last() && sessions.is_lent(*index);
        if let Some(skipped) = (before + 1..index).find(is_lent) {
            return Err(format!("applied entry {index} and skipped entry {skipped}"));
        }
        match commit.get(index) {
            None => return Err(format!("applied entry {index}; only {} are committed", commit.last())),
            Some(committed) if committed != entry => {
                return Err(format!("applied at index {index} another command than the committed one"));
            }
            Some(_) => {}
        }
        if !sessions.is_lent(index) {
            return Err(format!("applied entry {index}, which is not for the application"));
        }
        // What was durable when it was lent may be covered by a snapshot now.
        if !log.holds(index, Some(entry)) {
            return Err(format!("applied entry {index}, which is not durable on this node"));
        }
        Ok(())
    }

    /// The application has applied the command of `index`; `state` is what that made of it.
    pub(crate) fn becomes(&mut self, index: u64, state: u64) -> Verdict {
        match *self.states.entry(index).or_insert(state) {
            first if first == state => Ok(()),
            _ => Err(format!("came to another state than others by applying entry {index}")),
        }
    }

    /// The application saves its state, which should be that after `index`, in these bytes.
    pub(crate) fn saves(&mut self, index: u64, state: u64, bytes: &[u8]) -> Verdict {
        let image = digest(0, bytes);
        if self.after(index) == Some(state) && *self.images.entry(index).or_insert(image) == image {
            return Ok(());
        }
        Err(format!("saved another state than that after entry {index}"))
    }

    /// The application has restored the state after `index` from these bytes; nothing, if that is no state.
    pub(crate) fn restores(&mut self, node: usize, index: u64, state: Option<u64>, bytes: &[u8], log: &Log) -> Verdict {
        let before = std::mem::replace(&mut self.nodes[node], index);
        if index <= before {
            return Err(format!("restored the state after entry {index} when it had applied entry {before}"));
        }
        let covered = log.covered().index;
        if index > covered.0 {
            return Err(format!("restored the state after entry {index}; its newest snapshot is up to {covered}"));
        }
        if state.is_none() || self.after(index) != state || self.images.get(&index) != Some(&digest(0, bytes)) {
            return Err(format!("restored another state than that after entry {index}"));
        }
        Ok(())
    }

    /// The state after an entry: that after the last command up to it.
    fn after(&self, index: u64) -> Option<u64> {
        self.states.range(..=index).next_back().map(|(_, &state)| state)
    }
}

#[cfg(test)]
mod tests {
    use super::super::matching::Logs;
    use super::super::matching::tests::{command, logs, snapshot};
    use super::super::pointer::tests::status;
    use super::*;
    use quoring_ring::Kind;

    fn setting() -> (Logs, Commit, Sessions, Apply) {
        let mut logs = logs(&[&[1], &[1], &[]]);
        for node in [0, 1] {
            logs.append(node, 2, Entry::new(2, Kind::NoOp, b"")).unwrap();
            logs.append(node, 3, command(2, "x")).unwrap();
        }
        let mut commit = Commit::new(3);
        commit.advance(0, &status(2, [3, 3, 0, 3]), &logs).unwrap();
        let mut sessions = Sessions::default();
        sessions.follow(&commit);
        (logs, commit, sessions, Apply::new(3, 7))
    }

    #[test]
    fn committed_durable_commands_in_order_are_right_and_a_no_op_is_passed_over() {
        let (logs, commit, sessions, mut apply) = setting();
        let seen = (logs.of(0), &commit, &sessions);
        assert_eq!(apply.applies(0, 1, &command(1, "x"), seen), Ok(()));
        assert_eq!(apply.applies(0, 3, &command(2, "x"), seen), Ok(()));
        assert!(apply.applies(0, 3, &command(2, "x"), seen).is_err(), "twice");
        apply.restart(0);
        assert_eq!(apply.applies(0, 1, &command(1, "x"), seen), Ok(()));
    }

    #[test]
    fn what_is_restored_is_what_was_saved_of_the_state_after_that_entry_and_the_snapshot_is_durable_here() {
        let (mut logs, commit, sessions, mut apply) = setting();
        apply.applies(0, 1, &command(1, "x"), (logs.of(0), &commit, &sessions)).unwrap();
        assert_eq!(apply.becomes(1, 8), Ok(()));
        assert!(apply.becomes(1, 9).is_err(), "on another node");
        assert_eq!(
            [apply.saves(1, 8, b"eight"), apply.saves(2, 8, b"eight")],
            [Ok(()), Ok(())],
            "a no-op changes nothing"
        );
        assert!(apply.saves(1, 7, b"seven").is_err() && apply.saves(1, 8, b"ate").is_err());
        assert!(apply.clone().restores(2, 2, Some(8), b"eight", logs.of(2)).is_err(), "no snapshot");
        logs.of_mut(2).snapshot = Some(snapshot(2, 2));
        let restore = |state, bytes: &[u8]| apply.clone().restores(2, 2, state, bytes, logs.of(2));
        assert_eq!(restore(Some(8), b"eight"), Ok(()));
        assert!(
            restore(Some(9), b"eight").is_err()
                && restore(Some(8), b"ate").is_err()
                && restore(None, b"eight").is_err()
        );
        assert_eq!(apply.restores(2, 2, Some(8), b"eight", logs.of(2)), Ok(()));
        assert!(apply.restores(2, 2, Some(8), b"eight", logs.of(2)).is_err(), "twice");
    }

    #[test]
    fn a_command_that_is_skipped_changed_uncommitted_or_not_durable_is_wrong() {
        let wrong = [
            (0, 3, command(2, "x")),
            (0, 1, command(1, "y")),
            (0, 4, command(2, "x")),
            (2, 1, command(1, "x")),
            (0, 2, Entry::new(2, Kind::NoOp, b"")),
        ];
        for (node, index, entry) in wrong {
            let (logs, commit, sessions, mut apply) = setting();
            let seen = (logs.of(node), &commit, &sessions);
            assert!(apply.applies(node, index, &entry, seen).is_err(), "{node} {index}");
        }
    }
}
