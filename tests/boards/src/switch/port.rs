//! One port of a switch: a board's end of a cable, over a unix socket.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use anyhow::Result;

use crate::board::Mac;

/// Frames that wait for a board that does not take them.
const QUEUE: usize = 256;

/// No frame of an Ethernet is longer.
const LONGEST: usize = 2048;

/// A port, and the board that is connected to it, if one is.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) mac: Mac,
    pub(super) listener: UnixListener,
    pub(super) stream: Option<UnixStream>,
    /// What came in and is no whole frame yet.
    received: Vec<u8>,
    /// Frames to go out, each with its length in front.
    queue: VecDeque<Vec<u8>>,
    /// Bytes of the first of them that have gone out.
    sent: usize,
}

impl Port {
    pub(super) fn new(mac: Mac, listener: UnixListener) -> Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { mac, listener, stream: None, received: Vec::new(), queue: VecDeque::new(), sent: 0 })
    }

    /// Takes a new connection in the place of the old one; whether there is one.
    pub(super) fn accept(&mut self) -> bool {
        let Ok((stream, _)) = self.listener.accept() else { return false };
        self.disconnect();
        if stream.set_nonblocking(true).is_ok() {
            self.stream = Some(stream);
        }
        self.stream.is_some()
    }

    fn disconnect(&mut self) {
        self.stream = None;
        self.received.clear();
        self.queue.clear();
        self.sent = 0;
    }

    pub(super) fn has_to_send(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Queues a frame for the board; whether there was room. Never waits.
    pub(super) fn queue(&mut self, frame: &[u8]) -> bool {
        if self.queue.len() >= QUEUE {
            return false;
        }
        let mut bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        bytes.extend_from_slice(frame);
        self.queue.push_back(bytes);
        true
    }

    /// Sends what the board takes now; how many frames have gone out.
    pub(super) fn send(&mut self) -> u64 {
        let mut frames = 0;
        while let (Some(stream), Some(first)) = (&mut self.stream, self.queue.front()) {
            match stream.write(&first[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.disconnect();
                    break;
                }
            }
            if self.sent == first.len() {
                (self.sent, frames) = (0, frames + 1);
                self.queue.pop_front();
            }
        }
        frames
    }

    /// The frames that have come in.
    pub(super) fn receive(&mut self) -> Vec<Vec<u8>> {
        let mut bytes = [0; 16384];
        let Some(stream) = &mut self.stream else { return Vec::new() };
        match stream.read(&mut bytes) {
            Ok(length) if length > 0 => self.received.extend_from_slice(&bytes[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => self.disconnect(),
        }
        let (mut frames, mut rest) = (Vec::new(), &self.received[..]);
        while let Some((length, behind)) = rest.split_first_chunk() {
            let length = u32::from_be_bytes(*length) as usize;
            if length > LONGEST {
                self.disconnect();
                return frames;
            }
            let Some((frame, behind)) = behind.split_at_checked(length) else { break };
            frames.push(frame.to_vec());
            rest = behind;
        }
        let taken = self.received.len() - rest.len();
        self.received.drain(..taken);
        frames
    }
}
