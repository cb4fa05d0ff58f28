//! A node whose application preempts its other tasks, watched by an interrupt that preempts everything: the image `quoring-priorities`, which says what each number means.

use std::collections::HashMap;
use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quoring_boards::firmware::{self, Firmware};
use quoring_boards::qemu::Qemu;
use quoring_boards::setup::{self, QEMU_ARM};

const PRIORITIES: Firmware = Firmware { package: "quoring-priorities", target: "thumbv7m-none-eabi", features: "" };

/// It takes some seconds, but not on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the image said: the numbers of each line, by their names.
#[derive(Debug)]
struct Report(HashMap<String, HashMap<String, u32>>);

impl Report {
    fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let mut words = line.split(' ');
            let name = words.next().unwrap_or_default().to_owned();
            let number = |word: &str| {
                let (name, number) = word.split_once('=')?;
                Some((name.to_owned(), number.parse().ok()?))
            };
            (name, words.filter_map(number).collect())
        };
        Self(text.lines().map(line).collect())
    }

    fn get(&self, line: &str, name: &str) -> Result<u32> {
        let number = self.0.get(line).and_then(|numbers| numbers.get(name));
        number.copied().with_context(|| format!("no {name} of {line} in {self:?}"))
    }

    /// Each of them is above this.
    fn all_above(&self, least: u32, line: &str, names: &[&str]) -> Result<()> {
        for name in names {
            let number = self.get(line, name)?;
            ensure!(number > least, "{name} of {line} is {number}: too little was tried");
        }
        Ok(())
    }

    fn interrupts(&self) -> Result<u32> {
        Ok(self.get("pointers", "interrupts")?
            + self.get("readers", "interrupts")?
            + self.get("writers", "interrupts")?)
    }
}

/// Runs the image to its end. Nothing was found.
fn run(timing: &[&str]) -> Result<Report> {
    let image = firmware::build(&PRIORITIES)?;
    let folder = tempfile::tempdir()?;
    let line = folder.path().join("line");
    let mut file = OsString::from("file,id=line,path=");
    file.push(&line);
    let mut arguments: Vec<OsString> = vec!["-M".into(), "mps2-an385".into(), "-kernel".into(), image.into()];
    arguments.extend(["-chardev".into(), file, "-serial".into(), "chardev:line".into()]);
    arguments.extend(["-semihosting-config".into(), "enable=on,target=native".into()]);
    arguments.extend(timing.iter().map(OsString::from));
    let mut qemu = Qemu::start(QEMU_ARM, folder.path(), arguments)?;
    if !qemu.wait(PATIENCE)?.success() {
        qemu.alive()?;
    }
    let said = std::fs::read_to_string(line)?;
    print!("{said}");
    let report = Report::parse(&said);
    ensure!(report.get("findings", "count")? == 0, "{said}");
    Ok(report)
}

/// Instructions in so many ticks: with `-icount shift=6` an instruction takes 64 ns, and the counter has 25 MHz.
const fn instructions(ticks: u32) -> u32 {
    ticks * 40 / 64
}

/// An interrupt that no critical section holds back comes between any two instructions, of thread mode, of the application's executor, of the core
/// inside its lock; in a second part, of the bare ring's writer, or its reader. No pointer goes back or past another, no record is torn, nothing waits for anything else.
///
/// covers: F2, P2, P3
#[test]
fn an_interrupt_at_any_instruction_sees_pointers_in_order_and_whole_records() -> Result<()> {
    if !setup::ready(QEMU_ARM, PRIORITIES.target)? {
        return Ok(());
    }
    // The same at each run, instruction for instruction, on every machine.
    let report = run(&["-icount", "shift=6,sleep=off"])?;
    assert!(report.interrupts()? > 50_000, "{report:?}");
    report.all_above(500, "pointers", &["in_sections", "unflushed", "unapplied", "moved"])?;
    report.all_above(200, "readers", &["amid", "appended", "replaced", "copied", "gone"])?;
    report.all_above(100, "writers", &["amid", "appended", "replaced", "copied", "gone", "overtaken", "lost"])?;

    // How long the core keeps its lock: what takes longest is a command as large as they can be, 224 bytes, and of that its checksum.
    let section = instructions(report.get("quiet", "section")?);
    assert!(section < 4_000, "interrupts were held back for {section} instructions");
    // A task of higher priority runs at the end of the section in which it was woken: wake-ups are outside of the core's step, and their sections are short.
    let wait = instructions(report.get("quiet", "wait")?);
    assert!(wait < 500, "a task that was woken ran {wait} instructions later");
    // From the end of the write to flash until the application has applied and answered: one step of the core that moves `flushed` and `committed`, then up to
    // three entries, one of each client; or a snapshot that the application makes before, page erased and all.
    let way = instructions(report.get("quiet", "way")?);
    assert!(way < 16_000, "what was durable was applied {way} instructions later");
    Ok(())
}

/// The same in real time: interrupts come when the host lets them, and between blocks of instructions.
///
/// covers: F2
#[test]
fn an_interrupt_at_any_time_sees_pointers_in_order_and_whole_records() -> Result<()> {
    if !setup::ready(QEMU_ARM, PRIORITIES.target)? {
        return Ok(());
    }
    let report = run(&[])?;
    assert!(report.interrupts()? > 100, "{report:?}");
    Ok(())
}
