//! What a log in RAM keeps, against a model, and what it lets go.

use std::vec::Vec;

use futures_lite::future::block_on;
use quoring_core::NodeSet;
use quoring_ring::DEFAULT_CRC32C;

use super::*;
use crate::store::testing::{Script, record, recovery, vote};

fn read<const B: usize, const S: usize>(log: &mut MemoryLog<B, S>, index: u64) -> Result<Vec<u8>, ReadError<Error>> {
    let mut buffer = [0; 64];
    let size = block_on(log.read(LogIndex(index), &mut buffer))?;
    Ok(buffer[..size].to_vec())
}

/// Random numbers below a bound.
fn random(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    }
}

/// covers: D2
#[test]
fn the_newest_record_of_an_index_is_read_after_any_history_of_truncations() {
    let mut script = Script::starting_at(LogIndex(1));
    let mut log = MemoryLog::<{ 64 * 1024 }>::new();
    let mut model: Vec<Vec<u8>> = Vec::new();
    let mut random = random(7);
    for step in 0..400_u32 {
        if random(5) == 0 {
            let next = 1 + random(model.len() as u64 + 1);
            model.truncate(next as usize - 1);
            script.truncate(LogIndex(next));
        }
        let mut batch = vote();
        for _ in 0..=random(3) {
            model.push(script.entry(&step.to_le_bytes()));
            batch.extend(&model[model.len() - 1]);
        }
        block_on(log.append(&batch)).unwrap();
        for _ in 0..8 {
            let index = random(model.len() as u64 + 3);
            let expected = (index as usize).checked_sub(1).and_then(|i| model.get(i)).cloned();
            assert_eq!(read(&mut log, index), expected.ok_or(ReadError::Missing), "step {step}, index {index}");
        }
    }
    let mut recovered = recovery();
    block_on(log.recover(&mut recovered)).unwrap();
    assert_eq!(recovered.last(), LogIndex(model.len() as u64));
}

/// Appends as much as the log says it takes, truncates above what may go, and lets more and more go: it never refuses, and holds all above.
///
/// covers: P12, S3
#[test]
fn what_space_calls_free_can_be_appended_and_only_what_may_go_is_gone() {
    for seed in 0..20 {
        let mut random = random(seed);
        let mut log = MemoryLog::<1024>::new();
        let mut script = Script::starting_at(LogIndex(1));
        // By index; what may go is at the front.
        let (mut model, mut allowed): (Vec<Vec<u8>>, u64) = (Vec::new(), 0);
        for step in 0..2000_u32 {
            let mut kept = model.len();
            if random(8) == 0 {
                kept = (allowed + random(model.len() as u64 - allowed + 1)) as usize;
                script.truncate(LogIndex(kept as u64 + 1));
            }
            if random(6) == 0 {
                allowed += random(kept as u64 - allowed + 1);
                log.purge(LogIndex(allowed));
            }
            let mut batch = vote();
            let entry = script.entry(&step.to_le_bytes().repeat(1 + random(12) as usize));
            if batch.len() + entry.len() <= log.space().free as usize {
                batch.extend(&entry);
                model.truncate(kept);
                model.push(entry);
            } else {
                script.truncate(LogIndex(model.len() as u64 + 1));
            }
            block_on(log.append(&batch)).unwrap();
            let start = log.space().start.0;
            assert!(start <= allowed && log.used() <= 1024);
            for (index, entry) in (1..).zip(&model) {
                let expected = if index > start { Ok(entry.clone()) } else { Err(ReadError::Missing) };
                assert_eq!(read(&mut log, index), expected, "seed {seed}, step {step}, index {index}");
            }
        }
        assert!(log.space().start > LogIndex(100), "seed {seed}: {:?}", log.space());
        let mut recovered = recovery();
        block_on(log.recover(&mut recovered)).unwrap();
        assert_eq!(recovered.last(), LogIndex(model.len() as u64));
    }
}

/// covers: P9
#[test]
fn nothing_goes_before_the_room_is_needed_and_a_later_allowance_replaces_an_earlier_one() {
    let mut log = MemoryLog::<256>::new();
    let mut script = Script::starting_at(LogIndex(1));
    for _ in 0..8 {
        block_on(log.append(&script.entry(&[1; 16]))).unwrap();
    }
    assert_eq!(log.space(), Space { capacity: 256, free: 0, start: LogIndex::ZERO });
    log.purge(LogIndex(5));
    assert_eq!(log.space(), Space { capacity: 256, free: 160, start: LogIndex::ZERO });
    log.purge(LogIndex(1));
    assert_eq!(log.space().free, 32);
    assert!(read(&mut log, 1).is_ok());
    block_on(log.append(&script.entry(&[2; 16]))).unwrap();
    assert_eq!(block_on(log.append(&script.entry(&[3; 16]))), Err(Error::Full));
    assert_eq!((read(&mut log, 1), log.space().start), (Err(ReadError::Missing), LogIndex(1)));
    assert!((2..=9).all(|index| read(&mut log, index).is_ok()));
}

/// covers: P12
#[test]
fn a_full_log_refuses_an_entry_keeps_what_it_has_and_still_takes_votes_and_replacements() {
    let mut script = Script::starting_at(LogIndex(1));
    let mut log = MemoryLog::<80>::new();
    let first = script.entry(b"thirty-two bytes with padding"); // 48 with its header
    block_on(log.append(&first)).unwrap();
    assert_eq!(block_on(log.append(&script.entry(&[1; 32]))), Err(Error::Full));
    assert_eq!((log.used(), read(&mut log, 1), read(&mut log, 2)), (48, Ok(first), Err(ReadError::Missing)));
    script.truncate(LogIndex(2));
    block_on(log.append(&script.entry(&[2; 16]))).unwrap();
    assert_eq!(log.used(), 80);
    for _ in 0..100 {
        script.truncate(LogIndex(2));
        block_on(log.append(&[vote(), script.entry(&[3; 16])].concat())).unwrap();
    }
    assert_eq!(log.space().free, 0);
}

#[test]
fn a_short_buffer_gets_the_first_bytes_and_is_told_the_size_it_needs() {
    let mut log = MemoryLog::<64>::new();
    let entry = Script::starting_at(LogIndex(1)).entry(&[1; 20]);
    block_on(log.append(&entry)).unwrap();
    let mut short = [0; 47];
    assert_eq!(block_on(log.read(LogIndex(1), &mut short)), Err(ReadError::TooSmall(48)));
    assert_eq!(short, entry[..47]);
    assert_eq!(block_on(log.read(LogIndex(1), &mut [0; 48])), Ok(48));
}

#[test]
fn a_batch_that_does_not_continue_the_log_changes_nothing() {
    let mut log = MemoryLog::<256>::new();
    let mut script = Script::starting_at(LogIndex(1));
    let good = script.entry(b"1");
    script.truncate(LogIndex(3));
    let batch = [good, script.entry(b"3")].concat();
    assert_eq!(block_on(log.append(&batch)), Err(Error::Record(RecoveryError::Gap)));
    assert_eq!((log.used(), read(&mut log, 1)), (0, Err(ReadError::Missing)));
}

/// A start record.
fn start(term: u32, index: u64) -> Vec<u8> {
    record(Kind::Start, term, LogIndex::ZERO, 0, &index.to_le_bytes())
}

/// covers: S2
#[test]
fn a_start_record_makes_an_empty_log_that_goes_on_behind_it() {
    let mut log = MemoryLog::<96>::new();
    let mut script = Script::starting_at(LogIndex(1));
    for _ in 0..3 {
        block_on(log.append(&script.entry(&[1; 16]))).unwrap();
    }
    let mut behind = Script::starting_at(LogIndex(1001));
    let entry = behind.entry(&[2; 16]);
    block_on(log.append(&[start(4, 1000), entry.clone()].concat())).unwrap();
    assert_eq!(log.space(), Space { capacity: 96, free: 64, start: LogIndex(1000) });
    assert_eq!((read(&mut log, 3), read(&mut log, 1000)), (Err(ReadError::Missing), Err(ReadError::Missing)));
    assert_eq!(read(&mut log, 1001), Ok(entry));
    let snapshot = Snapshot {
        last: EntryId { term: Term(4), index: LogIndex(1000) },
        length: 0,
        checksum: 0,
        voters: NodeSet::first(3),
    };
    let mut recovered = recovery();
    recovered.snapshot(&snapshot);
    block_on(log.recover(&mut recovered)).unwrap();
    let recovered = recovered.finish().unwrap();
    assert_eq!((recovered.start, recovered.last, recovered.restart), (snapshot.last, LogIndex(1001), false));
}

/// What recovery makes of the records that were appended, and of the log that keeps less of them.
///
/// covers: E8, S5, R15
#[test]
fn recovery_finds_the_state_that_the_records_make() {
    // Boot numbers stand in the place of an index.
    let vote = |term, flags, boot| record(Kind::Vote, term, LogIndex(boot), flags, b"");
    let entry = |term, index| record(Kind::Command, term, LogIndex(index), 0, b"command");
    for history in [
        [vote(1, 0x80, 0), entry(1, 1), vote(2, 0x81, 0), entry(1, 2)],
        [vote(3, 0x82, 4), vote(3, 0, 0), entry(1, 1), entry(2, 1)],
        [vote(3, 0x82, 1), entry(4, 1), entry(3, 1), entry(4, 2)],
        [entry(1, 1), vote(5, 0, 0xFFFF_FFFE), vote(5, 0x83, 3), vote(4, 0x81, 0xFFFF_FFFF)],
        [entry(1, 1), entry(2, 2), vote(2, 0x80, 0), entry(2, 3)],
    ] {
        let mut log = MemoryLog::<256>::new();
        let mut direct = recovery();
        for bytes in &history {
            block_on(log.append(bytes)).unwrap();
            direct.record(&Record::parse(bytes).unwrap()).unwrap();
        }
        let mut recovered = recovery();
        block_on(log.recover(&mut recovered)).unwrap();
        let (left, right) = (recovered.finish().unwrap(), direct.finish().unwrap());
        assert_eq!((left.last, left.term, left.vote, left.boot), (right.last, right.term, right.vote, right.boot));
    }
}

/// covers: R15
#[test]
fn a_boot_number_outlives_restarts_and_every_entry_that_stood_beside_it() {
    let mut log = MemoryLog::<256>::new();
    block_on(log.append(&record(Kind::Vote, 5, LogIndex(2), 0x81, b""))).unwrap();
    block_on(log.append(&record(Kind::Vote, 4, LogIndex(3), 0, b""))).unwrap();
    block_on(log.append(&record(Kind::Start, 5, LogIndex(70), 0, &70_u64.to_le_bytes()))).unwrap();
    for index in 71..120 {
        let boot = index / 10;
        if index % 10 == 0 {
            block_on(log.append(&record(Kind::Vote, 6, LogIndex(boot), 0x81, b""))).unwrap();
        }
        block_on(log.append(&record(Kind::Command, 6, LogIndex(index), 0, b"command"))).unwrap();
        log.purge(LogIndex(index));
        let mut recovered = recovery();
        recovered.snapshot(&snapshot(index, b""));
        block_on(log.recover(&mut recovered)).unwrap();
        let found = recovered.finish().unwrap().boot;
        assert_eq!(u64::from(found), if index < 80 { 3 } else { boot }, "at entry {index}");
    }
    assert!(log.space().start > LogIndex(100), "entries are gone");
}

const CHUNK: usize = 10;

/// A snapshot of these bytes.
fn snapshot(index: u64, bytes: &[u8]) -> Snapshot {
    let last = EntryId { term: Term(1), index: LogIndex(index) };
    Snapshot { last, length: bytes.len() as u64, checksum: DEFAULT_CRC32C(0, bytes), voters: NodeSet::first(3) }
}

fn write<const B: usize, const S: usize>(log: &mut MemoryLog<B, S>, last: EntryId, bytes: &[u8]) {
    block_on(log.begin_snapshot(last)).unwrap();
    for (number, chunk) in bytes.chunks(CHUNK).enumerate() {
        block_on(log.write_snapshot(last, (number * CHUNK) as u64, chunk)).unwrap();
    }
}

fn read_snapshot<const B: usize, const S: usize>(
    log: &mut MemoryLog<B, S>,
    snapshot: &Snapshot,
) -> Result<Vec<u8>, SnapshotError<Error>> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 7]);
    loop {
        match block_on(log.read_snapshot(snapshot, bytes.len() as u64, &mut buffer))? {
            0 => return Ok(bytes),
            count => bytes.extend(&buffer[..count]),
        }
    }
}

fn newest<const B: usize, const S: usize>(log: &mut MemoryLog<B, S>) -> Option<Snapshot> {
    let mut recovered = recovery();
    block_on(log.recover(&mut recovered)).unwrap();
    recovered.finish().unwrap().snapshot
}

/// covers: S1, S2
#[test]
fn the_newest_finished_snapshot_stays_whole_while_the_next_is_written() {
    let mut log = MemoryLog::<64, 32>::new();
    assert_eq!((log.snapshot_limit(), newest(&mut log)), (32, None));
    let mut before: Option<(Snapshot, Vec<u8>)> = None;
    for round in 1..6_u64 {
        let bytes: Vec<u8> = (0..30).map(|i| round as u8 * 40 + i).collect();
        let next = snapshot(round, &bytes);
        write(&mut log, next.last, b"given up");
        write(&mut log, next.last, &bytes);
        if let Some((snapshot, bytes)) = &before {
            assert_eq!(read_snapshot(&mut log, snapshot).as_ref(), Ok(bytes));
        }
        assert_eq!(newest(&mut log), before.as_ref().map(|(snapshot, _)| *snapshot));
        assert_eq!(read_snapshot(&mut log, &next), Err(SnapshotError::Superseded), "not finished yet");
        block_on(log.finish_snapshot(&next)).unwrap();
        assert_eq!((newest(&mut log), read_snapshot(&mut log, &next)), (Some(next), Ok(bytes.clone())));
        before = Some((next, bytes));
    }
}

/// covers: S2
#[test]
fn a_snapshot_with_a_gap_too_long_or_other_than_announced_is_refused() {
    let mut log = MemoryLog::<64, 32>::new();
    let last = snapshot(5, b"").last;
    let other = snapshot(6, b"").last;
    assert_eq!(block_on(log.write_snapshot(last, 0, b"never begun")), Err(SnapshotError::Superseded));
    write(&mut log, last, &[5; 20]);
    assert_eq!(block_on(log.write_snapshot(last, 21, b"gap")), Err(SnapshotError::Mismatch));
    assert_eq!(block_on(log.write_snapshot(other, 20, b"other")), Err(SnapshotError::Superseded));
    assert_eq!(block_on(log.write_snapshot(last, 20, &[5; 13])), Err(SnapshotError::TooLarge));
    assert_eq!(block_on(log.finish_snapshot(&snapshot(6, &[5; 20]))), Err(SnapshotError::Superseded));
    for wrong in [snapshot(5, &[5; 21]), snapshot(5, &[6; 20])] {
        assert_eq!(block_on(log.finish_snapshot(&wrong)), Err(SnapshotError::Mismatch));
    }
    assert_eq!(newest(&mut log), None);
    assert_eq!(block_on(log.finish_snapshot(&snapshot(5, &[5; 20]))), Ok(()));
}
