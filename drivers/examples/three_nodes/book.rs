//! The application: a book of lines.

use std::io::{self, Write};

use quoring::{Platform, Restore, RestoreError, Save, SaveError};

/// All lines there have been, in their order. Each is printed once, and its answer is its number.
///
/// Its snapshot is the text itself.
#[derive(Default)]
pub(crate) struct Book {
    text: Vec<u8>,
    lines: u64,
}

impl Book {
    /// The most bytes that a book has; a line above it is answered, but not written.
    pub(crate) const LIMIT: u32 = 4 << 20;

    /// Writes a line; the answer to it.
    pub(crate) fn write(&mut self, line: &[u8]) -> String {
        if self.text.len() + line.len() >= Self::LIMIT as usize {
            return "full".into();
        }
        self.text.extend(line);
        self.text.push(b'\n');
        self.lines += 1;
        print(&[line, b"\n"].concat());
        format!("line {}", self.lines)
    }

    pub(crate) async fn save<P: Platform>(&self, mut save: Save<'_, '_, P>) -> Result<(), SaveError> {
        save.write(&self.text).await?;
        save.finish().await
    }

    /// Takes over a book, which begins with this one: no book ever changes but at its end.
    pub(crate) async fn restore<P: Platform>(&mut self, mut restore: Restore<'_, '_, P>) -> Result<(), RestoreError> {
        let mut text = vec![0; restore.length() as usize];
        let mut rest = &mut text[..];
        while !rest.is_empty() {
            let count = restore.read(rest).await?;
            rest = &mut rest[count..];
        }
        let index = restore.index();
        restore.finish()?;
        print(text.get(self.text.len()..).unwrap_or_default());
        self.lines = text.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.text = text;
        eprintln!("restored {} lines up to entry {index}", self.lines);
        Ok(())
    }
}

/// Who reads the output may be gone; the node goes on.
fn print(text: &[u8]) {
    let _ = io::stdout().write_all(text);
}
