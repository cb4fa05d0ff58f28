//! The link between nodes: stations of one Ethernet, without a stack of protocols.

use embassy_executor::Spawner;
use embassy_sync::blocking_mutex::raw::ThreadModeRawMutex;
use quoring::NodeId;
use quoring::transport::ethernet::Ethernet;
use quoring_mps2::Lan9118;

use crate::PEERS;

/// The transport of the node.
pub(crate) type Link = Ethernet<ThreadModeRawMutex, Lan9118>;

/// It needs no task of its own.
pub(crate) fn open(_: Spawner, chip: Lan9118) -> Link {
    Ethernet::new(chip, address_of).expect("this chip is one of Ethernet")
}

const fn address_of(peer: NodeId) -> [u8; 6] {
    [0x02, 0x51, 0x55, 0, PEERS as u8 + 1, peer.get()]
}
