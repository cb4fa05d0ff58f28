//! The bytes on the wire, drawn in `WIRE.md`: little-endian, fixed layouts, one message a frame.
//!
//! *Panic contract*: decoding takes any bytes and never panics; encoding into a buffer that is too short says so.

mod bytes;
mod clients;
mod frame;
mod message;

pub use clients::{
    CampaignNow, Confirm, FORWARD_HEADER, Forward, ForwardAnswer, Intake, Item, Items, Read, ReadAnswer,
};
pub(crate) use frame::kind;
pub use frame::{Envelope, Frame, FrameError, HEADER};
pub(crate) use message::{APPEND, APPEND_ANSWER};
pub use message::{
    APPEND_HEADER, Append, AppendAnswer, AppendRefusal, CHUNK_HEADER, InstallSnapshot, Message, SnapshotAnswer,
    VoteAnswer, VoteRequest,
};

/// The version of the format. A frame of another version is refused.
pub const VERSION: u8 = 1;
