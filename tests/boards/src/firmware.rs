//! Images of `tests/firmware`, built when a test needs them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use crate::setup::{self, Core};

/// An image: a package of the workspace `tests/firmware`, and what it is built with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Firmware {
    /// The package, which is also its binary's name.
    pub package: &'static str,
    /// The target that it is built for.
    pub target: &'static str,
    /// Its features, with commas between them.
    pub features: &'static str,
}

impl Firmware {
    /// The node on an mps2-an385 whose peers are stations of its Ethernet.
    pub const MPS2: Self = Self { package: "quoring-mps2", target: "thumbv7m-none-eabi", features: "" };

    /// The same for clusters of five.
    pub const MPS2_FIVE: Self = Self { features: "five", ..Self::MPS2 };

    /// The same for clusters of three whose peers have addresses of IPv4, in UDP.
    pub const MPS2_UDP: Self = Self { features: "udp", ..Self::MPS2 };

    /// The name of its image among all others.
    fn file_name(&self) -> String {
        let name =
            if self.features.is_empty() { self.package.into() } else { format!("{}-{}", self.package, self.features) };
        format!("{name}-{}.elf", self.target)
    }
}

/// Builds an image, and tells where it is. Cargo is asked once a process for each image; processes wait for each other.
///
/// # Errors
/// The target's standard library is missing, or the image cannot be built: the compiler's messages are in the error.
pub fn build(firmware: &Firmware) -> Result<PathBuf> {
    build_as(firmware, "", &[])
}

/// As [`build`], with more arguments for the compiler of the image itself, which makes the code of its dependencies, too. `kind` tells its file from others.
///
/// # Errors
/// As for [`build`].
pub fn build_as(firmware: &Firmware, kind: &'static str, arguments: &[&str]) -> Result<PathBuf> {
    static BUILT: Mutex<Option<HashMap<(Firmware, &str), PathBuf>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let built = built.get_or_insert_default();
    if let Some(image) = built.get(&(*firmware, kind)) {
        return Ok(image.clone());
    }
    let image = build_now(firmware, kind, arguments).with_context(|| format!("cannot build {firmware:?}"))?;
    built.insert((*firmware, kind), image.clone());
    Ok(image)
}

fn build_now(firmware: &Firmware, kind: &str, arguments: &[&str]) -> Result<PathBuf> {
    let core = setup::target_is_there(firmware.target)?;
    let target = target_folder().join("firmware");
    let images = target.join("images");
    fs::create_dir_all(images.join(kind))?;
    let lock = File::create(target.join("images.lock"))?;
    lock.lock().context("another process builds, and cannot be waited for")?;

    cargo(firmware, core, &target, arguments)?;
    let linked = target.join(firmware.target).join("release").join(firmware.package);
    let image = images.join(kind).join(firmware.file_name());
    keep(&linked, &image)?;
    Ok(image)
}

fn cargo(firmware: &Firmware, core: Core, target: &Path, arguments: &[&str]) -> Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace).args(["rustc", "--quiet", "--release", "--package", firmware.package]);
    cargo.args(["--bin", firmware.package, "--target", firmware.target, "--features", firmware.features]);
    if core == Core::FromSource {
        cargo.arg("-Zbuild-std=core").env("RUSTC_BOOTSTRAP", "1");
    }
    cargo.arg("--").args(arguments).env("CARGO_TARGET_DIR", target);
    // Flags that are meant for the host's code.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
    let output = cargo.output().context("cargo cannot be started")?;
    if !output.status.success() {
        bail!("cargo failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// A copy that the next build of the same package with other features leaves alone, and that boards which run from it do not see change.
fn keep(linked: &Path, image: &Path) -> Result<()> {
    let bytes = fs::read(linked).with_context(|| format!("cargo built no {}", linked.display()))?;
    if fs::read(image).is_ok_and(|kept| kept == bytes) {
        return Ok(());
    }
    let fresh = image.with_extension("new");
    fs::write(&fresh, bytes)?;
    fs::rename(fresh, image).context("cannot keep the image")
}

/// The folder that cargo built this program in.
pub(crate) fn target_folder() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let marked = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    marked.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), Path::to_path_buf)
}
