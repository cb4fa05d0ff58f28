//! Snapshots: one covers only what is committed, nothing older ever takes the place of a newer one, and the log goes only as far as one
//! covers it (S2, S3).

use quoring_core::{Snapshot, Status};

use super::Verdict;
use super::commit::Commit;
use super::matching::Log;

/// A node makes a snapshot its newest. A store may refuse one that is older, but no node asks for it.
pub(crate) fn finishes(log: &Log, snapshot: &Snapshot, commit: &Commit) -> Verdict {
    let last = snapshot.last;
    match commit.get(last.index.0) {
        Some(entry) if entry.term == last.term.0 => {}
        Some(_) => return Err(format!("its snapshot ends with another entry {} than is committed", last.index)),
        None => return Err(format!("its snapshot covers entry {}; only {} are committed", last.index, commit.last())),
    }
    let covered = log.covered().index;
    if last.index <= covered {
        return Err(format!("a snapshot up to {} takes the place of the one up to {covered}", last.index));
    }
    Ok(())
}

/// What the node believes durable of its snapshots, is.
pub(crate) fn believes(log: &Log, status: &Status) -> Verdict {
    let covered = log.covered().index;
    if status.snapshot <= covered {
        return Ok(());
    }
    Err(format!("believes a snapshot up to {} durable; the newest is up to {covered}", status.snapshot))
}

/// Entries up to `start` are gone.
pub(crate) fn purges(log: &Log, start: u64) -> Verdict {
    if start < log.start {
        return Err(format!("entries behind {start} are back; they were purged up to {}", log.start));
    }
    covers(log, start, "purged its log")
}

/// The log starts anew behind entry `index`.
pub(crate) fn begins(log: &Log, index: u64) -> Verdict {
    covers(log, index, "started its log anew")
}

fn covers(log: &Log, index: u64, what: &str) -> Verdict {
    let covered = log.covered().index;
    if index <= log.start.max(covered.0) {
        return Ok(());
    }
    Err(format!("{what} behind entry {index}; its newest snapshot covers {covered}"))
}

#[cfg(test)]
mod tests {
    use super::super::matching::tests::{logs, snapshot};
    use super::super::pointer::tests::status;
    use super::*;
    use quoring_core::LogIndex;

    #[test]
    fn a_snapshot_covers_committed_entries_and_more_than_the_one_before() {
        let mut logs = logs(&[&[1, 1, 2], &[1, 1, 2]]);
        let mut commit = Commit::new(2);
        commit.advance(0, &status(2, [3, 2, 0, 3]), &logs).unwrap();
        let judge =
            |logs: &super::super::matching::Logs, index, term| finishes(logs.of(0), &snapshot(index, term), &commit);
        assert_eq!(judge(&logs, 2, 1), Ok(()));
        assert!(judge(&logs, 2, 2).is_err(), "of another log");
        assert!(judge(&logs, 3, 2).is_err(), "not committed");
        logs.of_mut(0).snapshot = Some(snapshot(2, 1));
        assert!(judge(&logs, 2, 1).is_err() && judge(&logs, 1, 1).is_err(), "older");
    }

    #[test]
    fn a_node_believes_only_such_a_snapshot_durable_as_is() {
        let mut logs = logs(&[&[1, 1]]);
        let status = Status { snapshot: LogIndex(2), ..status(1, [2, 2, 2, 2]) };
        assert!(believes(logs.of(0), &status).is_err());
        logs.of_mut(0).snapshot = Some(snapshot(2, 1));
        assert_eq!(believes(logs.of(0), &status), Ok(()));
    }

    #[test]
    fn a_log_is_purged_and_started_anew_only_behind_what_a_snapshot_covers() {
        let mut logs = logs(&[&[1, 1, 2]]);
        assert!(purges(logs.of(0), 1).is_err());
        assert!(begins(logs.of(0), 7).is_err());
        logs.of_mut(0).snapshot = Some(snapshot(2, 1));
        assert_eq!([purges(logs.of(0), 2), begins(logs.of(0), 2)], [Ok(()), Ok(())]);
        assert!(purges(logs.of(0), 3).is_err());
        logs.of_mut(0).start = 2;
        assert!(purges(logs.of(0), 1).is_err(), "they come back");
    }
}
