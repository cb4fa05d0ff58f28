//! Scenario scripts: commands, each followed by what it is expected to show, indented.
//!
//! ```text
//! # A comment. The commands are listed in `script/command.rs`.
//! propose 1 x
//!   1-2
//!   f9 1>2 t1 append after 1-1: 1-2, commit 1
//! ```
//!
//! `REWRITE=1 cargo test -p quoring-tests` writes down what is shown instead of comparing it; read the difference before you commit it.

mod command;
mod show;

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

pub use command::Player;
pub use show::{log_line, status_line};

/// What marks a line as shown by the command above it.
const INDENT: &str = "  ";

/// Plays the script and compares what it shows, or writes it down.
///
/// # Panics
/// It shows something else, an oracle objects, or the file cannot be read.
pub fn play_file(path: &Path) {
    let script = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let played = play(&script, &path.display().to_string());
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(path, played).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    let mut lines = script.lines().zip(played.lines()).enumerate();
    if let Some((number, (expected, shown))) = lines.find(|(_, (expected, shown))| expected != shown) {
        panic!("{}:{}\n expected: {expected}\n shown:    {shown}\n\n{played}", path.display(), number + 1);
    }
    assert_eq!(
        script.lines().count(),
        played.lines().count(),
        "{}: shows more or less than expected\n\n{played}",
        path.display()
    );
}

/// Plays the commands of a script; the same script with what they show.
///
/// # Panics
/// A command makes no sense, or an oracle objects.
#[must_use]
pub fn play(script: &str, name: &str) -> String {
    let (mut player, mut played) = (Player::default(), String::new());
    for (number, line) in script.lines().enumerate().filter(|(_, line)| !line.starts_with(INDENT)) {
        let _ = writeln!(played, "{line}");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let shown = catch_unwind(AssertUnwindSafe(|| player.play(line))).unwrap_or_else(|cause| {
            eprintln!("{name}:{}: {line}", number + 1);
            resume_unwind(cause)
        });
        for line in shown {
            let _ = writeln!(played, "{INDENT}{line}");
        }
    }
    played
}
