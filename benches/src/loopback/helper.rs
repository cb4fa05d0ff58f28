//! Processes that do what they are told, a line there and a line back.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

/// This program, started once more in another role. Killed when it is dropped; it also ends by itself when it is told nothing more.
pub(crate) struct Helper {
    name: String,
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Helper {
    pub(crate) fn start(name: &str, role: &[&str], folder: &Path) -> Result<Self> {
        let program = std::env::current_exe().context("this program does not find itself")?;
        let mut command = Command::new(program);
        command.args(role).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        let (input, output) = (process.stdin.take().context("no pipe")?, process.stdout.take().context("no pipe")?);
        Ok(Self { name: name.into(), process, input, output: BufReader::new(output) })
    }

    /// Tells it something.
    pub(crate) fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}").with_context(|| format!("{} has ended", self.name))
    }

    /// What it answers.
    pub(crate) fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("{} has ended", self.name);
        }
        match line.trim_end().split_once(' ') {
            Some(("ok", answer)) => Ok(answer.into()),
            Some((_, error)) => Err(anyhow!("{}: {error}", self.name)),
            None => Err(anyhow!("{}: {line}", self.name)),
        }
    }

    pub(crate) fn ask(&mut self, line: &str) -> Result<String> {
        self.tell(line)?;
        self.hear()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// On the other side: the next line, or the end of this process if nobody is there to tell it anything.
pub(crate) fn listen() -> String {
    let mut line = String::new();
    match io::stdin().read_line(&mut line) {
        Ok(1..) => line.trim_end().into(),
        _ => std::process::exit(0),
    }
}

/// Answers it.
pub(crate) fn answer(answer: Result<String>) {
    match answer {
        Ok(answer) => println!("ok {answer}"),
        Err(error) => println!("error {error:#}"),
    }
}
