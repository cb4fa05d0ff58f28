//! Whole, undamaged frames from members that say anything at all, against a live core in every role (scenario 60).

use quoring_core::wire::{
    Append, AppendAnswer, AppendRefusal, CampaignNow, Confirm, Envelope, Forward, ForwardAnswer, InstallSnapshot,
    Intake, Item, Message, Read, ReadAnswer, SnapshotAnswer, VoteAnswer, VoteRequest,
};
use quoring_core::{
    Capabilities, ClientId, EntryId, Instant, LogIndex, NodeId, NodeSet, Rejection, RequestId, Snapshot, Status, Term,
};
use quoring_ring::{Checksum, DEFAULT_CRC32C, Header, Kind, record_size};
use quoring_tests::cluster::CLUSTER;
use quoring_tests::node::Node;
use quoring_tests::random::Random;
use quoring_tests::script::Player;

/// How the node under test, node 2, comes to its role in a term above 1. Its log is 1-1 to 1-3 and then 2-4, all committed up to 1-3 at least.
const ROLES: [(&str, &[&str]); 10] = [
    ("follower", &["elect 1", "settle", "propose 1 x"]),
    ("leader", &["elect 2", "settle", "propose 2 x"]),
    ("pre-candidate", &["elect 1", "settle", "wait 3000", "timeout 2"]),
    ("candidate", &["elect 1", "settle", "wait 3000", "timeout 2", "deliver 2>3", "deliver 3>2"]),
    ("waiting", &["elect 1", "settle", "crash 2", "start 2"]),
    (
        "purged leader",
        &["elect 2", "settle", "run 200", "save 2 300 bytes", "purge 2", "propose 2 x", "wait 100", "timeout 2"],
    ),
    ("purged follower", &["elect 1", "settle", "run 200", "save 2 300 bytes", "purge 2", "propose 1 x"]),
    (
        "leader of clients",
        &["elect 2", "settle", "open 1", "run 300", "forward 1 a", "settle", "cut 2>3", "read 2", "read 1"],
    ),
    ("leader that hands over", &["elect 2", "settle", "open 1", "run 300", "propose 2 x", "transfer 2 to 3"]),
    ("follower with clients", &["elect 1", "settle", "open 2", "run 300", "forward 2 a b", "read 2", "wait 1"]),
];

/// Kinds of messages that carry entries, commands or pieces of snapshots; the others are below.
const APPEND: u64 = 16;
const CHUNK: u64 = 15;
const FORWARD: u64 = 14;
/// How many kinds there are.
const KINDS: u64 = 17;

/// The first client of the first boot of a node.
const fn client(node: u8) -> u64 {
    (node as u64) << 56 | 1 << 24 | 1
}

fn node(id: u8) -> NodeId {
    NodeId::new(id).expect("0..=31")
}

fn player(role: &[&str]) -> Player {
    let mut player = Player::default();
    let logs =
        ["cluster 1..3 ring 64x16", "log 1: 1 1 1, term 1", "log 2: 1 1 1, term 1", "log 3: 1 1 1, term 1", "start"];
    logs.iter().chain(role).for_each(|line| drop(player.play(line)));
    player
}

/// Values that a field may have, around what the node has and at the ends of its range.
const VALUES: [u64; 16] = [
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    100,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFE,
    0xFFFF_FFFF,
    1 << 32,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// A message of each kind, made of three numbers of 64 bits and two of 32, and of records, which as a piece of a snapshot are as good as any.
fn message(kind: u64, [a, b, c]: [u64; 3], [d, e]: [u32; 2], records: &[u8]) -> Message<'_> {
    let last = EntryId { term: Term(e), index: LogIndex(a) };
    let snapshot =
        Snapshot { last, length: b, checksum: DEFAULT_CRC32C(0, records), voters: NodeSet::from_bits(0b1110) };
    let request = VoteRequest { term: Term(d), last: LogIndex(a), last_term: Term(e) };
    match kind {
        0 => Message::PreVote(request),
        1 => Message::Vote(request),
        2 => Message::PreVoteAnswer(VoteAnswer { term: Term(d), granted: a % 2 == 0 }),
        3 => Message::VoteAnswer(VoteAnswer { term: Term(d), granted: a % 2 == 0 }),
        4 => Message::AppendAnswer(AppendAnswer { session: d, room: e, matched: LogIndex(a), received: LogIndex(b) }),
        5 => Message::AppendRefusal(AppendRefusal {
            session: d,
            room: e,
            rejected: LogIndex(a),
            hint: LogIndex(b),
            hint_term: Term(c as u32),
        }),
        6 => Message::SnapshotAnswer(SnapshotAnswer { session: d, last: LogIndex(a), received: b }),
        7 => Message::Confirm(Confirm { round: d, capabilities: Capabilities::from_bits(e) }),
        8 => Message::ConfirmAnswer(Confirm { round: d, capabilities: Capabilities::from_bits(e) }),
        9 => Message::Read(Read { boot: d, round: e }),
        10 => Message::ReadAnswer(ReadAnswer { read: Read { boot: d, round: e }, index: LogIndex(a) }),
        11 => Message::CampaignNow(CampaignNow { last: LogIndex(a) }),
        12 => Message::VoteByLeave(request),
        13 => {
            let state = [Intake::Open, Intake::GoOn, Intake::Unsupported, Intake::TooLarge]
                .get(c as usize)
                .copied()
                .unwrap_or(Intake::Rejected(Rejection(c as u8)));
            Message::ForwardAnswer(ForwardAnswer { client: ClientId(a), next: d, state })
        }
        FORWARD => Message::Forward(Forward {
            client: ClientId(a),
            first: d,
            capabilities: Capabilities::from_bits(e),
            items: records,
        }),
        CHUNK => Message::InstallSnapshot(InstallSnapshot { snapshot, offset: c, session: d, data: records }),
        _ => Message::Append(Append {
            prev: LogIndex(a),
            prev_term: Term(e),
            commit: LogIndex(b),
            session: d,
            respond: c % 2 == 0,
            bytes: records.len() as u16,
            records,
        }),
    }
}

/// Items of a stream, or of sessions for every third number, in batches of two.
fn items(client: u64, first: u64, count: u64) -> Vec<u8> {
    let item = |above: u64| {
        let sequence = first.wrapping_add(above) as u32;
        let request = RequestId { client: ClientId(client), sequence, table: 0 };
        let kind = if first % 3 == 2 { Kind::Session } else { Kind::Stream };
        let mut bytes = [0; 64];
        let more = above.is_multiple_of(2) && above + 1 < count;
        let len = Item::encode(kind, more, &request.encode(), b"evil", &mut bytes).expect("it fits");
        bytes[..len].to_vec()
    };
    (0..count).flat_map(item).collect()
}

/// Bytes of one of the records.
const PIECE: u64 = 32;

fn frame(from: u8, term: u32, message: &Message<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    let envelope = Envelope { cluster: CLUSTER, node: node(from), crc: DEFAULT_CRC32C };
    let len = envelope.seal(node(2), Term(term), message, &mut bytes).expect("it fits");
    bytes.truncate(len);
    match message {
        Message::Append(append) => bytes.extend(append.records),
        Message::InstallSnapshot(chunk) => bytes.extend(chunk.data),
        _ => {}
    }
    bytes
}

/// A record with a right checksum.
fn record(kind: Kind, term: u32, index: u64, payload: &[u8]) -> Vec<u8> {
    let header = Header { checksum: 0, term, index_low: index as u32, len: payload.len() as u16, kind, flags: 0 };
    let checksum = Checksum::new(CLUSTER.0, DEFAULT_CRC32C).of(&header, (index >> 32) as u32, payload);
    let mut bytes = Header { checksum, ..header }.encode().to_vec();
    bytes.extend(payload);
    bytes.resize(record_size(payload.len()), 0);
    bytes
}

/// Hands in a frame and looks at what must hold whatever it said.
fn hand_in(node: &mut Node, now: Instant, bytes: &[u8], what: &dyn Fn() -> String) {
    let before = node.status().expect("it runs");
    let given = node.running.as_ref().map(|running| running.raft.window());
    let committed = node.running.as_ref().and_then(|running| running.log().chain(before.committed));
    node.receive(now, bytes);
    assert_handles_chunk(node, now, bytes, what);
    let running = node.running.as_mut().expect("it runs");
    running.raft.assert_invariants();
    let after: Status = running.raft.status();
    assert!(after.term >= before.term && after.committed >= before.committed, "{}: {before:?} {after:?}", what());
    assert!(!after.accepted.precedes(before.accepted), "{}: {before:?} {after:?}", what());
    // What a snapshot covers is committed too, whoever forged it.
    let kept = running.log().chain(before.committed);
    assert!(kept == committed || running.log().base() > before.committed, "{}: what is committed stays", what());
    assert!(after.snapshot >= before.snapshot && after.start >= before.start, "{}: {before:?} {after:?}", what());
    assert!(after.committed <= after.last, "{}: {after:?}", what());
    let window = running.raft.window();
    let (accepted, sent) = (window.accepted, window.sent);
    let in_order = window.next.wrapping_sub(accepted) >= window.next.wrapping_sub(sent);
    assert!(in_order && given.is_some_and(|given| given.next == window.next), "{}: {window:?}", what());
    // What it answers, it can answer.
    let mut buffer = [0; 512];
    for peer in [1, 3].map(self::node) {
        for _ in 0..100 {
            if running.raft.poll_transmit(now, peer, &mut buffer).is_none() {
                break;
            }
        }
    }
    running.raft.assert_invariants();
}

/// A piece that the core wants stored lies in the frame and within the snapshot, and follows on what is there.
fn assert_handles_chunk(node: &mut Node, now: Instant, bytes: &[u8], what: &dyn Fn() -> String) {
    if node.running.as_ref().is_none_or(|running| !running.holds_chunk()) {
        return;
    }
    let stored = node.store();
    let (chunk, _) = node.tell_stored(now).unwrap_or_else(|| panic!("{}: it was stored", what()));
    assert!(chunk.at + chunk.len == bytes.len() && stored.is_some(), "{}: {chunk:?}", what());
    assert!(
        chunk.offset.checked_add(chunk.len as u64).is_some_and(|end| end <= chunk.snapshot.length),
        "{}: {chunk:?}",
        what()
    );
}

/// Scenario 60. Every field of every kind takes every value while the others are plausible; the frames come from both peers in the node's own
/// term and in others.
/// covers: T5, L15, R12
#[test]
fn hostile_values_in_every_field_panic_nothing_and_undo_nothing() {
    for (role, lines) in ROLES {
        let mut player = player(lines);
        let fresh = player.cluster().nodes[&node(2)].status().expect("it runs");
        for (kind, field, value) in
            (0..KINDS).flat_map(|kind| (0..6).flat_map(move |field| VALUES.map(|value| (kind, field, value))))
        {
            for (from, entries) in [(1, 2), (3, 2), (1, 0), (3, 0)] {
                let cluster = player.cluster();
                let session = cluster.pipelines.get(&(node(1), node(2))).map_or(0, |&(_, session)| session);
                // An append after 1-3, a whole snapshot up to 2-100, or the items that come next in the window of the sender's first client.
                let (mut long, mut short, mut term) = ([3, 3, 2], [session, 1], fresh.term.0);
                match kind {
                    CHUNK => (long, short) = ([100, PIECE * entries, 0], [session, fresh.term.0]),
                    FORWARD => (long, short) = ([client(from), client(from), entries / 2], [entries as u32 / 2, 1]),
                    8..14 => (long, short) = ([client(2), 3, 0], [1, 1]),
                    _ => {}
                }
                match field {
                    0..3 => long[field] = value,
                    3 | 4 => short[field - 3] = value as u32,
                    _ => term = value as u32,
                }
                let record = |above: u64| record(Kind::Command, fresh.term.0, long[0].wrapping_add(above), b"evil");
                let records: Vec<u8> = (1..=entries).flat_map(record).collect();
                assert_eq!(records.len() as u64, PIECE * entries);
                let records = if kind == FORWARD { items(long[1], long[2], entries) } else { records };
                let message = message(kind, long, short, &records);
                let (now, target) = (cluster.now, cluster.node(node(2)));
                let what = || format!("{role}, from {from} in term {term}: {message:?}");
                hand_in(target, now, &frame(from, term, &message), &what);
                if target.status() != Some(fresh) {
                    player = self::player(lines);
                }
            }
        }
    }
}

/// covers: T5, R7
#[test]
fn a_storm_of_random_messages_panics_nothing_and_undoes_nothing() {
    let mut random = Random::new(60);
    for (role, lines) in ROLES.into_iter().cycle().take(100) {
        let mut player = player(lines);
        for _ in 0..1000 {
            let cluster = player.cluster();
            let status = cluster.nodes[&node(2)].status().expect("it runs");
            let session = cluster.pipelines.get(&(node(1), node(2))).map_or(0, |&(_, session)| session);
            let mut near = |around: u64| match random.below(8) {
                0 => random.word() >> random.below(64),
                nudge => (around + nudge).wrapping_sub(4),
            };
            let (last, own) = (status.last.0, u64::from(status.term.0));
            let (mut long, mut short) =
                ([near(last), near(last), near(own)], [near(u64::from(session)) as u32, near(own) as u32]);
            let small = [near(4) as u32, near(4) as u32];
            // Terms rise by little, or there would soon be none left.
            let (term, kind) = (own as u32 + random.below(3) as u32 / 2, random.below(KINDS + 2).min(APPEND));
            let (from, count) = (1 + 2 * random.below(2) as u8, random.below(4));
            if (7..=FORWARD).contains(&kind) {
                // Numbers of rounds, boots, items and clients are small.
                let client = client(if kind == FORWARD { from } else { 2 }) + random.below(4) / 2;
                (long, short) = ([client, client, small[0].into()], small);
            }
            let record = |above: u64| record(Kind::Command, short[1], long[0].wrapping_add(above), b"evil");
            let records: Vec<u8> = (1..=count).flat_map(record).collect();
            let records = if kind == FORWARD { items(long[1], short[0].into(), count) } else { records };
            let message = message(kind, long, short, &records);
            let mut bytes = frame(from, term.min(1 << 20), &message);
            if random.below(10) == 0 {
                let place = random.below(bytes.len() as u64) as usize;
                bytes[place] ^= 1 << random.below(8);
            }
            let (now, target) = (cluster.now, cluster.node(node(2)));
            hand_in(target, now, &bytes, &|| format!("{role}, in term {term}: {message:?}"));
            if random.below(3) == 0 {
                target.flush(now, usize::MAX);
            }
        }
    }
}

/// Scenario 60. A forged snapshot ends where indices are believed to end, or behind: then it is refused, and entries follow on the others.
/// covers: T5, L15
#[test]
fn no_snapshot_covers_more_than_there_can_be() {
    const CEILING: u64 = LogIndex::CEILING.0;
    for last in [CEILING - 1, CEILING, CEILING + 1, u64::MAX - 1, u64::MAX] {
        let mut player = player(&["elect 1", "settle"]);
        let cluster = player.cluster();
        let (term, session) = cluster.pipelines[&(node(1), node(2))];
        let (now, target) = (cluster.now, cluster.node(node(2)));
        let piece = [7; 32];
        let chunk = message(CHUNK, [last, 32, 0], [session, term.0], &piece);
        hand_in(target, now, &frame(1, term.0, &chunk), &|| format!("{chunk:?}"));
        let taken = target.status().is_some_and(|status| status.last == LogIndex(last));
        assert_eq!(taken, last <= CEILING);
        for prev in [last, u64::MAX - 1, u64::MAX] {
            let records: Vec<u8> =
                (1..=3).flat_map(|above| record(Kind::Command, term.0, prev.wrapping_add(above), b"evil")).collect();
            let append = message(APPEND, [prev, u64::MAX, 0], [session, term.0], &records);
            hand_in(target, now, &frame(1, term.0, &append), &|| format!("{append:?}"));
            target.flush(now, usize::MAX);
        }
    }
}
