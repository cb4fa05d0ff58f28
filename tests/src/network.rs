//! Frames in flight, each with a name, and how they read.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use quoring_core::wire::{Envelope, Frame, Message};
use quoring_core::{ClusterId, NodeId};
use quoring_ring::{DEFAULT_CRC32C, Records};

/// A frame on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InFlight {
    /// How a script calls it: `f` and this number.
    pub name: u32,
    /// Who sent it.
    pub from: NodeId,
    /// To whom.
    pub to: NodeId,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// The links of a cluster.
#[derive(Default)]
pub struct Network {
    /// Frames on their way, oldest first.
    pub frames: Vec<InFlight>,
    named: u32,
    cut: BTreeSet<(NodeId, NodeId)>,
}

impl Network {
    /// A name for another frame.
    pub const fn name(&mut self) -> u32 {
        self.named += 1;
        self.named
    }

    /// Takes a frame; whether the link was not cut.
    pub fn send(&mut self, frame: InFlight) -> bool {
        let open = !self.cut.contains(&(frame.from, frame.to));
        if open {
            self.frames.push(frame);
        }
        open
    }

    /// Puts a copy of the frame behind all others.
    pub fn duplicate(&mut self, name: u32) -> Option<&InFlight> {
        let frame = self.frames.iter().find(|frame| frame.name == name)?.clone();
        let name = self.name();
        self.frames.push(InFlight { name, ..frame });
        self.frames.last()
    }

    /// Cuts or mends the link in one direction; what is on its way stays so.
    pub fn set_cut(&mut self, from: NodeId, to: NodeId, cut: bool) {
        if cut {
            self.cut.insert((from, to))
        } else {
            self.cut.remove(&(from, to))
        };
    }

    /// Takes the frame of this name out of the network.
    pub fn take(&mut self, name: u32) -> Option<InFlight> {
        let place = self.frames.iter().position(|frame| frame.name == name)?;
        Some(self.frames.remove(place))
    }
}

impl InFlight {
    /// What it says, if its receiver could read it.
    #[must_use]
    pub fn decode(&self, cluster: ClusterId) -> Option<Frame<'_>> {
        Envelope { cluster, node: self.to, crc: DEFAULT_CRC32C }.open(&self.bytes).ok()
    }

    /// The word by which scripts select frames of its kind.
    #[must_use]
    pub fn kind(&self, cluster: ClusterId) -> &'static str {
        match self.decode(cluster).map(|frame| frame.message) {
            None => "garbage",
            Some(Message::PreVote(_)) => "pre-vote",
            Some(Message::Vote(_)) => "vote",
            Some(Message::PreVoteAnswer(answer)) => {
                if answer.granted {
                    "pre-grant"
                } else {
                    "pre-denial"
                }
            }
            Some(Message::VoteAnswer(answer)) => {
                if answer.granted {
                    "grant"
                } else {
                    "denial"
                }
            }
            Some(Message::Append(append)) if append.bytes > 0 => "append",
            Some(Message::Append(append)) => {
                if append.respond {
                    "heartbeat"
                } else {
                    "commit"
                }
            }
            Some(Message::AppendAnswer(_)) => "answer",
            Some(Message::AppendRefusal(_)) => "refusal",
            Some(Message::InstallSnapshot(_)) => "chunk",
            Some(Message::SnapshotAnswer(_)) => "received",
            Some(Message::Confirm(_)) => "confirm",
            Some(Message::ConfirmAnswer(_)) => "confirmed",
            Some(Message::Read(_)) => "read",
            Some(Message::ReadAnswer(_)) => "read-answer",
            Some(Message::CampaignNow(_)) => "campaign-now",
            Some(Message::VoteByLeave(_)) => "vote-by-leave",
            Some(Message::Forward(_)) => "forward",
            Some(Message::ForwardAnswer(_)) => "forward-answer",
        }
    }

    /// One line: `f7 1>2 t3 append after 1-4: 3-5 3-6, commit 4`.
    #[must_use]
    pub fn describe(&self, cluster: ClusterId) -> String {
        let mut line = format!("f{} {}>{} ", self.name, self.from, self.to);
        if let Some(frame) = self.decode(cluster) {
            let _ = write!(line, "t{} ", frame.term);
            line.push_str(self.kind(cluster));
            line.push_str(&details(&frame.message));
        } else {
            line.push_str("garbage");
        }
        line
    }
}

fn details(message: &Message<'_>) -> String {
    match message {
        Message::PreVote(request) | Message::Vote(request) | Message::VoteByLeave(request) => {
            format!(" {} with {}-{}", request.term, request.last_term, request.last)
        }
        Message::PreVoteAnswer(answer) | Message::VoteAnswer(answer) => format!(" {}", answer.term),
        Message::Append(append) => {
            let mut text = format!(" after {}-{}", append.prev_term, append.prev);
            for (index, record) in (append.prev.0 + 1..).zip(Records::new(append.records)) {
                let separator = if index == append.prev.0 + 1 { ":" } else { "" };
                let term = record.map_or("?".into(), |record| record.header.term.to_string());
                let _ = write!(text, "{separator} {term}-{index}");
            }
            let _ = write!(text, ", commit {}", append.commit);
            if append.respond && append.bytes > 0 {
                text.push_str(", answer");
            }
            text
        }
        Message::AppendAnswer(answer) if answer.matched == answer.received => format!(" {}", answer.matched),
        Message::AppendAnswer(answer) => format!(" {}, received {}", answer.matched, answer.received),
        Message::AppendRefusal(refusal) => {
            format!(" of {}, hint {}-{}", refusal.rejected, refusal.hint_term, refusal.hint)
        }
        Message::InstallSnapshot(chunk) => {
            let (last, end) = (chunk.snapshot.last, chunk.offset + chunk.data.len() as u64);
            format!(" of {}-{}, bytes {}..{end} of {}", last.term, last.index, chunk.offset, chunk.snapshot.length)
        }
        Message::SnapshotAnswer(answer) => format!(" {} bytes of the snapshot up to {}", answer.received, answer.last),
        Message::Confirm(confirm) | Message::ConfirmAnswer(confirm) => format!(" round {}", confirm.round),
        Message::Read(read) => format!(" round {} of boot {}", read.round, read.boot),
        Message::ReadAnswer(answer) => {
            format!(" round {} of boot {}: {}", answer.read.round, answer.read.boot, answer.index)
        }
        Message::CampaignNow(leave) => format!(" with {}", leave.last),
        Message::Forward(forward) => {
            let count = quoring_core::wire::Items::new(forward.items).count();
            format!(" {count} items from {} on through {}", forward.first, forward.client)
        }
        Message::ForwardAnswer(answer) => format!(" {} through {}, {:?}", answer.next, answer.client, answer.state),
    }
}
