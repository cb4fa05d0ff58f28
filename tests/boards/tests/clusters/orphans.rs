//! Boards and their test.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use quoring_boards::qemu::Qemu;
use quoring_boards::setup::{self, QEMU_ARM};

/// In the environment of the process that is killed: where it writes the number of its QEMU.
const VICTIM: &str = "QUORING_ORPHAN";

/// It is a test of this binary, which runs this binary.
#[test]
fn no_board_outlives_a_test_that_is_killed() -> Result<()> {
    if let Some(file) = std::env::var_os(VICTIM) {
        return be_killed(Path::new(&file));
    }
    if !setup::ready(QEMU_ARM, "thumbv7m-none-eabi")? {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("number");
    let mut victim = Command::new(std::env::current_exe()?);
    victim
        .args(["--exact", "orphans::no_board_outlives_a_test_that_is_killed"])
        .env(VICTIM, &file)
        .stdout(Stdio::null());
    let mut victim = victim.spawn()?;
    let number = soon(|| fs::read_to_string(&file).ok().and_then(|text| text.strip_suffix('\n').map(str::to_owned)))?;
    ensure!(is_running(&number), "there is no QEMU {number}");
    victim.kill()?;
    victim.wait()?;
    soon(|| (!is_running(&number)).then_some(()))
}

fn be_killed(file: &Path) -> Result<()> {
    // The killer's, who tidies up.
    let folder = file.parent().context("a file in a folder")?;
    let qemu = Qemu::start(QEMU_ARM, folder, ["-M", "none", "-S"])?;
    fs::write(file, format!("{}\n", qemu.id()))?;
    soon(|| None)
}

/// Whether this process runs: what is dead but not waited for does not.
fn is_running(number: &str) -> bool {
    let state = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    state.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X']) && !rest.is_empty())
}

fn soon<T>(mut what: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = what() {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}
