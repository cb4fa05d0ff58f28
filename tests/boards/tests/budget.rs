//! What the budget is measured with: the image's owners, and the plugin's counts.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context, Result};
use quoring_boards::answer::Answer;
use quoring_boards::board::{Board, Parts};
use quoring_boards::firmware::{self, Firmware};
use quoring_boards::flash::Flash;
use quoring_boards::image::{Image, Part};
use quoring_boards::probe::{Probe, Profile, Report, Trace};
use quoring_boards::setup::{self, QEMU_ARM};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);

/// covers: F4
#[test]
fn all_code_has_an_owner_and_all_memory_of_a_node_of_three_is_one_static_of_8_kib_at_most() -> Result<()> {
    if !setup::ready(QEMU_ARM, Firmware::MPS2.target)? {
        return Ok(());
    }
    let image = Image::open(&firmware::build(&Firmware::MPS2)?)?;
    let code = image.code();
    assert_eq!(code.values().sum::<u64>(), image.sizes().text);
    let of = |part: Part| -> u64 { code.iter().filter(|(owner, _)| owner.part == part).map(|(_, bytes)| bytes).sum() };
    assert!(of(Part::Unknown) * 100 < image.sizes().text, "{} bytes of nobody", of(Part::Unknown));
    assert!(of(Part::Core) > of(Part::Wire) && of(Part::Drivers) > of(Part::Ring) && of(Part::Ring) > 0);
    assert!(image.symbol("MEMORY").context("no static")?.size <= 8 << 10);
    Ok(())
}

#[test]
fn a_trace_has_the_instructions_that_were_counted_and_each_is_somebodys() -> Result<()> {
    if !setup::ready(QEMU_ARM, Firmware::MPS2.target)? {
        return Ok(());
    }
    let path = firmware::build(&Firmware::MPS2)?;
    let folder = tempfile::tempdir()?;
    let [report, trace, medium] = ["report", "trace", "flash"].map(|name| folder.path().join(name));
    let flash = Flash::erased(&medium)?;
    let extra: [OsString; 2] = Probe::reporting(&report).tracing(&trace, 5..25).arguments()?;
    let parts =
        Parts { image: &path, voters: 1, node: 0, flash: &flash, port: None, folder: folder.path(), extra: &extra };
    let mut board = Board::start(&parts)?;
    board.ready()?;
    // It refuses until it leads.
    while !matches!(board.line.ask("load 30 64", PATIENCE)?, Answer::Loaded(_)) {}
    // It may be gone before it has answered.
    let _ = board.qemu.execute("quit", json!({}));
    board.qemu.wait(PATIENCE)?;

    let report = Report::read(&report)?;
    let counted: u64 = report.per_entry()[5..25].iter().sum();
    let image = Image::open(&path)?;
    let profile = Profile::new(&image, &Trace::read(&trace, &report)?)?;
    // The block of each marker lies on both of its sides.
    let traced: u64 = profile.own.values().sum();
    assert!(traced.abs_diff(counted) < 100, "{traced} traced, {counted} counted");
    assert_eq!(profile.charged.values().sum::<u64>(), traced);
    let core = profile.own.iter().filter(|(owner, _)| owner.part == Part::Core).map(|(_, count)| count).sum::<u64>();
    assert!(core > 0 && core < traced, "{core} of {traced}");
    // An entry is proposed in one step, and each step is shorter than an entry's whole work.
    let steps: u64 = profile.steps.values().map(|lengths| lengths.count()).sum();
    let longest = profile.steps.values().map(|lengths| lengths.longest(0)).max().unwrap_or_default();
    assert!(steps >= 20 && longest > 0 && longest < counted / 20, "{steps} steps, the longest {longest}");
    Ok(())
}
