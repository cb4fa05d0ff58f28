//! Three nodes in one RISC-V chip.

use std::time::Duration;

use anyhow::{Result, ensure};
use quoring_boards::firmware::{self, Firmware};
use quoring_boards::qemu::Qemu;
use quoring_boards::setup;

/// The emulator of the machine.
const QEMU: &str = "qemu-system-riscv32";

/// The image, which proves itself and ends.
const FIRMWARE: Firmware = Firmware { package: "quoring-riscv", target: "riscv32imac-unknown-none-elf", features: "" };

// covers: F1, E10
#[test]
fn three_nodes_in_one_chip_agree_and_hand_over() -> Result<()> {
    if !setup::ready(QEMU, FIRMWARE.target)? {
        return Ok(());
    }
    let image = firmware::build(&FIRMWARE)?;
    let folder = tempfile::tempdir()?;
    let printed = folder.path().join("printed");
    let mut serial = std::ffi::OsString::from("file:");
    serial.push(&printed);
    let arguments = ["-M", "virt", "-bios", "none", "-kernel"].map(Into::into);
    let arguments = arguments.into_iter().chain([image.into(), "-serial".into(), serial]);
    let mut qemu = Qemu::start(QEMU, folder.path(), arguments)?;
    let status = qemu.wait(Duration::from_secs(120))?;
    let printed = std::fs::read_to_string(printed)?;
    ensure!(status.success() && printed.starts_with("3 nodes agree on 120 commands"), "{status}: {printed}");
    Ok(())
}
