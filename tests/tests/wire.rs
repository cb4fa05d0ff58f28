//! The format of `core/WIRE.md`: its vectors in both directions, and everything a link can do to them.

use quoring_core::wire::{
    APPEND_HEADER, Append, AppendAnswer, AppendRefusal, CHUNK_HEADER, CampaignNow, Confirm, Envelope, FORWARD_HEADER,
    Forward, ForwardAnswer, FrameError, HEADER, InstallSnapshot, Intake, Item, Items, Message, Read, ReadAnswer,
    SnapshotAnswer, VERSION, VoteAnswer, VoteRequest,
};
use quoring_core::{
    Capabilities, ClientId, ClusterId, EntryId, LogIndex, NodeId, NodeSet, Recovery, Rejection, RequestId, Snapshot,
    Term,
};
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

/// Number `number` of the clients of boot 3 of node 2.
fn client(number: u64) -> ClientId {
    ClientId(2 << 56 | 3 << 24 | number)
}

fn item(kind: Kind, more: bool, request: RequestId, command: &[u8]) -> Vec<u8> {
    let mut bytes = [0; 64];
    let len = Item::encode(kind, more, &request.encode(), command, &mut bytes).expect("it fits");
    bytes[..len].to_vec()
}

/// Two items of one batch: of the stream that is the window itself, and of a session.
fn items() -> Vec<u8> {
    let (stream, session) = (request(client(1), 4), request(client(2), 9));
    [item(Kind::Stream, true, stream, b"on"), item(Kind::Session, false, session, b"off")].concat()
}

const fn request(client: ClientId, sequence: u32) -> RequestId {
    RequestId { client, sequence, table: 0 }
}

/// The bytes of the records of the vector at this place.
fn records(vectors: &[(String, Vec<u8>)], place: usize) -> Vec<u8> {
    vectors[place].1[APPEND_HEADER..].to_vec()
}

/// The vectors of appends with records.
const WITH_RECORDS: [usize; 2] = [5, 20];

/// What the vectors say: sender, term, message.
fn messages<'b>(records: [&'b [u8]; 2], items: &'b [u8]) -> Vec<(u8, u32, Message<'b>)> {
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
    let confirm = Confirm { round: 0x0A0B_0C0D, capabilities: Capabilities::CLIENTS };
    let read = Read { boot: 3, round: 5 };
    let by_leave = VoteRequest { term: Term(8), last: LogIndex(9), last_term: Term(7) };
    let opening = Forward { client: client(1), first: 0, capabilities: Capabilities::CLIENTS, items: &[] };
    let taken = ForwardAnswer { client: client(1), next: 6, state: Intake::Open };
    let with =
        |records: &'b [u8]| Message::Append(Append { respond: false, bytes: records.len() as u16, records, ..append });
    vec![
        (1, 6, Message::PreVote(request)),
        (1, 7, Message::Vote(request)),
        (2, 6, Message::PreVoteAnswer(VoteAnswer { term: Term(7), granted: true })),
        (2, 8, Message::VoteAnswer(VoteAnswer { term: Term(8), granted: false })),
        (1, 7, Message::Append(append)),
        (1, 7, with(records[0])),
        (2, 7, Message::AppendAnswer(answer)),
        (2, 7, Message::AppendRefusal(refusal)),
        (1, 7, Message::InstallSnapshot(chunk)),
        (2, 7, Message::SnapshotAnswer(received)),
        (1, 7, Message::Confirm(confirm)),
        (2, 7, Message::ConfirmAnswer(confirm)),
        (2, 7, Message::Read(read)),
        (1, 7, Message::ReadAnswer(ReadAnswer { read, index: LogIndex(9) })),
        (1, 7, Message::CampaignNow(CampaignNow { last: LogIndex(9) })),
        (2, 8, Message::VoteByLeave(by_leave)),
        (2, 7, Message::Forward(opening)),
        (2, 7, Message::Forward(Forward { first: 4, items, ..opening })),
        (1, 7, Message::ForwardAnswer(taken)),
        (1, 7, Message::ForwardAnswer(ForwardAnswer { next: 4, state: Intake::Rejected(Rejection(9)), ..taken })),
        (1, 7, with(records[1])),
    ]
}

/// The bytes before the records, or before a piece of a snapshot: those that the message itself writes.
fn fixed(frame: &[u8]) -> usize {
    match frame[5] {
        5 => APPEND_HEADER,
        8 => CHUNK_HEADER,
        _ => frame.len(),
    }
}

/// The bytes that the frame's checksum covers.
fn covered(frame: &[u8]) -> usize {
    match frame[5] {
        16 => FORWARD_HEADER,
        _ => fixed(frame),
    }
}

#[test]
fn the_page_and_the_code_say_the_same() {
    let vectors = vectors();
    let (records, items) = (WITH_RECORDS.map(|place| records(&vectors, place)), items());
    let messages = messages([&records[0], &records[1]], &items);
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
    let (session, stream) = (request(client(1), 5), request(client(2), 0));
    let named = [[&session.encode()[..], b"on"].concat(), [&stream.encode()[..], b"off"].concat()];
    let expected = [
        [(Kind::NoOp, 10, &b""[..]), (Kind::Command, 11, b"on")],
        [(Kind::Session, 10, &named[0]), (Kind::Stream, 11, &named[1])],
    ];
    for (place, expected) in WITH_RECORDS.into_iter().zip(expected) {
        let bytes = records(&vectors(), place);
        let records: Vec<_> = Records::new(&bytes).map(|record| record.expect("whole records")).collect();
        let told: Vec<_> =
            records.iter().map(|record| (record.header.kind, record.header.index_low, record.payload)).collect();
        assert_eq!(told, expected);
        let checksum = Checksum::new(CLUSTER.0, DEFAULT_CRC32C);
        assert!(records.iter().all(|record| checksum.verify(record, 0).is_ok()));
        assert!(records.iter().all(|record| checksum.verify(record, 1).is_err()), "of another 2^32 of the index");
    }
    assert_eq!(RequestId::decode(&named[0]), Some((session, &b"on"[..])));
}

/// covers: C10
#[test]
fn items_in_a_forward_are_the_payloads_of_their_entries() {
    let bytes = items();
    let mut items = Items::new(&bytes);
    let told: Vec<_> = items
        .by_ref()
        .map(|item| (item.kind, item.more, RequestId::decode(item.payload).expect("a request")))
        .collect();
    let expected = [
        (Kind::Stream, true, (request(client(1), 4), &b"on"[..])),
        (Kind::Session, false, (request(client(2), 9), b"off")),
    ];
    assert_eq!((told.as_slice(), items.rest()), (&expected[..], 0));
    assert_eq!((client(1).node(), client(1).boot()), (NodeId::new(2), 3));
}

/// Whatever is wrong with one item, no item of the frame is looked at.
/// covers: T5
#[test]
fn a_forward_with_one_malformed_item_is_refused_as_a_whole() {
    let (node, sound) = (envelope(1), items());
    let seal = |items: &[u8]| {
        let forward = Forward { client: client(1), first: 4, capabilities: Capabilities::NONE, items };
        let mut buffer = [0; 128];
        let len = envelope(2).seal(node.node, Term(7), &Message::Forward(forward), &mut buffer).expect("it fits");
        buffer[..len].to_vec()
    };
    assert!(node.open(&seal(&sound)).is_ok());
    for cut in (1..sound.len()).filter(|&cut| cut != 22) {
        assert_eq!(node.open(&seal(&sound[..cut])), Err(FrameError::Malformed), "cut to {cut}");
    }
    let with = |at: usize, value: u8| {
        let mut items = sound.clone();
        items[at] = value;
        seal(&items)
    };
    for kind in (0..=u8::MAX).filter(|&kind| kind != Kind::Session as u8 && kind != Kind::Stream as u8) {
        assert_eq!(node.open(&with(24, kind)), Err(FrameError::Malformed), "kind {kind}");
    }
    for flags in 2..=u8::MAX {
        assert_eq!(node.open(&with(25, flags)), Err(FrameError::Malformed), "flags {flags}");
    }
    assert_eq!(node.open(&with(23, 0xFF)), Err(FrameError::Malformed), "longer than the frame");
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
    let bytes = &vectors()[WITH_RECORDS[0]].1;
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
        for kind in (0..=u8::MAX).filter(|kind| !(1..=17).contains(kind)) {
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
    let (title, bytes) = &vectors[18];
    for state in 5..=u8::MAX {
        assert_eq!(envelope(2).open(&with(bytes, 28, state)), Err(FrameError::Malformed), "{title}, state {state}");
    }
}

#[test]
fn reserved_fields_are_not_looked_at() {
    let vectors = vectors();
    for (vector, at) in [(4, 44), (5, 44), (7, 44), (9, 36), (18, 30), (18, 31), (18, 29)] {
        let (title, bytes) = &vectors[vector];
        let node = envelope(bytes[7]);
        assert_eq!(node.open(&with(bytes, at, 0xFF)), node.open(bytes), "{title}");
    }
}

#[test]
fn a_buffer_one_byte_too_short_takes_no_frame() {
    let items = items();
    for (from, term, message) in messages([&[]; 2], &items) {
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
            bytes[4..12].copy_from_slice(&[VERSION, random.below(18) as u8, 1, 2, 0xEE, 0xFF, 0xC0, 0]);
        }
        assert!(node.open(&bytes).is_err());
    }
}

/// The frame with another byte at this place, and the checksum that it then has.
fn with(bytes: &[u8], at: usize, value: u8) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[at] = value;
    let checksum = DEFAULT_CRC32C(0, &changed[4..covered(bytes)]);
    changed[..4].copy_from_slice(&checksum.to_le_bytes());
    changed
}
