//! Waiting for sockets until a deadline, and never longer.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Waits until one of these has something to read, or the time is over. A signal ends the wait early.
pub(crate) fn readable<'a>(sockets: impl IntoIterator<Item = BorrowedFd<'a>>, timeout: Duration) -> Result<()> {
    let mut polled: Vec<_> =
        sockets.into_iter().map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN)).collect();
    any(&mut polled, Some(timeout))
}

/// Waits for one of the events, or until the time is over. A signal ends the wait early.
pub(crate) fn any(polled: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<()> {
    let timeout = timeout.map(Timespec::try_from).transpose().context("a time to wait")?;
    match poll(polled, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error).context("cannot wait for sockets"),
    }
}

/// The next to connect. `alive` is asked now and then, and may say why nobody will.
pub(crate) fn accept(
    listener: &UnixListener,
    deadline: Instant,
    mut alive: impl FnMut() -> Result<()>,
) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => return Ok(stream),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("cannot accept a connection"),
        }
        alive()?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("nobody connected in time");
        }
        readable([listener.as_fd()], left.min(Duration::from_millis(50)))?;
    }
}
