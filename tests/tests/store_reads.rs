//! A leader that serves a peer from its store, and what becomes of it when the store fails or when it is deposed meanwhile. Node 0 is whole,
//! driver tasks and all; nodes 1 and 2 are played by hand.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use embassy_futures::{block_on, poll_once};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use quoring::store::ReadError;
use quoring::store::memory::{Error, MemoryLog};
use quoring::transport::memory::{MemoryNetwork, MemoryTransport};
use quoring::{
    Clock, ClusterId, Config, Halt, Instant, LogIndex, LogStore, Node, NodeId, NodeSet, Platform, Resources, Role,
    Term, Transport,
};
use quoring_core::Recovery;
use quoring_core::wire::{Append, AppendRefusal, Envelope, Message, VoteAnswer};
use quoring_ring::{Checksum, DEFAULT_CRC32C, Header, Kind};

const CLUSTER: ClusterId = ClusterId(12);
const FRAME: usize = 256;
/// Entries in node 0's store at the start, of term 1.
const STORED: u64 = 20;

/// What the store's operations do.
#[derive(Default)]
struct Knobs {
    fails_to_read: Cell<bool>,
    hangs_to_append: Cell<bool>,
}

struct TestStore(MemoryLog<4096>, Rc<Knobs>);

impl LogStore for TestStore {
    type Error = Error;

    async fn recover(&mut self, log: &mut Recovery) -> Result<(), Error> {
        self.0.recover(log).await
    }

    async fn append(&mut self, batch: &[u8]) -> Result<(), Error> {
        poll_fn(|_| if self.1.hangs_to_append.get() { Poll::Pending } else { Poll::Ready(()) }).await;
        self.0.append(batch).await
    }

    async fn read(&mut self, index: LogIndex, buffer: &mut [u8]) -> Result<usize, ReadError<Error>> {
        if self.1.fails_to_read.get() { Err(ReadError::Store(Error::Full)) } else { self.0.read(index, buffer).await }
    }
}

#[derive(Clone, Default)]
struct ManualClock(Rc<Cell<u64>>);

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant(self.0.get())
    }

    async fn sleep_until(&self, deadline: Instant) {
        poll_fn(|_| if self.now() < deadline { Poll::Pending } else { Poll::Ready(()) }).await;
    }
}

struct Board;

impl Platform for Board {
    type Mutex = NoopRawMutex;
    type Store = TestStore;
    type Transport = MemoryTransport<'static, NoopRawMutex, FRAME, 64>;
    type Clock = ManualClock;
}

fn id(node: u8) -> NodeId {
    NodeId::new(node).expect("0..=31")
}

fn record(kind: Kind, term: u32, index: u64) -> Vec<u8> {
    let header = Header { checksum: 0, term, index_low: index as u32, len: 0, kind, flags: 0 };
    let checksum = Checksum::new(CLUSTER.0, DEFAULT_CRC32C).of(&header, 0, &[]);
    Header { checksum, ..header }.encode().to_vec()
}

/// Node 0, and the ends of the others.
struct Play {
    node: Node<'static, Board>,
    runner: Pin<Box<dyn Future<Output = Halt>>>,
    halt: Option<Halt>,
    knobs: Rc<Knobs>,
    clock: ManualClock,
    network: &'static MemoryNetwork<NoopRawMutex, 3, FRAME, 64>,
}

impl Play {
    /// Node 0 leads term 2 by the vote of node 1, and appends its no-op to a store that takes it, or hangs.
    fn new(hangs: bool) -> Self {
        let network: &'static _ = Box::leak(Box::new(MemoryNetwork::new()));
        let (knobs, clock) = (Rc::new(Knobs::default()), ManualClock::default());
        let mut store = TestStore(MemoryLog::new(), Rc::clone(&knobs));
        let entries: Vec<u8> = (1..=STORED).flat_map(|index| record(Kind::NoOp, 1, index)).collect();
        block_on(store.append(&entries)).expect("there is room");
        let resources: &'static mut _ = Box::leak(Box::new(Resources::<Board, 64, 32, 2, FRAME>::new()));
        let config = Config::new(id(0), CLUSTER, NodeSet::first(3));
        let transport = network.endpoint(id(0)).expect("a node of the network");
        let started = quoring::new(config, store, transport, clock.clone(), resources);
        let (node, _, runner) = block_on(started).unwrap_or_else(|error| panic!("{error}"));
        let mut play = Self { node, runner: Box::pin(runner.run()), halt: None, knobs, clock, network };
        play.go_on();
        play.clock.0.set(2_000_000);
        play.go_on();
        play.says(1, Term(1), &Message::PreVoteAnswer(VoteAnswer { term: Term(2), granted: true }), &[]);
        play.knobs.hangs_to_append.set(hangs);
        play.says(1, Term(2), &Message::VoteAnswer(VoteAnswer { term: Term(2), granted: true }), &[]);
        assert_eq!(play.node.status().role, Role::Leader);
        play
    }

    /// Lets all tasks run until they wait.
    fn go_on(&mut self) {
        for _ in 0..20 {
            if self.halt.is_none()
                && let Poll::Ready(halt) = poll_once(self.runner.as_mut())
            {
                self.halt = Some(halt);
            }
        }
    }

    fn says(&mut self, from: u8, term: Term, message: &Message<'_>, records: &[u8]) {
        let mut frame = [0; FRAME];
        let envelope = Envelope { cluster: CLUSTER, node: id(from), crc: DEFAULT_CRC32C };
        let len = envelope.seal(id(0), term, message, &mut frame).expect("it fits");
        frame[len..len + records.len()].copy_from_slice(records);
        let end = self.network.endpoint(id(from)).expect("a node of the network");
        block_on(end.send(id(0), &frame[..len + records.len()])).expect("it is taken");
        self.go_on();
    }

    /// The appends that node 0 has sent to this node: session, entry before, bytes of records.
    fn appends_to(&self, node: u8) -> Vec<(u32, LogIndex, u16)> {
        let end = self.network.endpoint(id(node)).expect("a node of the network");
        let envelope = Envelope { cluster: CLUSTER, node: id(node), crc: DEFAULT_CRC32C };
        let (mut appends, mut buffer) = (Vec::new(), [0; FRAME]);
        while let Poll::Ready(Ok(len)) = poll_once(end.receive(&mut buffer)) {
            if let Ok(Message::Append(append)) = envelope.open(&buffer[..len]).map(|frame| frame.message) {
                appends.push((append.session, append.prev, append.bytes));
            }
        }
        appends
    }

    /// Node 1 refuses the newest append: its log may be the same up to `hint`.
    fn refuses(&mut self, hint: u64) {
        let (session, rejected, _) = *self.appends_to(1).last().expect("an append");
        let (hint, hint_term) = (LogIndex(hint), Term(u32::from(hint > 0)));
        let refusal = AppendRefusal { session, room: 4096, rejected, hint, hint_term };
        self.says(1, Term(2), &Message::AppendRefusal(refusal), &[]);
    }
}

/// covers: L12, P8
#[test]
fn a_peer_far_behind_is_served_from_the_store() {
    let mut play = Play::new(false);
    play.refuses(0);
    let (_, prev, bytes) = *play.appends_to(1).last().expect("an append");
    assert_eq!((prev, usize::from(bytes) > 0, play.halt), (LogIndex(0), true, None));
}

/// Bug: entries that cannot be read are left out, and the peer is told that there is nothing more.
/// covers: L12, D6
#[test]
fn a_store_that_fails_to_read_silences_the_node_and_nothing_is_sent_instead() {
    let mut play = Play::new(false);
    play.knobs.fails_to_read.set(true);
    play.refuses(0);
    assert_eq!((play.appends_to(1), play.halt), (vec![], Some(Halt::Read(LogIndex(1)))));
}

/// Bug: the replicator waits for the store while its node is deposed and its log is truncated below what it wants to read. That entry is
/// missing then, and rightly so: the node must not take it for a broken medium.
/// covers: P7, L12
#[test]
fn a_deposed_leader_whose_entries_are_gone_from_its_store_does_not_halt() {
    // The log writer has the store, and node 1 wants entries 16 and later, which the store holds.
    let mut play = Play::new(true);
    play.refuses(15);
    assert_eq!(play.appends_to(1), vec![], "the replicator waits for the store");
    // Node 2 leads term 3, and its entry 6 replaces entries 6 and later of node 0.
    let append = Append {
        prev: LogIndex(5),
        prev_term: Term(1),
        commit: LogIndex(0),
        session: 7,
        respond: true,
        bytes: 16,
        records: &[],
    };
    play.says(2, Term(3), &Message::Append(append), &record(Kind::NoOp, 3, 6));
    assert_eq!((play.node.status().last, play.node.status().role), (LogIndex(6), Role::Follower));
    play.knobs.hangs_to_append.set(false);
    play.go_on();
    assert_eq!((play.halt, play.appends_to(1)), (None, vec![]));
    assert_eq!(play.node.status().durable, LogIndex(6));
}
