//! What the plugin has counted.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use super::{APPLIED, Block};

/// What the plugin has counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// All instructions that the board has executed.
    pub instructions: u64,
    /// Stores to the window.
    pub stores: u64,
    /// The markers in the order of their execution, each with the instructions before it.
    pub markers: Vec<(u8, u64)>,
    /// Runs of stores to the window, word behind word: where each begins and how many stores it has.
    pub runs: Vec<(u64, u64)>,
    /// The blocks that its trace is made of.
    pub blocks: Vec<Block>,
}

impl Report {
    /// Reads what the plugin has written.
    ///
    /// # Errors
    /// There is no such file, or it is no report.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("no report at {}", path.display()))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut report = Self::default();
        for line in text.lines() {
            report.line(line).with_context(|| format!("`{line}` in a report"))?;
        }
        Ok(report)
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let hexadecimal = |word| u64::from_str_radix(word, 16);
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["instructions", total] => self.instructions = total.parse()?,
            ["stores", stores] => self.stores = stores.parse()?,
            ["marker", hint, total] => self.markers.push((hexadecimal(hint)?.try_into()?, total.parse()?)),
            ["run", address, stores] => self.runs.push((hexadecimal(address)?, stores.parse()?)),
            ["block", number, address, instructions] => {
                ensure!(number.parse() == Ok(self.blocks.len()), "not the next block");
                self.blocks.push(Block { address: hexadecimal(address)?, instructions: instructions.parse()? });
            }
            _ => bail!("a line of no kind"),
        }
        Ok(())
    }

    /// The instructions from each entry that was applied to the next.
    #[must_use]
    pub fn per_entry(&self) -> Vec<u64> {
        let applied: Vec<_> =
            self.markers.iter().filter(|(hint, _)| *hint == APPLIED).map(|(_, total)| *total).collect();
        applied.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_line_by_line() {
        let text =
            "instructions 100\nstores 3\nmarker 51 10\nmarker 52 15\nmarker 51 40\nrun 21000000 3\nblock 0 1f0 4\n";
        let report = Report::parse(text).unwrap();
        let blocks = vec![Block { address: 0x1f0, instructions: 4 }];
        assert_eq!((report.instructions, report.stores, &report.blocks), (100, 3, &blocks));
        assert_eq!((report.per_entry(), report.runs), (vec![30], vec![(0x2100_0000, 3)]));
    }

    #[test]
    fn what_no_plugin_writes_is_no_report() {
        for text in ["instructions", "marker 151 1", "block 0 zz 1", "stores x", "block 1 0 1", "at 1"] {
            assert!(Report::parse(text).is_err(), "{text}");
        }
    }
}
