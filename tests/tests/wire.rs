//! The format of `core/WIRE.md`: its vectors in both directions, and everything a link can do to them.

use quoring_core::wire::{
    APPEND_HEADER, Append, AppendAnswer, AppendRefusal, CHUNK_HEADER, Envelope, FrameError, HEADER, InstallSnapshot,
    Message, SnapshotAnswer, VERSION, VoteAnswer, VoteRequest,
};
use quoring_core::{ClusterId, EntryId, LogIndex, NodeId, NodeSet, Recovery, Snapshot, Term};
use quoring_ring::{Checksum, DEFAULT_CRC32C, Header, Kind, Record, Records};
use quoring_tests::random::Random;

const PAGE: &str = include_str!("../../core/WIRE.md");
const CLUSTER: ClusterId = ClusterId(0xC0_FFEE);

fn envelope(node: u8) -> Envelope {
    Envelope { cluster: CLUSTER, node: NodeId::new(node).expect("0..=31"), crc: DEFAULT_CRC32C }
}

/// The vectors of the page, in its order.
fn vectors() -> Vec<(String, Vec<u8>)> {
    let blocks = PAGE.split("```vector ").skip(1).filter_map(|block| block.split_once("```")?.0.split_once('\n'));
    let bytes = |text: &str| -> Vec<u8> {
        let digits: Vec<_> = text.chars().filter(char::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hex digits"))
            .collect()
    };
    blocks.map(|(title, text)| (title.into(), bytes(text))).collect()
}

/// What the vectors say: sender, term, message.
fn messages(records: &[u8]) -> Vec<(u8, u32, Message<'_>)> {
    let request = VoteRequest { term: Term(7), last: LogIndex(9), last_term: Term(5) };
    let append = Append {
        prev: LogIndex(9),
        prev_term: Term(5),
        commit: LogIndex(8),
        session: 0x0A0B_0C0D,
        respond: true,
        bytes: 0,
        records: &[],
    };
    let answer = AppendAnswer { session: 0x0A0B_0C0D, room: 4096, matched: LogIndex(9), received: LogIndex(11) };
    let refusal = AppendRefusal {
        session: 0x0A0B_0C0D,
        room: 4096,
        rejected: LogIndex(9),
        hint: LogIndex(6),
        hint_term: Term(4),
    };
    let snapshot = Snapshot {
        last: EntryId { term: Term(5), index: LogIndex(9) },
        length: 24,
        checksum: 0x98614D82,
        voters: NodeSet::from_bits(0b111),
    };
    let chunk = InstallSnapshot { snapshot, offset: 0, session: 0x0A0B_0C0D, data: b"state of nodes, " };
    let received = SnapshotAnswer { session: 0x0A0B_0C0D, last: LogIndex(9), received: 16 };
    vec![
        (1, 6, Message::PreVote(request)),
        (1, 7, Message::Vote(request)),
        (2, 6, Message::PreVoteAnswer(VoteAnswer { term: Term(7), granted: true })),
        (2, 8, Message::VoteAnswer(VoteAnswer { term: Term(8), granted: false })),
        (1, 7, Message::Append(append)),
        (1, 7, Message::Append(Append { respond: false, bytes: records.len() as u16, records, ..append })),
        (2, 7, Message::AppendAnswer(answer)),
        (2, 7, Message::AppendRefusal(refusal)),
        (1, 7, Message::InstallSnapshot(chunk)),
        (2, 7, Message::SnapshotAnswer(received)),
    ]
}

/// The bytes before the records.
fn fixed(frame: &[u8]) -> usize {
    match frame[5] {
        5 => APPEND_HEADER,
        8 => CHUNK_HEADER,
        _ => frame.len(),
    }
}

#[test]
fn the_page_and_the_code_say_the_same() {
    let vectors = vectors();
    let records = vectors[5].1[APPEND_HEADER..].to_vec();
    let messages = messages(&records);
    assert_eq!(vectors.len(), messages.len(), "a vector for every kind");
    for ((title, bytes), (from, term, message)) in vectors.iter().zip(messages) {
        let to = 3 - from;
        let frame = envelope(to).open(bytes).unwrap_or_else(|error| panic!("{title}: {error}"));
        let sender = NodeId::new(from).expect("0..=31");
        assert_eq!((frame.from, frame.term, frame.message), (sender, Term(term), message), "{title}");
        let mut buffer = [0xAA; 128];
        let len = envelope(from).seal(envelope(to).node, Term(term), &message, &mut buffer).expect("it fits");
        assert_eq!(buffer[..len], bytes[..fixed(bytes)], "{title}");
        assert!(title.contains(&format!("from {from} to {to} in term {term}:")), "{title}");
    }
}

#[test]
fn records_in_a_frame_are_those_of_the_log() {
    let bytes = &vectors()[5].1;
    let records: Vec<_> = Records::new(&bytes[APPEND_HEADER..]).map(|record| record.expect("whole records")).collect();
    let told: Vec<_> =
        records.iter().map(|record| (record.header.kind, record.header.index_low, record.payload)).collect();
    assert_eq!(told, [(Kind::NoOp, 10, &b""[..]), (Kind::Command, 11, b"on")]);
    let checksum = Checksum::new(CLUSTER.0, DEFAULT_CRC32C);
    assert!(records.iter().all(|record| checksum.verify(record, 0).is_ok()));
    assert!(records.iter().all(|record| checksum.verify(record, 1).is_err()), "of another 2^32 of the index");
}

/// covers: T2, T5
#[test]
fn a_frame_cut_or_stretched_anywhere_is_refused() {
    for (title, bytes) in vectors() {
        let node = envelope(bytes[7]);
        for len in 0..bytes.len() {
            assert_eq!(node.open(&bytes[..len]), Err(FrameError::Length), "{title}, cut to {len}");
        }
        for more in 1..20 {
            let longer = [&bytes[..], &vec![0; more]].concat();
            assert_eq!(node.open(&longer), Err(FrameError::Length), "{title}, stretched by {more}");
        }
    }
}

/// covers: T2
#[test]
fn every_flip_of_one_or_two_bits_is_refused() {
    for (title, bytes) in vectors() {
        let (node, bits) = (envelope(bytes[7]), fixed(&bytes) * 8);
        let mut broken = bytes.clone();
        for first in 0..bits {
            broken[first / 8] ^= 1 << (first % 8);
            assert!(node.open(&broken).is_err(), "{title}, bit {first}");
            for second in first + 1..bits {
                broken[second / 8] ^= 1 << (second % 8);
                assert!(node.open(&broken).is_err(), "{title}, bits {first} and {second}");
                broken[second / 8] ^= 1 << (second % 8);
            }
            broken[first / 8] ^= 1 << (first % 8);
        }
        assert_eq!(broken, bytes);
    }
}

/// The frame may be taken, the record may not.
/// covers: T2
#[test]
fn every_flip_of_a_bit_in_a_record_is_seen_by_the_record() {
    let bytes = &vectors()[5].1;
    let checksum = Checksum::new(CLUSTER.0, DEFAULT_CRC32C);
    for bit in APPEND_HEADER * 8..bytes.len() * 8 {
        let mut broken = bytes.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        let frame = envelope(2).open(&broken).expect("its fixed part is whole");
        let Message::Append(append) = frame.message else { panic!("an append stays one") };
        let whole = Records::new(append.records)
            .filter(|record| record.is_ok_and(|record| checksum.verify(&record, 0).is_ok()));
        assert!(whole.count() < 2, "bit {bit}");
    }
}

/// A store hands back what its medium holds. A vote has nothing beside its checksum that tells it from another.
/// covers: T2, E2
#[test]
fn every_flip_of_one_or_two_bits_in_a_stored_vote_is_seen() {
    let mut header = Header { checksum: 0, term: 5, index_low: 0, len: 0, kind: Kind::Vote, flags: 0x81 };
    header.checksum = Checksum::new(CLUSTER.0, DEFAULT_CRC32C).of(&header, 0, &[]);
    let sound = header.encode();
    let recovers = |bytes: &[u8]| {
        let mut recovery = Recovery::new(CLUSTER, DEFAULT_CRC32C);
        Record::parse(bytes).is_ok_and(|record| recovery.record(&record).is_ok())
    };
    assert!(recovers(&sound));
    for (first, second) in (0..128).flat_map(|first| (first..128).map(move |second| (first, second))) {
        let mut broken = sound;
        broken[first / 8] ^= 1 << (first % 8);
        if first != second {
            broken[second / 8] ^= 1 << (second % 8);
        }
        assert!(!recovers(&broken), "bits {first} and {second}");
    }
}

/// covers: T3
#[test]
fn frames_of_other_clusters_versions_kinds_and_nodes_are_refused() {
    for (title, bytes) in vectors() {
        let (node, other) = (envelope(bytes[7]), ClusterId(CLUSTER.0 ^ 1));
        assert_eq!(Envelope { cluster: other, ..node }.open(&bytes), Err(FrameError::Cluster(CLUSTER)), "{title}");
        assert_eq!(envelope(3).open(&bytes), Err(FrameError::Address), "{title}, for another");
        assert_eq!(envelope(bytes[6]).open(&bytes), Err(FrameError::Address), "{title}, from oneself");
        for version in (0..=u8::MAX).filter(|&version| version != VERSION) {
            assert_eq!(node.open(&with(&bytes, 4, version)), Err(FrameError::Version(version)), "{title}");
        }
        for kind in (0..=u8::MAX).filter(|kind| !(1..=9).contains(kind)) {
            assert_eq!(node.open(&with(&bytes, 5, kind)), Err(FrameError::Malformed), "{title}, kind {kind}");
        }
        for from in 32..=u8::MAX {
            assert_eq!(node.open(&with(&bytes, 6, from)), Err(FrameError::Address), "{title}, from {from}");
        }
    }
}

/// covers: T5
#[test]
fn a_flag_that_is_neither_zero_nor_one_is_refused() {
    let vectors = vectors();
    for (vector, at) in [(2, 20), (3, 20), (4, 42), (5, 42)] {
        let (title, bytes) = &vectors[vector];
        let node = envelope(bytes[7]);
        for value in 2..=u8::MAX {
            assert_eq!(node.open(&with(bytes, at, value)), Err(FrameError::Malformed), "{title}, flag {value}");
        }
        assert_eq!(node.open(&with(bytes, at + 1, 1)), Err(FrameError::Malformed), "{title}, flag 256");
    }
}

#[test]
fn reserved_fields_are_not_looked_at() {
    let vectors = vectors();
    for vector in [4, 5, 7] {
        let (title, bytes) = &vectors[vector];
        let node = envelope(bytes[7]);
        assert_eq!(node.open(&with(bytes, 44, 0xFF)), node.open(bytes), "{title}");
    }
}

#[test]
fn a_buffer_one_byte_too_short_takes_no_frame() {
    let records = [];
    for (from, term, message) in messages(&records) {
        let mut buffer = [0; 128];
        let seal = |buffer: &mut [u8]| envelope(from).seal(envelope(3 - from).node, Term(term), &message, buffer);
        let len = seal(&mut buffer).expect("it fits");
        assert_eq!(seal(&mut buffer[..len]), Some(len));
        assert!((0..len).all(|short| seal(&mut buffer[..short]).is_none()), "{message:?}");
    }
}

/// covers: T5
#[test]
fn random_bytes_are_refused_without_a_panic() {
    let mut random = Random::new(1);
    let node = envelope(2);
    for round in 0..100_000_u32 {
        let mut bytes: Vec<u8> = (0..random.below(120)).map(|_| random.word() as u8).collect();
        // Half of them look right up to the checksum.
        if round % 2 == 0 && bytes.len() >= HEADER {
            bytes[4..12].copy_from_slice(&[VERSION, random.below(9) as u8, 1, 2, 0xEE, 0xFF, 0xC0, 0]);
        }
        assert!(node.open(&bytes).is_err());
    }
}

/// The frame with another byte at this place, and the checksum that it then has.
fn with(bytes: &[u8], at: usize, value: u8) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[at] = value;
    let fixed = fixed(bytes);
    let checksum = DEFAULT_CRC32C(0, &changed[4..fixed]);
    changed[..4].copy_from_slice(&checksum.to_le_bytes());
    changed
}
