//! `memory [TARGET]`: the RAM of a node on a 32-bit target, read off the object file that the compiler made, and where it lies.
//!
//! A member of a three-node cluster with 8 sessions and 16 waiting clients must fit 8 KiB, and every configuration must be all zero and so lie in `.bss` (F4); else
//! the exit code is 1.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use object::read::archive::ArchiveFile;
use object::{Object, ObjectSection, ObjectSymbol, SectionKind};

const LIMIT: u64 = 8 * 1024;

struct Static {
    name: &'static str,
    symbol: &'static str,
    limit: Option<u64>,
}

const STATICS: [Static; 3] = [
    Static {
        name: "3 nodes: 2 KiB ring, 64 slots, frames of 256 bytes, 16 clients, 8 sessions",
        symbol: "THREE_NODES",
        limit: Some(LIMIT),
    },
    Static {
        name: "5 nodes: 8 KiB ring, 256 slots, frames of 512 bytes, 16 clients, 8 sessions",
        symbol: "FIVE_NODES",
        limit: None,
    },
    Static {
        name: "3 nodes: 512-byte ring, 16 slots, frames of 128 bytes, 2 clients, 2 sessions",
        symbol: "SMALLEST",
        limit: None,
    },
];

fn main() -> ExitCode {
    let target = std::env::args().nth(1).unwrap_or_else(|| "thumbv7m-none-eabi".into());
    match report(&target) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("memory: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Prints the table; whether all is within its limits.
fn report(target: &str) -> Result<bool> {
    let data = std::fs::read(build(target)?).context("reading the library")?;
    println!("RAM of a node on {target}, all of it in one static (tasks keep their own small state beside it)");
    let mut fits = true;
    for wanted in &STATICS {
        let (size, zero) = find(&data, wanted.symbol)?.with_context(|| format!("no static {}", wanted.symbol))?;
        let within = zero && wanted.limit.is_none_or(|limit| size <= limit);
        let section = if zero { ".bss" } else { "not all zero!" };
        let limit = wanted.limit.map(|limit| format!("  (limit {limit})")).unwrap_or_default();
        println!("{size:7} bytes  {section:5}  {}{limit}", wanted.name);
        fits &= within;
    }
    Ok(fits)
}

/// Builds the footprint library for the target; its path. Where the target's standard library is not installed, `core` is built from source.
fn build(target: &str) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let installed = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .context("running rustc")?;
    ensure!(installed.status.success(), "{target} is not a target of this compiler");
    let has_core =
        std::fs::read_dir(String::from_utf8(installed.stdout)?.trim()).is_ok_and(|mut files| files.next().is_some());
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&root).args(["build", "--quiet", "--release", "-p", "quoring-footprint", "--target", target]);
    // Object code, not bitcode that waits for a linker.
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_TARGET_DIR", root.join("target/footprint"));
    if !has_core {
        cargo.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=core");
    }
    ensure!(cargo.status().context("running cargo")?.success(), "the footprint library does not build for {target}");
    Ok(root.join("target/footprint").join(target).join("release/libquoring_footprint.rlib"))
}

/// Size of the static in the archive, and whether it is all zero.
fn find(archive: &[u8], symbol: &str) -> Result<Option<(u64, bool)>> {
    for member in ArchiveFile::parse(archive).context("not an archive")?.members() {
        let Ok(file) = object::File::parse(member?.data(archive)?) else { continue };
        for found in file.symbols().filter(|found| found.name().is_ok_and(|name| name.contains(symbol))) {
            if let Some(section) = found.section_index() {
                let kind = file.section_by_index(section)?.kind();
                return Ok(Some((found.size(), kind == SectionKind::UninitializedData)));
            }
        }
    }
    Ok(None)
}
