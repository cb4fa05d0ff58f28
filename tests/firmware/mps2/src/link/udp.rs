//! The link between nodes: UDP over the network stack of `embassy-net`.

use core::array;

use embassy_executor::Spawner;
use embassy_net::{Config, IpEndpoint, Ipv4Address, Ipv4Cidr, Runner, StackResources, StaticConfigV4};
use embassy_sync::blocking_mutex::ThreadModeMutex;
use embassy_time::Instant;
use quoring::NodeId;
use quoring::transport::Transport;
use quoring::transport::embassy_udp::{Buffers, EmbassyUdp, Error};
use quoring_mps2::Lan9118;
use static_cell::StaticCell;

use crate::{FRAME, PEERS, spawn};

/// The transport of the node. The stack belongs to tasks of one executor, but the node's memory is a static that interrupts could reach: each call makes
/// sure that it is not from one.
pub(crate) struct Link(ThreadModeMutex<EmbassyUdp<'static, PEERS>>);

const PORT: u16 = 8184;

/// Frames that wait in each queue: those that do not fit are lost, and sent again.
const DEPTH: usize = 8;

/// Starts the stack, which runs in a task of its own.
pub(crate) fn open(spawner: Spawner, chip: Lan9118) -> Link {
    static STACK: StaticCell<StackResources<{ 1 + PEERS }>> = StaticCell::new();
    static BUFFERS: StaticCell<Buffers<FRAME, DEPTH, PEERS>> = StaticCell::new();
    let [.., id] = chip.address();
    let config = Config::ipv4_static(StaticConfigV4 {
        address: Ipv4Cidr::new(address_of(id), 24),
        gateway: None,
        dns_servers: Default::default(),
    });
    // It draws the ports that frames come from. Nobody trusts in those.
    let seed = u64::from(id) << 56 | Instant::now().as_ticks();
    let (stack, runner) = embassy_net::new(chip, config, STACK.init_with(StackResources::new), seed);
    spawn(spawner, run(runner));
    let peers = array::from_fn(|place| {
        // All but this node.
        let peer = place as u8 + u8::from(place >= usize::from(id));
        (NodeId::new(peer).expect("a cluster has 32 nodes at most"), IpEndpoint::new(address_of(peer).into(), PORT))
    });
    let udp = EmbassyUdp::new(stack, PORT, peers, BUFFERS.init_with(Buffers::new));
    Link(ThreadModeMutex::new(udp.expect("no other socket has the port")))
}

impl Transport for Link {
    type Error = Error;

    async fn send(&self, peer: NodeId, frame: &[u8]) -> Result<(), Error> {
        self.0.borrow().send(peer, frame).await
    }

    async fn receive(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.0.borrow().receive(buffer).await
    }
}

const fn address_of(id: u8) -> Ipv4Address {
    Ipv4Address::new(10, 81, 85, 1 + id)
}

#[embassy_executor::task]
async fn run(mut runner: Runner<'static, Lan9118>) {
    runner.run().await;
}
