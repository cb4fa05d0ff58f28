//! A single voter that loses power right after an exact store to its flash, and starts again: at first, where the log changes pages and a snapshot
//! is made, and again and again.
//!
//! The board's clock goes on at once while it sleeps, so that an election takes no time. The environment variable `CUTS` says how often each test cuts;
//! with a few thousand, after each store that is worth it.

use std::ffi::OsString;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use quoring_boards::answer::{Answer, Status};
use quoring_boards::board::{Board, Parts};
use quoring_boards::firmware::{self, Firmware};
use quoring_boards::flash::{self, Flash};
use quoring_boards::history::History;
use quoring_boards::probe::{Probe, Report};
use quoring_boards::setup::{self, QEMU_ARM};
use serde_json::json;
use tempfile::TempDir;

/// Where the flash lies in the board's memory.
const WINDOW: Range<u64> = 0x2100_0000..0x2100_0000 + flash::SIZE as u64;

/// Registers that are put, one after the other.
const KEYS: u8 = 5;

/// What does not come within this time never comes.
const PATIENCE: Duration = Duration::from_secs(60);

const SIGKILL: i32 = 9;

/// Stores that erase a page.
const ERASE: u64 = 1024;

/// A board, its client, and what that knows.
struct Bench {
    image: PathBuf,
    folder: TempDir,
    flash: Flash,
    history: History,
    /// It had applied entries up to here.
    applied: u64,
    next: u8,
    /// The line broke.
    silent: bool,
}

/// Which power a board has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Power {
    Lasting,
    /// It goes after so many stores to the flash.
    Until(u64),
}

/// How a client's work ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Done,
    NoPower,
}

impl Bench {
    /// Erased flash. `None` where the set-up is missing.
    fn new() -> Result<Option<Self>> {
        if !setup::ready(QEMU_ARM, Firmware::MPS2.target)? {
            return Ok(None);
        }
        let image = firmware::build(&Firmware::MPS2)?;
        let folder = tempfile::tempdir()?;
        let flash = Flash::erased(&folder.path().join("flash"))?;
        Ok(Some(Self { image, folder, flash, history: History::new(), applied: 0, next: 0, silent: false }))
    }

    /// Starts the board, checks what it holds, and puts: `puts` registers, or until power goes.
    fn run(&mut self, power: Power, puts: u32) -> Result<End> {
        let probe = match power {
            Power::Lasting => None,
            Power::Until(stores) => Some(Probe::cutting(WINDOW, stores)),
        };
        let mut board = self.start(probe)?;
        match self.work(&mut board, puts) {
            Ok(_) => Ok(End::Done),
            Err(error) => {
                // A wrong answer is one, also if power goes later.
                let gone =
                    self.silent && board.qemu.wait(PATIENCE).is_ok_and(|status| status.signal() == Some(SIGKILL));
                if power != Power::Lasting && gone { Ok(End::NoPower) } else { Err(error) }
            }
        }
    }

    /// Does the same while power lasts; after which of its stores power is worth going, and how the node stood in the end.
    fn rehearse(&mut self, puts: u32) -> Result<(Vec<u64>, Status)> {
        let report = self.folder.path().join("report");
        let mut board = self.start(Some(Probe::reporting(&report).counting_stores(WINDOW)))?;
        let status = self.work(&mut board, puts)?;
        // It may be gone before it has answered.
        let _ = board.qemu.execute("quit", json!({}));
        board.qemu.wait(PATIENCE)?;
        let (mut before, mut points) = (0, Vec::new());
        for (_, stores) in Report::read(&report)?.runs {
            match stores {
                ERASE.. => points.extend([1, 2, ERASE / 2, ERASE - 1, ERASE].map(|store| before + store)),
                _ => points.extend(before + 1..=before + stores),
            }
            before += stores;
        }
        Ok((points, status))
    }

    fn start(&mut self, probe: Option<Probe>) -> Result<Board> {
        let mut extra: Vec<OsString> = ["-icount", "shift=6,sleep=off"].map(Into::into).into();
        if let Some(probe) = probe {
            extra.extend(probe.arguments()?);
        }
        let (image, folder) = (self.image.as_path(), self.folder.path());
        let parts = Parts { image, voters: 1, node: 0, flash: &self.flash, port: None, folder, extra: &extra };
        self.history.boot(0);
        Board::start(&parts)
    }

    /// How the node stands in the end.
    fn work(&mut self, board: &mut Board, puts: u32) -> Result<Status> {
        let ready = board.ready();
        self.silent = ready.is_err();
        ready?;
        // Waits until the node leads: a get is answered when what it may have missed is applied.
        for key in 0..KEYS {
            let deadline = Instant::now() + PATIENCE;
            let get = self.history.get(key);
            let value = loop {
                match self.ask(board, &format!("get {key}"))? {
                    Answer::Value(value) => break value,
                    Answer::Lost(_) if Instant::now() < deadline => {}
                    other => bail!("{other:?} in answer to a get"),
                }
            };
            self.history.read(get, value)?;
        }
        let status = self.status(board)?;
        ensure!(status.applied >= self.applied, "entries up to {} are lost: {status:?}", self.applied);
        for _ in 0..puts {
            self.put(board)?;
        }
        self.status(board)
    }

    fn ask(&mut self, board: &mut Board, request: &str) -> Result<Answer> {
        let answer = board.line.ask(request, PATIENCE);
        self.silent = answer.is_err();
        answer
    }

    fn put(&mut self, board: &mut Board) -> Result<()> {
        self.next = (self.next + 1) % KEYS;
        let put = self.history.put(self.next);
        match self.ask(board, &format!("put {} {}", put.key, put.value))? {
            Answer::Applied(index) => self.history.applied(put, index),
            other => bail!("{other:?} in answer to a put"),
        }
    }

    fn status(&mut self, board: &mut Board) -> Result<Status> {
        match self.ask(board, "status")? {
            Answer::Status(status) => {
                self.history.status(&status)?;
                Ok(status)
            }
            other => bail!("{other:?} in answer to a status"),
        }
    }
}

/// How many cuts a test makes.
fn cuts(usual: usize) -> usize {
    std::env::var("CUTS").ok().and_then(|cuts| cuts.parse().ok()).unwrap_or(usual)
}

/// Rehearses so many puts, then lets power go after some of their stores, spread over all, each time from the same flash.
fn sweep(bench: &mut Bench, puts: u32, usual: usize) -> Result<Status> {
    let from = bench.flash.read()?;
    let (points, end) = bench.rehearse(puts)?;
    let cuts = cuts(usual).clamp(1, points.len());
    for cut in 0..cuts {
        let store = points[cut * points.len() / cuts];
        File::options().write(true).open(bench.flash.path())?.write_all_at(&from, 0)?;
        bench.history = History::new();
        let told = || format!("power goes after store {store}");
        ensure!(bench.run(Power::Until(store), u32::MAX).with_context(told)? == End::NoPower);
        bench.run(Power::Lasting, 3).with_context(told)?;
    }
    Ok(end)
}

/// covers: D2, D3
#[test]
fn power_that_goes_after_any_store_of_the_first_start_takes_nothing_that_was_acknowledged() -> Result<()> {
    let Some(mut bench) = Bench::new()? else { return Ok(()) };
    sweep(&mut bench, 4, 50).map(drop)
}

/// covers: D2, D3, S3
#[test]
fn power_that_goes_while_pages_are_erased_and_a_snapshot_is_made_takes_nothing_that_was_acknowledged() -> Result<()> {
    let Some(mut bench) = Bench::new()? else { return Ok(()) };
    let mut board = bench.start(None)?;
    board.ready()?;
    // It refuses until it leads. These go to a register that the sweep does not look at.
    while !matches!(board.line.ask("load 100 64", PATIENCE)?, Answer::Loaded(_)) {}
    let status = bench.status(&mut board)?;
    drop(board);
    bench.applied = status.applied;
    let end = sweep(&mut bench, 120, 50)?;
    ensure!(end.snapshot > status.snapshot, "no snapshot was made: {end:?}");
    Ok(())
}

/// covers: D2, D3
#[test]
fn power_that_goes_again_and_again_takes_nothing_that_was_acknowledged() -> Result<()> {
    let Some(mut bench) = Bench::new()? else { return Ok(()) };
    let mut rng = fastrand::Rng::with_seed(1);
    for cut in 0..cuts(80) {
        let stores = match cut % 3 {
            // In what the start writes,
            0 => rng.u64(1..=60),
            // the same behind the page that is erased ahead,
            1 => ERASE + rng.u64(0..=60),
            // and anywhere.
            _ => rng.u64(1..=4 * ERASE),
        };
        let told = || format!("cut {cut}, after store {stores}");
        ensure!(bench.run(Power::Until(stores), u32::MAX).with_context(told)? == End::NoPower);
    }
    bench.run(Power::Lasting, 3)?;
    ensure!(bench.history.acknowledged() > 100, "{} puts only", bench.history.acknowledged());
    Ok(())
}
