//! What nodes say to each other on behalf of their clients: reads, forwarded commands, a leader's leave. Byte layouts are in `WIRE.md`.

use quoring_ring::{Crc32c, Kind};

use super::bytes::{put_u32, put_u64, u32_at, u64_at};
use super::frame::{Fixed, FrameError, HEADER};
use super::message::CHUNK_HEADER;
use crate::capabilities::Capabilities;
use crate::config::Rejection;
use crate::request::ClientId;
use crate::types::LogIndex;

/// Where the commands of a forward begin in its frame.
pub const FORWARD_HEADER: usize = HEADER + 24;

/// Bytes before the payload of each forwarded item.
const ITEM_HEADER: usize = 4;

pub(super) const CONFIRM_SIZE: usize = HEADER + 8;
pub(super) const READ_SIZE: usize = HEADER + 8;
pub(super) const READ_ANSWER_SIZE: usize = HEADER + 16;
pub(super) const CAMPAIGN_NOW_SIZE: usize = HEADER + 8;
pub(super) const FORWARD_ANSWER_SIZE: usize = HEADER + 16;

/// "Am I still your leader?", or the answer that it is so (Raft thesis 6.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Confirm {
    /// The leader's own number of the round.
    pub round: u32,
    /// What the sender is able to do (C9).
    pub capabilities: Capabilities,
}

/// "What must I have applied to read?"
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Read {
    /// The boot of the node that asks (R15).
    pub boot: u32,
    /// Its own number of the round.
    pub round: u32,
}

/// The answer to a [`Read`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ReadAnswer {
    /// What was asked.
    pub read: Read,
    /// Everything that was committed when it was asked lies at or below this entry.
    pub index: LogIndex,
}

/// "Campaign now, with my leave": the leader hands over its office (Raft thesis 3.10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CampaignNow {
    /// The leader's last entry; who does not have it must not campaign.
    pub last: LogIndex,
}

/// Commands of clients of another node, for the leader (C2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Forward<'b> {
    /// Which window they come through; its node is the sender.
    pub client: ClientId,
    /// The number of the first item, counted from 0 since the window was opened.
    pub first: u32,
    /// What the sender is able to do (C9).
    pub capabilities: Capabilities,
    /// The items, end to end; see [`Items`].
    pub items: &'b [u8],
}

/// How far the leader has come with what was forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ForwardAnswer {
    /// Which window.
    pub client: ClientId,
    /// Every item below this number is in the leader's log, and none above.
    pub next: u32,
    /// Whether the leader takes more.
    pub state: Intake,
}

/// Whether a leader takes what is forwarded through a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Intake {
    /// It does.
    #[default]
    Open,
    /// It had no room, and has some again: send again at once what was not taken.
    GoOn,
    /// It, or a peer of its, does not know such entries.
    Unsupported,
    /// The next item was refused before anything of it was stored; nothing behind it will be (C4).
    Rejected(Rejection),
    /// The next item, or its batch, fits no record or not into the leader's memory.
    TooLarge,
}

/// One forwarded command.
///
/// ```text
///  0     2      3       4          4 + len
///  +-----+------+-------+----------+
///  | len | kind | flags | payload  |      flags: 1 if the next item is of the same batch
///  +-----+------+-------+----------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Item<'b> {
    /// The kind of its entry: of a session or of a stream.
    pub kind: Kind,
    /// Whether the next item belongs to the same batch: both are taken, or none.
    pub more: bool,
    /// The payload of its entry: a request and its command.
    pub payload: &'b [u8],
}

/// The items of a forward. Ends at the end of the bytes, or before the first that is none.
#[derive(Clone, Debug)]
pub struct Items<'b> {
    rest: &'b [u8],
}

impl<'b> Items<'b> {
    /// The items in `bytes`.
    pub const fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes that are left.
    pub const fn rest(&self) -> usize {
        self.rest.len()
    }
}

impl<'b> Iterator for Items<'b> {
    type Item = Item<'b>;

    fn next(&mut self) -> Option<Item<'b>> {
        let ([low, high, kind, flags], rest) = self.rest.split_first_chunk::<ITEM_HEADER>()?;
        let (payload, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([*low, *high])))?;
        let kind = Kind::from_byte(*kind).filter(|kind| matches!(kind, Kind::Session | Kind::Stream))?;
        let more = flag((*flags).into()).ok()?;
        self.rest = rest;
        Some(Item { kind, more, payload })
    }
}

impl Item<'_> {
    /// Bytes of an item with a payload of `head` and `body`.
    pub const fn size(head: usize, body: usize) -> usize {
        ITEM_HEADER + head + body
    }

    /// Writes an item with a payload of `head` and `body`, end to end, to the beginning of `buffer`; its size, or `None` if it does not fit.
    pub fn encode(kind: Kind, more: bool, head: &[u8], body: &[u8], buffer: &mut [u8]) -> Option<usize> {
        let len = u16::try_from(head.len() + body.len()).ok()?;
        let buffer = buffer.get_mut(..Self::size(head.len(), body.len()))?;
        let [low, high] = len.to_le_bytes();
        let header = [low, high, kind as u8, more.into()];
        header.iter().chain(head).chain(body).zip(buffer).for_each(|(from, to)| *to = *from);
        Some(Self::size(head.len(), body.len()))
    }
}

impl Confirm {
    pub(super) fn open(frame: &Fixed) -> Self {
        let capabilities = Capabilities::from_bits(u32_at::<20, CHUNK_HEADER>(frame));
        Self { round: u32_at::<16, CHUNK_HEADER>(frame), capabilities }
    }

    pub(super) fn write(&self, frame: &mut Fixed) {
        put_u32::<16, CHUNK_HEADER>(frame, self.round);
        put_u32::<20, CHUNK_HEADER>(frame, self.capabilities.bits());
    }
}

impl Read {
    pub(super) fn open(frame: &Fixed) -> Self {
        Self { boot: u32_at::<16, CHUNK_HEADER>(frame), round: u32_at::<20, CHUNK_HEADER>(frame) }
    }

    pub(super) fn write(&self, frame: &mut Fixed) {
        put_u32::<16, CHUNK_HEADER>(frame, self.boot);
        put_u32::<20, CHUNK_HEADER>(frame, self.round);
    }
}

impl ReadAnswer {
    pub(super) fn open(frame: &Fixed) -> Self {
        let (boot, round) = (u32_at::<24, CHUNK_HEADER>(frame), u32_at::<28, CHUNK_HEADER>(frame));
        Self { index: LogIndex(u64_at::<16, CHUNK_HEADER>(frame)), read: Read { boot, round } }
    }

    pub(super) fn write(&self, frame: &mut Fixed) {
        put_u64::<16, CHUNK_HEADER>(frame, self.index.0);
        put_u32::<24, CHUNK_HEADER>(frame, self.read.boot);
        put_u32::<28, CHUNK_HEADER>(frame, self.read.round);
    }
}

impl CampaignNow {
    pub(super) fn open(frame: &Fixed) -> Self {
        Self { last: LogIndex(u64_at::<16, CHUNK_HEADER>(frame)) }
    }

    pub(super) fn write(&self, frame: &mut Fixed) {
        put_u64::<16, CHUNK_HEADER>(frame, self.last.0);
    }
}

impl<'b> Forward<'b> {
    pub(super) fn open(frame: &Fixed, items: &'b [u8], crc: Crc32c) -> Result<Self, FrameError> {
        if items.len() != u32_at::<28, CHUNK_HEADER>(frame) as usize {
            return Err(FrameError::Length);
        }
        if crc(0, items) != u32_at::<32, CHUNK_HEADER>(frame) {
            return Err(FrameError::Checksum);
        }
        let mut all = Items::new(items);
        all.by_ref().for_each(drop);
        if all.rest() > 0 {
            return Err(FrameError::Malformed);
        }
        Ok(Self {
            client: ClientId(u64_at::<16, CHUNK_HEADER>(frame)),
            first: u32_at::<24, CHUNK_HEADER>(frame),
            capabilities: Capabilities::from_bits(u32_at::<36, CHUNK_HEADER>(frame)),
            items,
        })
    }

    pub(super) fn write(&self, frame: &mut Fixed, crc: Crc32c) -> Option<()> {
        put_u64::<16, CHUNK_HEADER>(frame, self.client.0);
        put_u32::<24, CHUNK_HEADER>(frame, self.first);
        put_u32::<28, CHUNK_HEADER>(frame, u32::try_from(self.items.len()).ok()?);
        put_u32::<32, CHUNK_HEADER>(frame, crc(0, self.items));
        put_u32::<36, CHUNK_HEADER>(frame, self.capabilities.bits());
        Some(())
    }
}

impl ForwardAnswer {
    pub(super) fn open(frame: &Fixed) -> Result<Self, FrameError> {
        let [state, code, ..] = u32_at::<28, CHUNK_HEADER>(frame).to_le_bytes();
        let state = match state {
            0 => Intake::Open,
            1 => Intake::GoOn,
            2 => Intake::Unsupported,
            3 => Intake::Rejected(Rejection(code)),
            4 => Intake::TooLarge,
            _ => return Err(FrameError::Malformed),
        };
        let client = ClientId(u64_at::<16, CHUNK_HEADER>(frame));
        Ok(Self { client, next: u32_at::<24, CHUNK_HEADER>(frame), state })
    }

    pub(super) fn write(&self, frame: &mut Fixed) {
        let (state, code) = match self.state {
            Intake::Open => (0, 0),
            Intake::GoOn => (1, 0),
            Intake::Unsupported => (2, 0),
            Intake::Rejected(Rejection(code)) => (3, code),
            Intake::TooLarge => (4, 0),
        };
        put_u64::<16, CHUNK_HEADER>(frame, self.client.0);
        put_u32::<24, CHUNK_HEADER>(frame, self.next);
        put_u32::<28, CHUNK_HEADER>(frame, u32::from_le_bytes([state, code, 0, 0]));
    }
}

/// Zero or one; nothing else is a flag.
pub(super) const fn flag(value: u32) -> Result<bool, FrameError> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(FrameError::Malformed),
    }
}
