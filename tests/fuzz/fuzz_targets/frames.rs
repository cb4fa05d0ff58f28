//! Frames and the node's own inputs, in any order and with any content, against a live core (T5, scenario 60): nothing panics, and nothing
//! that a frame says takes back a term, a commit or a committed entry.
//!
//! All checksums are zero here, so that the fuzzer gets past them.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use quoring_core::wire::{HEADER, VERSION};
use quoring_core::{
    Closed, ClusterId, Config, EntryId, Handled, Instant, LogIndex, NodeId, NodeSet, Peer, Raft, ReadRound, Recovered,
    RequestId, Space, Status, Stored, Term, Transmit,
};
use quoring_ring::{Applier, Checksum, Flusher, Handles, Kind, Origin, Records, Storage, extend};

const CLUSTER: ClusterId = ClusterId(7);
const FRAME: usize = 256;

/// What happens to the node.
#[derive(Arbitrary, Debug)]
enum Step<'i> {
    /// A frame for this node; its term is this far from the node's own.
    Frame { kind: u8, from: u8, term: i8, body: &'i [u8] },
    /// Bytes.
    Bytes(&'i [u8]),
    /// The deadline has come, and so many milliseconds.
    Time(u16),
    /// A client proposes so many bytes.
    Propose(u8),
    /// A client wants to read; what it is told then, it can.
    Read,
    /// A client opens the window to the leader, or closes it.
    Window { open: bool },
    /// So many commands of so many bytes go into the window, as one batch.
    Forward { count: u8, len: u8 },
    /// The node hands over, if it leads.
    Transfer { to: u8 },
    /// What is accepted becomes durable.
    Flush,
    /// What is committed is applied.
    Apply,
    /// Whatever is due is sent.
    Transmit,
    /// The store has so much room.
    Room(u16),
    /// The store does with the next chunks of a snapshot as it must.
    Store(Fate),
}

/// What becomes of a chunk.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Fate {
    Stored,
    Broken,
    TooLarge,
}

/// The node and what is known of its log.
struct Node<'a> {
    raft: Raft<'a>,
    flusher: Flusher<'a>,
    applier: Applier<'a>,
    log: Log,
    fate: Fate,
    now: Instant,
    /// Clients that wait.
    reads: Vec<ReadRound>,
}

/// The terms of what was accepted, by index.
#[derive(Default)]
struct Log {
    start: EntryId,
    terms: BTreeMap<u64, Term>,
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let crc = |_, _: &[u8]| 0;
    let id = NodeId::new(1).expect("a small number");
    let config =
        Config { crc, snapshot_after: 16, lease_drift: Some(100), ..Config::new(id, CLUSTER, NodeSet::first(3)) };
    let mut storage = Storage::<64, 16>::new();
    let Handles { writer, flusher, applier, .. } = storage.split(Origin::default(), Checksum::new(CLUSTER.0, crc));
    let mut peers = [Peer::EMPTY; 2];
    let mut window = [0; 200];
    let mut raft =
        Raft::new(config, FRAME, Recovered::default(), writer, &mut peers, Instant(0)).expect("a sane configuration");
    raft.lend_window(&mut window, true);
    let mut node =
        Node { raft, flusher, applier, log: Log::default(), fate: Fate::Stored, now: Instant(0), reads: Vec::new() };
    for step in &steps {
        node.play(step);
    }
});

impl Node<'_> {
    fn play(&mut self, step: &Step<'_>) {
        let before = self.raft.status();
        let committed = self.log.terms_up_to(before.committed);
        self.act(step, &before);
        self.log.absorb(&self.flusher);
        self.raft.assert_invariants();
        let after = self.raft.status();
        assert!(after.term >= before.term && after.committed >= before.committed, "{before:?} {after:?}");
        assert!(!after.accepted.precedes(before.accepted), "{before:?} {after:?}");
        assert_eq!(self.log.last(), after.last, "the log is what was accepted");
        let window = self.raft.window();
        let (left, unsent) = (window.next.wrapping_sub(window.accepted), window.next.wrapping_sub(window.sent));
        assert!(unsent <= left, "what was not sent was not accepted: {window:?}");
        self.reads.retain(|&round| self.raft.poll_read(round).is_none());
        for (index, term) in committed {
            assert!(
                index <= self.log.start.index.0 || self.log.terms.get(&index) == Some(&term),
                "{index} was committed"
            );
        }
        while self.raft.poll_event().is_some() {}
    }

    fn act(&mut self, step: &Step<'_>, status: &Status) {
        match *step {
            Step::Frame { kind, from, term, body } => {
                let term = status.term.0.wrapping_add_signed(term.into());
                let mut frame = vec![0, 0, 0, 0, VERSION, kind % 20, from % 4, 1];
                frame.extend(CLUSTER.0.to_le_bytes());
                frame.extend(term.to_le_bytes());
                assert_eq!(frame.len(), HEADER);
                frame.extend(body);
                self.receive(&frame);
            }
            Step::Bytes(bytes) => self.receive(bytes),
            Step::Time(millis) => {
                self.now = Instant(self.now.0 + u64::from(millis));
                self.raft.handle_timeout(self.now);
            }
            Step::Propose(len) => drop(self.raft.propose(&[0xA5; 255][..len.into()])),
            Step::Read => self.reads.extend(self.raft.read(self.now).ok()),
            Step::Window { open: true } => drop(self.raft.open_window(self.now)),
            Step::Window { open: false } => self.raft.close_window(Closed::Owner),
            Step::Forward { count, len } => {
                let (window, command) = (self.raft.window(), &[0xA5; 255][..len.into()]);
                let request = |number| RequestId { client: window.client, sequence: number, table: 0 };
                let requests = (0..u32::from(count)).map(|more| (request(window.next.wrapping_add(more)), command));
                let _ = self.raft.forward(self.now, Kind::Stream, requests);
            }
            Step::Transfer { to } => drop(self.raft.transfer(self.now, NodeId::new(to % 4))),
            Step::Flush => {
                let end = self.raft.accepted();
                self.flusher.publish(end);
                self.raft.handle_flushed(self.now);
            }
            Step::Apply => self.apply(status),
            Step::Transmit => self.transmit(),
            Step::Room(free) => {
                let start = self.raft.may_purge().min(status.applied);
                self.raft.handle_space(&Space { capacity: 1 << 16, free: free.into(), start });
            }
            Step::Store(fate) => self.fate = fate,
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        for _ in 0..bytes.len() + 2 {
            match self.raft.handle_message(self.now, bytes) {
                Ok(Handled::NeedsTerm(index)) => {
                    let term = self.log.term(index).expect("forgotten terms are of entries that were accepted");
                    self.raft.recall(index, term);
                }
                Ok(Handled::Chunk(chunk)) => {
                    let stored = match self.fate {
                        Fate::Stored => Stored::Yes,
                        Fate::Broken => Stored::Broken,
                        Fate::TooLarge => Stored::TooLarge,
                    };
                    return self.raft.handle_chunk(self.now, &chunk, stored);
                }
                Ok(Handled::Done) | Err(_) => return,
            }
        }
        panic!("it asks for terms without end");
    }

    /// The application takes what it may, or restores the snapshot that took the place of what is gone.
    fn apply(&mut self, status: &Status) {
        if status.start > status.applied {
            self.raft.handle_restored(status.snapshot);
            self.applier.publish(status.snapshot.0);
        } else {
            self.applier.publish(status.committed.min(status.durable).0);
        }
    }

    /// Every frame is lost.
    fn transmit(&mut self) {
        let mut frame = [0; FRAME];
        for peer in [0, 2].into_iter().cycle().take(64) {
            let peer = NodeId::new(peer).expect("a small number");
            match self.raft.poll_transmit(self.now, peer, &mut frame) {
                None => {}
                Some(Transmit::Frame(len)) => assert!(len <= FRAME),
                Some(Transmit::FromRing(batch)) => self.raft.unsent(self.now, &batch),
                Some(Transmit::FromStore(batch)) => self.raft.postpone(self.now, &batch),
                Some(Transmit::FromSnapshot(batch)) => drop(self.raft.seal_chunk(self.now, &batch, &mut frame)),
            }
        }
    }
}

impl Log {
    /// Takes note of the records that are not durable yet; those seen before change nothing.
    fn absorb(&mut self, flusher: &Flusher<'_>) {
        let mut bytes = [0; 64 * 8];
        let batch = flusher.gather(&mut bytes);
        for record in Records::new(&bytes[..batch.bytes]) {
            let record = record.expect("the ring holds whole records");
            let term = Term(record.header.term);
            match record.header.kind {
                Kind::Vote => {}
                Kind::Start => {
                    let index = LogIndex(record.start().expect("it says so"));
                    (self.start, self.terms) = (EntryId { term, index }, BTreeMap::new());
                }
                _ => {
                    let index = extend(self.last().0, record.header.index_low);
                    self.terms.retain(|&kept, _| kept < index);
                    self.terms.insert(index, term);
                }
            }
        }
    }

    fn last(&self) -> LogIndex {
        LogIndex(self.terms.last_key_value().map_or(self.start.index.0, |(&index, _)| index))
    }

    fn term(&self, index: LogIndex) -> Option<Term> {
        if index == self.start.index { Some(self.start.term) } else { self.terms.get(&index.0).copied() }
    }

    fn terms_up_to(&self, index: LogIndex) -> Vec<(u64, Term)> {
        self.terms.range(..=index.0).map(|(&index, &term)| (index, term)).collect()
    }
}
