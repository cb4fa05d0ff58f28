//! All memory of a node, in one place that its user owns.

use core::fmt;

use embassy_sync::mutex::Mutex as StoreMutex;
use quoring_core::Peer;
use quoring_ring::Storage;

use crate::platform::Platform;
use crate::proposals::Proposal;
use crate::sessions::Session;
use crate::shared::Shared;
use crate::wake::{Cell, Line};

/// The memory of one node: `UNITS` times 8 bytes of ring, `SLOTS` indices that can be found in it, `PEERS` other nodes, frames of up to `FRAME`
/// bytes, `PROPOSALS` clients waiting at a time, and `SESSIONS` sessions of the whole cluster. `UNITS` and `SLOTS` are powers of two.
///
/// Give all nodes of a cluster the same `SESSIONS`: a node [stops](crate::Halt::Sessions) when another one lets more be opened than it has places for. With 0 this node
/// opens none, and takes part in a cluster that has none.
///
/// Its initial image is all zero, so a static of it lies in `.bss`, and its size is a constant (F4):
///
/// ```ignore
/// static RESOURCES: ConstStaticCell<Resources<'static, Board, 256, 64, 2, 256>> = ConstStaticCell::new(Resources::new());
/// ```
///
/// The lifetime is that of the borrow: a node takes its resources once and for all.
pub struct Resources<
    'a,
    P: Platform,
    const UNITS: usize,
    const SLOTS: usize,
    const PEERS: usize,
    const FRAME: usize,
    const PROPOSALS: usize = 8,
    const SESSIONS: usize = 8,
> {
    pub(crate) storage: Storage<UNITS, SLOTS>,
    pub(crate) peers: [Peer; PEERS],
    pub(crate) buffers: Buffers<PEERS, FRAME>,
    pub(crate) proposals: [Proposal; PROPOSALS],
    pub(crate) sessions: [Session; SESSIONS],
    pub(crate) wakes: Wakes<P, PEERS, PROPOSALS>,
    pub(crate) devices: Place<Devices<P>>,
    pub(crate) shared: Place<Shared<'a, P>>,
}

/// One frame for each task that needs one, aligned so that they are copied word by word.
#[repr(align(8))]
pub(crate) struct Buffers<const PEERS: usize, const FRAME: usize> {
    pub(crate) replicators: [[u8; FRAME]; PEERS],
    pub(crate) receiver: [u8; FRAME],
    pub(crate) log_writer: [u8; FRAME],
    pub(crate) committed: [u8; FRAME],
    /// What this node's clients send to the leader, as long as that does not have it.
    pub(crate) window: [u8; FRAME],
}

/// The watchers whose number depends on the node.
pub(crate) struct Wakes<P: Platform, const PEERS: usize, const PROPOSALS: usize> {
    pub(crate) replicators: [Line<P::Mutex>; PEERS],
    pub(crate) proposals: [Cell<P::Mutex>; PROPOSALS],
}

/// What a node stands on.
pub(crate) struct Devices<P: Platform> {
    pub(crate) store: StoreMutex<P::Mutex, P::Store>,
    pub(crate) transport: P::Transport,
    pub(crate) clock: P::Clock,
}

/// A place for a value that is made later. Its tag is written out so that "vacant" is zero, whatever the value is made of.
#[repr(u8)]
pub(crate) enum Place<T> {
    Vacant = 0,
    Taken(T) = 1,
}

/// A value in its place, which leaves it again unless it is [kept](Self::keep).
pub(crate) struct Tenant<'a, T>(Option<&'a mut Place<T>>);

impl<
    P: Platform,
    const UNITS: usize,
    const SLOTS: usize,
    const PEERS: usize,
    const FRAME: usize,
    const PROPOSALS: usize,
    const SESSIONS: usize,
> Resources<'_, P, UNITS, SLOTS, PEERS, FRAME, PROPOSALS, SESSIONS>
{
    const CHECKED: () = {
        assert!(UNITS >= 8, "a vote and a no-op must fit into half of the ring");
        assert!(SLOTS >= 4, "clients may take three quarters of the slots, and that must be one at least");
        assert!(PROPOSALS >= 1 && PROPOSALS <= 64, "waiting clients are woken by the bits of one u64");
        assert!(SESSIONS <= u16::MAX as usize, "a snapshot counts them in 16 bits");
        assert!(PEERS < quoring_core::NodeId::COUNT, "there are 31 other nodes at most");
        assert!(FRAME <= u16::MAX as usize, "lengths on the wire have 16 bits");
    };

    /// Zeros.
    #[must_use]
    pub const fn new() -> Self {
        const { Self::CHECKED };
        Self {
            storage: Storage::new(),
            peers: [Peer::EMPTY; PEERS],
            buffers: Buffers {
                replicators: [[0; FRAME]; PEERS],
                receiver: [0; FRAME],
                log_writer: [0; FRAME],
                committed: [0; FRAME],
                window: [0; FRAME],
            },
            proposals: [Proposal::Free; PROPOSALS],
            sessions: [Session::FREE; SESSIONS],
            wakes: Wakes { replicators: [const { Line::new() }; PEERS], proposals: [const { Cell::new() }; PROPOSALS] },
            devices: Place::Vacant,
            shared: Place::Vacant,
        }
    }
}

impl<
    P: Platform,
    const UNITS: usize,
    const SLOTS: usize,
    const PEERS: usize,
    const FRAME: usize,
    const PROPOSALS: usize,
    const SESSIONS: usize,
> Default for Resources<'_, P, UNITS, SLOTS, PEERS, FRAME, PROPOSALS, SESSIONS>
{
    fn default() -> Self {
        Self::new()
    }
}

impl<
    P: Platform,
    const UNITS: usize,
    const SLOTS: usize,
    const PEERS: usize,
    const FRAME: usize,
    const PROPOSALS: usize,
    const SESSIONS: usize,
> fmt::Debug for Resources<'_, P, UNITS, SLOTS, PEERS, FRAME, PROPOSALS, SESSIONS>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resources of {} bytes", size_of::<Self>())
    }
}

impl<T> Place<T> {
    /// Puts the value there.
    pub(crate) fn fill(&mut self, value: T) -> &mut T {
        *self = Self::Taken(value);
        match self {
            Self::Taken(value) => value,
            Self::Vacant => unreachable!("just filled"),
        }
    }
}

impl<'a, T> Tenant<'a, T> {
    /// Puts the value there.
    pub(crate) fn new(place: &'a mut Place<T>, value: T) -> Self {
        place.fill(value);
        Self(Some(place))
    }

    /// The value.
    pub(crate) fn get(&mut self) -> &mut T {
        match &mut self.0 {
            Some(Place::Taken(value)) => value,
            _ => unreachable!("it is in its place until it is kept"),
        }
    }

    /// Leaves the value there for good.
    pub(crate) fn keep(mut self) -> &'a T {
        match self.0.take() {
            Some(Place::Taken(value)) => value,
            _ => unreachable!("it is in its place until it is kept"),
        }
    }
}

impl<T> Drop for Tenant<'_, T> {
    fn drop(&mut self) {
        if let Some(place) = self.0.take() {
            *place = Place::Vacant;
        }
    }
}
