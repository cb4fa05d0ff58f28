//! Serial lines of boards, and a switch between them.
//!
//! On a line are the frames of `drivers/LINKS.md`: each between two zeros, with a checksum at its end, stuffed (COBS). Bytes 6 and 7 of a frame tell from whom
//! and to whom it is; by those the switch sends it on. A client has an address as well, and its text travels in frames of the same kind:
//!
//! ```text
//!  0        1      2        3       6      7    8
//! +--------+------+--------+-------+------+----+----------+
//! | number | last | answer | zeros | from | to | text ..  |
//! +--------+------+--------+-------+------+----+----------+
//! ```
//!
//! A request is one frame. An answer is one or more: `number` counts them from 0, `last` is 1 in the last one, and `answer`
//! counts answers.

mod frame;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use rustix::event::{PollFd, PollFlags};

use crate::wait;

/// The client's address.
const CLIENT: u8 = 0xFF;

/// Frames that wait for a board that does not take them. What comes beyond that is lost.
const QUEUE: usize = 64;

/// What happens to the frames between nodes, drawn anew for each. A client's own line is a good one.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Noise {
    /// Of a thousand frames, so many are lost.
    pub lost: u32,
    /// Of a thousand, so many have one to three bytes changed on the line, zeros around them included.
    pub damaged: u32,
    /// Of a thousand, so many break off.
    pub cut: u32,
    /// In front of so many of a thousand is noise: up to 20 bytes.
    pub preceded: u32,
}

/// What the switch did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Frames from a node to a node that came in.
    pub frames: u64,
    /// Those that were lost, damaged, cut, or had noise in front.
    pub harmed: u64,
    /// Found the queue of the receiver full, or no receiver.
    pub dropped: u64,
    /// Came in and were no frames: at the start of a board.
    pub broken: u64,
}

/// A switch between the serial lines of boards. It works while it is [pumped](Self::pump), and waits for no board.
#[derive(Debug)]
pub struct Switch {
    /// By node.
    lines: Vec<Line>,
    noise: Noise,
    counts: Counts,
    rng: Rng,
}

/// An answer of which some frames are there.
#[derive(Default, Debug)]
struct Incoming {
    /// Which one.
    answer: u8,
    /// How many frames.
    frames: u8,
    text: Vec<u8>,
}

/// A board's line.
#[derive(Debug)]
struct Line {
    stream: UnixStream,
    /// Its node reaches the others.
    is_connected: bool,
    /// What came in since the last zero.
    received: Vec<u8>,
    /// What goes out, in frames as they are on the line.
    queue: VecDeque<Vec<u8>>,
    /// Bytes of the first of them that have gone out.
    sent: usize,
    /// The answer to the client that is coming in.
    answer: Incoming,
}

impl Switch {
    /// A switch between these lines: the first is that of node 0. `seed` draws the noise, of which there is none at first.
    ///
    /// # Errors
    /// A line is broken.
    pub fn new(lines: Vec<UnixStream>, seed: u64) -> Result<Self> {
        let line = |stream: UnixStream| {
            stream.set_nonblocking(true)?;
            let (received, queue, sent, answer) = (Vec::new(), VecDeque::new(), 0, Incoming::default());
            Ok(Line { stream, is_connected: true, received, queue, sent, answer })
        };
        let lines = lines.into_iter().map(line).collect::<Result<_>>()?;
        Ok(Self { lines, noise: Noise::default(), counts: Counts::default(), rng: Rng::with_seed(seed) })
    }

    /// From now on there is this noise.
    pub fn set_noise(&mut self, noise: Noise) {
        self.noise = noise;
    }

    /// A node reaches the others from now on, or does not.
    pub fn connect(&mut self, node: usize, is_connected: bool) {
        self.lines[node].is_connected = is_connected;
    }

    /// What it has done so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Sends a client's text to a node.
    pub fn tell(&mut self, node: usize, text: &str) {
        let header = [0, 1, 0, 0, 0, 0, CLIENT, node as u8];
        self.lines[node].queue.push_back(frame::encode(&[&header[..], text.as_bytes()].concat()));
    }

    /// Moves frames, for so long at most or until one came in; what nodes told the client, each with the node's number.
    ///
    /// # Errors
    /// A board is gone.
    pub fn pump(&mut self, timeout: Duration) -> Result<Vec<(usize, String)>> {
        for (node, line) in self.lines.iter_mut().enumerate() {
            line.send().with_context(|| format!("the line of board {node}"))?;
        }
        let wanted = |line: &Line| if line.queue.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut polled: Vec<_> =
            self.lines.iter().map(|line| PollFd::from_borrowed_fd(line.stream.as_fd(), wanted(line))).collect();
        wait::any(&mut polled, Some(timeout))?;
        let mut told = Vec::new();
        for node in 0..self.lines.len() {
            for bytes in self.lines[node].receive().with_context(|| format!("the line of board {node}"))? {
                match frame::decode(&bytes) {
                    Some(frame) => told.extend(self.route(node, &frame).map(|text| (node, text))),
                    None => self.counts.broken += 1,
                }
            }
        }
        Ok(told)
    }

    /// Sends a frame on, or takes it if it is for the client.
    fn route(&mut self, from: usize, frame: &[u8]) -> Option<String> {
        let &[number, last, answer, _, _, _, source, to, ref text @ ..] = frame else {
            self.counts.broken += 1;
            return None;
        };
        if to == CLIENT {
            return self.lines[from].answer.take(answer, number, last, text);
        }
        self.counts.frames += 1;
        let is_open = self.lines[from].is_connected && usize::from(source) == from;
        match self.lines.get(usize::from(to)).filter(|line| line.is_connected && line.queue.len() < QUEUE) {
            Some(_) if is_open => {
                if let Some(bytes) = self.suffer(frame::encode(frame)) {
                    self.lines[usize::from(to)].queue.push_back(bytes);
                }
            }
            _ => self.counts.dropped += 1,
        }
        None
    }

    /// What the noise leaves of a frame on the line.
    fn suffer(&mut self, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        let Self { noise, rng, counts, .. } = self;
        let mut happens = |per_mille: u32| rng.u32(..1000) < per_mille;
        let (lost, damaged, cut, preceded) =
            (happens(noise.lost), happens(noise.damaged), happens(noise.cut), happens(noise.preceded));
        counts.harmed += u64::from(lost || damaged || cut || preceded);
        if damaged {
            for _ in 0..rng.usize(1..=3) {
                let byte = rng.usize(..bytes.len());
                bytes[byte] = rng.u8(..);
            }
        }
        if cut {
            bytes.truncate(rng.usize(..bytes.len()));
        }
        if preceded {
            let noise: Vec<u8> = (0..rng.usize(1..=20)).map(|_| rng.u8(..)).collect();
            bytes.splice(0..0, noise);
        }
        (!lost).then_some(bytes)
    }
}

impl Line {
    /// Sends what the board takes now.
    fn send(&mut self) -> Result<()> {
        while let Some(first) = self.queue.front() {
            match self.stream.write(&first[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("the board is gone"),
            }
            if self.sent == first.len() {
                self.sent = 0;
                self.queue.pop_front();
            }
        }
        Ok(())
    }

    /// What came in, cut at zeros.
    fn receive(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => bail!("the board is gone"),
            Ok(length) => self.received.extend_from_slice(&bytes[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Vec::new()),
            Err(error) => return Err(error).context("the board is gone"),
        }
        let mut pieces: Vec<Vec<u8>> = self.received.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect();
        self.received = pieces.pop().unwrap_or_default();
        pieces.retain(|piece| !piece.is_empty());
        Ok(pieces)
    }
}

impl Incoming {
    /// Takes a frame of an answer; all of the answer, if this is the last frame and none is missing.
    fn take(&mut self, answer: u8, number: u8, last: u8, text: &[u8]) -> Option<String> {
        if number == 0 {
            *self = Self { answer, ..Self::default() };
        }
        if (answer, number) != (self.answer, self.frames) {
            return None;
        }
        self.text.extend_from_slice(text);
        self.frames += 1;
        (last == 1).then(|| String::from_utf8_lossy(&self.text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench() -> (Switch, Vec<UnixStream>) {
        let (here, there): (Vec<_>, Vec<_>) = (0..3).map(|_| UnixStream::pair().unwrap()).unzip();
        there.iter().for_each(|line| line.set_nonblocking(true).unwrap());
        (Switch::new(here, 1).unwrap(), there)
    }

    /// What has come out of a line.
    fn arrived(mut line: &UnixStream) -> Vec<Vec<u8>> {
        let mut bytes = [0; 4096];
        let length = line.read(&mut bytes).unwrap_or_default();
        let pieces = bytes[..length].split(|&byte| byte == 0).filter(|piece| !piece.is_empty());
        pieces.map(|piece| frame::decode(piece).unwrap()).collect()
    }

    fn pump(switch: &mut Switch) -> Vec<(usize, String)> {
        (0..3).flat_map(|_| switch.pump(Duration::from_millis(1)).unwrap()).collect()
    }

    #[test]
    fn a_frame_goes_to_whom_it_is_for_and_to_nobody_else() {
        let (mut switch, lines) = bench();
        let frame = |from, to| [9, 9, 9, 9, 9, 9, from, to, 0, 7];
        for (from, to) in [(0, 2), (0, 5), (1, 2)] {
            (&lines[0]).write_all(&frame::encode(&frame(from, to))).unwrap();
        }
        assert_eq!(pump(&mut switch), []);
        assert_eq!(arrived(&lines[2]), [frame(0, 2)]);
        assert_eq!([arrived(&lines[0]), arrived(&lines[1])], [const { Vec::<Vec<u8>>::new() }; 2]);
        assert_eq!(switch.counts(), Counts { frames: 3, dropped: 2, ..Counts::default() });
        switch.connect(2, false);
        (&lines[0]).write_all(&frame::encode(&frame(0, 2))).unwrap();
        (&lines[2]).write_all(&frame::encode(&frame(2, 0))).unwrap();
        pump(&mut switch);
        assert!(arrived(&lines[2]).is_empty() && arrived(&lines[0]).is_empty());
    }

    #[test]
    fn an_answer_that_misses_a_piece_is_none() {
        let (mut switch, lines) = bench();
        let piece = |answer, number, last, text: &str| {
            let header = [number, last, answer, 0, 0, 0, 1, CLIENT];
            (&lines[1]).write_all(&frame::encode(&[&header[..], text.as_bytes()].concat())).unwrap();
        };
        piece(5, 0, 0, "1 val");
        piece(5, 1, 1, "ue 7\n");
        piece(6, 0, 0, "2 val");
        piece(6, 2, 1, "7\n");
        piece(7, 1, 1, "ue 8\n");
        piece(8, 0, 1, "4 ok 9\n");
        let told = pump(&mut switch);
        assert_eq!(told, [(1, "1 value 7\n".into()), (1, "4 ok 9\n".into())]);
        switch.tell(1, "4 get 1\n");
        pump(&mut switch);
        assert_eq!(arrived(&lines[1]), [[&[0, 1, 0, 0, 0, 0, CLIENT, 1], &b"4 get 1\n"[..]].concat()]);
    }
}
