//! Links between the nodes, which the script cuts.

use std::cell::Cell;
use std::rc::Rc;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use quoring::transport::memory::{Error, MemoryNetwork, MemoryTransport};
use quoring::{NodeId, NodeSet, Transport};

use crate::node::{FRAME, NODES};

/// Frames that may wait at a node.
const DEPTH: usize = 64;

pub(crate) type Network = MemoryNetwork<NoopRawMutex, NODES, FRAME, DEPTH>;

/// Who cannot be heard, and who cannot hear.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cuts(Rc<(Cell<NodeSet>, Cell<NodeSet>)>);

impl Cuts {
    /// Nobody hears `node`.
    pub(crate) fn mute(&self, node: NodeId) {
        self.0.0.set(self.0.0.get().with(node));
    }

    /// `node` hears nobody.
    pub(crate) fn deafen(&self, node: NodeId) {
        self.0.1.set(self.0.1.get().with(node));
    }

    /// All links work again.
    pub(crate) fn heal(&self) {
        self.0.0.set(NodeSet::EMPTY);
        self.0.1.set(NodeSet::EMPTY);
    }

    fn cut(&self, from: NodeId, to: NodeId) -> bool {
        self.0.0.get().contains(from) || self.0.1.get().contains(to)
    }
}

/// One node's end of the network.
#[derive(Debug)]
pub(crate) struct Link {
    own: NodeId,
    inner: MemoryTransport<'static, NoopRawMutex, FRAME, DEPTH>,
    cuts: Cuts,
}

impl Link {
    /// The end of `own`; `None` if the network has no such node.
    pub(crate) fn new(own: NodeId, network: &'static Network, cuts: Cuts) -> Option<Self> {
        Some(Self { own, inner: network.endpoint(own)?, cuts })
    }
}

impl Transport for Link {
    type Error = Error;

    async fn send(&self, peer: NodeId, frame: &[u8]) -> Result<(), Error> {
        if self.cuts.cut(self.own, peer) { Ok(()) } else { self.inner.send(peer, frame).await }
    }

    async fn receive(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.inner.receive(buffer).await
    }
}
