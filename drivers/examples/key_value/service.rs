//! What a node does for clients, over TCP: a line there, a line back. Every node serves, whoever leads.
//!
//! | line | reply |
//! |---|---|
//! | `open` | `ok SESSION`: a session, in which each command takes effect once |
//! | `in SESSION NUMBER COMMAND` | `ok ANSWER`: [the map's](crate::map::Map::apply) to command 1, 2, ... of the session, however often it is sent |
//! | `get KEY` | `ok value VALUE` or `ok none`: as it was when the line came, or newer |
//! | `status` | `ok` and what the node is |
//!
//! | reply | what a client should do |
//! |---|---|
//! | `refused REASON` | say something else: this had no effect and will have none |
//! | `retry REASON` | send the same again, to this node or another; so also if there is no reply |
//! | `lost REASON` | open another session: what became of the command cannot be learned any more |

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use async_io::Timer;
use embassy_futures::select::{Either, select};
use futures_lite::future::block_on;
use quoring::{Node, ReadError, Role, SessionError, SessionId};

use crate::command::{Command, check_key};
use crate::node::{Host, map};

/// Bytes of the longest line.
const LINE: u64 = 2048;

/// A node without a leader lets clients go on to another one.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy)]
pub(crate) struct Service {
    node: Node<'static, Host>,
}

/// What a client asks for.
enum Request<'l> {
    Open,
    Do { session: SessionId, number: u32, command: &'l str },
    Get { key: &'l str },
    Status,
}

/// A reply other than `ok`.
enum Failure {
    Refused(String),
    Retry(String),
    Lost(String),
}

impl Service {
    pub(crate) const fn new(node: Node<'static, Host>) -> Self {
        Self { node }
    }

    /// Serves whoever comes.
    pub(crate) fn take(self, clients: &TcpListener) {
        for client in clients.incoming().flatten() {
            // What goes wrong with one client is its own affair.
            thread::spawn(move || self.serve(&client));
        }
    }

    fn serve(self, client: &TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let (mut lines, mut client) = (BufReader::new(client), client);
        loop {
            let mut line = Vec::new();
            if lines.by_ref().take(LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let reply = if line.ends_with(b"\n") {
                self.reply(&line)
            } else {
                lines.skip_until(b'\n')?;
                Err(Failure::Refused(format!("a line has at most {LINE} bytes, and an end")))
            };
            let reply = match reply {
                Ok(answer) => format!("ok {answer}\n"),
                Err(Failure::Refused(reason)) => format!("refused {reason}\n"),
                Err(Failure::Retry(reason)) => format!("retry {reason}\n"),
                Err(Failure::Lost(reason)) => format!("lost {reason}\n"),
            };
            client.write_all(reply.as_bytes())?;
        }
    }

    fn reply(self, line: &[u8]) -> Result<String, Failure> {
        let line = str::from_utf8(line).map_err(|_| Failure::Refused("a line is text in UTF-8".into()))?;
        match Request::parse(line.trim()).map_err(Failure::Refused)? {
            Request::Open => self.open(),
            Request::Do { session, number, command } => self.execute(session, number, command),
            Request::Get { key } => self.get(key),
            Request::Status => Ok(self.status()),
        }
    }

    fn open(self) -> Result<String, Failure> {
        let session = in_time(self.node.session())?;
        Ok(session.id().to_string())
    }

    /// A command that this node has sent, then given up waiting for, may still take effect: once, whoever sends it again.
    fn execute(self, session: SessionId, number: u32, command: &str) -> Result<String, Failure> {
        let answer = in_time(self.node.resume_session(session, number).propose(command.as_bytes()))?;
        Ok(String::from_utf8_lossy(&answer).into())
    }

    /// First make sure that what this node has is new enough, then look.
    fn get(self, key: &str) -> Result<String, Failure> {
        in_time(self.node.read())?;
        Ok(map().get(key).map_or("none".into(), |value| format!("value {value}")))
    }

    fn status(self) -> String {
        let status = self.node.status();
        let role = match (status.role, status.leader) {
            (Role::Leader, _) => "leads".into(),
            (_, Some(leader)) => format!("follows node {leader}"),
            (_, None) => "knows no leader".into(),
        };
        let (id, term, applied, snapshot) = (status.id, status.term, status.applied, status.snapshot);
        format!("node {id} {role} in term {term}, has applied {applied} entries, {snapshot} of them in its snapshot")
    }
}

impl<'l> Request<'l> {
    fn parse(line: &'l str) -> Result<Self, String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "open" if rest.is_empty() => Ok(Self::Open),
            "status" if rest.is_empty() => Ok(Self::Status),
            "open" | "status" => Err(format!("usage: {word}")),
            "get" if !rest.is_empty() && !rest.contains(' ') => Ok(Self::Get { key: check_key(rest)? }),
            "get" => Err("usage: get KEY".into()),
            "in" => {
                let mut words = rest.splitn(3, ' ');
                let session = words.next().and_then(|word| word.parse().ok());
                let number = words.next().and_then(|word| word.parse().ok()).filter(|&number| number > 0);
                let session = session.ok_or("usage: in SESSION NUMBER COMMAND; open gives a session")?;
                let number = number.ok_or("the commands of a session have the numbers 1, 2, 3, ...")?;
                let command = words.next().unwrap_or_default();
                Command::parse(command)?;
                Ok(Self::Do { session, number, command })
            }
            _ => match Command::parse(line) {
                Ok(_) => Err(format!("{word} needs a session: open, then in SESSION NUMBER {line}")),
                Err(reason) => Err(reason),
            },
        }
    }
}

/// Waits for an outcome, but not for ever.
fn in_time<T, E: Into<Failure>>(outcome: impl Future<Output = Result<T, E>>) -> Result<T, Failure> {
    match block_on(select(outcome, Timer::after(PATIENCE))) {
        Either::First(outcome) => outcome.map_err(Into::into),
        Either::Second(_) => Err(Failure::Retry("no majority answers".into())),
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Expired | SessionError::Superseded | SessionError::Exhausted => Self::Lost(error.to_string()),
            SessionError::TooLarge { .. } | SessionError::Rejected(_) => Self::Refused(error.to_string()),
            _ => Self::Retry(error.to_string()),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Retry(format!("nobody leads: {error:?}"))
    }
}
