//! An Ethernet on which one frame travels at a time, and none before all boards sleep: what they do never overlaps, so that they do the same in every
//! run, on a busy machine too.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use quoring_boards::qemu;

/// From one look at the boards to the next.
const GAP: Duration = Duration::from_micros(50);

/// A machine so busy that boards do not sleep within this time must go on, or leaders would be taken for dead.
const LONG: Duration = Duration::from_millis(10);

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

    /// Carries frames, once all boards are connected, until they are gone. `processes` are the boards'.
    pub(crate) fn start(self, processes: Vec<u32>) -> Result<()> {
        let (sender, frames) = channel();
        let mut ends = Vec::new();
        for (socket, listener) in self.ports {
            let (stream, _) = listener.accept().with_context(|| format!("nobody at {}", socket.display()))?;
            let (reader, sender) = (stream.try_clone()?, sender.clone());
            std::thread::spawn(move || receive(reader, &sender));
            ends.push(stream);
        }
        std::thread::spawn(move || carry(&frames, &ends, &processes));
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

fn carry(frames: &Receiver<Vec<u8>>, ends: &[UnixStream], processes: &[u32]) {
    for frame in frames {
        if let Some(mut end) = frame.get(9).and_then(|board| ends.get(usize::from(*board))) {
            let _ = end.write_all(&frame);
        }
        // Twice: one thread may be about to wake another that has been looked at already.
        let (mut looks, began) = (0, Instant::now());
        while looks < 2 && began.elapsed() < LONG {
            std::thread::sleep(GAP);
            looks = if processes.iter().all(|process| sleeps(*process)) { looks + 1 } else { 0 };
        }
    }
}

/// Whether all threads of a process wait for something. One that is gone does.
fn sleeps(process: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return true };
    let status = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
    // NUMBER (NAME) STATE ...: R is for threads that run, or would if they could.
    threads
        .flatten()
        .map(status)
        .all(|status| !status.rsplit(')').next().unwrap_or_default().trim_start().starts_with('R'))
}
