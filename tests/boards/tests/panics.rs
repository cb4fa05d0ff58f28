//! Images cannot panic where consensus is, and have no allocator.

use anyhow::{Result, ensure};
use quoring_boards::firmware::{self, Firmware};
use quoring_boards::panics::{Call, Code, UNMERGED};
use quoring_boards::setup::{QEMU_ARM, ready};

/// What else can panic is told with `--nocapture`: futures of drivers that are polled after their end, for the most part.
fn check(firmware: &Firmware, board: &str) -> Result<()> {
    if !ready(QEMU_ARM, firmware.target)? {
        return Ok(());
    }
    let code = Code::open(&firmware::build_as(firmware, "unmerged", &UNMERGED)?)?;
    ensure!(code.allocator().is_empty(), "an allocator: {:?}", code.allocator());

    let (forbidden, others): (Vec<_>, Vec<_>) =
        code.panicking_calls()?.into_iter().partition(|call| ["ring", "core"].contains(&&*call.folder));
    others.iter().for_each(|call| println!("{call}"));
    let told: Vec<_> = forbidden.iter().map(ToString::to_string).collect();
    ensure!(told.is_empty(), "{} calls:\n{}", told.len(), told.join("\n"));

    // Both are there, and what panics elsewhere is found: the image expects its board to be what it was built for.
    ensure!(code.functions_of("ring")? >= 5 && code.functions_of("core")? >= 50, "where are ring and core?");
    let expects = |call: &Call| call.frames.iter().any(|frame| frame.function.ends_with("::expect"));
    ensure!(others.iter().any(|call| call.folder == board && expects(call)), "where are the panics of the board?");
    Ok(())
}

/// covers: F1, F5
#[test]
fn nothing_in_ring_or_core_leads_to_a_panic_and_no_allocator_is_linked_on_a_cortex_m3() -> Result<()> {
    check(&Firmware::MPS2, "tests/firmware/mps2")
}

/// Streams, sessions and the rest that clients of boards do not ask for.
///
/// covers: F5
#[test]
fn nothing_that_a_client_or_an_application_can_ask_for_leads_to_a_panic_in_ring_or_core() -> Result<()> {
    let handles = Firmware { package: "quoring-handles", target: "thumbv7m-none-eabi", features: "" };
    check(&handles, "tests/firmware/handles")
}

/// covers: F1, F5
#[test]
fn nothing_in_ring_or_core_leads_to_a_panic_and_no_allocator_is_linked_on_a_cortex_m0() -> Result<()> {
    let microbit = Firmware { package: "quoring-microbit", target: "thumbv6m-none-eabi", features: "" };
    check(&microbit, "tests/firmware/microbit")
}
