//! Links with small datagrams, serial lines, Ethernet and a network stack: the bytes of `LINKS.md`, everything a link can do to them, and three nodes that agree over them.

#[allow(dead_code)] // Each feature has its part.
#[cfg(any(feature = "ethernet", feature = "embassy-net"))]
#[path = "links/chip.rs"]
mod chip;
#[cfg(feature = "embassy-net")]
#[path = "links/embassy_udp.rs"]
mod embassy_udp;
#[cfg(feature = "ethernet")]
#[path = "links/ethernet.rs"]
mod ethernet;
#[cfg(feature = "serial")]
#[path = "links/serial.rs"]
mod serial;
#[allow(dead_code)] // Other tests use the rest of it.
#[path = "rig/world.rs"]
mod world;

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use embassy_futures::poll_once;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use futures_lite::future::block_on;
use quoring::store::memory::MemoryLog;
use quoring::transport::fragment::{Assemblies, Dropped, Error, Fragments};
use quoring::transport::memory::{MemoryNetwork, MemoryTransport};
use quoring::{
    ClusterId, Config, Duration, Halt, NodeId, NodeSet, Platform, Replicator, Resources, Role, Step, Tasks, Transport,
};
use world::{TestClock, World};

const PAGE: &str = include_str!("../LINKS.md");

/// The lines of a vector of the page.
fn vector(title: &str) -> Vec<Vec<u8>> {
    let (_, block) = PAGE.split_once(&format!("```vector {title}\n")).expect("the page has it");
    let (lines, _) = block.split_once("```").expect("it ends");
    let byte = |digits| u8::from_str_radix(digits, 16).expect("hex digits");
    lines.lines().map(|line| line.split_whitespace().map(byte).collect()).collect()
}

fn node(id: usize) -> NodeId {
    NodeId::new(id as u8).unwrap()
}

/// Chance that repeats itself.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as usize % bound
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }

    /// A frame with as many zeros as frames have.
    fn frame(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| if self.below(2) == 0 { 0 } else { self.below(256) as u8 }).collect()
    }
}

/// What a future gives before it waits for others for good.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    (0..2000).find_map(|_| match poll_once(future.as_mut()) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    })
}

/// A link whose datagrams lie open.
#[derive(Default)]
struct Open {
    datagrams: RefCell<VecDeque<Vec<u8>>>,
}

impl Transport for Open {
    type Error = Infallible;

    async fn send(&self, _: NodeId, datagram: &[u8]) -> Result<(), Infallible> {
        self.datagrams.borrow_mut().push_back(datagram.to_vec());
        Ok(())
    }

    async fn receive(&self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let datagram = poll_fn(|_| match self.datagrams.borrow_mut().pop_front() {
            Some(datagram) => Poll::Ready(datagram),
            None => Poll::Pending,
        });
        let datagram = datagram.await;
        let len = datagram.len().min(buffer.len());
        buffer[..len].copy_from_slice(&datagram[..len]);
        Ok(len)
    }
}

/// The largest frame of these tests, which takes as many pieces of 8 bytes as there can be.
const FRAME: usize = 1530;

type Side<'l, const PIECE: usize> = Fragments<'static, NoopRawMutex, &'l Open, PIECE, FRAME, 32>;

fn side<const PIECE: usize>(own: usize, link: &Open) -> Side<'_, PIECE> {
    Fragments::new(node(own), link, Box::leak(Box::new(Assemblies::new())))
}

fn split<const PIECE: usize>(link: &Open, sender: &Side<'_, PIECE>, frame: &[u8]) -> Vec<Vec<u8>> {
    assert!(link.datagrams.borrow().is_empty());
    block_on(sender.send(node(1), frame)).unwrap();
    link.datagrams.take().into()
}

/// The frame that these datagrams make.
fn join<const PIECE: usize>(link: &Open, receiver: &Side<'_, PIECE>, datagrams: &[Vec<u8>]) -> Option<Vec<u8>> {
    link.datagrams.borrow_mut().extend(datagrams.iter().cloned());
    let mut buffer = vec![0; FRAME];
    let len = now(receiver.receive(&mut buffer))?.unwrap();
    Some(buffer[..len].to_vec())
}

/// covers: T1
#[test]
fn pieces_are_those_of_the_page() {
    let link = Open::default();
    let sender = side::<8>(3, &link);
    let frame = [0x11, 0x22, 0, 0x33, 0x44, 0x55, 0x66];
    split(&link, &sender, &[]);
    assert_eq!(split(&link, &sender, &frame), vector("pieces of 8 bytes: message 1 of node 3, 11 22 00 33 44 55 66"));
    let sender = side::<64>(31, &link);
    assert_eq!(
        split(&link, &sender, &frame),
        vector("a piece of 64 bytes: message 0 of node 31, 11 22 00 33 44 55 66")
    );
}

fn every_size<const PIECE: usize>() {
    let link = Open::default();
    let (sender, receiver) = (side::<PIECE>(0, &link), side::<PIECE>(1, &link));
    let mut random = Random(PIECE as u64);
    for len in (0..300).chain([767, 768, 1471, 1472, FRAME]) {
        let frame = random.frame(len);
        let pieces = split(&link, &sender, &frame);
        assert!(pieces.iter().all(|piece| (3..=PIECE).contains(&piece.len())));
        assert_eq!(pieces.len(), (len + 6).div_ceil(PIECE - 2));
        assert_eq!(join(&link, &receiver, &pieces), Some(frame));
    }
    assert_eq!(receiver.dropped(), Dropped::default());
    assert_eq!(block_on(sender.send(node(1), &[0; FRAME + 1])), Err(Error::TooLarge(FRAME + 1)));
}

/// covers: T1
#[test]
fn frames_of_every_size_go_through_pieces_of_every_size() {
    macro_rules! every {
        ($($size:literal)*) => { $(every_size::<$size>();)* };
    }
    every!(8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39);
    every!(40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70);
}

/// covers: T1
#[test]
fn pieces_arrive_in_any_order_and_more_than_once() {
    let link = Open::default();
    let (sender, receiver) = (side::<8>(0, &link), side::<8>(1, &link));
    let mut random = Random(5);
    for _ in 0..500 {
        let len = random.below(60);
        let frame = random.frame(len);
        let mut pieces = split(&link, &sender, &frame);
        pieces.extend_from_within(..);
        for at in (1..pieces.len()).rev() {
            pieces.swap(at, random.below(at + 1));
        }
        assert_eq!(join(&link, &receiver, &pieces), Some(frame));
        // What comes after the last piece that was missing is the beginning of nothing, or the whole frame again.
        while join(&link, &receiver, &[]).is_some() {}
    }
}

/// covers: T1
#[test]
fn pieces_of_many_senders_do_not_meet() {
    let link = Open::default();
    let receiver = side::<8>(1, &link);
    let mut random = Random(9);
    let frames: Vec<_> = (0..32).map(|_| random.frame(100)).collect();
    let split = |(from, frame): (usize, &Vec<u8>)| split(&link, &side::<8>(from, &link), frame);
    let pieces: Vec<_> = frames.iter().enumerate().map(split).collect();
    let mixed: Vec<_> =
        (0..pieces[0].len()).flat_map(|number| pieces.iter().map(move |of| of[number].clone())).collect();
    assert_eq!(join(&link, &receiver, &mixed).as_ref(), Some(&frames[0]));
    for frame in &frames[1..] {
        assert_eq!(join(&link, &receiver, &[]).as_ref(), Some(frame));
    }
}

/// covers: T1, T2
#[test]
fn a_lost_piece_loses_its_frame_and_a_late_one_does_not_disturb_the_next() {
    let link = Open::default();
    let (sender, receiver) = (side::<8>(0, &link), side::<8>(1, &link));
    for lost in 0..5 {
        let [old, new] = [[7; 20], [8; 20]].map(|frame| split(&link, &sender, &frame));
        let mut pieces = old.clone();
        let late = pieces.remove(lost);
        pieces.push(new[0].clone());
        pieces.push(late);
        pieces.extend_from_slice(&new[1..]);
        assert_eq!(join(&link, &receiver, &pieces), Some(vec![8; 20]));
        let round = lost as u32 + 1;
        assert_eq!(receiver.dropped(), Dropped { frames: round, pieces: round });
    }
}

/// Eight messages later the number is the same: the checksum over the whole frame tells.
///
/// covers: T1, T2
#[test]
fn pieces_of_two_messages_with_one_number_make_no_frame() {
    let link = Open::default();
    let (sender, receiver) = (side::<8>(0, &link), side::<8>(1, &link));
    let first = split(&link, &sender, &[1; 20]);
    (1..8).for_each(|_| drop(split(&link, &sender, &[])));
    let second = split(&link, &sender, &[2; 20]);
    assert_eq!(first[1][..2], second[1][..2]);
    for cut in 1..first.len() {
        assert_eq!(join(&link, &receiver, &[&first[..cut], &second[cut..]].concat()), None);
    }
    assert_eq!(receiver.dropped(), Dropped { frames: first.len() as u32 - 1, pieces: 0 });
}

/// covers: T2
#[test]
fn every_flipped_bit_is_found() {
    let link = Open::default();
    let sender = side::<8>(0, &link);
    let frame = Random(3).frame(30);
    for piece in 0..6 {
        for bit in 0..64 {
            let mut pieces = split(&link, &sender, &frame);
            pieces[piece][bit / 8] ^= 1 << (bit % 8);
            assert_eq!(join(&link, &side::<8>(1, &link), &pieces), None, "{piece} {bit}");
        }
    }
}

/// covers: T1
#[test]
fn a_link_may_pad_its_datagrams() {
    let link = Open::default();
    let (sender, receiver) = (side::<64>(0, &link), side::<64>(1, &link));
    for len in 0..200 {
        let frame = vec![0xA5; len];
        let mut pieces = split(&link, &sender, &frame);
        pieces.iter_mut().for_each(|piece| piece.resize(70, 0xCC));
        pieces.reverse();
        assert_eq!(join(&link, &receiver, &pieces), Some(frame));
    }
}

/// covers: T1
#[test]
fn a_receiver_that_goes_away_takes_no_piece_with_it() {
    let link = Open::default();
    let (sender, receiver) = (side::<8>(0, &link), side::<8>(1, &link));
    let pieces = split(&link, &sender, &[9; 50]);
    let (last, others) = pieces.split_last().unwrap();
    for piece in others {
        assert_eq!(join(&link, &receiver, std::slice::from_ref(piece)), None);
    }
    assert_eq!(join(&link, &receiver, std::slice::from_ref(last)), Some(vec![9; 50]));
}

/// covers: T1
#[test]
fn a_sender_that_starts_again_is_heard_after_three_frames_at_most() {
    let link = Open::default();
    for sent in 0..8 {
        for unfinished in [false, true] {
            let (sender, receiver) = (side::<8>(0, &link), side::<8>(1, &link));
            (0..sent).for_each(|_| assert!(join(&link, &receiver, &split(&link, &sender, &[1; 9])).is_some()));
            if unfinished {
                join(&link, &receiver, &split(&link, &sender, &[1; 9])[..2]);
            }
            let sender = side::<8>(0, &link);
            let lost = (0..4).position(|_| join(&link, &receiver, &split(&link, &sender, &[2; 9])).is_some());
            assert!(lost.is_some_and(|lost| lost <= if unfinished { 3 } else { 0 }), "{sent} {lost:?}");
        }
    }
}

/// covers: T5
#[test]
fn no_piece_does_any_harm() {
    let link = Open::default();
    let receiver = Fragments::<NoopRawMutex, _, 8, 100, 3>::new(node(1), &link, Box::leak(Box::default()));
    assert_eq!(block_on(receiver.send(node(3), &[])), Err(Error::UnknownPeer(node(3))));
    let mut random = Random(77);
    for _ in 0..2000 {
        let mut garbage = VecDeque::new();
        for _ in 0..100 {
            let len = random.below(12);
            garbage.push_back(random.bytes(len));
        }
        link.datagrams.replace(garbage);
        assert_eq!(now(receiver.receive(&mut [0; 100])), None);
    }
    assert!(receiver.dropped().pieces > 100_000);
}

/// covers: T1, T5
#[test]
fn a_piece_that_is_here_already_and_a_frame_that_is_too_large_are_counted() {
    let link = Open::default();
    let (sender, receiver) = (side::<8>(0, &link), side::<8>(1, &link));
    let pieces = split(&link, &sender, &[1; 9]);
    assert_eq!(join(&link, &receiver, &[&pieces[..2], &pieces[..]].concat()), Some(vec![1; 9]));
    assert_eq!(receiver.dropped(), Dropped { frames: 0, pieces: 2 });

    let receiver = Fragments::<NoopRawMutex, _, 8, 100, 3>::new(node(1), &link, Box::leak(Box::default()));
    block_on(sender.send(node(1), &[2; 101])).unwrap();
    assert_eq!(now(receiver.receive(&mut [0; 200])), None);
    assert_eq!(receiver.dropped(), Dropped { frames: 0, pieces: 1 });
    block_on(sender.send(node(1), &[3; 100])).unwrap();
    assert_eq!(now(receiver.receive(&mut [0; 99])), None);
    assert_eq!(receiver.dropped(), Dropped { frames: 2, pieces: 1 });
    block_on(sender.send(node(1), &[4; 100])).unwrap();
    assert_eq!(now(receiver.receive(&mut [0; 100])), Some(Ok(100)));
}

/// A link that loses, doubles and holds back.
struct Rough<T> {
    link: T,
    random: RefCell<Random>,
    /// One datagram of so many suffers each.
    one_of: usize,
    held: RefCell<VecDeque<(NodeId, Vec<u8>)>>,
    lost: Rc<Cell<usize>>,
}

impl<T> Rough<T> {
    fn new(link: T, seed: u64, one_of: usize, lost: Rc<Cell<usize>>) -> Self {
        Self { link, random: RefCell::new(Random(seed)), one_of, held: RefCell::default(), lost }
    }
}

impl<T: Transport> Transport for Rough<T> {
    type Error = T::Error;

    async fn send(&self, peer: NodeId, datagram: &[u8]) -> Result<(), T::Error> {
        let fate = self.random.borrow_mut().below(3 * self.one_of);
        match fate {
            0 => self.lost.set(self.lost.get() + 1),
            1 => self.held.borrow_mut().push_back((peer, datagram.to_vec())),
            _ => self.link.send(peer, datagram).await?,
        }
        if fate == 2 {
            self.link.send(peer, datagram).await?;
        }
        if self.random.borrow_mut().below(5) == 0 {
            let held = self.held.borrow_mut().pop_front();
            if let Some((peer, datagram)) = held {
                self.link.send(peer, &datagram).await?;
            }
        }
        Ok(())
    }

    async fn receive(&self, buffer: &mut [u8]) -> Result<usize, T::Error> {
        self.link.receive(buffer).await
    }
}

/// covers: T1, T2
#[test]
fn a_rough_link_loses_frames_and_never_makes_one() {
    for (seed, one_of) in [(1, 2), (2, 4), (3, 16), (4, 100), (5, 1000)] {
        let link = Open::default();
        let rough = Rough::new(&link, seed, one_of, Rc::default());
        let mut random = Random(seed + 100);
        let assemblies = Box::leak(Box::new(Assemblies::new()));
        let sender = Fragments::<NoopRawMutex, _, 8, FRAME, 32>::new(node(0), &rough, assemblies);
        let receiver = side::<8>(1, &link);
        let (mut sent, mut received) = (HashSet::new(), HashSet::new());
        for number in 0..5000_u32 {
            let len = random.below(40);
            let frame = [&number.to_le_bytes(), &random.frame(len)[..]].concat();
            block_on(sender.send(node(1), &frame)).unwrap();
            sent.insert(frame);
            let mut buffer = vec![0; FRAME];
            while let Some(len) = now(receiver.receive(&mut buffer)) {
                let frame = buffer[..len.unwrap()].to_vec();
                assert!(sent.contains(&frame), "{frame:?}");
                received.insert(frame);
            }
        }
        println!("one of {one_of}: {} of {} frames, {:?}", received.len(), sent.len(), receiver.dropped());
        assert!(received.len() * 10 > sent.len() && received.len() < sent.len());
    }
}

/// A node of these tests.
struct Board<T>(PhantomData<T>);

impl<T: Transport> Platform for Board<T> {
    type Mutex = NoopRawMutex;
    type Store = MemoryLog<{ 64 * 1024 }>;
    type Transport = T;
    type Clock = TestClock;
}

/// A task of a node; why it ends is asked of nobody.
async fn end(task: impl Future<Output = Halt>) {
    task.await;
}

/// Three nodes elect over these transports, and commit `count` commands that all apply.
fn elect_and_commit<T: Transport + 'static>(world: &World, transports: [T; 3], count: usize) {
    let mut id = 0;
    let nodes = transports.map(|transport| {
        let config = Config::new(node(id), ClusterId(7), NodeSet::first(3));
        id += 1;
        let memory = Box::leak(Box::new(Resources::<Board<T>, 256, 64, 2, 256, 16>::new()));
        let started = quoring::new(config, MemoryLog::new(), transport, world.clock(), memory);
        let (node, mut committed, runner) = block_on(started).unwrap();
        let Tasks { log_writer, replicators, receiver, ticker } = runner.split();
        for task in replicators.map(Replicator::run) {
            world.spawn(end(task));
        }
        world.spawn(end(log_writer.run()));
        world.spawn(end(receiver.run()));
        world.spawn(end(ticker.run()));
        let applied = Rc::<RefCell<Vec<Vec<u8>>>>::default();
        let shown = Rc::clone(&applied);
        world.spawn(async move {
            while let Ok(step) = committed.next().await {
                match step {
                    Step::Apply(entry) => {
                        applied.borrow_mut().push(entry.command().to_vec());
                        entry.answer(b"done");
                    }
                    step => unreachable!("the store keeps all entries: {step:?}"),
                }
            }
        });
        (node, shown)
    });
    world.run(async {
        let (mut proposed, mut number) = (0, 0_u32);
        while proposed < count {
            let Some((leader, _)) = nodes.iter().find(|(node, _)| node.status().role == Role::Leader) else {
                world.sleep(Duration::from_millis(10)).await;
                continue;
            };
            number += 1;
            let command = [&number.to_le_bytes()[..], &[0; 60]].concat();
            proposed += usize::from(leader.propose(&command).await.is_ok());
        }
        let applied = |at: usize| nodes[at].1.borrow().clone();
        while applied(0).len() < count || applied(0) != applied(1) || applied(0) != applied(2) {
            world.sleep(Duration::from_millis(10)).await;
        }
    });
    println!("{count} commands in {:?}", world.now());
}

type Can = Fragments<'static, NoopRawMutex, Rough<MemoryTransport<'static, NoopRawMutex, 8, 256>>, 8, 256, 3>;

/// covers: T1, T2, P1
#[test]
fn three_nodes_agree_over_pieces_of_8_bytes() {
    for one_of in [40, 1_000_000] {
        let network: &'static MemoryNetwork<NoopRawMutex, 3, 8, 256> = Box::leak(Box::default());
        let lost = Rc::<Cell<usize>>::default();
        let transports: [Can; 3] = [0, 1, 2].map(|id| {
            let link = Rough::new(network.endpoint(node(id)).unwrap(), id as u64 + 1, one_of, Rc::clone(&lost));
            Fragments::new(node(id), link, Box::leak(Box::default()))
        });
        elect_and_commit(&World::default(), transports, 100);
        println!("{} pieces were lost", lost.get());
        assert!(one_of > 40 || lost.get() > 10);
    }
}
