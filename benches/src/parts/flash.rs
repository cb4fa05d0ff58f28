//! The log on flash that answers at once, so that only the log's own work is measured.

use std::convert::Infallible;
use std::hint::black_box;

use embassy_futures::block_on;
use quoring::store::LogStore;
use quoring::store::medium::{Geometry, Medium};
use quoring::store::paged::{Layout, Owner, PagedLog};
use quoring_core::{LogIndex, NodeId, Recovery};
use quoring_ring::DEFAULT_CRC32C;

use super::{OPERATIONS, Part};
use crate::record::{self, CLUSTER};

const COMMAND: usize = 32;
const PAGE: u32 = 2048;
const PAGES: usize = 8;
/// The largest record of the log, and what it reads through.
const LARGEST: usize = 256;

type Log = PagedLog<Ram, PAGES, 8, LARGEST>;

/// Flash in RAM without a rule or a delay.
#[derive(Clone, Debug)]
struct Ram {
    word: u32,
    bytes: Vec<u8>,
}

impl Ram {
    fn new(word: u32) -> Self {
        Self { word, bytes: vec![0xFF; PAGE as usize * PAGES] }
    }

    fn at(&mut self, offset: u32, len: usize) -> &mut [u8] {
        &mut self.bytes[offset as usize..offset as usize + len]
    }
}

impl Medium for Ram {
    type Error = Infallible;

    fn geometry(&self) -> Geometry {
        Geometry { word: self.word, page: PAGE, pages: PAGES as u32, erased: Some(0xFF), ordered: true }
    }

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.copy_from_slice(self.at(offset, bytes.len()));
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Infallible> {
        self.at(offset, bytes.len()).copy_from_slice(bytes);
        Ok(())
    }

    async fn erase(&mut self, offset: u32) -> Result<(), Infallible> {
        self.at(offset, PAGE as usize).fill(0xFF);
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The log on `ram`, and its last entry.
fn open(ram: Ram) -> (Log, LogIndex) {
    let owner = Owner { cluster: CLUSTER, node: NodeId::new(0).expect("a small number") };
    let layout = Layout { log_pages: PAGES as u16, slot_pages: 0 };
    let mut log = PagedLog::new(ram, owner, layout).expect("a sane layout");
    let mut recovery = Recovery::new(CLUSTER, DEFAULT_CRC32C);
    block_on(log.recover(&mut recovery)).expect("a healthy log");
    (log, recovery.last())
}

/// A log that holds the entries of one run.
fn filled(word: u32) -> Log {
    let (mut log, _) = open(Ram::new(word));
    for index in 1..=OPERATIONS {
        block_on(log.append(&record::entry(index, &record::command(COMMAND)))).expect("room");
    }
    log
}

/// Records become durable, and the page after the last one is erased ahead of need, with all that a log writer asks for on the way. What was before may go.
#[derive(Debug)]
pub struct Append {
    log: Log,
    /// What one call appends, and the last entry of it.
    batches: Vec<(Vec<u8>, LogIndex)>,
    next: u64,
    batch: u64,
}

impl Append {
    /// So many records a call, in words of so many bytes.
    #[must_use]
    pub fn new(batch: u64, word: u32) -> Self {
        let mut append = Self { log: open(Ram::new(word)).0, batches: Vec::new(), next: 1, batch };
        append.encode();
        append
    }

    /// The batches of the next run.
    fn encode(&mut self) {
        let first = self.next;
        self.next += OPERATIONS;
        self.batches = record::batches(first..self.next, self.batch, &record::command(COMMAND));
    }
}

impl Part for Append {
    fn run(&mut self) {
        block_on(async {
            for (batch, last) in &self.batches {
                self.log.append(black_box(batch)).await.expect("room");
                black_box(self.log.space());
                self.log.purge(*last);
                while self.log.tidy().await.expect("healthy flash") {}
                black_box(self.log.space());
            }
        });
    }

    fn check(&mut self) {
        let (_, last) = open(self.log.medium().clone());
        assert_eq!(last, LogIndex(self.next - 1), "all are durable");
        self.encode();
    }
}

/// A log is opened and recovered, per record that it holds.
#[derive(Debug)]
pub struct Recover {
    ram: Option<Ram>,
    last: LogIndex,
}

impl Recover {
    /// In words of so many bytes.
    #[must_use]
    pub fn new(word: u32) -> Self {
        Self { ram: Some(filled(word).into_medium()), last: LogIndex(0) }
    }
}

impl Part for Recover {
    fn run(&mut self) {
        if let Some(ram) = self.ram.take() {
            let (log, last) = open(ram);
            self.last = last;
            self.ram = Some(log.into_medium());
        }
    }

    fn check(&mut self) {
        assert_eq!(self.last, LogIndex(OPERATIONS), "all are found");
        self.last = LogIndex(0);
    }
}

/// An entry is read back, as a follower needs it that is far behind.
#[derive(Debug)]
pub struct Read {
    log: Log,
    /// Which entries, one after the other.
    indices: Vec<u64>,
    buffer: Vec<u8>,
    bytes: usize,
}

impl Read {
    /// From the first entry to the last, in words of so many bytes.
    #[must_use]
    pub fn forwards(word: u32) -> Self {
        Self { log: filled(word), indices: (1..=OPERATIONS).collect(), buffer: vec![0; LARGEST], bytes: 0 }
    }

    /// From the last entry to the first: each has to be looked for from the beginning of its page.
    #[must_use]
    pub fn backwards(word: u32) -> Self {
        let mut read = Self::forwards(word);
        read.indices.reverse();
        read
    }
}

impl Part for Read {
    fn run(&mut self) {
        block_on(async {
            for index in &self.indices {
                self.bytes += self.log.read(LogIndex(*index), &mut self.buffer).await.expect("in the log");
                black_box(&mut self.buffer);
            }
        });
    }

    fn check(&mut self) {
        let last = self.indices.last().copied().unwrap_or_default();
        let expected = record::entry(last, &record::command(COMMAND));
        assert_eq!(self.bytes, expected.len() * OPERATIONS as usize, "all were read");
        assert_eq!(self.buffer[..expected.len()], expected, "in the order that was asked for");
        self.bytes = 0;
        self.buffer.fill(0);
    }
}
