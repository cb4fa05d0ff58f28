//! An Ethernet on which one frame travels at a time: what boards do never overlaps, so that they do the same in every run.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context as _, Result};
use quoring_boards::qemu;

/// From one frame to the next: more than a board takes to do all that follows from it.
const GAP: Duration = Duration::from_micros(1000);

/// The sockets of boards that are about to connect. Frames have 4 bytes of length before them, big-endian.
#[derive(Debug)]
pub(crate) struct Wire {
    ports: Vec<(PathBuf, UnixListener)>,
}

impl Wire {
    /// An end for each board; the last byte of an address is the number of its board.
    pub(crate) fn new(folder: &Path, boards: u8) -> Result<Self> {
        let port = |board: u8| {
            let socket = folder.join(format!("port-{board}"));
            let listener = qemu::listen(&socket)?;
            Ok((socket, listener))
        };
        Ok(Self { ports: (0..boards).map(port).collect::<Result<_>>()? })
    }

    /// The socket of a board.
    pub(crate) fn socket(&self, board: u8) -> &Path {
        &self.ports[usize::from(board)].0
    }

    /// Carries frames, once all boards are connected, until they are gone.
    pub(crate) fn start(self) -> Result<()> {
        let (sender, frames) = channel();
        let mut ends = Vec::new();
        for (socket, listener) in self.ports {
            let (stream, _) = listener.accept().with_context(|| format!("nobody at {}", socket.display()))?;
            let (reader, sender) = (stream.try_clone()?, sender.clone());
            std::thread::spawn(move || receive(reader, &sender));
            ends.push(stream);
        }
        std::thread::spawn(move || carry(&frames, &ends));
        Ok(())
    }
}

fn receive(mut board: UnixStream, frames: &Sender<Vec<u8>>) {
    let mut length = [0; 4];
    while board.read_exact(&mut length).is_ok() {
        let mut frame = length.to_vec();
        frame.resize(4 + u32::from_be_bytes(length) as usize, 0);
        if board.read_exact(&mut frame[4..]).is_err() || frames.send(frame).is_err() {
            return;
        }
    }
}

fn carry(frames: &Receiver<Vec<u8>>, ends: &[UnixStream]) {
    for frame in frames {
        if let Some(mut end) = frame.get(9).and_then(|board| ends.get(usize::from(*board))) {
            let _ = end.write_all(&frame);
            std::thread::sleep(GAP);
        }
    }
}
