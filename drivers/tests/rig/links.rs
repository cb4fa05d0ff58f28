//! A memory network whose links the test cuts, loses frames on, and looks at.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use quoring::transport::memory::{Error, MemoryTransport};
use quoring::{ClusterId, NodeId, Transport};
use quoring_core::wire::{Envelope, Message};

/// The cluster of all tests.
pub(crate) const CLUSTER: ClusterId = ClusterId(7);

/// Looks at a frame from a node to another, and says whether it arrives.
type Filter = dyn FnMut(usize, usize, &Message<'_>) -> bool;

/// What the test does to the links between three nodes. All clones are one network.
#[derive(Clone)]
pub(crate) struct Links(Rc<State>);

struct State {
    /// From whom to whom nothing arrives.
    cut: [[Cell<bool>; 3]; 3],
    filter: RefCell<Box<Filter>>,
    pipelines: Cell<bool>,
}

impl Default for Links {
    fn default() -> Self {
        let filter: Box<Filter> = Box::new(|_, _, _| true);
        Self(Rc::new(State { cut: Default::default(), filter: RefCell::new(filter), pipelines: Cell::new(true) }))
    }
}

impl Links {
    /// Nothing arrives any more, this way.
    pub(crate) fn cut(&self, from: usize, to: usize) {
        self.0.cut[from][to].set(true);
    }

    /// Nothing of this node arrives any more anywhere, nor anything there.
    pub(crate) fn isolate(&self, node: usize) {
        for other in 0..3 {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// Everything arrives again, and nobody looks at it.
    pub(crate) fn heal(&self) {
        self.0.cut.iter().flatten().for_each(|cut| cut.set(false));
        self.filter(|_, _, _| true);
    }

    /// From now on this decides what arrives, where nothing is cut.
    pub(crate) fn filter(&self, filter: impl FnMut(usize, usize, &Message<'_>) -> bool + 'static) {
        *self.0.filter.borrow_mut() = Box::new(filter);
    }

    /// Counts the frames that `which` picks.
    pub(crate) fn count(&self, which: impl Fn(&Message<'_>) -> bool + 'static) -> Rc<Cell<usize>> {
        let counter = Rc::<Cell<usize>>::default();
        let count = Rc::clone(&counter);
        self.filter(move |_, _, message| {
            count.set(count.get() + usize::from(which(message)));
            true
        });
        counter
    }

    /// Nodes that are started from now on have links that take one frame at a time.
    pub(crate) fn one_at_a_time(&self) {
        self.0.pipelines.set(false);
    }

    /// The node's own end of it.
    pub(crate) fn of<const FRAME: usize, const DEPTH: usize>(
        &self,
        node: NodeId,
        end: MemoryTransport<'static, NoopRawMutex, FRAME, DEPTH>,
    ) -> Link<FRAME, DEPTH> {
        Link { node, end, links: self.clone() }
    }

    fn arrives(&self, from: NodeId, to: NodeId, frame: &[u8]) -> bool {
        let envelope = Envelope { cluster: CLUSTER, node: to, crc: quoring_ring::DEFAULT_CRC32C };
        let message = envelope.open(frame).expect("nodes send whole frames").message;
        let [from, to] = [from, to].map(|node| usize::from(node.get()));
        !self.0.cut[from][to].get() && (self.0.filter.borrow_mut())(from, to, &message)
    }
}

/// A node's transport.
pub(crate) struct Link<const FRAME: usize, const DEPTH: usize> {
    node: NodeId,
    end: MemoryTransport<'static, NoopRawMutex, FRAME, DEPTH>,
    links: Links,
}

impl<const FRAME: usize, const DEPTH: usize> Transport for Link<FRAME, DEPTH> {
    type Error = Error;

    async fn send(&self, peer: NodeId, frame: &[u8]) -> Result<(), Error> {
        if self.links.arrives(self.node, peer, frame) { self.end.send(peer, frame).await } else { Ok(()) }
    }

    fn pipelines(&self) -> bool {
        self.links.0.pipelines.get()
    }

    async fn receive(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.end.receive(buffer).await
    }
}
