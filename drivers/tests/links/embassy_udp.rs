//! UDP sockets of `embassy-net`, on chips that are made for it.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use embassy_futures::select::{Either3, select3};
use embassy_futures::yield_now;
use embassy_net::driver::HardwareAddress;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{Config, IpEndpoint, Ipv4Address, Ipv4Cidr, Runner, Stack, StackResources, StaticConfigV4};
use embassy_time::{Duration, with_timeout};
use futures_lite::future::block_on;
use quoring::transport::Transport;
use quoring::transport::embassy_udp::{Buffers, EmbassyUdp, Error};

use super::chip::{Chip, segment};
use super::world::World;
use super::{elect_and_commit, node, now};

const PORT: u16 = 8184;
/// The largest frame of these tests, and of Ethernet.
const FRAME: usize = 1472;
const DEPTH: usize = 4;

/// A transport to two others.
type Udp = EmbassyUdp<'static, 2>;

/// A node's chip, and the stack on it.
struct Board {
    chip: Chip,
    stack: Stack<'static>,
    runner: Runner<'static, Chip>,
}

fn address(id: usize) -> Ipv4Address {
    Ipv4Address::new(10, 81, 85, 1 + id as u8)
}

fn endpoint(id: usize) -> IpEndpoint {
    (address(id), PORT).into()
}

fn board(id: usize, medium: HardwareAddress) -> Board {
    let chip = Chip::new(medium, true);
    let config =
        StaticConfigV4 { address: Ipv4Cidr::new(address(id), 24), gateway: None, dns_servers: Default::default() };
    let resources = Box::leak(Box::new(StackResources::<4>::new()));
    let (stack, runner) = embassy_net::new(chip.clone(), Config::ipv4_static(config), resources, id as u64);
    Board { chip, stack, runner }
}

/// The transport of one of three nodes.
fn udp(id: usize, stack: Stack<'static>) -> Udp {
    let peers = [(id + 1) % 3, (id + 2) % 3].map(|peer| (node(peer), endpoint(peer)));
    EmbassyUdp::new(stack, PORT, peers, Box::leak(Box::new(Buffers::<FRAME, DEPTH, 2>::new()))).unwrap()
}

/// Runs two boards on one wire, and a test.
fn wired<T>([mut a, mut b]: [Board; 2], test: impl AsyncFnOnce() -> T) -> T {
    let (one, other) = (a.chip.clone(), b.chip.clone());
    let wire = async {
        loop {
            one.leave().into_iter().for_each(|packet| other.hear(packet));
            other.leave().into_iter().for_each(|packet| one.hear(packet));
            yield_now().await;
        }
    };
    let stacks = async {
        select3(a.runner.run(), b.runner.run(), pending::<()>()).await;
    };
    match block_on(select3(test(), wire, stacks)) {
        Either3::First(result) => result,
        _ => unreachable!("wires and stacks do not end"),
    }
}

fn ethernet(id: usize) -> Board {
    board(id, HardwareAddress::Ethernet([2, 0, 0, 0, 0, id as u8]))
}

/// covers: T1
#[test]
fn frames_of_every_size_go_through_the_stacks() {
    for boards in [[0, 1].map(ethernet), [0, 1].map(|id| board(id, HardwareAddress::Ip))] {
        let (a, b) = (udp(0, boards[0].stack), udp(1, boards[1].stack));
        wired(boards, async || {
            let mut buffer = [0; FRAME];
            for len in (0..100).chain([FRAME - 1, FRAME]) {
                a.send(node(1), &vec![7; len]).await.unwrap();
                assert_eq!(b.receive(&mut buffer).await, Ok(len));
                b.send(node(0), &buffer[..len]).await.unwrap();
                assert_eq!(a.receive(&mut buffer).await, Ok(len));
                assert_eq!(buffer[..len], vec![7; len]);
            }
            a.send(node(1), &[1; 11]).await.unwrap();
            a.send(node(1), &[2; 10]).await.unwrap();
            assert_eq!(b.receive(&mut buffer[..10]).await, Ok(10));
            assert_eq!((b.dropped(), buffer[0]), (1, 2));
            assert_eq!(a.send(node(1), &[0; FRAME * DEPTH + 1]).await, Err(Error::TooLarge(FRAME * DEPTH + 1)));
            assert_eq!(a.send(node(0), b"me").await, Err(Error::UnknownPeer(node(0))));
        });
    }
}

/// covers: T1
#[test]
fn a_peer_that_nobody_finds_takes_its_frames_and_holds_up_no_other() {
    let boards = [0, 1].map(ethernet);
    let (a, b) = (udp(0, boards[0].stack), udp(1, boards[1].stack));
    wired(boards, async || {
        for round in 0..10_u8 {
            // Nobody has the address of node 2.
            let lost = a.send(node(2), &[9; 1000]).await;
            assert_eq!(lost, if round < DEPTH as u8 { Ok(()) } else { Err(Error::Busy) });
            a.send(node(1), &[round]).await.unwrap();
            let mut buffer = [0; 10];
            let received = with_timeout(Duration::from_secs(10), b.receive(&mut buffer)).await;
            assert_eq!((received, buffer[0]), (Ok(Ok(1)), round));
        }
    });
}

/// covers: T1
#[test]
fn more_frames_than_the_queue_has_room_for_wait_until_the_stack_has_run() {
    let boards = [0, 1].map(|id| board(id, HardwareAddress::Ip));
    let (a, b) = (udp(0, boards[0].stack), udp(1, boards[1].stack));
    wired(boards, async || {
        for round in 0..50_u8 {
            a.send(node(1), &[round]).await.unwrap();
            a.send(node(1), &[round; 2]).await.unwrap();
            let mut buffer = [0; 10];
            assert_eq!(b.receive(&mut buffer).await, Ok(1));
            assert_eq!(b.receive(&mut buffer).await, Ok(2));
        }
        let sends = async {
            for round in 0..50_u8 {
                a.send(node(1), &[round]).await.unwrap();
            }
        };
        let receives = async {
            for round in 0..50_u8 {
                let mut buffer = [0; 10];
                assert_eq!((b.receive(&mut buffer).await, buffer[0]), (Ok(1), round));
            }
        };
        embassy_futures::join::join(sends, receives).await;
    });
}

/// covers: T1
#[test]
fn a_peer_without_an_address_and_a_stack_that_does_not_run_block_nobody() {
    let board = board(0, HardwareAddress::Ip);
    let peers = [(node(1), (Ipv4Address::UNSPECIFIED, PORT).into()), (node(2), endpoint(2))];
    let buffers = Box::leak(Box::new(Buffers::<FRAME, DEPTH, 2>::new()));
    let udp = EmbassyUdp::new(board.stack, PORT, peers, buffers).unwrap();
    assert_eq!(block_on(udp.send(node(1), b"x")), Err(Error::NoRoute));
    for round in 0..10 {
        let sent = block_on(udp.send(node(2), b"x"));
        assert_eq!(sent, if round < DEPTH { Ok(()) } else { Err(Error::Busy) });
    }
    assert_eq!(now(udp.receive(&mut [0; 10])), None);
}

/// covers: T1, T5
#[test]
fn a_frame_of_a_stranger_is_handed_up() {
    let boards = [0, 1].map(|id| board(id, HardwareAddress::Ip));
    let (a, stack) = (udp(0, boards[0].stack), boards[1].stack);
    wired(boards, async || {
        let (mut packets, mut bytes) = ([PacketMetadata::EMPTY; 1], [0; 10]);
        let mut stranger = UdpSocket::new(stack, &mut [], &mut [], &mut packets, &mut bytes);
        stranger.bind(99).unwrap();
        stranger.send_to(b"hello", endpoint(0)).await.unwrap();
        assert_eq!(a.receive(&mut [0; 10]).await, Ok(5));
    });
}

/// Shows a future one waker for good, as executors do: a stack that is polled with another one wakes the one before.
async fn steadily<T>(future: impl Future<Output = T>) -> T {
    #[derive(Default)]
    struct Steady(Mutex<Option<Waker>>);
    impl Wake for Steady {
        fn wake(self: Arc<Self>) {
            let waker = self.0.lock().unwrap().take();
            waker.into_iter().for_each(Waker::wake);
        }
    }
    let steady = Arc::<Steady>::default();
    let waker = Waker::from(Arc::clone(&steady));
    let mut future = pin!(future);
    poll_fn(|cx| {
        *steady.0.lock().unwrap() = Some(cx.waker().clone());
        future.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await
}

/// covers: T1, T2, P1
#[test]
fn three_nodes_agree_over_a_network_stack() {
    for one_of in [20, 1_000_000] {
        let world = Rc::new(World::default());
        let mut chips = Vec::new();
        let transports = [0, 1, 2].map(|id| {
            let mut board = board(id, HardwareAddress::Ip);
            chips.push(board.chip.clone());
            world.spawn(async move { steadily(board.runner.run()).await });
            udp(id, board.stack)
        });
        let chips = <[Chip; 3]>::try_from(chips).unwrap_or_else(|_| unreachable!("there are three"));
        let (carrier, faults) = (Rc::clone(&world), Rc::<Cell<usize>>::default());
        let counted = Rc::clone(&faults);
        world.spawn(async move { segment(&carrier, &chips, one_of, &counted).await });
        elect_and_commit(&world, transports, 100);
        println!("{} packets were lost or damaged", faults.get());
        assert!(one_of > 20 || faults.get() > 10);
    }
}
