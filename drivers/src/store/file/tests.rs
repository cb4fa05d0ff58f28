//! What a folder promises: whose log it is, that it is open once, that its blocks are there, and that what was appended is found again.

mod cache;

use std::fs;
use std::path::PathBuf;
use std::string::ToString;
use std::sync::atomic::{AtomicU32, Ordering};
use std::vec::Vec;

use futures_lite::future::block_on;
use quoring_core::{NodeSet, Recovered, Term};
use quoring_ring::DEFAULT_CRC32C;

use super::named::NamedFile;
use super::*;
use crate::store::testing::{CLUSTER, Script, node, recovery, vote};

/// Small, so that pages turn often.
const SIZE: FileSize = FileSize { page: 1024, log_pages: 4, snapshot_pages: 2 };
const RECORD: usize = 256;
const HEADER: FileHeader = FileHeader { owner: Owner { cluster: CLUSTER, node: NodeId::new(1).unwrap() }, size: SIZE };

type Log = FileLog<RECORD>;

/// A folder that is gone after the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = std::format!("quoring-file-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let memory = PathBuf::from("/dev/shm"); // None of these tests cuts the power.
        let folder = if memory.is_dir() { memory } else { std::env::temp_dir() }.join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// A folder with this log.
    fn with(log: &[u8]) -> Self {
        let scratch = Self::new();
        fs::write(scratch.log(), log).unwrap();
        scratch
    }

    fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.log()).unwrap()
    }

    fn open(&self) -> Result<Log, Error> {
        Log::open(&self.0, CLUSTER, node(1), SIZE)
    }

    /// Opens and recovers.
    fn start(&self) -> Result<(Log, Recovered), Error> {
        let mut log = self.open()?;
        let mut found = recovery();
        block_on(log.recover(&mut found))?;
        Ok((log, found.finish().unwrap()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A log of this size on any medium.
fn begin<M: Medium>(medium: M) -> Pages<M, RECORD> {
    pages(medium, &HEADER).unwrap().with_salt(7)
}

fn read(log: &mut Log, index: u64) -> Result<Vec<u8>, ReadError<Error>> {
    let mut buffer = [0; 1024];
    let size = block_on(log.read(LogIndex(index), &mut buffer))?;
    Ok(buffer[..size].to_vec())
}

fn assert_holds(log: &mut Log, entries: &[Vec<u8>]) {
    for (index, entry) in (1..).zip(entries) {
        assert_eq!(&read(log, index).unwrap(), entry, "entry {index}");
    }
    assert!(matches!(read(log, entries.len() as u64 + 1), Err(ReadError::Missing)));
}

/// covers: D7
#[test]
fn what_was_appended_is_there_before_and_after_reopening() {
    let scratch = Scratch::new();
    let mut script = Script::starting_at(LogIndex(1));
    let mut entries = Vec::new();
    for round in 0..5 {
        let (mut log, found) = scratch.start().unwrap();
        assert_eq!(found.last, LogIndex(entries.len() as u64));
        assert_holds(&mut log, &entries);
        for _ in 0..3 {
            entries.push(script.entry(&[round; 20]));
            block_on(log.append(&[vote(), entries.last().unwrap().clone()].concat())).unwrap();
        }
        entries.truncate(entries.len() - 1);
        script.truncate(LogIndex(entries.len() as u64 + 1));
        entries.push(script.entry(b"replaced"));
        block_on(log.append(entries.last().unwrap())).unwrap();
        assert_holds(&mut log, &entries);
    }
}

/// covers: P12, S3, S7
#[test]
fn a_log_with_snapshots_goes_on_for_ever_in_the_blocks_it_was_begun_with() {
    let scratch = Scratch::new();
    let mut script = Script::starting_at(LogIndex(1));
    let mut entries = Vec::new();
    for round in 1..=100_u64 {
        let (mut log, found) = scratch.start().unwrap();
        assert_eq!(found.last.0, entries.len() as u64);
        assert_eq!(found.snapshot.map_or(0, |snapshot| snapshot.last.index.0), entries.len() as u64);
        for _ in 0..20 {
            entries.push(script.entry(&round.to_le_bytes()));
            block_on(log.append(&[vote(), entries.last().unwrap().clone()].concat())).unwrap();
        }
        let start = log.space().start.0;
        assert!(start <= entries.len() as u64 - 20);
        for index in start + 1..=entries.len() as u64 {
            assert_eq!(read(&mut log, index).unwrap(), entries[index as usize - 1], "entry {index}");
        }
        let state = std::vec![round as u8; 1500];
        let last = EntryId { term: Term(1), index: LogIndex(entries.len() as u64) };
        let checksum = DEFAULT_CRC32C(0, &state);
        let snapshot = Snapshot { last, length: state.len() as u64, checksum, voters: NodeSet::first(3) };
        block_on(async {
            log.begin_snapshot(last).await.unwrap();
            log.write_snapshot(last, 0, &state[..700]).await.unwrap();
            log.write_snapshot(last, 700, &state[700..]).await.unwrap();
            log.finish_snapshot(&snapshot).await.unwrap();
            let mut back = [0; 1500];
            assert_eq!(log.read_snapshot(&snapshot, 0, &mut back).await.unwrap(), 1500);
            assert_eq!(back[..], state);
            log.purge(last.index);
            while log.tidy().await.unwrap() {}
        });
        assert_eq!(fs::metadata(scratch.log()).unwrap().len(), SIZE.file());
    }
}

/// covers: D4
#[cfg(unix)]
#[test]
fn all_blocks_are_there_from_the_beginning() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new();
    scratch.start().unwrap();
    let metadata = fs::metadata(scratch.log()).unwrap();
    assert_eq!(metadata.len(), SIZE.file());
    assert!(metadata.blocks() * 512 >= metadata.len(), "{} blocks", metadata.blocks());
}

/// covers: D6
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_shows_when_the_log_is_begun_and_leaves_none() {
    let scratch = Scratch::new();
    let draft = scratch.0.join("log.new");
    std::os::unix::fs::symlink("/dev/full", &draft).unwrap();
    let error = scratch.open().unwrap_err();
    assert!(matches!(&error, Error::Io(IoError { action: "write", cause, .. })
        if cause.kind() == std::io::ErrorKind::StorageFull));
    assert!(error.to_string().contains("log.new"), "{error}");
    assert!(!scratch.log().exists());
    fs::remove_file(draft).unwrap();
    assert_eq!(scratch.start().unwrap().1.last, LogIndex::ZERO);
}

/// A file that cannot be written stands for a disk that fails.
///
/// covers: D6
#[test]
fn a_write_that_fails_latches() {
    let scratch = Scratch::new();
    let (mut log, _) = scratch.start().unwrap();
    let mut script = Script::starting_at(LogIndex(1));
    block_on(log.append(&script.entry(b"first"))).unwrap();
    drop(log);
    let medium = FileMedium::examine(scratch.log()).unwrap();
    let mut log = begin(medium);
    block_on(log.recover(&mut recovery())).unwrap();
    let second = script.entry(b"second");
    assert!(matches!(block_on(log.append(&second)), Err(paged::Error::Medium(IoError { action: "write", .. }))));
    assert!(matches!(block_on(log.append(&second)), Err(paged::Error::Halted)));
    assert_eq!(scratch.start().unwrap().1.last, LogIndex(1));
}

/// covers: D5
#[test]
fn damage_names_its_file_and_stops_the_node() {
    let scratch = Scratch::new();
    let (mut log, _) = scratch.start().unwrap();
    let mut script = Script::starting_at(LogIndex(1));
    for _ in 0..10 {
        block_on(log.append(&script.entry(&[1; 100]))).unwrap();
    }
    drop(log);
    let mut bytes = scratch.bytes();
    bytes[RESERVED as usize + 300] ^= 1;
    let scratch = Scratch::with(&bytes);
    let error = scratch.start().unwrap_err();
    assert!(matches!(&error, Error::Log { error: paged::Error::Corrupt { page: 0, .. }, .. }), "{error}");
    assert!(error.to_string().starts_with(&*scratch.log().to_string_lossy()), "{error}");
}

/// What a process finds may be no more than its predecessor's cache, after a sync that failed.
///
/// covers: D6
#[test]
fn the_first_sync_writes_everything_once_more() {
    let scratch = Scratch::new();
    scratch.start().unwrap();
    let read_only = NamedFile::examine(scratch.log()).unwrap();
    let mut medium = FileMedium::new(read_only, &HEADER);
    assert_eq!(block_on(medium.sync()).unwrap_err().action, "write");
    assert_eq!(block_on(medium.sync()).unwrap_err().action, "write", "until it succeeds");
    assert!(block_on(FileMedium::examine(scratch.log()).unwrap().sync()).is_ok());
}

/// covers: D5, D7
#[test]
fn every_flip_in_the_file_header_is_refused_and_nothing_is_changed() {
    let scratch = Scratch::new();
    scratch.start().unwrap();
    let good = scratch.bytes();
    for at in 0..32 {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        let scratch = Scratch::with(&bytes);
        match (scratch.start().unwrap_err(), at) {
            (Error::NotALog(_), 0..8) | (Error::Version { .. }, 8..10) | (Error::Header(_), 10..32) => {}
            (error, _) => panic!("byte {at}: {error}"),
        }
        assert_eq!(scratch.bytes(), bytes);
    }
}

#[test]
fn empty_foreign_cut_and_stretched_files_are_refused_and_left_alone() {
    let scratch = Scratch::new();
    scratch.start().unwrap();
    let good = scratch.bytes();
    for bytes in [&b""[..], b"Q", &good[..31], b"#!/bin/sh\necho this is a script and no log\n", &[7; 5000]] {
        let scratch = Scratch::with(bytes);
        assert!(matches!(scratch.start(), Err(Error::NotALog(path)) if *path == *scratch.log()));
        assert_eq!(scratch.bytes(), bytes);
    }
    for bytes in [&good[..good.len() - 1], &good[..4096], &[&good[..], &[0]].concat()] {
        let scratch = Scratch::with(bytes);
        assert!(matches!(scratch.start(), Err(Error::Length { found, .. }) if found == bytes.len() as u64));
        assert_eq!(scratch.bytes(), bytes);
    }
}

#[test]
fn the_log_of_another_node_cluster_or_size_is_refused() {
    let scratch = Scratch::new();
    drop(scratch.start().unwrap());
    let other_node = Log::open(&scratch.0, CLUSTER, node(2), SIZE).unwrap_err();
    assert!(matches!(other_node, Error::Foreign { owner, .. } if owner == HEADER.owner));
    assert!(other_node.to_string().ends_with("is the log of node 1 of cluster 0xc1a57e12"));
    let other_cluster = Log::open(&scratch.0, ClusterId(1), node(1), SIZE).unwrap_err();
    assert!(matches!(other_cluster, Error::Foreign { owner, .. } if owner == HEADER.owner));
    let other_size = Log::open(&scratch.0, CLUSTER, node(1), FileSize::default()).unwrap_err();
    assert!(matches!(other_size, Error::Resized { found: SIZE, .. }));
    assert!(other_size.to_string().contains("4 pages of log and 2 times 2 of snapshot, of 1024 bytes each"));
}

#[test]
fn sizes_that_no_log_can_have_are_refused_before_anything_is_made() {
    for size in [
        FileSize { page: 1000, ..SIZE },
        FileSize { page: 0, ..SIZE },
        FileSize { page: 512, ..SIZE },
        FileSize { log_pages: 2, ..SIZE },
        FileSize { log_pages: PAGES as u16 + 1, ..SIZE },
        FileSize { page: 1 << 20, log_pages: 200, snapshot_pages: u16::MAX },
    ] {
        let scratch = Scratch::new();
        let error = Log::open(&scratch.0, CLUSTER, node(1), size).unwrap_err();
        assert!(matches!(error, Error::Layout(_)), "{size}: {error}");
        assert!(!scratch.log().exists());
    }
}

#[test]
fn a_log_of_the_usual_size_takes_the_largest_record() {
    let scratch = Scratch::new();
    let mut log = FileLog::<LARGEST>::open(&scratch.0, CLUSTER, node(1), FileSize::default()).unwrap();
    block_on(log.recover(&mut recovery())).unwrap();
    let largest = Script::starting_at(LogIndex(1)).entry(&std::vec![9; u16::MAX as usize]);
    assert_eq!(largest.len(), LARGEST);
    block_on(log.append(&largest)).unwrap();
    let mut back = std::vec![0; LARGEST];
    assert_eq!(block_on(log.read(LogIndex(1), &mut back)).unwrap(), LARGEST);
    assert_eq!(back, largest);
}

#[test]
fn a_folder_is_open_once_at_a_time() {
    let scratch = Scratch::new();
    let first = scratch.open().unwrap();
    assert!(matches!(scratch.start(), Err(Error::Locked(path)) if *path == *scratch.0));
    drop(first);
    assert!(scratch.start().is_ok());
}

/// covers: D2
#[test]
fn a_draft_left_by_a_crash_is_begun_anew() {
    let scratch = Scratch::new();
    fs::write(scratch.0.join("log.new"), [7; 100_000]).unwrap();
    assert_eq!(scratch.start().unwrap().1.last, LogIndex::ZERO);
    assert_eq!(scratch.bytes().len() as u64, SIZE.file());
}

#[test]
fn folders_above_are_made_and_a_file_in_the_way_is_named() {
    let scratch = Scratch::new();
    let deep = scratch.0.join("a/b");
    drop(Log::open(&deep, CLUSTER, node(1), SIZE).unwrap());
    let error = Log::open(deep.join("log/c"), CLUSTER, node(1), SIZE).unwrap_err();
    assert!(error.to_string().contains("a/b/log"), "{error}");
}
