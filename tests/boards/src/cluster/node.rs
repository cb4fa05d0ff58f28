//! One node of a cluster, and the client at its line.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;

use crate::answer::{Answer, Status};
use crate::board::Board;
use crate::flash::Flash;
use crate::history::{Get, History, Put, REGISTERS};
use crate::line::Said;

/// Between two requests to a node that does not lead. Emulated boards share the host's processors.
const PAUSE: Duration = Duration::from_millis(10);

/// What clients do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Work {
    /// They put, get, and ask how the node stands.
    Load,
    /// They only ask how the node stands.
    Statuses,
    /// They get every register.
    ReadBack,
}

/// What was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Request {
    Status,
    Put(Put),
    Get(Get),
    Halted,
}

/// A node, whether it has power or not.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: u8,
    pub(super) flash: Flash,
    pub(super) folder: PathBuf,
    pub(super) board: Option<Board>,
    pub(super) is_ready: bool,
    /// Why it did not start.
    pub(super) failed: Option<String>,
    /// Whether it is no fault if it does not start this time.
    pub(super) may_fail: bool,
    /// What it told of itself last, since it started.
    pub(super) status: Option<Status>,
    /// The next register to read back.
    pub(super) next_read: u8,
    voters: u8,
    hangs: bool,
    request: Option<(Request, Instant)>,
    /// No request before.
    pause: Instant,
}

impl Node {
    pub(super) fn new(id: u8, voters: u8, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self {
            id,
            flash: Flash::erased(&folder.join("flash"))?,
            folder: folder.into(),
            board: None,
            is_ready: false,
            failed: None,
            may_fail: false,
            status: None,
            next_read: 0,
            voters,
            hangs: false,
            request: None,
            pause: Instant::now(),
        })
    }

    pub(super) fn board(&mut self) -> Result<&mut Board> {
        self.board.as_mut().with_context(|| format!("board {} has no power", self.id))
    }

    pub(super) fn boots(&mut self, board: Board) {
        self.off();
        self.board = Some(board);
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        self.board()?.qemu.kill()?;
        self.off();
        Ok(())
    }

    /// A put that has no answer yet may have been stored, or not.
    fn off(&mut self) {
        (self.board, self.failed, self.status, self.request) = (None, None, None, None);
        (self.is_ready, self.hangs, self.may_fail) = (false, false, false);
    }

    pub(super) fn hang(&mut self) -> Result<()> {
        self.hangs = true;
        self.status = None;
        self.board()?.qemu.stop()
    }

    pub(super) fn resume(&mut self) -> Result<()> {
        self.hangs = false;
        self.request.iter_mut().for_each(|(_, asked)| *asked = Instant::now());
        self.board()?.qemu.resume()
    }

    /// When it can be asked next, if it can.
    pub(super) fn asks_at(&self) -> Option<Instant> {
        (self.is_ready && !self.hangs && self.request.is_none()).then_some(self.pause)
    }

    /// Asks what is due.
    pub(super) fn ask(&mut self, work: Work, history: &mut History, rng: &mut Rng) -> Result<()> {
        if self.asks_at().is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        let request = self.next(work, history, rng);
        let text = match request {
            Request::Status => "status".into(),
            Request::Put(put) => format!("put {} {}", put.key, put.value),
            Request::Get(get) => format!("get {}", get.key),
            Request::Halted => "halted".into(),
        };
        self.board()?.line.send(&text)?;
        self.request = Some((request, Instant::now()));
        Ok(())
    }

    fn next(&self, work: Work, history: &mut History, rng: &mut Rng) -> Request {
        let Some(status) = &self.status else { return Request::Status };
        if status.role == "halted" {
            return Request::Halted;
        }
        match work {
            Work::Load if status.leads() && rng.u8(..4) != 0 => {
                // Each client has registers of its own, so that each register has one writer at a time.
                let own = rng.u8(..REGISTERS / self.voters);
                Request::Put(history.put(own * self.voters + self.id))
            }
            Work::Load if rng.bool() => Request::Get(history.get(rng.u8(..REGISTERS))),
            Work::ReadBack if self.next_read < REGISTERS => Request::Get(history.get(self.next_read)),
            _ => Request::Status,
        }
    }

    /// Takes what came in.
    pub(super) fn hear(&mut self, history: &mut History) -> Result<()> {
        let Some(board) = &mut self.board else { return Ok(()) };
        let said = match board.line.receive() {
            // What QEMU has to say of its end tells more.
            Err(error) => return board.qemu.alive().and(Err(error)),
            Ok(None) => return Ok(()),
            Ok(Some(said)) => said,
        };
        match said {
            Said::Ready(id) => {
                ensure!(id == self.id && !self.is_ready, "it says that it is ready, as {id}");
                self.is_ready = true;
            }
            Said::Failed(reason) => {
                ensure!(self.may_fail, "the node does not start: {reason}");
                self.failed = Some(reason);
            }
            Said::Answer(answer) => {
                let (request, _) = self.request.take().context("an answer to nothing")?;
                self.answered(request, answer, history)?;
                let leads = self.status.as_ref().is_some_and(Status::leads);
                let waits = matches!(request, Request::Put(_))
                    || self.next_read < REGISTERS && matches!(request, Request::Get(_));
                self.pause = if leads || waits { Instant::now() } else { Instant::now() + PAUSE };
            }
        }
        Ok(())
    }

    fn answered(&mut self, request: Request, answer: Answer, history: &mut History) -> Result<()> {
        match (request, answer) {
            (Request::Status, Answer::Status(status)) => {
                ensure!(status.node == self.id, "it is another: {status:?}");
                history.status(&status)?;
                self.status = Some(status);
            }
            (Request::Put(put), Answer::Applied(index)) => history.applied(put, index)?,
            (Request::Put(put), Answer::Refused(_)) => {
                history.refused(put);
                self.status = None;
            }
            (Request::Put(_), Answer::Lost(_)) => self.status = None,
            (Request::Get(get), Answer::Value(value)) => {
                history.read(get, value)?;
                self.next_read = self.next_read.saturating_add(u8::from(get.key == self.next_read));
            }
            (Request::Get(_), Answer::Lost(_)) => {}
            (Request::Halted, Answer::Halted(Some(reason))) => bail!("the node has halted: {reason}"),
            (request, answer) => bail!("{answer:?} in answer to {request:?}"),
        }
        Ok(())
    }

    /// Nothing, while it is not waited for too long.
    pub(super) fn is_in_time(&self, patience: Duration) -> Result<()> {
        match self.request {
            Some((request, asked)) if !self.hangs && asked.elapsed() > patience => bail!("no answer to {request:?}"),
            _ => Ok(()),
        }
    }

    pub(super) fn describe(&self) -> String {
        let Self { id, is_ready, hangs, failed, request, status, .. } = self;
        let power = if self.board.is_some() { "on" } else { "off" };
        format!("{id}: {power}, ready: {is_ready}, hangs: {hangs}, failed: {failed:?}, asked: {request:?}, {status:?}")
    }
}
