//! The wire format and the checksum.

use std::hint::black_box;

use quoring_core::wire::{APPEND_HEADER, Append, AppendAnswer, Envelope, Message, VoteRequest};
use quoring_core::{LogIndex, NodeId, Term};
use quoring_ring::{Crc32c, DEFAULT_CRC32C, record_size, software_crc32c};

use super::{OPERATIONS, Part};
use crate::record::{self, CLUSTER};

const TERM: Term = Term(3);
const COMMAND: usize = 32;
const BUFFER: usize = 256;
const _: () = assert!(APPEND_HEADER + record_size(COMMAND) <= BUFFER, "every frame fits");

/// What a frame says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One entry of 32 bytes.
    Append,
    /// How far a follower has come.
    Answer,
    /// "Vote for me."
    Vote,
}

impl Kind {
    fn message(self, records: &[u8]) -> Message<'_> {
        let (index, session) = (LogIndex(7), 11);
        match self {
            Self::Append => Message::Append(Append {
                prev: index,
                prev_term: TERM,
                commit: index,
                session,
                respond: true,
                bytes: records.len() as u16,
                records,
            }),
            Self::Answer => {
                Message::AppendAnswer(AppendAnswer { session, room: 4096, matched: index, received: index })
            }
            Self::Vote => Message::Vote(VoteRequest { term: TERM, last: index, last_term: TERM }),
        }
    }

    /// The records that travel behind the frame's fixed part.
    fn records(self) -> Vec<u8> {
        match self {
            Self::Append => record::entry(8, &record::command(COMMAND)),
            Self::Answer | Self::Vote => Vec::new(),
        }
    }
}

fn node(id: u8) -> NodeId {
    NodeId::new(id).expect("a small number")
}

fn envelope(id: u8) -> Envelope {
    Envelope { cluster: CLUSTER, node: node(id), crc: DEFAULT_CRC32C }
}

/// A frame is written and gets its checksum; records, if any, go behind it.
#[derive(Debug)]
pub struct Encode {
    kind: Kind,
    records: Vec<u8>,
    buffer: Vec<u8>,
    len: usize,
}

impl Encode {
    /// A frame of this kind.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self { kind, records: kind.records(), buffer: vec![0; BUFFER], len: 0 }
    }
}

impl Part for Encode {
    fn run(&mut self) {
        let envelope = black_box(envelope(0));
        for _ in 0..OPERATIONS {
            let message = black_box(self.kind).message(&self.records);
            let header = envelope.seal(node(1), TERM, &message, &mut self.buffer).expect("a large buffer");
            self.len = header + self.records.len();
            self.buffer[header..self.len].copy_from_slice(&self.records);
            black_box(&mut self.buffer);
        }
    }

    fn check(&mut self) {
        let frame = envelope(1).open(&self.buffer[..self.len]).expect("a sound frame");
        assert_eq!(frame.message, self.kind.message(&self.records), "it says what it should");
        self.len = 0;
        self.buffer.fill(0);
    }
}

/// A frame is checked and read; its records, if any, have checksums of their own and are not looked at.
#[derive(Debug)]
pub struct Decode {
    kind: Kind,
    records: Vec<u8>,
    frame: Vec<u8>,
    sound: u64,
}

impl Decode {
    /// A frame of this kind.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        let mut encode = Encode::new(kind);
        encode.run();
        encode.buffer.truncate(encode.len);
        Self { kind, records: encode.records, frame: encode.buffer, sound: 0 }
    }
}

impl Part for Decode {
    fn run(&mut self) {
        let envelope = black_box(envelope(1));
        for _ in 0..OPERATIONS {
            let frame = black_box(envelope.open(black_box(&self.frame)));
            self.sound += u64::from(frame.is_ok_and(|frame| frame.term == TERM));
        }
    }

    fn check(&mut self) {
        assert_eq!(self.sound, OPERATIONS, "all were sound");
        let frame = envelope(1).open(&self.frame).expect("a sound frame");
        assert_eq!(frame.message, self.kind.message(&self.records), "it says what it should");
        self.sound = 0;
    }
}

/// The CRC-32C of so many bytes.
#[derive(Debug)]
pub struct Checksum {
    crc: Crc32c,
    /// Another way to the same sum.
    other: Crc32c,
    bytes: Vec<u8>,
    sum: u32,
}

impl Checksum {
    /// By the host's instruction.
    #[must_use]
    pub fn of_host(bytes: usize) -> Self {
        Self { crc: DEFAULT_CRC32C, other: software_crc32c, bytes: record::command(bytes), sum: 0 }
    }

    /// By a table, as where there is no such instruction.
    #[must_use]
    pub fn by_table(bytes: usize) -> Self {
        Self { crc: software_crc32c, other: DEFAULT_CRC32C, bytes: record::command(bytes), sum: 0 }
    }
}

impl Part for Checksum {
    fn run(&mut self) {
        for _ in 0..OPERATIONS {
            self.sum = black_box(self.crc)(self.sum, black_box(&self.bytes));
        }
    }

    fn check(&mut self) {
        let all = self.bytes.repeat(OPERATIONS as usize);
        assert_eq!(self.sum, (self.other)(0, &all), "both ways lead to the same sum");
        self.sum = 0;
    }
}
