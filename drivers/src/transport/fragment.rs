//! Frames over links with small datagrams, CAN and CAN FD among them: in pieces. The bytes are drawn in `LINKS.md`.

mod assembly;

use core::cell::Cell;
use core::fmt;

use embassy_futures::yield_now;
use embassy_sync::blocking_mutex;
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_sync::mutex::Mutex;
use quoring_core::NodeId;
use quoring_ring::{Crc32c, DEFAULT_CRC32C};

use self::assembly::{Added, Assembly};
use super::{Transport, fill};

/// Bytes in front of each piece: its sender and message, and its number.
const HEADER: usize = 2;

/// Bytes in front of each message: its length and checksum.
const PROLOGUE: usize = 6;

/// How many messages of a sender are told apart.
const MESSAGES: u8 = 8;

/// The room in which a node puts frames together: one frame of up to `FRAME` bytes for each of `NODES` nodes, 0 to `NODES - 1`.
///
/// `NODES` times `FRAME` and up to 64 bytes; nothing is allocated and the initial image is all zero.
#[derive(Debug)]
pub struct Assemblies<const FRAME: usize, const NODES: usize> {
    of: [Assembly<FRAME>; NODES],
}

impl<const FRAME: usize, const NODES: usize> Assemblies<FRAME, NODES> {
    /// Room without pieces.
    #[must_use]
    pub const fn new() -> Self {
        const {
            assert!(FRAME <= u16::MAX as usize, "lengths on the link have 16 bits");
            assert!(NODES <= NodeId::COUNT, "the header has 5 bits for the sender");
            assert!(size_of::<Assembly<FRAME>>() <= FRAME + 64, "as its documentation says");
        };
        Self { of: [const { Assembly::EMPTY }; NODES] }
    }
}

impl<const FRAME: usize, const NODES: usize> Default for Assemblies<FRAME, NODES> {
    fn default() -> Self {
        Self::new()
    }
}

/// A transport of frames of up to `FRAME` bytes over `T`, a link of datagrams of up to `PIECE` bytes, between nodes 0 to `NODES - 1`. All of them have the
/// same `PIECE`.
///
/// A frame arrives when all of its pieces do, in whatever order; a lost piece loses the frame. Pieces of one sender that are older than its
/// newest message are dropped. A checksum over the whole frame sees to it that it is not made of the pieces of two.
///
/// What `T` keeps of the [contract](Transport), this keeps. `T` hands up only what was sent to this node, as a CAN controller does whose acceptance filter
/// knows the addressee's part of the identifier; and it may pad a datagram at its end, as CAN FD does. One task per peer sends.
///
/// `M` guards the state: `NoopRawMutex` on one executor, `CriticalSectionRawMutex` between threads or interrupts.
pub struct Fragments<'b, M: RawMutex, T, const PIECE: usize, const FRAME: usize, const NODES: usize> {
    link: T,
    own: NodeId,
    /// The number of the next message to each peer.
    messages: blocking_mutex::Mutex<M, Cell<[u8; NODES]>>,
    assemblies: Mutex<M, &'b mut Assemblies<FRAME, NODES>>,
    dropped: blocking_mutex::Mutex<M, Cell<Dropped>>,
    crc: Crc32c,
}

/// What came in and did not get through. The counters wrap.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Dropped {
    /// Frames that missed a piece when the next one of their sender began, failed their checksum, or were larger than the buffer.
    pub frames: u32,
    /// Pieces that belong nowhere: too short, late, doubled, of unknown nodes or of frames that are too large.
    pub pieces: u32,
}

/// Why a frame was not sent or received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error<E> {
    /// The node is not one of the `NODES`.
    UnknownPeer(NodeId),
    /// The frame is larger than `FRAME`: make smaller ones.
    TooLarge(usize),
    /// The link failed.
    Link(E),
}

impl<'b, M: RawMutex, T: Transport, const PIECE: usize, const FRAME: usize, const NODES: usize>
    Fragments<'b, M, T, PIECE, FRAME, NODES>
{
    const CHECKED: () = {
        assert!(PIECE >= HEADER + PROLOGUE, "the first piece tells length and checksum");
        assert!(PROLOGUE + FRAME <= 256 * (PIECE - HEADER), "the header has 8 bits for the number of a piece");
    };

    /// The transport of node `own` over its `link`.
    pub const fn new(own: NodeId, link: T, assemblies: &'b mut Assemblies<FRAME, NODES>) -> Self {
        const { Self::CHECKED };
        Self {
            link,
            own,
            messages: blocking_mutex::Mutex::new(Cell::new([0; NODES])),
            assemblies: Mutex::new(assemblies),
            dropped: blocking_mutex::Mutex::new(Cell::new(Dropped { frames: 0, pieces: 0 })),
            crc: DEFAULT_CRC32C,
        }
    }

    /// Computes checksums with this function: all nodes' functions give the same results.
    #[must_use]
    pub const fn with_crc(mut self, crc: Crc32c) -> Self {
        self.crc = crc;
        self
    }

    /// What came in and was dropped since the start.
    pub fn dropped(&self) -> Dropped {
        self.dropped.lock(Cell::get)
    }

    /// Takes a number for a message to `peer`.
    fn next_message(&self, peer: NodeId) -> Option<u8> {
        self.messages.lock(|messages| {
            let mut numbers = messages.get();
            let next = numbers.get_mut(usize::from(peer.get()))?;
            let message = *next;
            *next = message.wrapping_add(1) % MESSAGES;
            messages.set(numbers);
            Some(message)
        })
    }

    /// Puts a piece to its like; the length of the frame in `buffer` if it is whole now.
    fn take(&self, assemblies: &mut Assemblies<FRAME, NODES>, piece: &[u8], buffer: &mut [u8]) -> Option<usize> {
        let added = match piece {
            [first, number, payload @ ..] => match assemblies.of.get_mut(usize::from(first / MESSAGES)) {
                Some(assembly) => {
                    let payload = payload.get(..PIECE - HEADER).unwrap_or(payload);
                    let added = assembly.add(first % MESSAGES, *number, payload, PIECE - HEADER);
                    if added.whole { Some((added, assembly.copy(buffer, self.crc))) } else { Some((added, None)) }
                }
                None => None,
            },
            _ => None,
        };
        let (added, len) = added.unwrap_or((Added::REFUSED, None));
        let frames = u32::from(added.displaced) + u32::from(added.whole && len.is_none());
        self.dropped.lock(|dropped| {
            let counts = dropped.get();
            dropped.set(Dropped {
                frames: counts.frames.wrapping_add(frames),
                pieces: counts.pieces.wrapping_add(u32::from(added.refused)),
            });
        });
        len
    }
}

impl<M: RawMutex, T: Transport, const PIECE: usize, const FRAME: usize, const NODES: usize> Transport
    for Fragments<'_, M, T, PIECE, FRAME, NODES>
{
    type Error = Error<T::Error>;

    /// Cancel-safe: pieces of the frame may have gone, and the next frame has another number.
    async fn send(&self, peer: NodeId, frame: &[u8]) -> Result<(), Self::Error> {
        let length = u16::try_from(frame.len()).ok().filter(|_| frame.len() <= FRAME);
        let length = length.ok_or(Error::TooLarge(frame.len()))?.to_le_bytes();
        let message = self.next_message(peer).ok_or(Error::UnknownPeer(peer))?;
        let sum = (self.crc)((self.crc)(0, &length), frame).to_le_bytes();
        let mut bytes = length.iter().chain(&sum).chain(frame).copied();
        for number in 0..=u8::MAX {
            let mut piece = [0; PIECE];
            let Some((header, payload)) = piece.split_first_chunk_mut::<HEADER>() else { break };
            *header = [self.own.get() * MESSAGES + message, number];
            let len = fill(payload, &mut bytes);
            if len == 0 {
                break;
            }
            let piece = piece.get(..HEADER + len).unwrap_or_default();
            self.link.send(peer, piece).await.map_err(Error::Link)?;
        }
        Ok(())
    }

    fn pipelines(&self) -> bool {
        self.link.pipelines()
    }

    /// Cancel-safe: the pieces that came in stay.
    async fn receive(&self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        let mut assemblies = self.assemblies.lock().await;
        loop {
            let mut piece = [0; PIECE];
            let len = self.link.receive(&mut piece).await.map_err(Error::Link)?;
            if let Some(len) = self.take(&mut assemblies, piece.get(..len).unwrap_or(&piece), buffer) {
                return Ok(len);
            }
            // A link that always has another piece must not keep the others from running.
            yield_now().await;
        }
    }
}

impl<M: RawMutex, T, const PIECE: usize, const FRAME: usize, const NODES: usize> fmt::Debug
    for Fragments<'_, M, T, PIECE, FRAME, NODES>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fragments").field("dropped", &self.dropped.lock(Cell::get)).finish_non_exhaustive()
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownPeer(peer) => write!(f, "the link has no room for node {peer}"),
            Self::TooLarge(size) => write!(f, "a frame of {size} bytes is too large for the link"),
            Self::Link(cause) => cause.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for Error<E> {}
