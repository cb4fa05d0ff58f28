//! The log store of each node: the very one that firmware uses, on a simulated chip, with everybody told what becomes durable.

use std::rc::Rc;

use allocation_counter::opt_out;
use embassy_futures::block_on;
use quoring::store::ReadError;
use quoring::store::paged::{self, PagedLog};
use quoring::{LogStore, SnapshotError, Space};
use quoring_core::{EntryId, LogIndex, Recovery, Snapshot};
use quoring_ring::{Checksum, DEFAULT_CRC32C, HEADER, Header, Kind, Record, Records, extend};

use crate::chip::{Bus, ChipError};
use crate::findings::Findings;
use crate::hardware::LOG_PAGES;
use crate::options::Planted;
use crate::tally::{Action, Fault};
use crate::trace::Source;
use crate::world::{CLUSTER, World};

/// What lies on the chip: records of up to `RECORD` bytes, in words of up to 256.
type Log<const RECORD: usize> = PagedLog<Bus, { LOG_PAGES as usize }, 256, RECORD>;

/// Why the store failed.
type Error = paged::Error<ChipError>;

/// What a node has been doing with its store. After a loss of power only part of it may be durable.
#[derive(Debug, Default)]
pub(crate) struct Unsettled {
    /// The batch that is being appended.
    pub(crate) batch: Vec<u8>,
    /// The snapshot that is being finished.
    pub(crate) snapshot: Option<Snapshot>,
}

/// A record that has become durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Durable<'b> {
    /// An entry; it replaces what the log held from its index on.
    Entry { index: u64, term: u32, kind: Kind, payload: &'b [u8] },
    /// A vote, as its record's flags tell it, and a boot number.
    Vote { term: u32, flags: u8, boot: u32 },
    /// The log starts anew behind this entry.
    Start { index: u64, term: u32 },
}

impl<'b> Durable<'b> {
    /// What a record is, on a log that ends with entry `last`.
    pub(crate) fn of(record: &Record<'b>, last: u64) -> Self {
        let header = record.header;
        match (header.kind, record.start()) {
            (Kind::Start, Some(index)) => Self::Start { index, term: header.term },
            (Kind::Vote, _) => Self::Vote { term: header.term, flags: header.flags, boot: header.index_low },
            (kind, _) => {
                let index = extend(last, header.index_low);
                Self::Entry { index, term: header.term, kind, payload: record.payload }
            }
        }
    }
}

/// The present incarnation's store.
pub(crate) struct SimStore<const RECORD: usize> {
    world: Rc<World>,
    node: usize,
    log: Log<RECORD>,
    /// What a lying store has said to be durable.
    owed: Vec<u8>,
}

impl<const RECORD: usize> SimStore<RECORD> {
    pub(crate) fn new(world: Rc<World>, node: usize, salt: u32) -> Self {
        let log = open(Bus::new(Rc::clone(&world), node)).with_salt(salt);
        Self { world, node, log, owed: Vec::new() }
    }

    async fn write(&mut self, batch: &[u8]) -> Result<(), Error> {
        let (world, node) = (Rc::clone(&self.world), self.node);
        opt_out(|| world.begins_batch(node, batch));
        world.chips[node].borrow_mut().appends = true;
        let written = self.log.append(batch).await;
        world.chips[node].borrow_mut().appends = false;
        opt_out(|| {
            // What does not continue the log the store refuses; the checkers should see what the node wanted.
            if matches!(written, Ok(()) | Err(Error::Record(_))) {
                world.settles_batch(node);
            }
            world.notes_space(node, &self.log.space());
        });
        written
    }

    fn fails<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.inspect_err(|error| opt_out(|| self.world.store_fails(self.node, error)))
    }

    fn snapshot_fails<T>(&self, result: Result<T, SnapshotError<Error>>) -> Result<T, SnapshotError<Error>> {
        if let Err(SnapshotError::Store(error)) = &result {
            opt_out(|| self.world.store_fails(self.node, error));
        }
        result
    }
}

impl<const RECORD: usize> LogStore for SimStore<RECORD> {
    type Error = Error;

    async fn recover(&mut self, log: &mut Recovery) -> Result<(), Error> {
        let (world, node) = (Rc::clone(&self.world), self.node);
        world.plant::<RECORD>(node);
        let before = world.chips[node].borrow().changes();
        let recovered = self.log.recover(log).await;
        let touched = world.chips[node].borrow().changes() != before;
        world.recovers(node, recovered.is_ok(), touched);
        self.fails(recovered)
    }

    async fn append(&mut self, batch: &[u8]) -> Result<(), Error> {
        if self.world.has(Planted::LyingStore) {
            let owed = std::mem::take(&mut self.owed);
            if !owed.is_empty() {
                self.write(&owed).await?;
            }
            opt_out(|| self.owed = batch.to_vec());
            return Ok(());
        }
        let written = self.write(batch).await;
        self.fails(written)
    }

    async fn read(&mut self, index: LogIndex, buffer: &mut [u8]) -> Result<usize, ReadError<Error>> {
        let read = self.log.read(index, buffer).await;
        if let Err(ReadError::Store(error)) = &read {
            opt_out(|| self.world.store_fails(self.node, error));
        }
        read
    }

    fn space(&self) -> Space {
        self.log.space()
    }

    fn purge(&mut self, index: LogIndex) {
        self.log.purge(index);
    }

    fn is_tidy(&self) -> bool {
        self.log.is_tidy()
    }

    async fn tidy(&mut self) -> Result<bool, Error> {
        let tidied = self.log.tidy().await;
        self.world.notes_space(self.node, &self.log.space());
        self.fails(tidied)
    }

    fn snapshot_limit(&self) -> u64 {
        self.log.snapshot_limit()
    }

    async fn begin_snapshot(&mut self, last: EntryId) -> Result<(), Error> {
        let begun = self.log.begin_snapshot(last).await;
        self.fails(begun)
    }

    async fn write_snapshot(&mut self, last: EntryId, offset: u64, bytes: &[u8]) -> Result<(), SnapshotError<Error>> {
        let written = self.log.write_snapshot(last, offset, bytes).await;
        self.snapshot_fails(written)
    }

    async fn finish_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError<Error>> {
        if self.world.has(Planted::ForgetfulSnapshot) {
            return Ok(());
        }
        opt_out(|| self.world.finishes(self.node, snapshot));
        let finished = self.log.finish_snapshot(snapshot).await;
        opt_out(|| self.world.settles_snapshot(self.node, finished.is_ok()));
        self.snapshot_fails(finished)
    }

    async fn read_snapshot(
        &mut self,
        snapshot: &Snapshot,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, SnapshotError<Error>> {
        let read = self.log.read_snapshot(snapshot, offset, buffer).await;
        self.snapshot_fails(read)
    }
}

// What the observers are told.
impl World {
    /// What a node would find that starts now. Nobody looks twice at a chip that has not changed.
    pub(crate) fn findings(self: &Rc<Self>, node: usize) -> Rc<Result<Findings, String>> {
        let state = self.chips[node].borrow().state();
        let known = self.findings[node].take().filter(|(of, _)| *of == state);
        let (_, findings) =
            known.unwrap_or_else(|| (state, Rc::new((self.observer)(Bus::of_observer(Rc::clone(self), node)))));
        self.findings[node].replace(Some((state, Rc::clone(&findings))));
        findings
    }

    /// A node has lost power: part of what it was writing may be durable. False if the chip has rotted so that the node cannot start from it.
    pub(crate) fn settle(self: &Rc<Self>, node: usize) -> bool {
        let unsettled = self.unsettled[node].take();
        let findings = self.findings(node);
        self.trace(Source::Node(node), "durable", format_args!("{}", summary(&findings)));
        if findings.is_err() && self.chips[node].borrow().rotten {
            return false;
        }
        self.oracle.borrow_mut().settles(self.now(), node, &findings, &unsettled);
        true
    }

    /// Does to a medium what no store must.
    fn plant<const RECORD: usize>(self: &Rc<Self>, node: usize) {
        if self.has(Planted::ForgetfulStore) {
            self.chips[node].borrow_mut().spoil_tail();
        }
        if self.has(Planted::PhantomRecord) {
            opt_out(|| {
                let mut log = open::<RECORD>(Bus::of_observer(Rc::clone(self), node));
                let mut recovery = Recovery::new(CLUSTER, DEFAULT_CRC32C);
                if block_on(log.recover(&mut recovery)).is_ok() {
                    let _ = block_on(log.append(&phantom(recovery.last().0 + 1)));
                }
            });
        }
    }

    fn recovers(self: &Rc<Self>, node: usize, recovered: bool, touched: bool) {
        opt_out(|| {
            if recovered || !self.chips[node].borrow().failed {
                let findings = self.findings(node);
                self.oracle.borrow_mut().recovers(self.now(), node, &findings, touched);
            }
        });
    }

    fn begins_batch(&self, node: usize, batch: &[u8]) {
        let unsettled = &mut *self.unsettled[node].borrow_mut();
        unsettled.batch.clear();
        unsettled.batch.extend_from_slice(batch);
        self.trace(Source::Node(node), "write", format_args!("{} bytes", batch.len()));
    }

    fn settles_batch(&self, node: usize) {
        let batch = std::mem::take(&mut self.unsettled[node].borrow_mut().batch);
        let now = self.now();
        for record in Records::new(&batch) {
            match record {
                Ok(record) => self.becomes_durable(node, &record),
                Err(error) => return self.oracle.borrow_mut().wrote_nonsense(now, node, error),
            }
        }
    }

    fn becomes_durable(&self, node: usize, record: &Record<'_>) {
        let oracle = &mut *self.oracle.borrow_mut();
        let record = Durable::of(record, oracle.last(node));
        if matches!(record, Durable::Vote { boot, .. } if boot > oracle.boot(node)) {
            self.act(Action::Boots);
        }
        oracle.durable(self.now(), node, record);
        match record {
            Durable::Entry { index, term, payload, .. } => {
                let length = payload.len();
                self.trace(Source::Node(node), "durable", format_args!("entry {index} of term {term}, {length} bytes"));
            }
            Durable::Vote { term, flags, boot } => {
                let line = format_args!("term {term}, vote {flags:#04x}, boot {boot}");
                self.trace(Source::Node(node), "durable", line);
            }
            Durable::Start { index, term } => {
                self.trace(Source::Node(node), "durable", format_args!("start behind entry {index} of term {term}"));
            }
        }
    }

    fn finishes(&self, node: usize, snapshot: &Snapshot) {
        self.unsettled[node].borrow_mut().snapshot = Some(*snapshot);
        // The node's own may be overtaken by a leader's until the last moment; then the store refuses it.
        if self.saving[node].get() != Some(snapshot.last.index.0) {
            self.oracle.borrow_mut().finishes(self.now(), node, snapshot);
        }
    }

    fn settles_snapshot(&self, node: usize, finished: bool) {
        let Some(snapshot) = self.unsettled[node].borrow_mut().snapshot.take_if(|_| finished) else { return };
        self.oracle.borrow_mut().snapshot(self.now(), node, &snapshot);
        let Snapshot { last, length, .. } = snapshot;
        let (index, term) = (last.index, last.term);
        let line = format_args!("snapshot up to entry {index} of term {term}, {length} bytes");
        self.trace(Source::Node(node), "durable", line);
    }

    fn notes_space(&self, node: usize, space: &Space) {
        opt_out(|| {
            if self.oracle.borrow_mut().purges(self.now(), node, space.start.0) {
                self.trace(Source::Node(node), "purged", format_args!("up to entry {}", space.start));
            }
        });
    }

    fn store_fails(&self, node: usize, error: &Error) {
        self.count(Fault::StoreFailures);
        self.trace(Source::Node(node), "store fails", format_args!("{error:?}"));
    }
}

/// A no-op that nobody wrote.
fn phantom(index: u64) -> [u8; HEADER] {
    let mut header =
        Header { checksum: 0, term: u32::MAX, index_low: index as u32, len: 0, kind: Kind::NoOp, flags: 0 };
    header.checksum = Checksum::new(CLUSTER.0, DEFAULT_CRC32C).of(&header, (index >> 32) as u32, &[]);
    header.encode()
}

/// What was found on a chip in this state of it.
pub(crate) type Found = (u64, Rc<Result<Findings, String>>);

/// Looks at what lies on a chip.
pub(crate) type Observer = fn(Bus) -> Result<Findings, String>;

/// Looks as a node does.
pub(crate) fn observe<const RECORD: usize>(bus: Bus) -> Result<Findings, String> {
    Findings::of(&mut open::<RECORD>(bus))
}

/// The log on this chip.
///
/// # Panics
/// The hardware was drawn so that no log can lie on it.
fn open<const RECORD: usize>(bus: Bus) -> Log<RECORD> {
    let (owner, layout) = (bus.owner(), bus.layout());
    PagedLog::new(bus, owner, layout).expect("a log fits the hardware")
}

/// In one line.
pub(crate) fn summary(findings: &Result<Findings, String>) -> String {
    match findings {
        Ok(Findings { term, vote, boot, snapshot, start, entries }) => {
            let covered = snapshot.map_or(0, |snapshot| snapshot.last.index.0);
            let last = start + entries.len() as u64;
            format!(
                "in all: entries {start} to {last}, a snapshot up to {covered}, term {term}, vote {vote:#04x}, boot {boot}"
            )
        }
        Err(error) => error.clone(),
    }
}
