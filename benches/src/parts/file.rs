//! The log in a folder of this host: what counts is the medium, so it is measured by time alone.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use embassy_futures::block_on;
use quoring::store::LogStore;
use quoring::store::file::{FileLog, FileSize};
use quoring_core::{LogIndex, NodeId, Recovery};
use quoring_ring::DEFAULT_CRC32C;

use super::{OPERATIONS, Part};
use crate::record::{self, CLUSTER};

const COMMAND: usize = 32;
const LARGEST: usize = 1024;
const SIZE: FileSize = FileSize { page: 64 << 10, log_pages: 16, snapshot_pages: 0 };

/// Records become durable: `fdatasync` once a call.
#[derive(Debug)]
pub struct Append {
    log: Option<FileLog<LARGEST>>,
    folder: PathBuf,
    /// What one call appends, and the last entry of it.
    batches: Vec<(Vec<u8>, LogIndex)>,
    next: u64,
    batch: u64,
}

impl Append {
    /// So many records a call, in a new folder of that name. It is removed in the end.
    ///
    /// # Panics
    /// The folder cannot be used.
    #[must_use]
    pub fn new(batch: u64, folder: &Path) -> Self {
        let mut append = Self { log: None, folder: folder.into(), batches: Vec::new(), next: 1, batch };
        append.remove();
        assert_eq!(append.open(), LogIndex(0), "a new log");
        append.encode();
        append
    }

    /// The batches of the next run.
    fn encode(&mut self) {
        let first = self.next;
        self.next += OPERATIONS;
        self.batches = record::batches(first..self.next, self.batch, &record::command(COMMAND));
    }

    /// Opens the log; its last entry.
    fn open(&mut self) -> LogIndex {
        self.log = None;
        let node = NodeId::new(0).expect("a small number");
        let mut log = FileLog::open(&self.folder, CLUSTER, node, SIZE).expect("a folder for the log");
        let mut recovery = Recovery::new(CLUSTER, DEFAULT_CRC32C);
        block_on(log.recover(&mut recovery)).expect("a healthy log");
        self.log = Some(log);
        recovery.last()
    }

    fn remove(&self) {
        // It may not be there.
        _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Part for Append {
    fn run(&mut self) {
        let log = self.log.as_mut().expect("open");
        block_on(async {
            for (batch, last) in &self.batches {
                log.append(black_box(batch)).await.expect("room");
                log.purge(*last);
                while log.tidy().await.expect("a healthy disk") {}
            }
        });
    }

    fn check(&mut self) {
        assert_eq!(self.open(), LogIndex(self.next - 1), "all are durable");
        self.encode();
    }
}

impl Drop for Append {
    fn drop(&mut self) {
        self.log = None;
        self.remove();
    }
}
