//! Snapshots at every point in which something may come between, and what a restart makes of what it finds.

use quoring_core::wire::{Envelope, InstallSnapshot, Message};
use quoring_core::{
    Config, ConfigError, EntryId, Instant, LogIndex, NodeId, NodeSet, Peer, Raft, Recovered, Recovery, RecoveryError,
    Snapshot, Space, Term,
};
use quoring_ring::{Checksum, DEFAULT_CRC32C, Handles, Header, Kind, Record, record_size};
use quoring_tests::cluster::CLUSTER;
use quoring_tests::memory::{RingSize, ring};
use quoring_tests::script::{Player, status_line};
use quoring_tests::snapshots::State;

/// Bytes of a piece in the frames of these tests.
const PIECE: u64 = 64;
/// Bytes of a snapshot: four pieces, the last one shorter.
const LENGTH: u64 = 200;
const PIECES: u64 = LENGTH.div_ceil(PIECE);

fn node(id: u8) -> NodeId {
    NodeId::new(id).expect("0..=31")
}

fn play(player: &mut Player, lines: &[&str]) {
    lines.iter().for_each(|line| drop(player.play(line)));
}

fn status(player: &mut Player, id: u8) -> quoring_core::Status {
    player.cluster().nodes[&node(id)].status().expect("it runs")
}

/// Nodes 1 and 2 have committed entries up to 6, and purged them; node 3 has nothing. The snapshot of node 2 ends in other bytes if `padding` says so.
fn purged(padding: &str) -> Player {
    let save_2 = format!("save 2 200 bytes {padding}");
    let lines =
        ["cluster 1..3 frame 128", "start 1 2", "elect 1", "settle", "propose 1 8 bytes 5 times", "settle", "run 200"];
    let mut player = Player::played(&lines);
    play(&mut player, &["save 1 200 bytes", "purge 1", &save_2, "purge 2", "start 3", "wait 300", "timeout 1"]);
    play(&mut player, &["deliver heartbeat 1>3", "drop answer", "drop heartbeat", "drop commit"]);
    player
}

/// Where the pieces began that node `from` has sent to node 3 and that are on their way.
fn pieces(player: &mut Player, from: u8) -> Vec<u64> {
    let frames = player.cluster().network.frames.iter().filter(|frame| (frame.from, frame.to) == (node(from), node(3)));
    let offset = |frame: quoring_core::wire::Frame<'_>| match frame.message {
        Message::InstallSnapshot(chunk) => Some(chunk.offset),
        _ => None,
    };
    frames.filter_map(|frame| frame.decode(CLUSTER).and_then(offset)).collect()
}

/// Node 1 is cut off when node 3 has some pieces; node 2 takes over. If its snapshot is the same, it goes on where node 1 stopped, else it begins at the
/// beginning: what counts is what a snapshot is, not who sends it.
///
/// Scenario 44. covers: S1, S2
#[test]
fn a_transfer_is_resumed_by_another_leader_if_it_is_of_the_same_snapshot() {
    for (same, stored) in [true, false].into_iter().flat_map(|same| (0..PIECES).map(move |stored| (same, stored))) {
        let mut player = purged(if same { "" } else { "padded with x" });
        for piece in 0..stored {
            assert_eq!(pieces(&mut player, 1), [piece * PIECE]);
            play(&mut player, &["deliver chunk 1>3", "deliver received 3>1"]);
        }
        play(
            &mut player,
            &["drop *", "cut 1", "wait 3000", "elect 2 with 3", "deliver append 2>3", "deliver refusal 3>2"],
        );
        assert_eq!(pieces(&mut player, 2), [0], "a leader does not know what a follower has");
        let mut sent = Vec::new();
        while let [offset] = pieces(&mut player, 2)[..] {
            sent.push(offset);
            play(&mut player, &["deliver chunk 2>3", "deliver received 3>2"]);
        }
        let goes_on_at = if same { stored.max(1) } else { 1 };
        let expected: Vec<u64> = [0].into_iter().chain(goes_on_at..PIECES).map(|piece| piece * PIECE).collect();
        assert_eq!(sent, expected, "same: {same}, {stored} pieces before");
        play(&mut player, &["heal", "run 3000"]);
        let lines: Vec<_> = player.cluster().nodes.values().map(status_line).collect();
        assert!((1..=3).all(|id| status(&mut player, id).applied == LogIndex(7)), "{lines:?}");
        let [two, three] = [2, 3].map(|id| player.cluster().nodes[&node(id)].disk.snapshots().newest().cloned());
        assert_eq!(two, three, "it is node 2's, whole");
    }
}

/// What node 3 does from the first piece on, one thing at a time.
const INSTALL: [&str; 22] = [
    "store 3",
    "tell 3",
    "deliver received 3>1",
    "deliver chunk 1>3",
    "store 3",
    "tell 3",
    "deliver received 3>1",
    "deliver chunk 1>3",
    "store 3",
    "tell 3",
    "deliver received 3>1",
    "deliver chunk 1>3",
    "store 3",
    "tell 3",
    "deliver answer 3>1",
    "propose 1 8 bytes",
    "propose 1 8 bytes",
    "deliver append 1>3",
    "flush 3 1",
    "deliver answer 3>1",
    "flush 3 1",
    "flush 3",
];

/// The application has restored the snapshot when the record that starts the log anew is not durable yet. The power goes at any point of an install, with
/// any number of records on the disk: node 3 finds either its old log or the snapshot, never something between, and the cluster goes on.
///
/// Scenario 45. covers: S3, S4, S5, R11
#[test]
fn a_power_cut_at_any_point_of_an_install_leaves_the_old_log_or_the_snapshot() {
    let (mut restored_before_flushed, mut cuts) = (0, 0);
    // Its log is empty, shorter than the snapshot, as long or longer and contradicts it, or has a tail of another term that replaced one. Its disk drops
    // what it may at once, or keeps it.
    let logs = [("", 0), ("1 1 1", 0), ("1 1 1 1 1 1 1", 0), ("1 1 1 1 1 1 1 1 1", 0), ("1 1 1 1 1 1 1 1 1", 8)];
    for ((log, replaced), purge) in logs.into_iter().flat_map(|log| ["", "purge 3"].map(|purge| (log, purge))) {
        for (steps, kept) in (0..=INSTALL.len()).flat_map(|steps| (0..=4).map(move |kept| (steps, kept))) {
            let lines =
                ["cluster 1..3 frame 128", "log 1: 1, term 2", "log 2: 1, term 2", &format!("log 3: {log}, term 1")];
            let mut player = Player::played(&lines);
            if replaced > 0 {
                player.cluster().node(node(3)).disk.push(record(Kind::NoOp, 2, replaced, &[]));
            }
            play(&mut player, &["start"]);
            play(&mut player, &["elect 1 with 2", "settle 1 2", "propose 1 8 bytes 5 times", "settle 1 2"]);
            play(
                &mut player,
                &[
                    "save 1 200 bytes",
                    "purge 1",
                    "save 2 200 bytes",
                    "purge 2",
                    "hold chunks 3",
                    "wait 100",
                    "timeout 1",
                ],
            );
            while !player.cluster().nodes[&node(3)].running.as_ref().is_some_and(|node| node.holds_chunk()) {
                play(&mut player, &["deliver 1>3", "deliver 3>1"]);
            }
            play(&mut player, &["drop *", "hold disk 3"]);
            for step in &INSTALL[..steps] {
                let purge = Some(purge).filter(|purge| !purge.is_empty());
                [Some(*step), purge].into_iter().flatten().for_each(|line| drop(player.play(line)));
            }
            let (applied, disk) = (status(&mut player, 3).applied, &player.cluster().nodes[&node(3)].disk);
            let covered = disk.snapshots().covered();
            restored_before_flushed += u32::from(applied > LogIndex::ZERO && disk.log().base() < applied);
            play(&mut player, &[&format!("crash 3 keeping {kept} torn"), "start 3"]);
            let found = status(&mut player, 3);
            let what = format!(
                "log {log:?}, replaced from {replaced}, {purge:?}, {steps} steps, {kept} records kept: {found:?}"
            );
            assert_eq!(
                (found.committed, found.applied),
                (covered.index, covered.index),
                "what the snapshot covers is committed and restored: {what}"
            );
            assert!(found.committed <= found.last && found.committed <= found.durable, "{what}");
            play(&mut player, &["release chunks 3", "release disk 3", "run 5000"]);
            let applied = [1, 2, 3].map(|id| status(&mut player, id).applied);
            assert!(applied[0] >= LogIndex(7) && applied.iter().all(|&each| each == applied[0]), "{applied:?}: {what}");
            cuts += 1;
        }
    }
    println!("{cuts} power cuts, {restored_before_flushed} of them with what was restored and not flushed");
    assert!(restored_before_flushed > 50);
}

const VOTERS: NodeSet = NodeSet::first(3);

fn snapshot(term: u32, index: u64) -> Snapshot {
    let state = State { after: EntryId { term: Term(term), index: LogIndex(index) }, chain: 0 };
    state.describe(&state.encode(0, 0), VOTERS)
}

fn record(kind: Kind, term: u32, index: u64, payload: &[u8]) -> Vec<u8> {
    let header = Header { checksum: 0, term, index_low: index as u32, len: payload.len() as u16, kind, flags: 0 };
    let checksum = Checksum::new(CLUSTER.0, DEFAULT_CRC32C).of(
        &header,
        if kind == Kind::Start { 0 } else { (index >> 32) as u32 },
        payload,
    );
    let mut bytes = Header { checksum, ..header }.encode().to_vec();
    bytes.extend(payload);
    bytes.resize(record_size(payload.len()), 0);
    bytes
}

/// What a restart makes of a snapshot, where the log begins, and the terms of the entries behind that.
fn recovered(snapshot: Option<Snapshot>, start: (u32, u64), terms: &[u32]) -> Result<Recovered, RecoveryError> {
    let mut recovery = Recovery::new(CLUSTER, DEFAULT_CRC32C);
    snapshot.iter().for_each(|snapshot| recovery.snapshot(snapshot));
    recovery.start(EntryId { term: Term(start.0), index: LogIndex(start.1) }, Term(9), 0x80 | 2, 7);
    for (index, &term) in (start.1 + 1..).zip(terms) {
        recovery.record(&Record::parse(&record(Kind::NoOp, term, index, &[])).expect("whole"))?;
    }
    recovery.finish()
}

/// covers: S5, R11, R15
#[test]
fn a_restart_tells_a_newer_an_overlapping_a_contradicting_and_a_missing_snapshot_apart() {
    let found = |snapshot: Option<Snapshot>, start, terms: &[u32]| {
        recovered(snapshot, start, terms).map(|found| {
            let origin = found.origin(quoring_ring::Position::new(0));
            assert!(origin.committed <= origin.last && origin.applied == 0);
            assert_eq!((found.term, found.vote), (Term(9), Some(node(2))), "the vote outlives what was purged");
            assert_eq!(found.boot, 7, "and so does the boot number");
            (found.restart, found.start.index.0, found.last.0, origin.committed)
        })
    };
    // The snapshot covers more than the log has: the log starts anew behind it.
    assert_eq!(found(Some(snapshot(3, 8)), (1, 2), &[1, 1, 3]), Ok((true, 8, 8, 8)));
    assert_eq!(found(Some(snapshot(3, 8)), (0, 0), &[]), Ok((true, 8, 8, 8)));
    assert_eq!(found(Some(snapshot(3, 8)), (1, 7), &[]), Ok((true, 8, 8, 8)));
    // They overlap, or just meet: the log goes on.
    assert_eq!(found(Some(snapshot(3, 4)), (1, 2), &[1, 3, 3]), Ok((false, 2, 5, 4)));
    assert_eq!(found(Some(snapshot(3, 5)), (1, 2), &[1, 3, 3]), Ok((false, 2, 5, 5)));
    assert_eq!(found(Some(snapshot(3, 4)), (3, 4), &[3]), Ok((false, 4, 5, 4)));
    assert_eq!(found(Some(snapshot(3, 4)), (0, 4), &[3]), Ok((false, 4, 5, 4)));
    // The log has another entry there: its tail was never committed.
    assert_eq!(found(Some(snapshot(3, 4)), (1, 2), &[1, 2, 2]), Ok((true, 4, 4, 4)));
    // The log was purged past it, or there is none at all: entries are lost, and the node does not start.
    assert_eq!(found(Some(snapshot(3, 4)), (3, 5), &[3]), Err(RecoveryError::Hole(LogIndex(5))));
    assert_eq!(found(None, (3, 5), &[3]), Err(RecoveryError::Hole(LogIndex(5))));
}

/// Power went when the snapshot was durable, and the record of the term it was sent in was not.
/// covers: S5, E2
#[test]
fn a_restart_is_in_the_term_of_the_snapshot_at_least_and_has_not_voted_in_it() {
    let found = recovered(Some(snapshot(12, 8)), (1, 2), &[1, 1]).expect("a sane log");
    assert_eq!((found.term, found.vote, found.last), (Term(12), None, LogIndex(8)));
    let found = recovered(Some(snapshot(9, 8)), (1, 2), &[1, 1]).expect("a sane log");
    assert_eq!((found.term, found.vote), (Term(9), Some(node(2))));
}

/// A log that was started anew behind one snapshot is started anew behind a newer one; what lies between counts no more.
/// covers: S5
#[test]
fn a_restart_follows_start_records_and_later_truncations() {
    let recover = |snapshot: &Snapshot, records: &[Vec<u8>]| {
        let mut recovery = Recovery::new(CLUSTER, DEFAULT_CRC32C);
        recovery.snapshot(snapshot);
        for bytes in records {
            recovery.record(&Record::parse(bytes).expect("whole")).expect("in order");
        }
        recovery.finish().map(|found| (found.restart, found.start.index.0, found.last.0))
    };
    let [one, two] =
        [(1, 3), (2, 6)].map(|(term, index): (u32, u64)| record(Kind::Start, term, index, &index.to_le_bytes()));
    let entry = |term, index| record(Kind::NoOp, term, index, &[]);
    let log = [entry(1, 1), entry(1, 2), one, entry(1, 4), entry(1, 5), two, entry(2, 7)];
    assert_eq!(recover(&snapshot(2, 6), &log), Ok((false, 6, 7)));
    assert_eq!(recover(&snapshot(1, 5), &log[..5]), Ok((false, 3, 5)));
    assert_eq!(recover(&snapshot(1, 3), &log), Err(RecoveryError::Hole(LogIndex(6))), "the newer snapshot is lost");
    // The entry that the snapshot covers last is replaced later in the log: it contradicts the snapshot after all.
    assert_eq!(recover(&snapshot(1, 5), &[&log[..5], &[entry(2, 5)]].concat()), Ok((true, 5, 5)));
    assert_eq!(recover(&snapshot(1, 5), &[&log[..5], &[entry(2, 4)]].concat()), Ok((true, 5, 5)));
}

fn refused(config: Config, recovered: Recovered) -> Option<ConfigError> {
    let origin = recovered.origin(config.origin);
    let checksum = Checksum::new(config.cluster.0, config.crc);
    let Handles { writer, .. } = ring(RingSize { units: 64, slots: 8 }, origin, checksum).expect("a ring of this size");
    let mut peers = [Peer::EMPTY, Peer::EMPTY];
    Raft::new(config, 512, recovered, writer, &mut peers, Instant(0)).err()
}

/// covers: S6, S8
#[test]
fn a_snapshot_of_other_voters_and_a_threshold_of_zero_are_refused_at_construction() {
    let config = Config::new(node(0), CLUSTER, VOTERS);
    let of = |voters| recovered(Some(Snapshot { voters, ..snapshot(3, 8) }), (3, 8), &[3]).expect("a sane log");
    assert_eq!(refused(config, of(VOTERS)), None);
    assert_eq!(refused(config, of(NodeSet::first(5))), Some(ConfigError::Voters));
    assert_eq!(refused(Config { snapshot_after: 0, ..config }, Recovered::default()), Some(ConfigError::SnapshotAfter));
}

/// A leader's snapshot says who votes after it. This node cannot follow a change that it was not told of.
/// covers: S6
#[test]
fn a_leaders_snapshot_of_other_voters_is_not_taken() {
    let mut player = purged("");
    play(&mut player, &["hold chunks 3"]);
    let cluster = player.cluster();
    let frame =
        cluster.network.frames.iter().find(|frame| frame.kind(CLUSTER) == "chunk").expect("the first piece").clone();
    let Some(Message::InstallSnapshot(chunk)) = frame.decode(CLUSTER).map(|frame| frame.message) else {
        panic!("a piece")
    };
    for (voters, taken) in [(NodeSet::first(3), false), (NodeSet::EMPTY, false), (cluster.settings.voters, true)] {
        let message =
            Message::InstallSnapshot(InstallSnapshot { snapshot: Snapshot { voters, ..chunk.snapshot }, ..chunk });
        let mut bytes = frame.bytes.clone();
        let envelope = Envelope { cluster: CLUSTER, node: node(1), crc: DEFAULT_CRC32C };
        envelope.seal(node(3), Term(1), &message, &mut bytes).expect("it fits");
        cluster.hand_in(node(3), &bytes);
        let three = &cluster.nodes[&node(3)];
        assert_eq!(three.running.as_ref().map(|running| running.holds_chunk()), Some(taken), "{voters:?}");
        assert_eq!(three.refusals().map(|refusals| refusals.impossible > 0), Some(true));
    }
}

/// covers: S3, P9
#[test]
fn what_is_purged_is_what_the_newest_durable_snapshot_covers() {
    let mut player = Player::played(&[
        "cluster 1..3",
        "start",
        "elect 1",
        "settle",
        "propose 1 8 bytes 5 times",
        "settle",
        "run 200",
    ]);
    let allowed =
        |player: &mut Player| player.cluster().nodes[&node(1)].running.as_ref().map(|running| running.raft.may_purge());
    assert_eq!(allowed(&mut player), Some(LogIndex::ZERO), "what is applied is not yet covered");
    play(&mut player, &["save 1", "propose 1 8 bytes 5 times", "settle"]);
    assert_eq!((allowed(&mut player), status(&mut player, 1).applied), (Some(LogIndex(6)), LogIndex(11)));
    assert_eq!(player.play("purge 1"), ["the log begins behind 6"]);
    // One that comes late, and covers less, changes nothing.
    let running = player.cluster().node(node(1)).running.as_mut().expect("it runs");
    let newest = *running.raft.snapshot().expect("it was saved");
    running.raft.handle_saved(&snapshot(1, 4));
    assert_eq!((running.raft.snapshot(), running.raft.may_purge()), (Some(&newest), LogIndex(6)));
}

/// covers: S8, P9
#[test]
fn a_snapshot_is_asked_for_after_so_many_entries_or_sooner_if_the_log_fills_up() {
    let mut player = Player::played(&["cluster 1..3 snapshot-after 8", "start", "elect 1", "settle", "run 200"]);
    let wants = |player: &mut Player, free: u64| {
        let running = player.cluster().node(node(1)).running.as_mut().expect("it runs");
        running.raft.handle_space(&Space { capacity: 100_000, free, start: LogIndex::ZERO });
        running.raft.wants_snapshot()
    };
    let propose = |player: &mut Player, times| play(player, &[&format!("propose 1 x {times} times"), "settle"]);
    let [roomy, half, tight] = [100_000, 49_999, 24_999];
    assert_eq!([roomy, half, tight].map(|free| wants(&mut player, free)), [false, false, true], "one entry");
    propose(&mut player, 1);
    assert_eq!(
        [roomy, half].map(|free| wants(&mut player, free)),
        [false, true],
        "a quarter of the entries, and the log is half full"
    );
    propose(&mut player, 6);
    assert_eq!([roomy, half].map(|free| wants(&mut player, free)), [true, true], "all of them");
    // Who declines is asked again after as many more, or after a while when there is no choice.
    let running = player.cluster().node(node(1)).running.as_mut().expect("it runs");
    let applied = running.raft.status().applied;
    running.raft.handle_declined(Instant(0), applied);
    assert_eq!([roomy, half, tight].map(|free| wants(&mut player, free)), [false; 3], "declined");
    propose(&mut player, 8);
    assert!(wants(&mut player, roomy));
    play(&mut player, &["save 1"]);
    assert_eq!([roomy, half, tight].map(|free| wants(&mut player, free)), [false; 3], "nothing is new");
}

/// A newer snapshot would begin the transfer anew, again and again; so it waits, until the log is almost full.
/// covers: S7, P9
#[test]
fn no_snapshot_is_asked_for_while_one_is_on_its_way() {
    let mut player = Player::played(&[
        "cluster 1..3 frame 128 snapshot-after 4",
        "start 1 2",
        "elect 1",
        "settle",
        "propose 1 x 4 times",
        "settle",
    ]);
    let wants = |player: &mut Player, id, free| {
        let running = player.cluster().node(node(id)).running.as_mut().expect("it runs");
        let start = running.raft.start();
        running.raft.handle_space(&Space { capacity: 100_000, free, start });
        running.raft.wants_snapshot()
    };
    play(
        &mut player,
        &["save 1 200 bytes", "purge 1", "start 3", "wait 300", "timeout 1", "deliver heartbeat", "deliver answer"],
    );
    play(&mut player, &["propose 1 x 4 times", "deliver append 1>2", "deliver answer 2>1", "deliver chunk 1>3"]);
    assert!(!wants(&mut player, 1, 100_000), "its snapshot is on its way");
    assert!(wants(&mut player, 1, 24_999), "its log is almost full");
    play(&mut player, &["settle", "run 300"]);
    assert!(wants(&mut player, 1, 100_000), "it is there");
    // Who takes it does not wait for ever for a peer that is silent.
    play(
        &mut player,
        &["save 1 200 bytes", "crash 3", "propose 1 x 20 times", "settle", "save 1 200 bytes", "purge 1", "run 150"],
    );
    play(&mut player, &["propose 1 x 4 times", "settle"]);
    assert!(!wants(&mut player, 1, 100_000), "node 3 may only be slow");
    play(&mut player, &["run 10000"]);
    assert!(wants(&mut player, 1, 100_000), "nobody takes it");
}
