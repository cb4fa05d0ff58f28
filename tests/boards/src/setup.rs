//! Whether this machine can build firmware and run it.

use std::io::{Write, stderr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Once;

use anyhow::{Context, Result, bail};

/// The emulator of the Cortex-M boards.
pub const QEMU_ARM: &str = "qemu-system-arm";

/// Whether the tests of boards that `emulator` runs, built for `target`, can run here. If not, one line on standard error says so, past the
/// capture of the test harness, and the test is to end at once, without a fault.
///
/// # Errors
/// Something is missing, and the environment variable `CI` is set: there nothing may be skipped.
pub fn ready(emulator: &str, target: &str) -> Result<bool> {
    let Err(missing) = emulator_is_there(emulator).and_then(|()| target_is_there(target).map(drop)) else {
        return Ok(true);
    };
    if std::env::var_os("CI").is_some() {
        return Err(missing);
    }
    static SAID: Once = Once::new();
    // The print macros are captured, and shown for tests that fail only.
    SAID.call_once(|| drop(writeln!(stderr(), "\nSKIPPED: tests of emulated boards: {missing:#}\n")));
    Ok(false)
}

/// Whether this emulator can be started.
///
/// # Errors
/// It cannot; the error says what to do.
pub fn emulator_is_there(emulator: &str) -> Result<()> {
    let status = Command::new(emulator).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => bail!("{emulator} is missing: run .ci/setup"),
    }
}

/// Where the `core` of a target comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Core {
    /// It is installed.
    Installed,
    /// It is built from the compiler's sources, which are.
    FromSource,
}

/// Where the `core` of this target comes from.
///
/// # Errors
/// From nowhere; the error says what to do.
pub fn target_is_there(target: &str) -> Result<Core> {
    let has_files = |folder: PathBuf| std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some());
    if has_files(rustc(&["--print", "target-libdir", "--target", target])?) {
        return Ok(Core::Installed);
    }
    let known = rustc(&["--print", "cfg", "--target", target])?;
    if !known.as_os_str().is_empty() && has_files(rustc(&["--print", "sysroot"])?.join("lib/rustlib/src/rust/library"))
    {
        return Ok(Core::FromSource);
    }
    bail!("the Rust target {target} is missing: run .ci/setup")
}

/// What the compiler prints.
fn rustc(arguments: &[&str]) -> Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(arguments).output().context("rustc cannot be started")?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

#[cfg(test)]
mod tests {
    use super::{emulator_is_there, target_is_there};

    #[test]
    fn what_is_missing_is_named_and_so_is_the_remedy() {
        let emulator = emulator_is_there("qemu-system-abacus").unwrap_err().to_string();
        assert_eq!(emulator, "qemu-system-abacus is missing: run .ci/setup");
        let target = target_is_there("thumbv1m-none-eabi").unwrap_err().to_string();
        assert_eq!(target, "the Rust target thumbv1m-none-eabi is missing: run .ci/setup");
    }
}
