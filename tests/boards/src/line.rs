//! A board's client line: lines of text, one request at a time.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::answer::Answer;
use crate::wait;

/// What came in on the line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// The board has started, as this node.
    Ready(u8),
    /// The board's node could not start, and why.
    Failed(String),
    /// The answer to the request that was pending.
    Answer(Answer),
}

/// The host's end of a client line.
#[derive(Debug)]
pub struct Line {
    stream: UnixStream,
    received: Vec<u8>,
    tag: u32,
    /// The last request, while it has no answer.
    pending: Option<String>,
}

impl Line {
    /// A line over this connection.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn new(stream: UnixStream) -> Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, received: Vec::new(), tag: 0, pending: None })
    }

    /// Whether a request has no answer yet: no other can be sent.
    #[must_use]
    pub const fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Sends a request, without waiting.
    ///
    /// # Errors
    /// The one before has no answer yet, or the board is gone.
    pub fn send(&mut self, request: &str) -> Result<()> {
        ensure!(self.pending.is_none(), "`{request}` while this has no answer: {:?}", self.pending);
        self.tag += 1;
        let line = format!("{} {request}\n", self.tag);
        // A socket takes kilobytes before it blocks, and one line at a time is in it.
        self.stream.write_all(line.as_bytes()).with_context(|| format!("cannot send `{request}`"))?;
        self.pending = Some(request.into());
        Ok(())
    }

    /// What has come in, if something has.
    ///
    /// # Errors
    /// The board is gone, or says what no board should.
    pub fn receive(&mut self) -> Result<Option<Said>> {
        loop {
            if let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                let said =
                    self.parse(line.trim_end()).with_context(|| format!("the board says `{}`", line.trim_end()))?;
                return Ok(Some(said));
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => bail!("the board is gone; it last said `{}`", String::from_utf8_lossy(&self.received)),
                Ok(length) => self.received.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error).context("the board is gone"),
            }
        }
    }

    /// Waits for what comes in next.
    ///
    /// # Errors
    /// Nothing came in this time, the board is gone, or says what no board should.
    pub fn wait(&mut self, timeout: Duration) -> Result<Said> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(said) = self.receive()? {
                return Ok(said);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "the board says nothing for {timeout:?}, pending: {:?}", self.pending);
            wait::readable([self.as_fd()], left)?;
        }
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// No answer came in this time (the request stays pending), or the board is gone.
    pub fn ask(&mut self, request: &str, timeout: Duration) -> Result<Answer> {
        self.send(request)?;
        match self.wait(timeout)? {
            Said::Answer(answer) => Ok(answer),
            other => bail!("{other:?} in answer to `{request}`"),
        }
    }

    fn parse(&mut self, line: &str) -> Result<Said> {
        let (tag, rest) = line.split_once(' ').context("no tag")?;
        let tag: u32 = tag.parse().context("no tag")?;
        if tag == 0 {
            return match rest.split_once(' ') {
                Some(("ready", node)) => Ok(Said::Ready(node.parse().context("no node")?)),
                Some(("failed", reason)) => Ok(Said::Failed(reason.into())),
                _ => bail!("neither ready nor failed"),
            };
        }
        ensure!(tag == self.tag, "the tag of another request than {}", self.tag);
        let request = self.pending.take().context("an answer to nothing")?;
        Ok(Said::Answer(Answer::parse(rest).with_context(|| format!("in answer to `{request}`"))?))
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::{Line, Said};
    use crate::answer::Answer;

    const LONG: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(1);

    fn line() -> (Line, UnixStream) {
        let (here, there) = UnixStream::pair().unwrap();
        (Line::new(here).unwrap(), there)
    }

    #[test]
    fn a_request_carries_a_new_tag_and_its_answer_the_same() {
        let (mut line, board) = line();
        let mut requests = BufReader::new(board.try_clone().unwrap()).lines();
        (&board).write_all(b"0 ready 2\n").unwrap();
        assert_eq!(line.wait(LONG).unwrap(), Said::Ready(2));
        for (tag, value) in [(1, 17), (2, 18)] {
            line.send("get 5").unwrap();
            assert_eq!(requests.next().unwrap().unwrap(), format!("{tag} get 5"));
            (&board).write_all(format!("{tag} value {value}\n").as_bytes()).unwrap();
            assert_eq!(line.wait(LONG).unwrap(), Said::Answer(Answer::Value(value)));
        }
    }

    #[test]
    fn a_late_answer_is_waited_for_before_the_next_request() {
        let (mut line, board) = line();
        assert!(line.ask("get 5", SHORT).is_err());
        assert!(line.send("get 6").is_err());
        (&board).write_all(b"1 val").unwrap();
        assert_eq!(line.receive().unwrap(), None);
        (&board).write_all(b"ue 3\n").unwrap();
        assert_eq!(line.receive().unwrap(), Some(Said::Answer(Answer::Value(3))));
        line.send("get 6").unwrap();
    }

    #[test]
    fn what_no_board_should_say_is_an_error_and_so_is_its_end() {
        for nonsense in ["value 3\n", "2 value 3\n", "0 value 3\n", "1 walue 3\n"] {
            let (mut line, board) = line();
            line.send("get 5").unwrap();
            (&board).write_all(nonsense.as_bytes()).unwrap();
            assert!(line.receive().is_err(), "{nonsense}");
        }
        let (mut line, board) = line();
        drop(board);
        assert!(line.receive().is_err());
    }
}
