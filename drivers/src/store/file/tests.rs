//! Cuts, flips and foreign files: what recovery makes of a log that something happened to.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::string::ToString;
use std::sync::atomic::{AtomicU32, Ordering};
use std::vec::Vec;

use futures_lite::future::block_on;
use quoring_core::{RecoveryError, Term};
use quoring_ring::Kind;

use super::*;
use crate::store::testing::{CLUSTER, Script, node, record, recovery, vote};

/// A folder that is gone after the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = std::format!("quoring-file-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let memory = PathBuf::from("/dev/shm"); // Thousands of syncs, and none of these tests cuts the power.
        Self(if memory.is_dir() { memory } else { std::env::temp_dir() }.join(name))
    }

    /// A folder with this log.
    fn with(log: &[u8]) -> Self {
        let scratch = Self::new();
        fs::create_dir_all(&scratch.0).unwrap();
        fs::write(scratch.log(), log).unwrap();
        scratch
    }

    fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.log()).unwrap()
    }

    /// Opens and recovers; the log, its last entry and term.
    fn start(&self) -> Result<(FileLog, u64, Term), Error> {
        let mut log = FileLog::open(&self.0, CLUSTER, node(1))?;
        let mut found = recovery();
        block_on(log.recover(&mut found))?;
        let found = found.finish().unwrap();
        Ok((log, found.last.0, found.term))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A log, the places of its batches, and what it holds after each number of them.
struct History {
    bytes: Vec<u8>,
    batches: Vec<Range<usize>>,
    /// By number of batches: all live entries.
    states: Vec<Vec<Vec<u8>>>,
}

impl History {
    /// Entries, votes between them, two truncations, and at the end a command that is an image of the log itself.
    fn scripted() -> Self {
        let scratch = Scratch::new();
        let (mut log, ..) = scratch.start().unwrap();
        let mut script = Script::starting_at(LogIndex(1));
        let mut history = Self { bytes: Vec::new(), batches: Vec::new(), states: std::vec![Vec::new()] };
        let mut live = Vec::new();
        for (next, payloads) in [
            (1, &[&b"one"[..], b"two"][..]),
            (3, &[b"three, long enough to be padded", b""]),
            (2, &[b"two again"]),
            (3, &[b"three again", b"four again", b"five"]),
            (1, &[b"one again"]),
            (2, &[b"two at last"]),
            (3, &[b"IMAGE"]),
        ] {
            if next <= live.len() {
                live.truncate(next - 1);
                script.truncate(LogIndex(next as u64));
            }
            let mut batch = vote();
            for payload in payloads {
                let image = if payload == b"IMAGE" { scratch.bytes() } else { payload.to_vec() };
                live.push(script.entry(&image));
                batch.extend(live.last().unwrap());
            }
            block_on(log.append(&batch)).unwrap();
            history.batches.push(history.end()..scratch.bytes().len());
            history.states.push(live.clone());
        }
        history.bytes = scratch.bytes();
        history
    }

    fn end(&self) -> usize {
        self.batches.last().map_or(FILE_HEADER, |batch| batch.end)
    }

    /// How many batches lie wholly before `end`.
    fn whole(&self, end: usize) -> usize {
        self.batches.iter().filter(|batch| batch.end <= end).count()
    }
}

fn read(log: &mut FileLog, index: u64) -> Result<Vec<u8>, ReadError<Error>> {
    let mut buffer = [0; 4096];
    let size = block_on(log.read(LogIndex(index), &mut buffer))?;
    Ok(buffer[..size].to_vec())
}

fn assert_holds(log: &mut FileLog, entries: &[Vec<u8>]) {
    for (index, entry) in (1..).zip(entries) {
        assert_eq!(&read(log, index).unwrap(), entry, "entry {index}");
    }
    assert!(matches!(read(log, entries.len() as u64 + 1), Err(ReadError::Missing)));
    assert!(matches!(read(log, 0), Err(ReadError::Missing)));
}

#[test]
fn what_was_appended_is_there_before_and_after_reopening() {
    let history = History::scripted();
    let scratch = Scratch::with(&history.bytes);
    for _ in 0..2 {
        let (mut log, last, term) = scratch.start().unwrap();
        assert_eq!((last, term), (3, Term(3)));
        assert_holds(&mut log, history.states.last().unwrap());
        assert_eq!(scratch.bytes(), history.bytes);
    }
}

#[test]
fn a_log_cut_at_any_byte_holds_exactly_the_batches_before_the_cut_and_goes_on() {
    let history = History::scripted();
    for cut in FILE_HEADER..=history.bytes.len() {
        let scratch = Scratch::with(&history.bytes[..cut]);
        let whole = history.whole(cut);
        let mut expected = history.states[whole].clone();
        let (mut log, last, _) = scratch.start().unwrap();
        assert_eq!(last, expected.len() as u64, "cut at {cut}");
        assert_holds(&mut log, &expected);
        assert_eq!(
            scratch.bytes(),
            history.bytes[..whole.checked_sub(1).map_or(FILE_HEADER, |i| history.batches[i].end)]
        );

        expected.push(record(Kind::Command, 9, LogIndex(last + 1), 0, b"after the cut"));
        block_on(log.append(expected.last().unwrap())).unwrap();
        assert_holds(&mut log, &expected);
        drop(log);
        let (mut log, last, term) = scratch.start().unwrap();
        assert_eq!((last, term), (expected.len() as u64, Term(9)));
        assert_holds(&mut log, &expected);
    }
}

#[test]
fn a_tail_torn_into_zeros_or_old_bytes_is_cut() {
    let history = History::scripted();
    let newest = history.batches.last().unwrap().clone();
    let whole = history.states.len() - 2;
    for from in newest.clone() {
        for fill in [0, 0xFF] {
            let mut bytes = history.bytes.clone();
            bytes[from..].fill(fill);
            if bytes == history.bytes {
                continue;
            }
            let scratch = Scratch::with(&bytes);
            let (mut log, ..) = scratch.start().unwrap();
            assert_holds(&mut log, &history.states[whole]);
            assert_eq!(scratch.bytes().len(), newest.start);
        }
    }
}

#[test]
fn a_flip_in_the_newest_batch_is_a_torn_tail_and_any_other_stops_the_node() {
    let history = History::scripted();
    let newest = history.batches.last().unwrap().clone();
    for at in 0..history.bytes.len() {
        let mut bytes = history.bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let scratch = Scratch::with(&bytes);
        let result = scratch.start();
        if newest.contains(&at) {
            let (mut log, ..) = result.unwrap();
            assert_holds(&mut log, &history.states[history.states.len() - 2]);
            continue;
        }
        let batch = history.batches.iter().find(|batch| batch.contains(&at));
        match (result.unwrap_err(), batch) {
            (Error::Corrupt { offset, damage: Damage::Batch, .. }, Some(batch)) => {
                assert_eq!(offset, batch.start as u64)
            }
            (Error::NotALog(_), None) => assert!(at < 8),
            (Error::Version { .. }, None) => assert!((8..10).contains(&at)),
            (Error::Corrupt { offset: 0, damage: Damage::FileHeader, .. }, None) => assert!(at >= 10),
            (error, _) => panic!("byte {at}: {error}"),
        }
        assert_eq!(scratch.bytes(), bytes, "nothing is changed");
    }
}

#[test]
fn two_damaged_batches_at_the_end_are_no_torn_tail() {
    let history = History::scripted();
    let newest = history.batches.last().unwrap().clone();
    let mut bytes = history.bytes.clone();
    bytes[newest.start - 1] ^= 1; // The body of the batch before.
    bytes.truncate(newest.start + 1); // One byte of the newest is enough to tell that it was begun.
    assert!(matches!(Scratch::with(&bytes).start(), Err(Error::Corrupt { damage: Damage::Batch, .. })));
}

#[test]
fn more_garbage_than_one_append_can_leave_is_no_torn_tail() {
    let history = History::scripted();
    let longest = BATCH_HEADER + BATCH_LIMIT;
    let mut bytes = history.bytes.clone();
    bytes.resize(history.bytes.len() + longest, 0);
    assert_eq!(Scratch::with(&bytes).start().unwrap().1, 3);
    bytes.push(0);
    assert!(matches!(Scratch::with(&bytes).start(), Err(Error::Corrupt { damage: Damage::Batch, .. })));
}

#[test]
fn a_batch_that_checks_but_is_not_the_next_one_stops_the_node() {
    let history = History::scripted();
    let salt = Scratch::with(&history.bytes).start().unwrap().0.salt;
    let newest = history.batches.last().unwrap().start;
    let mut bytes = history.bytes.clone();
    let (header, records) = bytes[newest..].split_at_mut(BATCH_HEADER);
    let sequence = history.batches.len() as u64; // One too many.
    header.copy_from_slice(&BatchHeader::of(records, sequence).unwrap().encode(salt, newest as u64));
    assert!(matches!(Scratch::with(&bytes).start(), Err(Error::Corrupt { damage: Damage::Sequence, .. })));
}

#[test]
fn a_damaged_record_in_a_batch_that_checks_stops_the_node() {
    let scratch = Scratch::new();
    let (mut log, ..) = scratch.start().unwrap();
    let mut damaged = Script::starting_at(LogIndex(1)).entry(b"payload");
    damaged[20] ^= 1;
    block_on(log.append(&damaged)).unwrap();
    assert!(matches!(read(&mut log, 1), Err(ReadError::Store(Error::Corrupt { .. }))));
    drop(log);
    let Err(Error::Corrupt { offset: 64, damage: Damage::Record(RecoveryError::Record(_)), .. }) = scratch.start()
    else {
        panic!("a damaged record was taken");
    };
}

#[test]
fn empty_short_and_foreign_files_are_refused_and_left_alone() {
    let history = History::scripted();
    for bytes in [&b""[..], b"Q", &history.bytes[..FILE_HEADER - 1], b"#!/bin/sh\necho this is a script and no log\n"] {
        let scratch = Scratch::with(bytes);
        assert!(matches!(scratch.start(), Err(Error::NotALog(path)) if *path == *scratch.log()));
        assert_eq!(scratch.bytes(), bytes);
    }
}

#[test]
fn the_log_of_another_node_or_cluster_is_refused() {
    let scratch = Scratch::new();
    drop(scratch.start().unwrap());
    let other_node = FileLog::open(&scratch.0, CLUSTER, node(2)).unwrap_err();
    assert!(matches!(other_node, Error::Foreign { node: found, .. } if found == node(1)));
    let other_cluster = FileLog::open(&scratch.0, ClusterId(1), node(1)).unwrap_err();
    assert!(matches!(other_cluster, Error::Foreign { cluster: CLUSTER, .. }));
    assert!(other_node.to_string().ends_with("is the log of node 1 of cluster 0xc1a57e12"));
}

#[test]
fn a_folder_is_open_once_at_a_time() {
    let scratch = Scratch::new();
    let first = FileLog::open(&scratch.0, CLUSTER, node(1)).unwrap();
    assert!(matches!(scratch.start(), Err(Error::Locked(path)) if *path == *scratch.0));
    drop(first);
    assert!(scratch.start().is_ok());
}

#[test]
fn a_draft_left_by_a_crash_is_begun_anew() {
    let scratch = Scratch::with(b"");
    fs::rename(scratch.log(), scratch.0.join("log.new")).unwrap();
    fs::write(scratch.0.join("log.new"), [7; 100]).unwrap();
    drop(FileLog::open(&scratch.0, CLUSTER, node(1)).unwrap());
    assert_eq!(scratch.bytes().len(), FILE_HEADER);
    assert_eq!(scratch.start().unwrap().1, 0);
}

#[test]
fn folders_above_are_made_and_a_file_in_the_way_is_named() {
    let scratch = Scratch::new();
    let deep = scratch.0.join("a/b");
    drop(FileLog::open(&deep, CLUSTER, node(1)).unwrap());
    let error = FileLog::open(deep.join("log/c"), CLUSTER, node(1)).unwrap_err();
    assert!(error.to_string().contains("a/b/log"), "{error}");
}

#[test]
fn nothing_is_written_before_recovery() {
    let scratch = Scratch::new();
    let mut log = FileLog::open(&scratch.0, CLUSTER, node(1)).unwrap();
    assert!(matches!(block_on(log.append(&vote())), Err(Error::NotRecovered)));
    assert_eq!(scratch.bytes().len(), FILE_HEADER);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_latches_until_the_log_is_recovered() {
    let scratch = Scratch::new();
    let (mut log, ..) = scratch.start().unwrap();
    let mut script = Script::starting_at(LogIndex(1));
    let first = script.entry(b"first");
    block_on(log.append(&first)).unwrap();
    let disk = std::mem::replace(&mut log.log, Medium::open(Path::new("/dev/full")).unwrap());
    let second = script.entry(b"second");
    let error = block_on(log.append(&second)).unwrap_err();
    assert!(
        matches!(&error, Error::Io { action: "write", cause, .. } if cause.kind() == std::io::ErrorKind::StorageFull)
    );
    assert!(error.to_string().starts_with("cannot write /dev/full: "));

    log.log = disk;
    assert!(matches!(block_on(log.append(&second)), Err(Error::Halted)));
    assert_holds(&mut log, std::slice::from_ref(&first));
    block_on(log.recover(&mut recovery())).unwrap();
    block_on(log.append(&second)).unwrap();
    assert_holds(&mut log, &[first, second]);
}

#[test]
fn batches_up_to_the_limit_are_taken_and_larger_ones_refused_unwritten() {
    let scratch = Scratch::new();
    let (mut log, ..) = scratch.start().unwrap();
    let mut script = Script::starting_at(LogIndex(1));
    let mut batch = Vec::<u8>::new();
    while batch.len() < BATCH_LIMIT {
        let room = (BATCH_LIMIT - batch.len() - HEADER).min(0xFFF0);
        batch.extend(script.entry(&std::vec![batch.len() as u8; room]));
    }
    assert_eq!(batch.len(), BATCH_LIMIT);
    block_on(log.append(&batch)).unwrap();
    let next = script.entry(b"next");
    block_on(log.append(&next)).unwrap();
    drop(log);

    let (mut log, last, _) = scratch.start().unwrap();
    assert_eq!(read(&mut log, last).unwrap(), next);
    let mut buffer = std::vec![0; 0x10000];
    let mut read_back = Vec::<u8>::new();
    for index in 1..last {
        let size = block_on(log.read(LogIndex(index), &mut buffer)).unwrap();
        read_back.extend(&buffer[..size]);
    }
    assert_eq!(read_back, batch);

    let length = scratch.bytes().len();
    let mut larger = Vec::<u8>::new();
    let mut script = Script::starting_at(LogIndex(last + 1));
    while larger.len() <= BATCH_LIMIT {
        larger.extend(script.entry(&[0; 0x8000]));
    }
    assert!(matches!(block_on(log.append(&larger)), Err(Error::TooLarge(size)) if size == larger.len()));
    assert_eq!(scratch.bytes().len(), length);
}

#[test]
fn a_batch_with_a_gap_or_half_a_record_is_refused_unwritten() {
    for bad in [Script::starting_at(LogIndex(2)).entry(b"gap"), vote()[..8].to_vec()] {
        let scratch = Scratch::new();
        let (mut log, ..) = scratch.start().unwrap();
        assert!(matches!(block_on(log.append(&bad)), Err(Error::Record(_))));
        assert_eq!(scratch.bytes().len(), FILE_HEADER);
    }
}

#[test]
fn a_short_buffer_is_told_the_size_it_needs() {
    let scratch = Scratch::new();
    let (mut log, ..) = scratch.start().unwrap();
    block_on(log.append(&Script::starting_at(LogIndex(1)).entry(&[1; 20]))).unwrap();
    assert!(matches!(block_on(log.read(LogIndex(1), &mut [0; 47])), Err(ReadError::TooSmall(48))));
    assert_eq!(block_on(log.read(LogIndex(1), &mut [0; 48])).unwrap(), 48);
}

#[test]
fn offsets_are_rebuilt_and_never_believed() {
    let history = History::scripted();
    let scratch = Scratch::with(&history.bytes);
    fs::write(scratch.0.join("offsets"), [0xAA; 1000]).unwrap();
    let (mut log, ..) = scratch.start().unwrap();
    assert_holds(&mut log, history.states.last().unwrap());
    let mut offsets = fs::read(scratch.0.join("offsets")).unwrap();
    assert_eq!(offsets.len(), 8 * (5 + 1), "entry 5 was there once");
    offsets.copy_within(8..16, 16);
    fs::write(scratch.0.join("offsets"), offsets).unwrap();
    assert!(matches!(read(&mut log, 2), Err(ReadError::Store(Error::Corrupt { damage: Damage::OtherEntry, .. }))));
}
