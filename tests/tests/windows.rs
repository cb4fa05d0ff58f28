//! A follower's window to its leader: commands of its clients, in order, whole batches, once each. The oracle looks at every log for gaps, repetitions and
//! half batches.

use quoring_core::wire::{Envelope, Forward, ForwardAnswer, Intake, Item, Message};
use quoring_core::{
    Capabilities, ClientId, Closed, Duration, ForwardError, LogIndex, NodeId, NodeSet, ProposeError, Raft, Rejection,
    RequestId, Term, WindowError, WindowState, WindowStatus,
};
use quoring_ring::{DEFAULT_CRC32C, Kind};
use quoring_tests::cluster::{CLUSTER, Cluster, Settings};
use quoring_tests::memory::RingSize;
use quoring_tests::network::InFlight;
use quoring_tests::node::WindowSize;

fn node(id: u8) -> NodeId {
    NodeId::new(id).expect("0..=31")
}

fn three() -> Settings {
    Settings::new(NodeSet::first(3))
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn settle(cluster: &mut Cluster) {
    cluster.settle(cluster.settings.voters);
}

/// Node 0 leads, and the window of node 1 is open.
fn opened(settings: Settings) -> Cluster {
    let mut cluster = Cluster::led(settings);
    cluster.open(node(1)).expect("a leader");
    settle(&mut cluster);
    assert_eq!(window(&mut cluster).state, WindowState::Open);
    cluster.forget();
    cluster
}

fn window(cluster: &mut Cluster) -> WindowStatus {
    cluster.ask(node(1), |raft, _| raft.window()).expect("power")
}

/// The node's own clients propose, as a leader's.
fn propose_batch(cluster: &mut Cluster, id: u8, commands: &[&[u8]]) -> Result<LogIndex, ProposeError> {
    let request = |sequence| RequestId { client: ClientId(1), sequence, table: 0 };
    let requests = (0..).map(request).zip(commands.iter().copied());
    let proposed = cluster.ask(node(id), |raft, now| raft.propose_batch(now, Kind::Session, requests));
    proposed.expect("power").map(|entry| entry.index)
}

/// The commands of streams in the log of the node, in order.
fn items(cluster: &Cluster, id: u8) -> Vec<u32> {
    let log = cluster.nodes[&node(id)].running.as_ref().expect("power").log();
    log.iter().filter_map(|(_, entry)| entry.item).map(|item| item.1).collect()
}

fn frame(cluster: &Cluster, kind: &str) -> InFlight {
    let frames = &cluster.network.frames;
    frames.iter().find(|frame| frame.kind(CLUSTER) == kind).cloned().unwrap_or_else(|| panic!("a {kind} on its way"))
}

fn stale(cluster: &Cluster, id: u8) -> u32 {
    cluster.nodes[&node(id)].refusals().expect("power").stale_answer
}

/// covers: C1, C2, C10
#[test]
fn what_a_follower_forwards_is_in_every_log_in_order() {
    let mut cluster = opened(three());
    for round in 0..10 {
        assert_eq!(cluster.forward(node(1), &[b"a", b"", b"ccc"]), Ok(3 * round));
        settle(&mut cluster);
    }
    cluster.run(ms(200));
    let expected: Vec<u32> = (0..30).collect();
    assert!((0..3).all(|id| items(&cluster, id) == expected));
    let window = window(&mut cluster);
    assert_eq!((window.accepted, window.sent, window.next), (30, 30, 30));
    assert_eq!(window.client.node(), Some(node(1)));
}

/// Bug: a leader that was deposed opens a window, and its items go nowhere.
/// covers: C1, C3
#[test]
fn a_window_opens_when_a_quorum_has_confirmed_its_leader() {
    let mut cluster = Cluster::led(three());
    cluster.open(node(1)).expect("a leader");
    let name = cluster.of_kind("forward")[0];
    cluster.deliver(name).expect("on its way");
    let again = cluster.time_out(node(1)).and_then(|()| cluster.of_kind("forward").first().copied());
    cluster.deliver(again.expect("it asks again")).expect("on its way");
    assert_eq!((cluster.count_sent("confirm"), cluster.count_sent("forward-answer")), (2, 0));
    settle(&mut cluster);
    assert_eq!(window(&mut cluster).state, WindowState::Open);
}

/// covers: C3
#[test]
fn opening_says_why_it_cannot() {
    let mut cluster = Cluster::started(three());
    assert_eq!(cluster.open(node(1)), Err(WindowError::NoLeader));
    let mut cluster = Cluster::led(three());
    assert_eq!(cluster.open(node(0)), Err(WindowError::Leads));
    cluster.halt(node(2));
    assert_eq!(cluster.open(node(2)), Err(WindowError::Halted));
    let mut cluster = Cluster::led(Settings { window: WindowSize { bytes: 0, pipelines: true }, ..three() });
    assert_eq!(cluster.open(node(1)), Err(WindowError::NoMemory));
    // A leader that does not answer.
    let mut cluster = Cluster::led(three());
    cluster.network.set_cut(node(1), node(0), true);
    cluster.network.set_cut(node(2), node(0), false);
    cluster.open(node(1)).expect("a leader");
    assert_eq!(cluster.forward(node(1), &[b"a"]), Err(ForwardError::NotReady), "not open yet");
    cluster.run(ms(2500));
    assert_eq!(window(&mut cluster).state, WindowState::Closed(Closed::NoAnswer));
    assert_eq!(cluster.forward(node(1), &[b"a"]), Err(ForwardError::Closed));
}

/// Whoever of the three is unable: the leader itself, the follower, or the third node, which would have to read such entries.
/// covers: C3, C9
#[test]
fn a_cluster_with_a_node_that_does_not_know_clients_takes_nothing_from_them() {
    for unable in [0, 1, 2].map(node) {
        let mut cluster = Cluster::led(Settings { unable: NodeSet::EMPTY.with(unable), ..three() });
        cluster.open(node(1)).expect("it does not know yet");
        cluster.run(ms(500));
        if unable == node(2) && window(&mut cluster).state == WindowState::Open {
            // The quorum that opened it was without node 2, which has answered since.
            cluster.forward(node(1), &[b"a"]).expect("room");
            cluster.run(ms(500));
        }
        assert_eq!(window(&mut cluster).state, WindowState::Closed(Closed::Unsupported), "{unable} is unable");
        if unable == node(0) {
            assert_eq!(cluster.open(node(1)), Err(WindowError::Unsupported), "now it knows");
        }
        let propose = |cluster: &mut Cluster| {
            let request = RequestId { client: ClientId(1), sequence: 0, table: 4 };
            let proposed = cluster.ask(node(0), |raft, now| raft.propose_request(now, Kind::Session, &request, b"x"));
            proposed.expect("power")
        };
        // It asks once more before it refuses: who was unable may not be any more.
        let mut proposed = propose(&mut cluster);
        if proposed == Err(ProposeError::Busy) {
            cluster.run(ms(500));
            proposed = propose(&mut cluster);
        }
        assert_eq!(proposed, Err(ProposeError::Unsupported));
        assert!((0..3).all(|id| cluster.nodes[&node(id)].status().expect("power").last == LogIndex(1)));
        cluster.propose(node(0), b"x").expect("commands without a client are as ever");
    }
}

/// covers: C9
#[test]
fn a_new_leader_asks_its_peers_before_it_appends_for_a_client() {
    for unable in [NodeSet::EMPTY, NodeSet::EMPTY.with(node(2))] {
        let mut cluster = Cluster::led(Settings { unable, ..three() });
        let request = RequestId { client: ClientId(1), sequence: 0, table: 4 };
        let propose = |cluster: &mut Cluster| {
            cluster
                .ask(node(0), |raft, now| raft.propose_request(now, Kind::Session, &request, b"x"))
                .expect("power")
                .map(|id| id.index)
        };
        assert_eq!(propose(&mut cluster), Err(ProposeError::Busy), "it does not know yet");
        settle(&mut cluster);
        assert_eq!(cluster.count_sent("confirm"), 2);
        let expected = if unable.is_empty() { Ok(LogIndex(2)) } else { Err(ProposeError::Unsupported) };
        assert_eq!(propose(&mut cluster), expected);
    }
}

/// covers: C1, C4
#[test]
fn repeated_reordered_and_lost_frames_leave_no_gap_and_nothing_twice() {
    let mut cluster = opened(three());
    for command in [b"a", b"b", b"c", b"d"] {
        cluster.forward(node(1), &[command]).expect("room");
    }
    let names = cluster.of_kind("forward");
    assert_eq!(names.len(), 4, "they do not wait for each other");
    // The last first: it waits for what is missing.
    for &name in names.iter().rev() {
        cluster.network.duplicate(name);
        cluster.deliver(name).expect("on its way");
    }
    assert_eq!(items(&cluster, 0), [0], "only the first follows on what is there");
    settle(&mut cluster);
    // The copies come in order.
    let seen = items(&cluster, 0);
    assert_eq!(seen, (0..seen.len() as u32).collect::<Vec<_>>());
    cluster.run(ms(300));
    assert_eq!(items(&cluster, 0), [0, 1, 2, 3]);

    // Every frame but each third is lost, of both directions.
    let begun = cluster.now;
    for (round, command) in (0..30_u32).zip(std::iter::repeat([b'x'; 9])) {
        while cluster.forward(node(1), &[&command, &command]).is_err() {
            cluster.run(ms(50));
            assert!(cluster.now - begun < ms(60_000), "it never takes more");
        }
        for name in cluster.of_kind("forward").into_iter().chain(cluster.of_kind("forward-answer")) {
            if (name + round) % 3 != 0 {
                cluster.network.take(name);
            }
        }
    }
    cluster.run(ms(3000));
    assert_eq!(window(&mut cluster).accepted, 64);
    assert!((0..3).all(|id| items(&cluster, id) == (0..64).collect::<Vec<_>>()));
}

/// Bug: each read put off the tick at which a lost frame of the window would be sent again.
/// covers: C1, C12
#[test]
fn a_lost_forward_is_repeated_though_reads_follow_each_other() {
    let mut cluster = opened(three());
    cluster.forward(node(1), &[b"a"]).expect("room");
    for name in cluster.of_kind("forward") {
        cluster.network.take(name);
    }
    for _ in 0..30 {
        cluster.read(node(1)).expect("a leader");
        cluster.run(ms(20));
    }
    assert_eq!((cluster.clients.done, items(&cluster, 0).len()), (30, 1));
}

/// covers: C1, R15
#[test]
fn late_frames_of_an_earlier_window_bring_nothing() {
    for restarts in [false, true] {
        let mut cluster = Cluster::led(three());
        let first = cluster.open(node(1)).expect("a leader");
        let opening = frame(&cluster, "forward");
        settle(&mut cluster);
        cluster.forward(node(1), &[b"late"]).expect("room");
        let late = frame(&cluster, "forward");
        cluster.network.frames.clear();
        if restarts {
            cluster.crash(node(1), 0, 0);
            cluster.start(node(1));
            cluster.run(ms(300));
        } else {
            cluster.ask(node(1), |raft, _| raft.close_window(Closed::Owner));
        }
        let second = cluster.open(node(1)).expect("a leader");
        assert!(second > first && (second.boot() > first.boot()) == restarts, "{first} {second}");
        settle(&mut cluster);
        let before = stale(&cluster, 0);
        cluster.hand_in(node(0), &late.bytes);
        cluster.hand_in(node(0), &opening.bytes);
        assert_eq!((stale(&cluster, 0), items(&cluster, 0).len()), (before + 2, 0), "restarts: {restarts}");
        cluster.forward(node(1), &[b"new"]).expect("it is open");
        settle(&mut cluster);
        assert_eq!((items(&cluster, 0), window(&mut cluster).accepted), (vec![0], 1));
    }
}

/// The answer to an earlier window says nothing of this one; nor does one that claims more than was sent.
/// covers: C1, R12
#[test]
fn answers_to_an_earlier_window_move_nothing() {
    let mut cluster = opened(three());
    cluster.forward(node(1), &[b"a", b"b"]).expect("room");
    let name = cluster.of_kind("forward")[0];
    cluster.deliver(name);
    let late = frame(&cluster, "forward-answer");
    settle(&mut cluster);
    cluster.hand_in(node(1), &late.bytes);
    assert_eq!(window(&mut cluster).accepted, 2, "the same again changes nothing");
    cluster.open(node(1)).expect("a leader");
    let before = stale(&cluster, 1);
    cluster.hand_in(node(1), &late.bytes);
    assert_eq!((window(&mut cluster).state, stale(&cluster, 1)), (WindowState::Opening, before + 1));
    settle(&mut cluster);
    let client = window(&mut cluster).client;
    cluster.forward(node(1), &[b"c", b"d"]).expect("it is open");
    cluster.hand_in(node(1), &late.bytes);
    assert_eq!(window(&mut cluster).accepted, 0, "two of the earlier one are in the log");
    for next in [3, 4, u32::MAX, 0x8000_0000] {
        let message = Message::ForwardAnswer(ForwardAnswer { client, next, state: Intake::Open });
        cluster.hand_in(node(1), &sealed(0, &message));
        assert_eq!(window(&mut cluster).accepted, 0, "two were sent, not {next}");
    }
}

/// A frame from this node to the other one of 0 and 1, in term 1.
fn sealed(from: u8, message: &Message<'_>) -> Vec<u8> {
    let mut bytes = [0; 512];
    let envelope = Envelope { cluster: CLUSTER, node: node(from), crc: DEFAULT_CRC32C };
    let len = envelope.seal(node(1 - from), Term(1), message, &mut bytes).expect("it fits");
    bytes[..len].to_vec()
}

/// What stands in a stream's items is what their place says; a session's may be anybody's.
/// covers: C4, C10
#[test]
fn items_that_name_another_client_or_number_are_refused() {
    let mut cluster = opened(three());
    let own = window(&mut cluster).client;
    let hand_in = |cluster: &mut Cluster, client: ClientId, kind: Kind, request: RequestId| {
        let mut bytes = [0; 64];
        let len = Item::encode(kind, false, &request.encode(), b"x", &mut bytes).expect("it fits");
        let forward = Forward { client, first: 0, capabilities: Capabilities::ALL, items: &bytes[..len] };
        cluster.hand_in(node(0), &sealed(1, &Message::Forward(forward)));
        let status = cluster.nodes[&node(0)].status().expect("power");
        (status.last.0, cluster.nodes[&node(0)].refusals().expect("power").impossible)
    };
    let request = |client, sequence| RequestId { client, sequence, table: 0 };
    let (other, nobody) = (ClientId(own.0 + 1), ClientId(u64::MAX));
    assert_eq!(hand_in(&mut cluster, own, Kind::Stream, request(other, 0)), (1, 1), "another client's");
    assert_eq!(hand_in(&mut cluster, own, Kind::Stream, request(own, 1)), (1, 2), "another number");
    assert_eq!(hand_in(&mut cluster, own, Kind::Session, request(nobody, 0)), (1, 3), "of no possible node");
    assert_eq!(
        hand_in(&mut cluster, ClientId(own.0 | 1 << 57), Kind::Stream, request(own, 0)),
        (1, 4),
        "node 3's window"
    );
    assert_eq!(hand_in(&mut cluster, own, Kind::Session, request(other, 9)), (2, 4));
}

/// covers: C4
#[test]
fn a_leader_that_was_full_says_when_to_go_on() {
    let settings = Settings { ring: RingSize { units: 64, slots: 16 }, ..three() };
    let mut cluster = opened(settings);
    (0..3).for_each(|id| cluster.slow_applications.insert(node(id)));
    let mut next = 0;
    while cluster.forward(node(1), &[b"a"]).is_ok() {
        next += 1;
        settle(&mut cluster);
    }
    let full = items(&cluster, 0).len() as u32;
    assert!(full > 2 && full < next, "{full} of {next} have room");
    let busy = cluster.nodes[&node(0)].refusals().expect("power").busy;
    assert!(busy > 0);
    // The applications go on, and no time passes.
    cluster.forget();
    for _ in 0..100 {
        (0..3).for_each(|id| cluster.apply(node(id)));
        settle(&mut cluster);
    }
    assert_eq!(items(&cluster, 0).len() as u32, next);
    assert!(cluster.sent.iter().any(|frame| frame.describe(CLUSTER).contains("GoOn")), "it is told at once");
}

/// covers: C4
#[test]
fn a_batch_for_which_there_is_room_in_part_goes_in_whole_later() {
    let mut cluster = opened(Settings { ring: RingSize { units: 64, slots: 16 }, ..three() });
    (0..3).for_each(|id| cluster.slow_applications.insert(node(id)));
    while cluster.forward(node(1), &[b"a", b"b", b"c"]).is_ok() {
        settle(&mut cluster);
    }
    let before = items(&cluster, 0).len();
    assert!(before.is_multiple_of(3) && before > 0);
    let status = cluster.nodes[&node(0)].status().expect("power");
    let room = 12 - (status.last.0 - status.applied.0);
    assert!(room > 0, "there is room for one, and a batch is three: {status:?}");
    for _ in 0..100 {
        (0..3).for_each(|id| cluster.apply(node(id)));
        settle(&mut cluster);
        assert!(items(&cluster, 0).len().is_multiple_of(3));
    }
    assert_eq!(items(&cluster, 0).len() as u32, window(&mut cluster).next);
}

/// covers: C4, L10
#[test]
fn what_can_never_fit_is_refused_at_once() {
    // Larger than a frame, or one command than any record.
    let window_of = |bytes| WindowSize { bytes, pipelines: true };
    let mut cluster = opened(Settings { frame: 128, window: window_of(512), ..three() });
    for batch in [&[&[1; 40][..], &[2; 40]][..], &[&[1; 60]], &[&[1; 100]], &[&[1; 1000]]] {
        assert_eq!(cluster.forward(node(1), batch), Err(ForwardError::TooLarge));
    }
    assert_eq!(cluster.forward(node(1), &[&[1; 40]]), Ok(0));
    // Larger than half of a leader's ring, if that is like this node's.
    let mut cluster = opened(Settings { ring: RingSize { units: 32, slots: 8 }, window: window_of(512), ..three() });
    assert_eq!(cluster.forward(node(1), &[b"before"]), Ok(0));
    let batch = [&b"a"[..]; 6];
    assert_eq!(cluster.forward(node(1), &batch), Err(ForwardError::TooLarge));
    settle(&mut cluster);
    assert_eq!((items(&cluster, 0), window(&mut cluster).accepted), (vec![0], 1));
    // The same at the leader itself.
    let proposed = propose_batch(&mut cluster, 0, &batch);
    assert!(matches!(proposed, Err(ProposeError::TooLarge(_))), "{proposed:?}");
}

/// covers: C8
#[test]
fn an_empty_batch_does_nothing() {
    let mut cluster = opened(three());
    let last = cluster.nodes[&node(0)].status().expect("power").last;
    assert_eq!(cluster.forward(node(1), &[]), Ok(0));
    assert_eq!(propose_batch(&mut cluster, 0, &[]), Ok(last));
    assert_eq!(propose_batch(&mut cluster, 1, &[]), Err(ProposeError::NotLeader(Some(node(0)))));
    assert_eq!((cluster.sent.len(), window(&mut cluster).next), (0, 0));
    settle(&mut cluster);
    assert_eq!(cluster.nodes[&node(0)].status().expect("power").last, last);
}

/// Scenario 49. What comes before the refused item is there, it and what comes after it is not, of the same batch or of later ones, whatever is repeated.
/// covers: C4
#[test]
fn admission_refuses_one_item_and_nothing_after_it_is_stored() {
    fn admit(command: &[u8]) -> Result<(), Rejection> {
        if command.first() == Some(&b'!') { Err(Rejection(7)) } else { Ok(()) }
    }
    let mut cluster = opened(Settings { admit, ..three() });
    cluster.forward(node(1), &[b"a", b"b"]).expect("room");
    cluster.forward(node(1), &[b"c", b"!", b"d"]).expect("room");
    cluster.forward(node(1), &[b"e"]).expect("room");
    for _ in 0..3 {
        let name = cluster.of_kind("forward")[0];
        cluster.network.duplicate(name);
        cluster.deliver(name).expect("on its way");
    }
    // The first answer that says so is lost.
    cluster.of_kind("forward-answer").into_iter().for_each(|name| drop(cluster.network.take(name)));
    cluster.run(ms(300));
    assert_eq!(window(&mut cluster).state, WindowState::Closed(Closed::Rejected(Rejection(7))));
    assert_eq!(window(&mut cluster).accepted, 2);
    assert!((0..3).all(|id| items(&cluster, id) == [0, 1]));
    assert_eq!(cluster.forward(node(1), &[b"f"]), Err(ForwardError::Closed));
    // At the leader, by the same function, also of a batch.
    assert_eq!(cluster.propose(node(0), b"!"), Err(ProposeError::Rejected(Rejection(7))));
    let proposed = propose_batch(&mut cluster, 0, &[b"x", b"!"]);
    assert_eq!(proposed, Err(ProposeError::Rejected(Rejection(7))));
    assert!((0..3).all(|id| cluster.nodes[&node(id)].status().expect("power").last == LogIndex(3)));
    // Opened anew, it takes again.
    cluster.open(node(1)).expect("a leader");
    settle(&mut cluster);
    assert_eq!(cluster.forward(node(1), &[b"g"]), Ok(0));
    cluster.run(ms(200));
    assert_eq!(items(&cluster, 2), [0, 1, 0]);
}

/// covers: C5
#[test]
fn a_closed_window_stays_closed_for_the_first_reason() {
    let close = |raft: &mut Raft<'_>, reason| raft.close_window(reason);
    let mut cluster = opened(three());
    cluster.forward(node(1), &[b"a"]).expect("room");
    let news = |cluster: &Cluster| cluster.nodes[&node(1)].running.as_ref().map(|running| running.window_news);
    let before = news(&cluster);
    cluster.ask(node(1), |raft, _| close(raft, Closed::Owner));
    assert_ne!(news(&cluster), before, "whoever waits is told");
    let closed = |cluster: &mut Cluster| (window(cluster).state, window(cluster).accepted);
    assert_eq!(closed(&mut cluster), (WindowState::Closed(Closed::Owner), 0));
    // The item is on its way, and may arrive: its owner does not know.
    settle(&mut cluster);
    assert_eq!(items(&cluster, 0), [0]);
    cluster.halt(node(1));
    assert_eq!(closed(&mut cluster), (WindowState::Closed(Closed::Owner), 0));
}

/// Scenario 48. What commits is a prefix of what was sent, and nobody else's.
/// covers: C1
#[test]
fn a_leader_change_closes_the_window_and_leaves_a_prefix() {
    for delivered in 0..4 {
        let mut cluster = opened(three());
        for command in [b"a", b"b", b"c"] {
            cluster.forward(node(1), &[command, command]).expect("room");
        }
        for name in cluster.of_kind("forward").into_iter().take(delivered) {
            cluster.deliver(name).expect("on its way");
        }
        // Of what the leader has appended, node 2 gets one entry at most: then the leader is lost.
        let name = cluster.network.frames.iter().find(|frame| frame.to == node(2)).map(|frame| frame.name);
        name.and_then(|name| cluster.deliver(name));
        let late = cluster.of_kind("forward").first().copied();
        let late = late.and_then(|name| cluster.network.frames.iter().find(|frame| frame.name == name)).cloned();
        cluster.network.frames.clear();
        cluster.set_isolated(node(0), true);
        cluster.run(ms(5000));
        assert_eq!(window(&mut cluster).state, WindowState::Closed(Closed::LeaderLost));
        cluster.set_isolated(node(0), false);
        cluster.run(ms(3000));
        // Late, at whoever leads now.
        if let Some(late) = late {
            cluster.hand_in(late.to, &late.bytes);
        }
        cluster.run(ms(500));
        let kept = items(&cluster, 2);
        assert_eq!(kept, (0..kept.len() as u32).collect::<Vec<_>>(), "{delivered} delivered");
        assert!((0..3).all(|id| items(&cluster, id) == kept) && kept.len() <= 2 * delivered, "{kept:?}");
    }
}

/// covers: C3
#[test]
fn a_link_that_does_not_pipeline_has_one_batch_on_its_way() {
    let mut cluster = opened(Settings { window: WindowSize { bytes: 256, pipelines: false }, ..three() });
    assert_eq!(cluster.forward(node(1), &[b"a", b"b"]), Ok(0));
    assert_eq!(cluster.forward(node(1), &[b"c"]), Err(ForwardError::NotReady));
    assert!(!window(&mut cluster).pipelines);
    settle(&mut cluster);
    assert_eq!(cluster.forward(node(1), &[b"c"]), Ok(2));
    assert_eq!(cluster.forward(node(1), &[b"d"]), Err(ForwardError::NotReady));
    settle(&mut cluster);
    assert_eq!(items(&cluster, 0), [0, 1, 2]);
}

/// covers: C10, R15
#[test]
fn no_two_clients_of_a_node_have_the_same_name() {
    let mut cluster = Cluster::led(three());
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5 {
        for _ in 0..5 {
            let client = cluster.ask(node(1), |raft, _| raft.new_client()).expect("power");
            assert!(seen.insert(client) && client.node() == Some(node(1)), "{client}");
        }
        // The record of the boot is durable, or no frame and no entry names it.
        cluster.crash(node(1), 0, 0);
        cluster.start(node(1));
    }
    assert_eq!(seen.iter().map(|client| client.boot()).collect::<std::collections::BTreeSet<_>>().len(), 5);
}

/// A boot that did not become durable has said nothing to anybody, so the next one may have its number.
/// covers: R15
#[test]
fn nothing_leaves_in_the_name_of_a_boot_that_is_not_durable() {
    let mut cluster = Cluster::led(three());
    cluster.slow_disks.insert(node(1));
    cluster.open(node(1)).expect("a leader");
    cluster.read(node(1)).expect("a leader");
    cluster.time_out(node(1)).expect("a deadline");
    settle(&mut cluster);
    assert_eq!((cluster.count_sent("forward"), cluster.count_sent("read")), (0, 0));
    cluster.slow_disks.remove(node(1));
    cluster.flush(node(1), usize::MAX);
    settle(&mut cluster);
    assert_eq!((cluster.clients.done, window(&mut cluster).state), (1, WindowState::Open), "no deadline is needed");
}

/// Item numbers wrap: here a window's next item is 0, and a frame begins two before it.
/// covers: L15
#[test]
fn item_numbers_are_compared_across_the_wrap() {
    let mut cluster = opened(three());
    let client = window(&mut cluster).client;
    let item = |number: u32| {
        let request = RequestId { client, sequence: number, table: 0 };
        let mut bytes = [0; 64];
        let len = Item::encode(Kind::Stream, false, &request.encode(), b"x", &mut bytes).expect("it fits");
        bytes[..len].to_vec()
    };
    let mut hand_in = |first: u32, count: u32| {
        let items: Vec<u8> = (0..count).flat_map(|more| item(first.wrapping_add(more))).collect();
        let forward = Forward { client, first, capabilities: Capabilities::ALL, items: &items };
        (0..8).for_each(|number| cluster.oracle.put(client, number, quoring_tests::disk::digest(b"x"), false));
        cluster.hand_in(node(0), &sealed(1, &Message::Forward(forward)));
        self::items(&cluster, 0)
    };
    // Wholly before, and with one item that is next.
    assert_eq!(hand_in(u32::MAX - 1, 2), []);
    assert_eq!(hand_in(u32::MAX - 1, 3), [0]);
    // Far ahead, and as far behind as a number can be.
    assert_eq!(hand_in(0x8000_0001, 1), [0]);
    assert_eq!(hand_in(0x8000_0002, 1), [0]);
    assert_eq!(hand_in(u32::MAX, 4), [0, 1, 2]);
}
