//! What the plugin has counted.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::APPLIED;

/// What the plugin has counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// All instructions that the board has executed.
    pub instructions: u64,
    /// Stores to the window.
    pub stores: u64,
    /// The markers in the order of their execution, each with the instructions before it.
    pub markers: Vec<(u8, u64)>,
    /// The sections of code with interrupts masked, by where they begin.
    pub masked: Vec<Section>,
    /// The sections of code under a lock that marks them, by where they begin.
    pub locked: Vec<Section>,
    /// How often the instruction at an address was executed.
    pub at: Vec<(u64, u64)>,
}

/// The sections of code that begin at one place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Section {
    /// Of the instruction that masks interrupts, or of the lock's marker.
    pub address: u64,
    /// How many there were.
    pub times: u64,
    /// Instructions of the longest.
    pub longest: u64,
    /// Instructions of all.
    pub total: u64,
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
            [kind @ ("masked" | "locked"), address, times, longest, total] => {
                let sections = if kind == "masked" { &mut self.masked } else { &mut self.locked };
                sections.push(Section {
                    address: hexadecimal(address)?,
                    times: times.parse()?,
                    longest: longest.parse()?,
                    total: total.parse()?,
                });
            }
            ["at", address, times] => self.at.push((hexadecimal(address)?, times.parse()?)),
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
        let text = "instructions 100\nstores 3\nmarker 51 10\nmarker 52 15\nmarker 51 40\nmasked 1f0 2 9 12\nlocked 1f8 1 4 4\nat 1f2 7\n";
        let report = Report::parse(text).unwrap();
        let masked = vec![Section { address: 0x1f0, times: 2, longest: 9, total: 12 }];
        let locked = vec![Section { address: 0x1f8, times: 1, longest: 4, total: 4 }];
        assert_eq!((report.instructions, report.stores, &report.masked, &report.locked), (100, 3, &masked, &locked));
        assert_eq!((report.per_entry(), report.at), (vec![30], vec![(0x1f2, 7)]));
    }

    #[test]
    fn what_no_plugin_writes_is_no_report() {
        for text in ["instructions", "marker 151 1", "at zz 1", "stores x", "masked 1 2 3", "at 1 2 3"] {
            assert!(Report::parse(text).is_err(), "{text}");
        }
    }
}
