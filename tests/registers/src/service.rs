//! The client line: text, a request there, an answer back.
//!
//! A request begins with a number that its answer repeats. One is answered at a time.
//!
//! | request | answer |
//! |---|---|
//! | | `0 ready NODE` at the start, or `0 failed REASON` |
//! | `7 status` | `7 status node=1 role=leader term=3 leader=1 last=40 committed=40 applied=40 durable=40 start=0 snapshot=0 digest=1a2b3c4d` |
//! | `7 put KEY VALUE` | `7 ok INDEX`: it is committed there, and applied on this node |
//! | `7 get KEY` | `7 value VALUE`: as it was when the request came, or newer; on any node |
//! | `7 load COUNT SIZE` | `7 loaded COUNT`: so many commands of so many bytes to register 63, one at a time |
//! | `7 refusals` | `7 refusals` and what the node has refused so far |
//! | `7 halted` | `7 halted no`, or why |
//! | another | `7 bad REASON` |
//!
//! `7 refused REASON` instead means that nothing was stored; `7 lost REASON`, that the outcome is open.

use core::fmt::{self, Write as _};

use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::RawMutex;
use embedded_io_async::{Read, Write};
use quoring::{Clock, Duration, Node, Platform, ProposalError, ReadError, Role};

use crate::application::Application;
use crate::command::Command;
use crate::request::Request;

/// Bytes of the longest line.
pub const LINE: usize = 240;

/// How long a client waits before it is told that the outcome is open.
const PATIENCE: Duration = Duration::from_millis(2000);

/// The largest command that `load` proposes.
const LARGEST: usize = 128;

/// The register that `load` writes.
const LOADED: u8 = 63;

/// What answers requests.
pub struct Service<'a, P: Platform, M: RawMutex, C> {
    /// The node.
    pub node: Node<'a, P>,
    /// What it replicates.
    pub application: &'a Application<M>,
    /// For those who wait.
    pub clock: C,
}

/// An answer. What is longer is cut.
type Text = heapless::String<LINE>;

/// Why a request has no answer.
enum Failure {
    Proposal(ProposalError),
    Read(ReadError),
    TooLarge,
    /// There was none in time.
    Late,
}

impl<P: Platform, M: RawMutex, C: Clock> Service<'_, P, M, C> {
    /// Answers the requests of a line until that comes to its end or fails.
    ///
    /// # Errors
    /// Those of the line.
    pub async fn serve<L: Read + Write>(&self, mut line: L) -> Result<(), L::Error> {
        let mut greeting = Text::new();
        let _ = writeln!(greeting, "0 ready {}", self.node.status().id);
        line.write_all(greeting.as_bytes()).await?;
        let (mut request, mut chunk, mut cut) = (heapless::Vec::<u8, LINE>::new(), [0; 16], false);
        loop {
            line.flush().await?;
            let len = line.read(&mut chunk).await?;
            if len == 0 {
                return Ok(());
            }
            for byte in chunk.get(..len).unwrap_or_default() {
                if *byte != b'\n' {
                    cut |= request.push(*byte).is_err();
                    continue;
                }
                let (tag, parsed) = Request::parse(&request);
                let answer = self.answer(tag, if cut { Err("a line is too long") } else { parsed }).await;
                line.write_all(answer.as_bytes()).await?;
                request.clear();
                cut = false;
            }
        }
    }

    /// The answer to a request, with its end of line.
    async fn answer(&self, tag: u32, request: Result<Request, &str>) -> Text {
        let mut text = Text::new();
        let written = write!(text, "{tag} ").and(match request {
            Err(wrong) => write!(text, "bad {wrong}"),
            Ok(Request::Status) => self.status(&mut text),
            Ok(Request::Refusals) => {
                let mut refusals = text.write_str("refusals");
                for (reason, count) in self.node.refusals().iter() {
                    refusals = refusals.and(write!(text, " {reason}={count}"));
                }
                refusals
            }
            Ok(Request::Halted) => match self.node.halted() {
                Some(halt) => write!(text, "halted {halt}"),
                None => write!(text, "halted no"),
            },
            Ok(Request::Put { key, value }) => match self.propose(&Command { key, value }.encode()).await {
                Ok(index) => write!(text, "ok {index}"),
                Err(failure) => write!(text, "{failure}"),
            },
            Ok(Request::Get { key }) => match self.get(key).await {
                Ok(value) => write!(text, "value {value}"),
                Err(failure) => write!(text, "{failure}"),
            },
            Ok(Request::Load { count, size }) => match self.load(count, size).await {
                Ok(()) => write!(text, "loaded {count}"),
                Err(failure) => write!(text, "{failure}"),
            },
        });
        if written.and(text.write_char('\n')).is_err() {
            text.pop();
            let _ = text.push('\n');
        }
        text
    }

    /// The index at which the command was applied.
    async fn propose(&self, command: &[u8]) -> Result<u64, Failure> {
        let answer = self.in_time(self.node.propose(command)).await?.map_err(Failure::Proposal)?;
        Ok(answer.first_chunk().copied().map_or(0, u64::from_le_bytes))
    }

    async fn get(&self, key: u8) -> Result<u32, Failure> {
        self.in_time(self.node.read()).await?.map_err(Failure::Read)?;
        Ok(self.application.with(|registers| registers.get(key)))
    }

    async fn load(&self, count: u32, size: u32) -> Result<(), Failure> {
        let mut command = [0; LARGEST];
        let command = command.get_mut(..size as usize).ok_or(Failure::TooLarge)?;
        for value in 0..count {
            let head = command.first_chunk_mut::<{ Command::SIZE }>().ok_or(Failure::TooLarge)?;
            *head = Command { key: LOADED, value }.encode();
            self.propose(command).await?;
        }
        Ok(())
    }

    fn status(&self, text: &mut Text) -> fmt::Result {
        let (applied, digest) = self.application.with(|registers| (registers.applied(), registers.digest()));
        let status = self.node.status();
        let role = match status.role {
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Halted => "halted",
            Role::PreCandidate | Role::Candidate => "candidate",
        };
        write!(text, "status node={} role={role} term={} leader=", status.id, status.term)?;
        match status.leader {
            Some(leader) => write!(text, "{leader}")?,
            None => write!(text, "-")?,
        }
        write!(
            text,
            " last={} committed={} applied={applied} durable={} start={} snapshot={} digest={digest:08x}",
            status.last, status.committed, status.durable, status.start, status.snapshot,
        )
    }

    async fn in_time<F: Future>(&self, future: F) -> Result<F::Output, Failure> {
        let deadline = self.clock.now() + PATIENCE;
        match select(future, self.clock.sleep_until(deadline)).await {
            Either::First(outcome) => Ok(outcome),
            Either::Second(()) => Err(Failure::Late),
        }
    }
}

impl<P: Platform, M: RawMutex, C> fmt::Debug for Service<'_, P, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Service").field(&self.node).finish()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proposal(ProposalError::Refused(refused)) => write!(f, "refused {refused}"),
            Self::Proposal(ProposalError::Lost(lost)) => write!(f, "lost {lost}"),
            Self::Read(error) => write!(f, "lost {error}"),
            Self::TooLarge => write!(f, "refused a command has {} to {LARGEST} bytes", Command::SIZE),
            Self::Late => f.write_str("lost no answer in time"),
        }
    }
}
