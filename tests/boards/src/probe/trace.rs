//! The blocks of code that a board executed, one after the other.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::Report;

/// What a board executed between two markers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    blocks: Vec<Block>,
    executed: Vec<u32>,
}

/// Code that is executed from its first instruction to its last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// Of its first instruction.
    pub address: u64,
    /// How many it has.
    pub instructions: u64,
}

impl Trace {
    /// Reads what the plugin has written, together with `report`.
    ///
    /// # Errors
    /// There is no such file, or the report is of another run.
    pub fn read(path: &Path, report: &Report) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("no trace at {}", path.display()))?;
        Self::new(report.blocks.clone(), &bytes)
    }

    pub(super) fn new(blocks: Vec<Block>, bytes: &[u8]) -> Result<Self> {
        let executed: Vec<_> = bytes.as_chunks().0.iter().map(|number| u32::from_le_bytes(*number)).collect();
        ensure!(executed.iter().all(|number| (*number as usize) < blocks.len()), "a trace of blocks that nobody knows");
        Ok(Self { blocks, executed })
    }

    /// In the order of their execution.
    pub fn blocks(&self) -> impl Iterator<Item = Block> {
        self.executed.iter().filter_map(|number| self.blocks.get(*number as usize)).copied()
    }
}
