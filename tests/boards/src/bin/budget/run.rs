//! Three boards, and what they execute per entry.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use quoring_boards::answer::{Answer, Status};
use quoring_boards::board::{Board, Parts};
use quoring_boards::flash::Flash;
use quoring_boards::image::Image;
use quoring_boards::probe::{Probe, Profile, Report, Trace};
use serde_json::json;

use crate::wire::Wire;

/// Boards of a cluster.
const BOARDS: u8 = 3;
/// Entries before those that count: the first of a leader are not like the others.
const BEFORE: u64 = 100;
/// Entries that count. Pages are erased and snapshots made meanwhile.
pub(crate) const ENTRIES: u64 = 1000;
/// Bytes of each command.
const COMMAND: u32 = 64;
/// What the stack is filled with.
const PAINT: [u8; 4] = *b"free";
/// Bytes of it, and more than a stack takes.
const STACK: u64 = 64 << 10;
/// How often a run is begun.
const TRIES: u32 = 10;
/// A cluster does within this time what takes it seconds.
const PATIENCE: Duration = Duration::from_secs(300);

/// What was measured.
#[derive(Debug)]
pub(crate) struct Run {
    /// The leader, then its followers.
    boards: Vec<Measured>,
    /// Bytes of the deepest stack of them.
    pub(crate) stack: u64,
}

/// What one board executed.
#[derive(Debug)]
struct Measured {
    /// Instructions from one entry applied to the next.
    intervals: Intervals,
    trace: Trace,
}

/// Numbers in ascending order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Intervals(Vec<u64>);

impl Run {
    /// Runs a cluster of this image, in which one client proposes one command after the other. Again if its leader was too slow, on a busy machine,
    /// to go on leading.
    pub(crate) fn of(path: &Path, image: &Image) -> Result<Self> {
        for _ in 0..TRIES {
            if let Some(run) = Self::try_of(path, image)? {
                return Ok(run);
            }
        }
        bail!("no leader leads long enough: this machine is too busy")
    }

    fn try_of(path: &Path, image: &Image) -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let wire = Wire::new(folder.path(), BOARDS)?;
        let start = |node| Probed::start(folder.path(), path, image, &wire, node);
        let mut boards = (0..BOARDS).map(start).collect::<Result<Vec<_>>>()?;
        wire.start(boards.iter().map(|board| board.board.qemu.id()).collect())?;
        for board in &mut boards {
            board.board.ready()?;
        }
        let Some(leader) = load(&mut boards)? else { return Ok(None) };
        boards.swap(0, leader);
        let mut run = Self { boards: Vec::new(), stack: 0 };
        for board in boards {
            let (measured, stack) = board.end()?;
            run.stack = run.stack.max(stack);
            run.boards.push(measured);
        }
        Ok(Some(run))
    }

    /// Of the leader.
    pub(crate) fn leader(&self) -> &Intervals {
        &self.boards[0].intervals
    }

    /// Of the follower that took more.
    pub(crate) fn follower(&self) -> &Intervals {
        let followers = self.boards[1..].iter().map(|board| &board.intervals);
        followers.max_by_key(|intervals| intervals.median()).unwrap_or(self.leader())
    }

    /// What they executed instructions for, the leader first.
    pub(crate) fn profiles<'i>(&self, image: &'i Image) -> Result<Vec<Profile<'i>>> {
        self.boards.iter().map(|board| Profile::new(image, &board.trace)).collect()
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Instructions per entry, {ENTRIES} of {COMMAND} bytes, one in flight:")?;
        for (number, board) in self.boards.iter().enumerate() {
            writeln!(f, "{} {}", if number == 0 { "leader  " } else { "follower" }, board.intervals)?;
        }
        Ok(())
    }
}

impl Intervals {
    fn of(report: &Report) -> Self {
        let mut intervals: Vec<_> =
            report.per_entry().into_iter().skip(BEFORE as usize).take(ENTRIES as usize).collect();
        intervals.sort_unstable();
        Self(intervals)
    }

    pub(crate) fn median(&self) -> u64 {
        self.quantile(50)
    }

    pub(crate) fn mean(&self) -> u64 {
        self.0.iter().sum::<u64>() / (self.0.len() as u64).max(1)
    }

    fn quantile(&self, percent: usize) -> u64 {
        self.0.get((self.0.len() * percent / 100).min(self.0.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

impl fmt::Display for Intervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [least, tenth, ninetieth, most] = [0, 10, 90, 100].map(|percent| self.quantile(percent));
        write!(f, "median {:6}  mean {:6}  least {least:6}", self.median(), self.mean())?;
        write!(f, "  10 % below {tenth:6}  10 % above {ninetieth:6}  most {most:6}")
    }
}

/// A board under the probe.
struct Probed {
    board: Board,
    folder: PathBuf,
    /// Where its stack lies.
    stack: Range<u64>,
}

impl Probed {
    fn start(folder: &Path, path: &Path, image: &Image, wire: &Wire, node: u8) -> Result<Self> {
        let folder = folder.join(format!("board-{node}"));
        fs::create_dir_all(&folder)?;
        let top = image.symbol("_stack_start").context("no `_stack_start` in the image")?.address;
        let bottom = image.symbol("_stack_end").context("no `_stack_end` in the image")?.address;
        let stack = bottom.max(top.saturating_sub(STACK))..top;
        let paint = folder.join("paint");
        fs::write(&paint, PAINT.repeat(((stack.end - stack.start) / 4) as usize))?;
        let probe = Probe::reporting(&folder.join("report"));
        let probe = probe.tracing(&folder.join("trace"), BEFORE..BEFORE + ENTRIES);
        let mut extra = probe.arguments()?.to_vec();
        let loader = format!("loader,addr={:#x},force-raw=on,file={}", stack.start, paint.display());
        extra.extend(["-device".into(), loader.into()]);
        let flash = Flash::erased(&folder.join("flash"))?;
        let port = Some(wire.socket(node));
        let parts = Parts { image: path, voters: BOARDS, node, flash: &flash, port, folder: &folder, extra: &extra };
        let board = Board::start(&parts)?;
        Ok(Self { board, folder, stack })
    }

    fn status(&mut self) -> Result<Status> {
        match self.board.line.ask("status", PATIENCE)? {
            Answer::Status(status) => Ok(status),
            other => bail!("{other:?} in answer to `status`"),
        }
    }

    /// What it executed, and the bytes of stack that it ever used.
    fn end(mut self) -> Result<(Measured, u64)> {
        let (memory, length) = (self.folder.join("memory"), self.stack.end - self.stack.start);
        self.board.qemu.stop()?;
        self.board.qemu.save_memory(u32::try_from(self.stack.start)?, u32::try_from(length)?, &memory)?;
        // It may be gone before it has answered.
        let _ = self.board.qemu.execute("quit", json!({}));
        self.board.qemu.wait(PATIENCE)?;

        let memory = fs::read(&memory)?;
        let free = memory.as_chunks().0.iter().take_while(|word| **word == PAINT).count();
        ensure!(free > 0, "the stack is larger than {length} bytes");
        let report = Report::read(&self.folder.join("report"))?;
        let trace = Trace::read(&self.folder.join("trace"), &report)?;
        let intervals = Intervals::of(&report);
        ensure!(intervals.0.len() as u64 == ENTRIES, "a board applied too few entries");
        Ok((Measured { intervals, trace }, length - 4 * free as u64))
    }
}

/// Has the leader propose; which board that is, if it led to the end.
fn load(boards: &mut [Probed]) -> Result<Option<usize>> {
    let deadline = Instant::now() + PATIENCE;
    let entries = BEFORE + ENTRIES + BEFORE;
    while Instant::now() < deadline {
        for node in 0..boards.len() {
            if !boards[node].status()?.leads() {
                continue;
            }
            match boards[node].board.line.ask(&format!("load {entries} {COMMAND}"), PATIENCE)? {
                Answer::Loaded(_) => {}
                Answer::Lost(_) | Answer::Refused(_) => return Ok(None),
                other => bail!("{other:?} in answer to `load`"),
            }
            let last = boards[node].status()?.applied;
            while boards.iter_mut().map(Probed::status).any(|status| !status.is_ok_and(|status| status.applied >= last))
            {
                ensure!(Instant::now() < deadline, "not all boards have applied entry {last}");
            }
            return Ok(Some(node));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("no leader")
}
