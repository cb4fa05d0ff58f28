//! What the machine takes for the same bytes without any consensus: a round trip between two processes, and a sync.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{iter, thread};

use anyhow::{Context, Result, bail};

use crate::disk::{BATCH, FRAME, SIZE};
use crate::helper::{Helper, answer, listen};
use crate::samples::Samples;

/// As many processes as the cluster has, so that they can sync at the same time as its nodes do.
const PROCESSES: usize = 3;

/// How long each limit is measured at a time.
const TURN: Duration = Duration::from_millis(200);

/// What was measured so far.
#[derive(Default)]
pub(crate) struct Limits {
    /// From one process to another and back.
    pub(crate) round_trip: Samples,
    /// A write and an `fdatasync` of it.
    pub(crate) sync: Samples,
    /// The same, in three processes at once, each with a file of its own.
    pub(crate) syncs: Samples,
}

/// The processes that measure.
pub(crate) struct Machine {
    processes: Vec<Helper>,
    echo: String,
}

impl Machine {
    /// With files in `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let start = |number| {
            let file = folder.join(format!("limits-{number}"));
            let mut helper = Helper::start(&format!("process {number} for limits"), &["role:limits"], &file)?;
            let echo = helper.hear()?;
            Ok((helper, echo))
        };
        let (processes, mut echos): (Vec<_>, Vec<_>) =
            (0..PROCESSES).map(start).collect::<Result<Vec<_>>>()?.into_iter().unzip();
        Ok(Self { processes, echo: echos.pop().context("no processes")? })
    }

    /// Measures all limits once more.
    pub(crate) fn measure(&mut self, limits: &mut Limits) -> Result<()> {
        let round_trip = format!("echo {}", self.echo);
        let first = self.processes.first_mut().context("no processes")?;
        limits.round_trip.pool(&first.ask(&round_trip)?.parse()?);
        limits.sync.pool(&first.ask("sync")?.parse()?);
        self.processes.iter_mut().try_for_each(|process| process.tell("sync"))?;
        for process in &mut self.processes {
            limits.syncs.pool(&process.hear()?.parse()?);
        }
        Ok(())
    }
}

/// One of those processes: says where it echoes, then measures what it is told to.
pub(crate) fn serve(file: &Path) -> Result<()> {
    let echo = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = echo.local_addr()?;
    thread::spawn(move || {
        let mut frame = [0; FRAME];
        while let Ok((size, client)) = echo.recv_from(&mut frame) {
            let _ = echo.send_to(&frame[..size], client);
        }
    });
    let mut log = Log::begin(file)?;
    answer(Ok(address.to_string()));
    loop {
        let line = listen();
        let samples = match line.split_once(' ') {
            Some(("echo", address)) => round_trips(address.parse()?),
            None if line == "sync" => times(|| log.append()),
            _ => bail!("unknown task {line}"),
        };
        answer(samples.map(|samples| samples.to_string()));
    }
}

/// How long that takes each time, for a turn.
fn times(mut work: impl FnMut() -> Result<()>) -> Result<Samples> {
    let end = Instant::now() + TURN;
    let time = |start| work().map(|()| Instant::elapsed(&start));
    iter::repeat_with(Instant::now).take_while(|now| *now < end).map(time).collect()
}

fn round_trips(address: SocketAddr) -> Result<Samples> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(address)?;
    let mut frame = [7; FRAME];
    times(|| {
        socket.send(&frame)?;
        socket.recv(&mut frame)?;
        Ok(())
    })
}

/// A file as large as that of a node, with all its blocks there, that is written as a node does when it has one command at a time.
struct Log {
    file: File,
    at: u64,
}

impl Log {
    const PAGE: u64 = SIZE.page as u64;
    const END: u64 = Self::PAGE * SIZE.log_pages as u64;

    fn begin(path: &Path) -> Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        let page = vec![0; SIZE.page as usize];
        (0..SIZE.log_pages).try_for_each(|_| file.write_all(&page))?;
        file.sync_all()?;
        Ok(Self { file, at: 0 })
    }

    fn append(&mut self) -> Result<()> {
        let next = self.at + BATCH as u64;
        // A batch lies on one page.
        let at = if next.is_multiple_of(Self::PAGE) || next / Self::PAGE == self.at / Self::PAGE {
            self.at
        } else {
            next.next_multiple_of(Self::PAGE) - Self::PAGE
        };
        self.file.seek(SeekFrom::Start(at % Self::END))?;
        self.file.write_all(&[0x5A; BATCH])?;
        self.file.sync_data()?;
        self.at = at + BATCH as u64;
        Ok(())
    }
}
