//! Commitment: what any node believes committed is durable on a majority of the media at that moment, and is never replaced anywhere.

use quoring_core::{Role, Status};
use quoring_ring::Kind;

use super::Verdict;
use super::matching::{Entry, Log, Logs};

/// What is committed, as the media tell it.
pub(crate) struct Commit {
    /// Entry `index` is at `index - 1`.
    entries: Vec<Committed>,
    last_command: u64,
    /// Up to here, each node's durable and committed entries have been compared.
    compared: Vec<u64>,
}

struct Committed {
    entry: Entry,
    /// The term of the node that committed it first.
    by: u32,
}

impl Commit {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { entries: Vec::new(), last_command: 0, compared: vec![0; nodes] }
    }

    /// The last committed entry.
    pub(crate) fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The last committed entry that is some client's.
    pub(crate) const fn last_command(&self) -> u64 {
        self.last_command
    }

    /// The committed entry `index`.
    pub(crate) fn get(&self, index: u64) -> Option<&Entry> {
        self.committed(index).map(|committed| &committed.entry)
    }

    /// The last entry that was committed in a term before this one.
    pub(crate) fn last_before(&self, term: u32) -> u64 {
        // A leader of a later term commits later entries: the terms rise.
        self.entries.partition_point(|committed| committed.by < term) as u64
    }

    /// The node believes that all up to `status.committed` is. A leader commits through an entry of its own term (Raft figure 8).
    pub(crate) fn advance(&mut self, node: usize, status: &Status, logs: &Logs) -> Verdict {
        let is_news = self.last() < status.committed.0;
        while self.last() < status.committed.0 {
            let index = self.last() + 1;
            let entry = on_a_majority(index, logs)?;
            if matches!(entry.kind, Kind::Command | Kind::Session | Kind::Stream) {
                self.last_command = index;
            }
            self.entries.push(Committed { entry, by: status.term.0 });
        }
        let end = self.get(status.committed.0).map_or(0, |entry| entry.term);
        if is_news && status.role == Role::Leader && end != status.term.0 {
            return Err(format!(
                "leads term {} and committed entry {} of term {end} by counting",
                status.term, status.committed
            ));
        }
        self.compare(node, status.committed.0.min(status.durable.0), logs.of(node))
    }

    /// An entry is about to become durable on a node whose log it shortens if it is not the next.
    pub(crate) fn keeps(&self, log: &Log, index: u64, entry: &Entry) -> Verdict {
        let holds = |place: u64| self.get(place).is_some_and(|committed| log.get(place) == Some(committed));
        if holds(index) && self.get(index) != Some(entry) {
            return Err(format!("replaced entry {index}, which is committed, by one of term {}", entry.term));
        }
        self.cuts_off(log, index)
    }

    /// A node is about to let its log end with entry `index`, or with what it has of it in a snapshot.
    pub(crate) fn cuts_off(&self, log: &Log, index: u64) -> Verdict {
        let holds = |place: u64| self.get(place).is_some_and(|committed| log.get(place) == Some(committed));
        match (index + 1..=log.last().min(self.last())).find(|&place| holds(place)) {
            Some(place) => Err(format!("cut off entry {place}, which is committed, behind entry {index}")),
            None => Ok(()),
        }
    }

    /// A client is told that its command is applied at `index`, where it was proposed in `term` if it knows.
    pub(crate) fn acknowledges(&self, index: u64, term: Option<u32>) -> Verdict {
        match self.get(index) {
            Some(committed) if term.is_none_or(|term| term == committed.term) => Ok(()),
            Some(_) => Err(format!(
                "told a client that its command is applied at index {index}; another entry is committed there"
            )),
            None => {
                Err(format!("told a client that entry {index} is applied; only {} entries are committed", self.last()))
            }
        }
    }

    /// The node's durable entries up to `end` are the committed ones.
    fn compare(&mut self, node: usize, end: u64, log: &Log) -> Verdict {
        while self.compared[node] < end {
            let index = self.compared[node] + 1;
            if !log.holds(index, self.get(index)) {
                return Err(format!("believes entry {index} of its log committed; another entry is"));
            }
            self.compared[node] = index;
        }
        Ok(())
    }

    fn committed(&self, index: u64) -> Option<&Committed> {
        self.entries.get(usize::try_from(index.checked_sub(1)?).ok()?)
    }
}

/// The entry `index` that the media of a majority hold.
fn on_a_majority(index: u64, logs: &Logs) -> Result<Entry, String> {
    let nodes = logs.iter().count();
    let holders = |entry: &Entry| logs.iter().filter(|log| log.get(index) == Some(entry)).count();
    let entry = logs.iter().filter_map(|log| log.get(index)).find(|entry| holders(entry) * 2 > nodes);
    entry.copied().ok_or_else(|| {
        let most = logs.iter().filter_map(|log| log.get(index)).map(holders).max().unwrap_or(0);
        format!("believes entry {index} committed; it is durable on {most} of {nodes} nodes")
    })
}

#[cfg(test)]
mod tests {
    use super::super::matching::tests::{command, logs};
    use super::super::pointer::tests::status;
    use super::*;

    #[test]
    fn what_a_majority_of_media_holds_may_be_committed_and_no_more() {
        let logs = logs(&[&[1, 1, 2], &[1, 1], &[1]]);
        let mut commit = Commit::new(3);
        assert_eq!(commit.advance(0, &status(2, [3, 2, 0, 3]), &logs), Ok(()));
        assert_eq!((commit.last(), commit.last_before(2), commit.last_before(3)), (2, 0, 2));
        assert!(commit.advance(0, &status(2, [3, 3, 0, 3]), &logs).is_err());
    }

    #[test]
    fn a_leader_commits_entries_of_earlier_terms_only_through_one_of_its_own() {
        let logs = logs(&[&[1, 2], &[1, 2], &[1]]);
        let leader = |committed| Status { role: Role::Leader, ..status(2, [2, committed, 0, 2]) };
        assert!(Commit::new(3).advance(0, &leader(1), &logs).is_err());
        assert_eq!(Commit::new(3).advance(0, &leader(2), &logs), Ok(()));
    }

    #[test]
    fn different_entries_at_one_index_make_no_majority() {
        let logs = logs(&[&[1], &[2], &[3]]);
        assert!(Commit::new(3).advance(0, &status(3, [1, 1, 0, 1]), &logs).is_err());
    }

    #[test]
    fn a_node_that_holds_another_entry_than_the_committed_one_must_not_believe_it_committed() {
        let logs = logs(&[&[1, 2], &[1, 2], &[1, 1]]);
        let mut commit = Commit::new(3);
        assert_eq!(commit.advance(0, &status(2, [2, 2, 0, 2]), &logs), Ok(()));
        assert_eq!(commit.advance(2, &status(2, [2, 2, 0, 1]), &logs), Ok(()), "its new entry is not durable yet");
        assert!(commit.advance(2, &status(2, [2, 2, 0, 2]), &logs).is_err());
    }

    #[test]
    fn a_committed_entry_is_neither_replaced_nor_cut_off() {
        let logs = logs(&[&[1, 1, 1, 1], &[1, 1, 1], &[1, 2]]);
        let mut commit = Commit::new(3);
        commit.advance(0, &status(1, [4, 3, 0, 4]), &logs).unwrap();
        assert_eq!(commit.keeps(logs.of(0), 4, &command(3, "x")), Ok(()));
        assert_eq!(commit.keeps(logs.of(0), 3, &command(1, "x")), Ok(()));
        assert!(commit.keeps(logs.of(0), 2, &command(1, "x")).is_err(), "entry 3 goes");
        assert!(commit.keeps(logs.of(0), 3, &command(3, "x")).is_err());
        assert_eq!(commit.keeps(logs.of(2), 2, &command(1, "x")), Ok(()), "node 2 held another entry");
    }

    #[test]
    fn an_acknowledgement_names_a_committed_command() {
        let logs = logs(&[&[1, 1], &[1, 1], &[]]);
        let mut commit = Commit::new(3);
        commit.advance(0, &status(1, [2, 1, 0, 2]), &logs).unwrap();
        assert_eq!([commit.acknowledges(1, Some(1)), commit.acknowledges(1, None)], [Ok(()), Ok(())]);
        assert!(commit.acknowledges(1, Some(2)).is_err());
        assert!(commit.acknowledges(2, Some(1)).is_err());
    }
}
