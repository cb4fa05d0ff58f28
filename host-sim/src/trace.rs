//! The trace: one aligned line an event, the same bytes for the same seed.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Write};

use quoring_core::wire::{
    Append, AppendAnswer, AppendRefusal, CampaignNow, Confirm, Envelope, Forward, ForwardAnswer, Frame,
    InstallSnapshot, Items, Message, Read, ReadAnswer, SnapshotAnswer, VoteAnswer, VoteRequest,
};
use quoring_core::{NodeId, Role, Status};
use quoring_ring::DEFAULT_CRC32C;

use crate::timeline::Micros;
use crate::world::{CLUSTER, World};

/// What the columns and words of a trace mean.
pub(crate) const LEGEND: &str = "\
# time        seconds of virtual time
# who         n3 node 3, c0 client 0, net the links, sim the simulator
# what        send: the frame as its sender wrote it; durable: a record that is now on the medium; apply: an entry given to the
#             application; moves: role, term and pointers after a step; other words name a fault or an event
# pointers    last / durable / committed / applied
#
#       time  who  what         detail
";

/// Who a line is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    Node(usize),
    Client(usize),
    Network,
    Simulator,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => f.pad(&format!("n{node}")),
            Self::Client(client) => f.pad(&format!("c{client}")),
            Self::Network => f.pad("net"),
            Self::Simulator => f.pad("sim"),
        }
    }
}

/// Where the lines go.
#[derive(Default)]
pub(crate) struct Trace {
    sink: Option<RefCell<Box<dyn Write>>>,
}

impl Trace {
    /// A trace into `sink`, beginning with the legend.
    pub(crate) fn new(mut sink: Box<dyn Write>) -> io::Result<Self> {
        sink.write_all(LEGEND.as_bytes())?;
        Ok(Self { sink: Some(RefCell::new(sink)) })
    }

    /// Writes out what is buffered.
    pub(crate) fn flush(&self) {
        if let Some(sink) = &self.sink {
            let _ = sink.borrow_mut().flush();
        }
    }

    pub(crate) const fn is_on(&self) -> bool {
        self.sink.is_some()
    }

    /// Writes one line. A reader that has gone away is no reason to stop the simulation.
    pub(crate) fn line(&self, now: Micros, source: Source, what: &str, detail: fmt::Arguments<'_>) {
        if let Some(sink) = &self.sink {
            let (seconds, micros) = (now / 1_000_000, now % 1_000_000);
            let line = format!("{seconds:>5}.{micros:06}  {source:<4} {what:<12} {detail}");
            let _ = writeln!(sink.borrow_mut(), "{}", line.trim_end());
        }
    }
}

impl World {
    pub(crate) fn trace_frame(&self, from: usize, to: usize, bytes: &[u8]) {
        if !self.is_traced() {
            return;
        }
        let receiver = NodeId::new(to as u8).unwrap_or_default();
        match (Envelope { cluster: CLUSTER, node: receiver, crc: DEFAULT_CRC32C }).open(bytes) {
            Ok(frame) => {
                self.trace(Source::Node(from), "send", format_args!("to {to}, term {}: {}", frame.term, Said(&frame)))
            }
            Err(error) => self.trace(Source::Node(from), "send", format_args!("to {to}: {error}")),
        }
    }

    pub(crate) fn trace_status(&self, node: usize, before: Option<Status>, status: &Status) {
        let shown =
            |status: &Status| (status.role, status.term, status.last, status.durable, status.committed, status.applied);
        if !self.is_traced() || before.as_ref().map(shown) == Some(shown(status)) {
            return;
        }
        let Status { term, last, durable, committed, applied, .. } = status;
        let role = role(status.role);
        self.trace(
            Source::Node(node),
            "moves",
            format_args!("{role}, term {term}: {last} / {durable} / {committed} / {applied}"),
        );
    }
}

/// The field's word for a role.
pub(crate) const fn role(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
        Role::Halted => "halted",
    }
}

/// A frame's message in words.
struct Said<'f>(&'f Frame<'f>);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.message {
            Message::PreVote(VoteRequest { term, last, last_term }) => {
                write!(f, "would you vote for me in term {term}? last is {last} of term {last_term}")
            }
            Message::VoteByLeave(VoteRequest { term, last, last_term }) => {
                write!(f, "vote for me by leave in term {term}; last is {last} of term {last_term}")
            }
            Message::Vote(VoteRequest { term, last, last_term }) => {
                write!(f, "vote for me in term {term}; last is {last} of term {last_term}")
            }
            Message::PreVoteAnswer(VoteAnswer { term, granted: true }) => write!(f, "would vote in term {term}"),
            Message::PreVoteAnswer(VoteAnswer { term, granted: false }) => write!(f, "would not vote in term {term}"),
            Message::VoteAnswer(VoteAnswer { term, granted: true }) => write!(f, "votes in term {term}"),
            Message::VoteAnswer(VoteAnswer { term, granted: false }) => write!(f, "does not vote in term {term}"),
            Message::Append(Append { prev, prev_term, commit, session, records, .. }) => {
                write!(
                    f,
                    "append {} bytes after {prev} of term {prev_term}, commit {commit}, session {session}",
                    records.len()
                )
            }
            Message::AppendAnswer(AppendAnswer { session, room, matched, received }) => {
                write!(f, "matched {matched}, received {received}, room {room}, session {session}")
            }
            Message::AppendRefusal(AppendRefusal { session, rejected, hint, hint_term, .. }) => {
                write!(f, "refused {rejected}, perhaps {hint} of term {hint_term}, session {session}")
            }
            Message::InstallSnapshot(InstallSnapshot { snapshot, offset, session, data }) => {
                let (last, length) = (snapshot.last, snapshot.length);
                write!(f, "snapshot up to {} of term {}: ", last.index, last.term)?;
                write!(f, "{} bytes from {offset} of {length}, session {session}", data.len())
            }
            Message::SnapshotAnswer(SnapshotAnswer { session, last, received }) => {
                write!(f, "has {received} bytes of the snapshot up to {last}, session {session}")
            }
            Message::Confirm(Confirm { round, .. }) => write!(f, "am I still your leader? round {round}"),
            Message::ConfirmAnswer(Confirm { round, .. }) => write!(f, "you still are, round {round}"),
            Message::Read(Read { boot, round }) => write!(f, "what must I have applied? round {round} of boot {boot}"),
            Message::ReadAnswer(ReadAnswer { read: Read { boot, round }, index }) => {
                write!(f, "read after {index}, round {round} of boot {boot}")
            }
            Message::CampaignNow(CampaignNow { last }) => write!(f, "campaign now; last is {last}"),
            Message::Forward(Forward { client, first, items, .. }) => {
                write!(f, "{} items from {first} on through {client}", Items::new(items).count())
            }
            Message::ForwardAnswer(ForwardAnswer { client, next, state }) => {
                write!(f, "took items below {next} through {client}, {state:?}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    /// A sink that a test can look into.
    #[derive(Clone, Default)]
    struct Shared(Rc<RefCell<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_aligned_below_the_legend() {
        let sink = Shared::default();
        let trace = Trace::new(Box::new(sink.clone())).unwrap();
        trace.line(1_000_002, Source::Node(31), "send", format_args!("to 2"));
        trace.line(20, Source::Network, "dropped", format_args!(""));
        let text = String::from_utf8(sink.0.borrow().clone()).unwrap();
        let lines: Vec<&str> = text.strip_prefix(LEGEND).unwrap().lines().collect();
        assert_eq!(lines, ["    1.000002  n31  send         to 2", "    0.000020  net  dropped"]);
        let heading = LEGEND.lines().last().unwrap();
        assert_eq!(heading.find("who"), lines[0].find("n31"));
        assert_eq!(heading.find("detail"), lines[0].find("to 2"));
    }
}
