//! Any bytes as the image of a log, and any history that power or rot ended (D2, D3, D5, scenario 34): recovery ends with a log or a typed
//! reason, and writes nothing. A log that was recovered can be read to its end, takes an entry, and is recovered again with it.
#![no_main]

use embassy_futures::block_on;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use quoring::store::LogStore;
use quoring::store::medium::Geometry;
use quoring::store::mock::{MockFlash, Tear};
use quoring::store::paged::{Error, Layout, Owner, PagedLog};
use quoring_core::{ClusterId, EntryId, LogIndex, NodeId, NodeSet, Recovered, Recovery, Snapshot, Term};
use quoring_ring::{Checksum, Crc32c, DEFAULT_CRC32C, Header, Kind, record_size};

const CLUSTER: ClusterId = ClusterId(0xF1A5);
const RECORD: usize = 96;
const WORDS: [u32; 6] = [1, 4, 8, 16, 32, 256];

type Log = PagedLog<MockFlash, 8, 256, RECORD>;

/// A medium and how it came to be.
#[derive(Arbitrary, Debug)]
struct Input<'i> {
    word: u8,
    pages: u8,
    slots: bool,
    page: u8,
    medium: Medium,
    /// All checksums are the same number, so that the fuzzer gets past them; of what such a log holds nothing is expected.
    weak: bool,
    history: Vec<Act>,
    /// Power fails after so many operations more, in the last act.
    cut: Option<(u8, Cut)>,
    /// Bytes that change, and how.
    rot: Vec<(u16, u8)>,
    /// Bytes that are written over the image from an offset on.
    over: (u16, &'i [u8]),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Medium {
    Flash,
    FlashOfZeros,
    Fram,
    File,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Act {
    Entries { count: u8, bytes: u8 },
    Truncate(u8),
    Vote(u8),
    Purge,
    Tidy,
    Snapshot(u8),
    Restart,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Cut {
    Unchanged,
    Partial,
    Slow,
    Whole,
    Random,
    Unreadable,
}

/// What is expected of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    /// Only power failed: all that was acknowledged, so an entry of at least this index, and at least this boot number.
    All(u64, u32),
    /// It was damaged: a log that goes on, or a reason.
    Some,
    /// Its checksums mean nothing: no panic.
    Nothing,
}

/// A log that is written, and what of it the writer must know.
struct Writer {
    log: Log,
    term: u32,
    last: u64,
    last_term: u32,
    /// What the newest snapshot covers: nothing up to there is replaced.
    covered: u64,
    /// The lowest that the last entry can be after a loss of power.
    acknowledged: u64,
    /// The newest boot number, and the newest that was acknowledged.
    boot: u32,
    acknowledged_boot: u32,
}

fuzz_target!(|input: Input<'_>| {
    let crc: Crc32c = if input.weak { |_, _| 0x4B4B_4B4B } else { DEFAULT_CRC32C };
    let (geometry, layout) = (input.geometry(), input.layout());
    let mut writer = Writer::new(open(MockFlash::new(geometry), layout, crc, 1));
    writer.play(&input, crc);
    let flash = writer.log.into_medium();
    let mut image = flash.image().to_vec();
    let size = image.len();
    for (at, change) in &input.rot {
        image[usize::from(*at) * 7 % size] ^= change;
    }
    let (at, bytes) = input.over;
    image.iter_mut().skip(usize::from(at) * 16 % size).zip(bytes).for_each(|(to, &byte)| *to = byte);
    // Words that were torn stay unreadable only if nothing else was done to them.
    let whole = image == flash.image();
    let flash = if whole { on_again(flash) } else { MockFlash::from_image(geometry, &image) };
    let expected = match (input.weak, whole) {
        (true, _) => Expected::Nothing,
        (false, true) => Expected::All(writer.acknowledged, writer.acknowledged_boot),
        (false, false) => Expected::Some,
    };
    examine(flash, layout, crc, expected);
});

fn on_again(mut flash: MockFlash) -> MockFlash {
    flash.restore_power();
    flash
}

/// Recovers, reads, appends, and recovers again.
fn examine(flash: MockFlash, layout: Layout, crc: Crc32c, expected: Expected) {
    let before = flash.counters();
    let mut log = open(flash, layout, crc, 2);
    let recovered = recover(&mut log, crc);
    let after = log.medium().counters();
    assert_eq!((before.words, before.erases), (after.words, after.erases), "recovery writes nothing");
    block_on(log.inspect(|_| {})).expect("this medium answers");
    let Some(recovered) = recovered else {
        return assert!(!matches!(expected, Expected::All(..)), "power alone keeps no node from starting");
    };
    if let Expected::All(last, boot) = expected {
        assert!(recovered.last.0 >= last, "{last} was acknowledged, {} is the last", recovered.last);
        assert!(recovered.boot >= boot, "boot {boot} was acknowledged, {} is the newest", recovered.boot);
        log.assert_invariants();
    }
    if !recovered.restart && expected != Expected::Nothing {
        read_all(&mut log, &recovered);
    }
    let (term, boot) = (recovered.term.0.max(1), recovered.boot);
    let mut writer = Writer { term, last: recovered.last.0, ..Writer::new(log) };
    let last = writer.last;
    let records = [writer.start_anew(&recovered, crc), writer.entry(32, crc)].concat();
    let appended = block_on(writer.log.append(&records));
    let mut log = writer.log;
    let recovered = recover(&mut log, crc);
    if expected == Expected::Nothing || matches!(appended, Err(Error::Full | Error::Exhausted)) {
        return;
    }
    appended.expect("a log that was recovered takes an entry");
    assert_eq!(log.medium().counters().violations, 0, "the rules of flash are kept");
    let recovered = recovered.expect("what was written after a recovery is recovered");
    assert_eq!(recovered.last.0, last.wrapping_add(1), "the entry is there");
    assert_eq!(recovered.boot, boot, "a boot number comes from a vote record alone, and stays");
}

fn read_all(log: &mut Log, recovered: &Recovered) {
    let (mut buffer, mut index) = ([0; RECORD], log.space().start);
    while index < recovered.last && recovered.last.0 - index.0 < 1000 {
        index = index.next();
        let read = block_on(log.read(index, &mut buffer));
        assert!(read.is_ok(), "entry {index} of {} was recovered, and is read: {read:?}", recovered.last);
    }
}

/// With a salt of its own for each start: where nothing is erased, it is what tells new batches from old ones if all page headers are lost.
fn open(flash: MockFlash, layout: Layout, crc: Crc32c, salt: u32) -> Log {
    let owner = Owner { cluster: CLUSTER, node: NodeId::new(3).expect("a small number") };
    Log::new(flash, owner, layout).expect("a sane layout").with_crc(crc).with_salt(salt)
}

/// `None` if the log says why a node must not start.
fn recover(log: &mut Log, crc: Crc32c) -> Option<Recovered> {
    let mut recovery = Recovery::new(CLUSTER, crc);
    match block_on(log.recover(&mut recovery)) {
        Ok(()) => {
            let recovered = recovery.finish().ok()?;
            // As a node does at its start.
            log.purge(recovered.purgeable());
            Some(recovered)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

impl Input<'_> {
    fn layout(&self) -> Layout {
        Layout { log_pages: 3 + u16::from(self.pages % 4), slot_pages: u16::from(self.slots) }
    }

    fn geometry(&self) -> Geometry {
        let Layout { log_pages, slot_pages } = self.layout();
        let word = WORDS[usize::from(self.word) % WORDS.len()];
        let page = if word == 256 { 4096 } else { 768 + 256 * u32::from(self.page % 4) };
        let (erased, ordered) = match self.medium {
            Medium::Flash => (Some(0xFF), true),
            Medium::FlashOfZeros => (Some(0x00), true),
            Medium::Fram => (None, true),
            Medium::File => (None, false),
        };
        Geometry { word, page, pages: u32::from(log_pages + 2 * slot_pages), erased, ordered }
    }
}

impl Cut {
    const fn tear(self) -> Tear {
        match self {
            Self::Unchanged => Tear::Unchanged,
            Self::Partial => Tear::Partial,
            Self::Slow => Tear::Slow,
            Self::Whole => Tear::Whole,
            Self::Random => Tear::Random,
            Self::Unreadable => Tear::Unreadable,
        }
    }
}

impl Writer {
    const fn new(log: Log) -> Self {
        Self { log, term: 1, last: 0, last_term: 0, covered: 0, acknowledged: 0, boot: 0, acknowledged_boot: 0 }
    }

    /// Plays the history, until something fails.
    fn play(&mut self, input: &Input<'_>, crc: Crc32c) {
        recover(&mut self.log, crc);
        for (number, act) in input.history.iter().take(200).enumerate() {
            if let Some((operations, cut)) = input.cut.filter(|_| number + 1 == input.history.len()) {
                self.log.medium_mut().cut_after(operations.into(), cut.tear());
            }
            let before = self.acknowledged;
            let done = self.act(*act, crc);
            self.acknowledged = if done.is_some() { self.last } else { self.last.min(before) };
            self.acknowledged_boot = if done.is_some() { self.boot } else { self.acknowledged_boot };
            if done.is_none() {
                return;
            }
        }
    }

    fn act(&mut self, act: Act, crc: Crc32c) -> Option<()> {
        match act {
            Act::Entries { count, bytes } => {
                let records: Vec<u8> =
                    (0..1 + count % 8).flat_map(|_| self.entry(usize::from(bytes) % (RECORD - 15), crc)).collect();
                block_on(self.log.append(&records)).ok()
            }
            Act::Truncate(back) => {
                let kept = self.covered.max(self.last.saturating_sub(back.into()));
                (self.last, self.term) = (kept, self.term + 1);
                let record = self.entry(8, crc);
                block_on(self.log.append(&record)).ok()
            }
            Act::Vote(candidate) => {
                self.term += 1;
                // A boot number counts even in a record of an older term.
                let (older, newer) = (u32::from(candidate >> 5 & 1), u32::from(candidate >> 6));
                self.boot += newer;
                let record = record(crc, Kind::Vote, self.term - older, self.boot.into(), 0x80 | candidate % 32, &[]);
                block_on(self.log.append(&record)).ok()
            }
            Act::Purge => {
                self.log.purge(LogIndex(self.covered));
                Some(())
            }
            Act::Tidy => block_on(self.log.tidy()).ok().map(|_| ()),
            Act::Snapshot(_) if self.last == self.covered => Some(()),
            Act::Snapshot(bytes) => self.snapshot(bytes, crc),
            Act::Restart => recover(&mut self.log, crc).map(|_| ()),
        }
    }

    fn snapshot(&mut self, bytes: u8, crc: Crc32c) -> Option<()> {
        let state = vec![bytes; bytes.into()];
        let last = EntryId { term: Term(self.last_term), index: LogIndex(self.last) };
        let snapshot = Snapshot { last, length: bytes.into(), checksum: crc(0, &state), voters: NodeSet::first(3) };
        block_on(async {
            self.log.begin_snapshot(last).await.ok()?;
            self.log.write_snapshot(last, 0, &state).await.ok()?;
            self.log.finish_snapshot(&snapshot).await.ok()
        })?;
        self.covered = self.last;
        Some(())
    }

    /// The next entry.
    fn entry(&mut self, bytes: usize, crc: Crc32c) -> Vec<u8> {
        (self.last, self.last_term) = (self.last.wrapping_add(1), self.term);
        record(crc, Kind::Command, self.term, self.last, 0, &[0xC3; RECORD][..bytes.min(RECORD - 16)])
    }

    /// The record that a node writes first if its log does not go on from its snapshot.
    fn start_anew(&self, recovered: &Recovered, crc: Crc32c) -> Vec<u8> {
        if !recovered.restart {
            return Vec::new();
        }
        let EntryId { term, index } = recovered.start;
        record(crc, Kind::Start, term.0, u64::from(index.0 as u32), 0, &index.0.to_le_bytes())
    }
}

fn record(crc: Crc32c, kind: Kind, term: u32, index: u64, flags: u8, payload: &[u8]) -> Vec<u8> {
    let (len, index_low) = (payload.len() as u16, index as u32);
    let header = Header { checksum: 0, term, index_low, len, kind, flags };
    let checksum = Checksum::new(CLUSTER.0, crc).of(&header, (index >> 32) as u32, payload);
    let mut bytes = [&Header { checksum, ..header }.encode()[..], payload].concat();
    bytes.resize(record_size(payload.len()), 0);
    bytes
}
