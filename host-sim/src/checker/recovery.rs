//! Recovery: after a loss of power, a store finds all that it acknowledged, in order, then at most a prefix of the batch that was being
//! written, and nothing else; of two snapshots the newest that was finished, or the one that was just being (D2, D3, S3).

use quoring_ring::Records;

use super::Verdict;
use super::matching::Log;
use crate::findings::Findings;
use crate::store::{Durable, Unsettled};

/// Which of the possible outcomes of a loss of power the medium shows: how many records of the batch are durable, and whether the snapshot is.
pub(crate) fn settles(log: &Log, found: &Findings, unsettled: &Unsettled) -> Result<(usize, bool), String> {
    let mut log = log.clone();
    let first = agrees(&log, found);
    for finished in [false, true] {
        let mut log = log.clone();
        if finished {
            let Some(snapshot) = unsettled.snapshot else { continue };
            log.snapshot = Some(snapshot);
        }
        if agrees(&log, found).is_ok() {
            return Ok((0, finished));
        }
    }
    let records = Records::new(&unsettled.batch).map_while(Result::ok);
    for (place, record) in records.enumerate() {
        log.record(&Durable::of(&record, log.last()));
        if agrees(&log, found).is_ok() {
            return Ok((place + 1, false));
        }
    }
    first.map(|()| (0, false))
}

/// The medium shows this log, perhaps with more of it purged.
pub(crate) fn agrees(log: &Log, found: &Findings) -> Verdict {
    let (last, found_last) = (log.last(), found.start + found.entries.len() as u64);
    if last != found_last {
        return Err(format!("the log ends with entry {last}; recovery found {found_last}"));
    }
    if found.start < log.start || found.start > log.start.max(log.covered().index.0) {
        let (start, covered) = (log.start, log.covered().index);
        return Err(format!(
            "the log begins behind {start}, a snapshot covers {covered}; recovery found {}",
            found.start
        ));
    }
    if let Some(index) = (found.start + 1..).zip(&found.entries).find(|(index, entry)| log.get(*index) != Some(entry)) {
        return Err(format!("recovery found another entry {} than was written", index.0));
    }
    if (log.term(), log.vote()) != (found.term, found.vote) {
        let (term, vote) = (log.term(), log.vote());
        return Err(format!("term {term}, vote {vote:#04x}; recovery found {}, {:#04x}", found.term, found.vote));
    }
    if log.boot != found.boot {
        return Err(format!("the newest boot number is {}; recovery found {}", log.boot, found.boot));
    }
    if log.snapshot != found.snapshot {
        return Err(format!("the newest snapshot is {:?}; recovery found {:?}", log.snapshot, found.snapshot));
    }
    Ok(())
}

/// What a flipped bit can do that nobody can notice: bring back the older of two snapshots, where all behind it is still in the log.
pub(crate) fn falls_back(log: &mut Log, found: &Findings) -> bool {
    let mut fallen = log.clone();
    fallen.snapshot = found.snapshot;
    let covers = fallen.covered().index <= log.covered().index && fallen.covered().index.0 >= found.start;
    if !covers || agrees(&fallen, found).is_err() {
        return false;
    }
    *log = fallen;
    true
}

#[cfg(test)]
mod tests {
    use super::super::matching::tests::{command, logs, snapshot};
    use super::*;
    use crate::world::CLUSTER;
    use quoring_ring::{Checksum, DEFAULT_CRC32C, Header, Kind};

    fn record(kind: Kind, term: u32, index: u32, payload: &[u8], flags: u8) -> Vec<u8> {
        let mut header = Header { checksum: 0, term, index_low: index, len: payload.len() as u16, kind, flags };
        header.checksum = Checksum::new(CLUSTER.0, DEFAULT_CRC32C).of(&header, 0, payload);
        let mut bytes = header.encode().to_vec();
        bytes.extend_from_slice(payload);
        bytes.resize(header.size(), 0);
        bytes
    }

    fn unsettled() -> Unsettled {
        let batch = [record(Kind::Vote, 2, 5, b"", 0x81), record(Kind::Command, 2, 3, b"x", 0)].concat();
        Unsettled { batch, snapshot: Some(snapshot(2, 1)) }
    }

    fn found(terms: &[u32], term: u32, vote: u8) -> Findings {
        let entries = terms.iter().map(|&term| command(term, "x")).collect();
        Findings { term, vote, boot: if term > 1 { 5 } else { 0 }, snapshot: None, start: 0, entries }
    }

    fn judge(found: &Findings) -> Result<(usize, bool), String> {
        settles(logs(&[&[1, 1]]).of(0), found, &unsettled())
    }

    #[test]
    fn all_that_was_acknowledged_and_any_prefix_of_the_batch_may_be_found() {
        assert_eq!(judge(&found(&[1, 1], 1, 0)), Ok((0, false)));
        assert_eq!(judge(&found(&[1, 1], 2, 0x81)), Ok((1, false)));
        assert_eq!(judge(&found(&[1, 1, 2], 2, 0x81)), Ok((2, false)));
        assert_eq!(judge(&Findings { snapshot: Some(snapshot(2, 1)), ..found(&[1, 1], 1, 0) }), Ok((0, true)));
    }

    #[test]
    fn what_is_missing_added_or_changed_is_wrong() {
        let wrong = [
            found(&[1], 1, 0),
            found(&[1, 2], 1, 0),
            found(&[1, 1, 2], 2, 0),
            found(&[1, 1, 2, 2], 2, 0x81),
            found(&[1, 1], 1, 0x81),
            Findings { snapshot: Some(snapshot(1, 1)), ..found(&[1, 1], 1, 0) },
            Findings { start: 1, ..found(&[1], 1, 0) },
            Findings { boot: 4, ..found(&[1, 1], 2, 0x81) },
            Findings { boot: 1, ..found(&[1, 1], 1, 0) },
        ];
        for found in wrong {
            assert!(judge(&found).is_err(), "{found:?}");
        }
    }

    #[test]
    fn what_a_snapshot_covers_may_be_purged() {
        let mut logs = logs(&[&[1, 1]]);
        logs.of_mut(0).snapshot = Some(snapshot(1, 1));
        let found = Findings { start: 1, snapshot: Some(snapshot(1, 1)), ..found(&[1], 1, 0) };
        assert_eq!(agrees(logs.of(0), &found), Ok(()));
        logs.of_mut(0).start = 2;
        assert!(agrees(logs.of(0), &found).is_err(), "it comes back");
    }

    #[test]
    fn the_older_snapshot_takes_the_place_of_the_newer_if_the_log_goes_on_from_it() {
        let mut logs = logs(&[&[1, 1]]);
        logs.of_mut(0).snapshot = Some(snapshot(2, 1));
        let older = Findings { snapshot: Some(snapshot(1, 1)), ..found(&[1, 1], 1, 0) };
        assert!(falls_back(&mut logs.of(0).clone(), &older));
        assert!(!falls_back(&mut logs.of(0).clone(), &Findings { snapshot: Some(snapshot(3, 1)), ..older.clone() }));
        assert!(!falls_back(&mut logs.of(0).clone(), &Findings { snapshot: None, start: 1, ..found(&[1], 1, 0) }));
    }
}
