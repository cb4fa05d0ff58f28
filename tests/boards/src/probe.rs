//! The plugin of QEMU that counts instructions and cuts the power (`tests/boards/plugin`): how to load it, and what it reports.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail};

mod profile;
mod report;
mod trace;

pub use profile::{Lengths, Profile};
pub use report::Report;
pub use trace::{Block, Trace};

/// The marker that an image executes after each entry that it has applied.
pub const APPLIED: u8 = 0x51;

/// What is asked of the plugin.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    options: String,
    report: Option<PathBuf>,
}

impl Probe {
    /// Counts instructions; the report is written to `file` when QEMU ends in an orderly way.
    #[must_use]
    pub fn reporting(file: &Path) -> Self {
        Self { options: String::new(), report: Some(file.into()) }
    }

    /// Writes also to `file` which blocks are executed between these two of the markers [`APPLIED`], the first being 0.
    #[must_use]
    pub fn tracing(mut self, file: &Path, markers: Range<u64>) -> Self {
        self.option(format_args!("trace={},from={},to={}", file.display(), markers.start, markers.end));
        self
    }

    /// Ends QEMU as a loss of power would, right after the `cut`-th store to `window`.
    #[must_use]
    pub fn cutting(window: Range<u64>, cut: u64) -> Self {
        let mut probe = Self::default();
        probe.window(window, cut);
        probe
    }

    /// Counts stores to `window` also.
    #[must_use]
    pub fn counting_stores(mut self, window: Range<u64>) -> Self {
        self.window(window, 0);
        self
    }

    /// Arguments for QEMU. Builds the plugin if need be.
    ///
    /// # Errors
    /// The plugin cannot be built.
    pub fn arguments(&self) -> Result<[OsString; 2]> {
        let mut plugin = OsString::from("file=");
        plugin.push(build()?);
        if let Some(report) = &self.report {
            plugin.push(",out=");
            plugin.push(report);
        }
        plugin.push(&self.options);
        Ok(["-plugin".into(), plugin])
    }

    fn window(&mut self, window: Range<u64>, cut: u64) {
        self.option(format_args!("window={},size={},cut={cut}", window.start, window.end - window.start));
    }

    fn option(&mut self, option: std::fmt::Arguments<'_>) {
        let _ = write!(self.options, ",{option}");
    }
}

/// Builds the plugin, once a process, and tells where it is.
fn build() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(plugin) = &*built {
        return Ok(plugin.clone());
    }
    // In a folder of its own: cargo may hold the lock of the one that this program was built in.
    let target = crate::firmware::target_folder().join("probe");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/plugin"));
    cargo.args(["build", "--quiet", "--release", "--locked"]).env("CARGO_TARGET_DIR", &target);
    let output = cargo.output().context("cargo cannot be started")?;
    if !output.status.success() {
        bail!("the plugin cannot be built:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(built.insert(target.join("release/libquoring_probe.so")).clone())
}
