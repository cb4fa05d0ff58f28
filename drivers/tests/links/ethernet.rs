//! Raw Ethernet, on a network chip that is made for it.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;

use embassy_futures::join::{join, join_array};
use embassy_futures::poll_once;
use embassy_net_driver::{HardwareAddress, LinkState};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use futures_lite::future::block_on;
use quoring::NodeId;
use quoring::transport::Transport;
use quoring::transport::ethernet::{Address, BROADCAST, Dropped, ETHERTYPE, Error, Ethernet, NotEthernet};

use super::chip::{Chip, MTU, Packet, segment};
use super::world::World;
use super::{Random, elect_and_commit, node, now, vector};

/// Bytes in front of a frame.
const HEADER: usize = 16;
/// The chip of a node.
fn chip_of(id: usize, shares_waker: bool) -> Chip {
    Chip::new(HardwareAddress::Ethernet(address_of(node(id))), shares_waker)
}

fn transport(chip: &Chip) -> Ethernet<NoopRawMutex, Chip> {
    Ethernet::new(chip.clone(), address_of).unwrap()
}

fn address_of(node: NodeId) -> Address {
    [0x02, 0, 0, 0, 7, node.get()]
}

/// The packet for a frame from node 0 to node 1.
fn packet(frame: &[u8]) -> Packet {
    let chip = chip_of(0, true);
    block_on(transport(&chip).send(node(1), frame)).unwrap();
    chip.leave().unwrap()
}

/// What comes of a packet at node 1, in a buffer of so many bytes.
fn heard(packet: &[u8], size: usize) -> (Option<Vec<u8>>, Dropped) {
    let chip = chip_of(1, true);
    let transport = transport(&chip);
    chip.hear(packet);
    let mut buffer = vec![0; size];
    let len = now(transport.receive(&mut buffer));
    (len.map(|len| buffer[..len.unwrap()].to_vec()), transport.dropped())
}

const NONE: Dropped = Dropped { broken: 0, overlong: 0 };
const BROKEN: Dropped = Dropped { broken: 1, overlong: 0 };

/// covers: T1
#[test]
fn the_packet_is_that_of_the_page() {
    let page = vector("the packet for 11 22 00 33 from 02:00:00:00:07:00 to 02:00:00:00:07:01").concat();
    let packet = packet(&[0x11, 0x22, 0, 0x33]);
    assert_eq!(packet[..page.len()], page);
    assert_eq!(packet.len(), 60);
    assert_eq!(heard(&page, 4), (Some(vec![0x11, 0x22, 0, 0x33]), NONE));
}

/// covers: T1
#[test]
fn frames_of_every_size_fill_their_packet_and_their_buffer() {
    let mut random = Random(5);
    for len in 0..=MTU - HEADER {
        let frame = random.frame(len);
        assert_eq!(heard(&packet(&frame), len), (Some(frame), NONE));
    }
    let size = MTU - HEADER + 1;
    assert_eq!(block_on(transport(&chip_of(0, true)).send(node(1), &vec![0; size])), Err(Error::TooLarge(size)));
}

/// covers: T1, T5
#[test]
fn a_packet_that_is_cut_or_tells_of_more_than_it_has_is_dropped_and_counted() {
    let whole = packet(&[7; 100]);
    for len in 0..whole.len() {
        assert_eq!(heard(&whole[..len], 100), (None, if len < 14 { NONE } else { BROKEN }), "{len}");
    }
    for length in 101..=u16::MAX {
        let mut packet = whole.clone();
        packet[14..16].copy_from_slice(&length.to_le_bytes());
        assert_eq!(heard(&packet, 100), (None, BROKEN));
    }
    assert_eq!(heard(&whole, 99), (None, Dropped { broken: 0, overlong: 1 }));
}

/// covers: T1
#[test]
fn what_is_for_others_or_of_another_kind_is_not_looked_at() {
    let whole = packet(&[7; 100]);
    for at in 0..14 {
        for bit in 0..8 {
            let mut packet = whole.clone();
            packet[at] ^= 1 << bit;
            let is_from = (6..12).contains(&at);
            let is_to_group = at == 0 && bit == 0;
            assert_eq!(heard(&packet, 100).0.is_some(), is_from || is_to_group, "{at} {bit}");
            assert_eq!(heard(&packet, 100).1, NONE);
        }
    }
    let mut packet = whole;
    packet[..6].copy_from_slice(&BROADCAST);
    assert_eq!(heard(&packet, 100).0, Some(vec![7; 100]));
}

/// covers: T1
#[test]
fn nodes_with_another_ethertype_hear_each_other_alone() {
    let chip = chip_of(1, true);
    let transport = transport(&chip).with_ethertype(ETHERTYPE + 1);
    chip.hear(packet(b"to all others"));
    let mut buffer = [0; 20];
    assert_eq!(now(transport.receive(&mut buffer)), None);
    block_on(transport.send(node(1), b"to its like")).unwrap();
    let packet = chip.leave().unwrap();
    assert_eq!(packet[12..14], [0x88, 0xB6]);
    chip.hear(packet);
    assert_eq!(now(transport.receive(&mut buffer)), Some(Ok(11)));
}

/// covers: T5
#[test]
fn no_packet_does_any_harm() {
    let (chip, mut random) = (chip_of(1, true), Random(6));
    let transport = transport(&chip);
    for _ in 0..20_000 {
        let len = random.below(40);
        let mut garbage = random.frame(len);
        let head = packet(&[0; 20]);
        let kept = (13 + random.below(4)).min(len);
        garbage[..kept].copy_from_slice(&head[..kept]);
        chip.hear(garbage);
        let mut buffer = [0; 10];
        assert!(now(transport.receive(&mut buffer)).is_none_or(|len| len.unwrap() <= 10));
    }
    assert!(transport.dropped().broken > 100 && transport.dropped().overlong > 10, "{:?}", transport.dropped());
}

/// covers: T1
#[test]
fn what_is_no_driver_of_ethernet_is_refused() {
    let chip = Chip::new(HardwareAddress::Ip, true);
    let refused = Ethernet::<NoopRawMutex, _>::new(chip, address_of);
    assert_eq!(refused.map(|_| ()).unwrap_err(), NotEthernet(HardwareAddress::Ip));
}

/// Senders and a receiver, each a task of its own, on a chip that sends a packet every millisecond.
struct Crowd {
    world: World,
    chip: Chip,
    transport: &'static Ethernet<NoopRawMutex, Chip>,
    /// What became of the frames.
    ends: Rc<RefCell<Vec<Result<(), Error>>>>,
    /// How many frames came in.
    heard: Rc<Cell<usize>>,
}

impl Crowd {
    fn new(shares_waker: bool, room: usize) -> Self {
        let chip = chip_of(0, shares_waker);
        chip.0.borrow_mut().room = room;
        let transport = Box::leak(Box::new(transport(&chip)));
        Self { world: World::default(), chip, transport, ends: Rc::default(), heard: Rc::default() }
    }

    fn receiver(&self) -> usize {
        let (transport, heard) = (self.transport, Rc::clone(&self.heard));
        self.world.spawn(async move {
            loop {
                transport.receive(&mut [0; 20]).await.unwrap();
                heard.set(heard.get() + 1);
            }
        })
    }

    /// Sends frames that are all of this byte.
    fn sender(&self, byte: u8, frames: usize) -> usize {
        let (transport, ends) = (self.transport, Rc::clone(&self.ends));
        self.world.spawn(async move {
            for _ in 0..frames {
                let sent = transport.send(node(1), &[byte; 10]).await;
                ends.borrow_mut().push(sent);
            }
        })
    }

    /// Lets packets leave until no more come; how many did of each byte.
    fn drain(&self) -> [usize; 4] {
        let mut left = [0; 4];
        self.world.run(async {
            self.world.idle().await;
            while let Some(packet) = self.chip.leave() {
                left[usize::from(packet[HEADER])] += 1;
                self.world.idle().await;
            }
        });
        left
    }

    fn idle(&self) {
        self.world.run(self.world.idle());
    }

    fn hear(&self) {
        let mut packet = packet(b"hello");
        packet[5] = 0;
        self.chip.hear(packet);
        self.idle();
    }
}

/// covers: T1
#[test]
fn senders_that_wait_for_room_all_get_it_and_the_receiver_hears_meanwhile() {
    for (shares_waker, receives, room) in
        [(false, false, 1), (false, true, 1), (true, false, 1), (true, true, 1), (true, true, 3), (true, false, 3)]
    {
        let crowd = Crowd::new(shares_waker, room);
        if receives {
            crowd.receiver();
        }
        (0..4).for_each(|byte| _ = crowd.sender(byte, 5));
        crowd.idle();
        if receives {
            (0..10).for_each(|_| crowd.hear());
            assert_eq!(crowd.heard.get(), 10);
        }
        assert_eq!(crowd.drain(), [5; 4], "{shares_waker} {receives} {room}");
        assert_eq!(*crowd.ends.borrow(), [Ok(()); 20]);
        if receives {
            crowd.hear();
            assert_eq!(crowd.heard.get(), 11);
        }
    }
}

/// A receiver that waits is the one that the driver wakes: if it goes away, or takes its time with a frame, another has to be.
///
/// covers: T1
#[test]
fn whoever_goes_away_leaves_nobody_waiting() {
    for shares_waker in [false, true] {
        for gone in 0..4 {
            let crowd = Crowd::new(shares_waker, 1);
            let receiver = crowd.receiver();
            crowd.idle();
            let senders = [0, 1, 2, 3].map(|byte| crowd.sender(byte, 2));
            crowd.idle();
            crowd.world.kill(receiver);
            crowd.idle();
            assert_eq!(crowd.chip.leave().unwrap()[HEADER], 0);
            crowd.idle();
            crowd.world.kill(senders[gone]);
            crowd.idle();
            let left = crowd.drain();
            let others = (0..4).filter(|&other| other != gone && other != 0);
            others.for_each(|other| assert_eq!(left[other], 2, "{shares_waker} {gone} {left:?}"));
            crowd.receiver();
            crowd.idle();
            crowd.hear();
            assert_eq!(crowd.heard.get(), 1);
        }
    }
}

/// covers: T1
#[test]
fn a_receiver_that_is_busy_holds_no_sender_up() {
    for shares_waker in [false, true] {
        let crowd = Crowd::new(shares_waker, 1);
        let transport = crowd.transport;
        let clock = crowd.world.clock();
        crowd.world.spawn(async move {
            loop {
                transport.receive(&mut [0; 20]).await.unwrap();
                quoring::Clock::sleep_until(&clock, quoring::Instant(1_000_000)).await;
            }
        });
        crowd.idle();
        (0..4).for_each(|byte| _ = crowd.sender(byte, 5));
        crowd.idle();
        crowd.hear();
        assert_eq!(crowd.drain(), [5; 4]);
        assert_eq!(crowd.world.now().0, 0);
    }
}

/// covers: T1
#[test]
fn a_link_that_is_or_goes_down_ends_all_sends() {
    for (shares_waker, receives) in [(false, false), (false, true), (true, false), (true, true)] {
        let crowd = Crowd::new(shares_waker, 1);
        if receives {
            crowd.receiver();
        }
        crowd.sender(0, 1);
        (0..4).for_each(|byte| _ = crowd.sender(byte, 1));
        crowd.idle();
        assert_eq!(*crowd.ends.borrow(), [Ok(())]);
        crowd.chip.set_link(LinkState::Down);
        crowd.idle();
        assert_eq!(crowd.ends.borrow()[1..], [Err(Error::Down); 4], "{shares_waker} {receives}");
        crowd.sender(0, 1);
        crowd.idle();
        assert_eq!(crowd.ends.borrow()[5..], [Err(Error::Down)]);
        crowd.chip.set_link(LinkState::Up);
        crowd.chip.leave();
        crowd.sender(1, 1);
        crowd.idle();
        assert_eq!(crowd.ends.borrow()[6..], [Ok(())]);
    }
}

/// covers: T1
#[test]
fn no_sender_waits_for_ever_for_a_transmitter_that_is_stuck_while_packets_come_in() {
    for shares_waker in [false, true] {
        let crowd = Crowd::new(shares_waker, 0);
        crowd.receiver();
        (0..4).for_each(|byte| _ = crowd.sender(byte, 1));
        crowd.idle();
        (0..100).for_each(|_| crowd.hear());
        assert_eq!(*crowd.ends.borrow(), []);
        (0..500).for_each(|_| crowd.hear());
        assert_eq!(*crowd.ends.borrow(), [Err(Error::Busy); 4]);
        assert_eq!(crowd.heard.get(), 600);
    }
}

/// A node whose tasks run in one polls all of them whenever one is woken.
///
/// covers: T1
#[test]
fn tasks_that_share_a_waker_do_not_keep_each_other_awake() {
    for shares_waker in [false, true] {
        let crowd = Crowd::new(shares_waker, 1);
        let (transport, ends) = (crowd.transport, Rc::clone(&crowd.ends));
        crowd.world.spawn(async move {
            let senders = [0, 1, 2, 3].map(async |byte: u8| {
                let sent = transport.send(node(1), &[byte; 10]).await;
                ends.borrow_mut().push(sent);
            });
            join(transport.receive(&mut [0; 20]), join_array(senders)).await.0.unwrap();
        });
        crowd.idle();
        let asked = crowd.chip.0.borrow().asked;
        assert!(asked < 40, "{asked}");
        assert_eq!(crowd.drain(), [1; 4]);
        let asked = crowd.chip.0.borrow().asked;
        assert!(asked < 200, "{asked}");
        assert_eq!(*crowd.ends.borrow(), [Ok(()); 4]);
    }
}

/// covers: T1
#[test]
fn packets_of_others_do_not_keep_the_node_from_running() {
    let chip = chip_of(1, true);
    let transport = transport(&chip);
    (0..10).for_each(|_| chip.hear([0xFF; 60]));
    let mut buffer = [0; 10];
    let mut receive = pin!(transport.receive(&mut buffer));
    for left in (0..10).rev() {
        assert!(poll_once(receive.as_mut()).is_pending());
        assert_eq!(chip.0.borrow().incoming.len(), left);
    }
}

/// covers: T1, T2, P1
#[test]
fn three_nodes_agree_over_ethernet() {
    for (shares_waker, room, one_of) in [(true, 1, 20), (false, 1, 20), (true, 4, 1_000_000)] {
        let world = Rc::new(World::default());
        let chips = [0, 1, 2].map(|id| chip_of(id, shares_waker));
        chips.iter().for_each(|chip| chip.0.borrow_mut().room = room);
        let (faults, shown) = (Rc::<Cell<usize>>::default(), chips.clone());
        let (carrier, counted) = (Rc::clone(&world), Rc::clone(&faults));
        world.spawn(async move { segment(&carrier, &shown, one_of, &counted).await });
        elect_and_commit(&world, chips.map(|chip| transport(&chip)), 100);
        println!("{} packets were lost or damaged", faults.get());
        assert!(one_of > 20 || faults.get() > 10);
    }
}

/// Whoever polls a future last is woken, also if another task polled it before.
///
/// covers: T1
#[test]
fn a_sender_that_has_moved_to_another_task_is_woken_there() {
    struct Task(std::sync::atomic::AtomicBool);
    impl std::task::Wake for Task {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    for shares_waker in [false, true] {
        let chip = chip_of(0, shares_waker);
        chip.0.borrow_mut().room = 1;
        let transport = transport(&chip);
        block_on(transport.send(node(1), b"first")).unwrap();
        let mut second = pin!(transport.send(node(1), b"second"));
        let tasks = [(); 2].map(|()| std::sync::Arc::new(Task(false.into())));
        for task in &tasks {
            let waker = task.clone().into();
            assert!(second.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        }
        chip.leave().unwrap();
        assert!(tasks[1].0.load(std::sync::atomic::Ordering::Relaxed), "{shares_waker}");
    }
}
