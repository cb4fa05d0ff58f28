//! `quoring replicate`: the lines of a file go in at a client, and come out at every node.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::{Replicate, progress_bar, say};
use crate::options::{Options, RingSize};
use crate::report;
use crate::run::{Viewers, run};
use crate::workload::{Workload, line_limit};

impl Replicate {
    /// True if every node's log is the file, byte for byte.
    pub(super) fn perform(self) -> Result<bool> {
        let text = fs::read(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?;
        let workload = Workload::lines(&text);
        let options = Options {
            faults: self.faults,
            ring: RingSize::Wide,
            ..Options::new(self.seed, self.nodes.into(), workload)
        };
        check_lines(&options).with_context(|| format!("cannot replicate {}", self.file.display()))?;
        fs::create_dir_all(&self.out).with_context(|| format!("cannot create {}", self.out.display()))?;

        let (file, out, faults) = (self.file.display(), self.out.display(), self.faults.name());
        say(format_args!(
            "quoring replicate {file} --nodes {} --seed {} --faults {faults} --out {out}",
            self.nodes, self.seed
        ));
        let bar = progress_bar(options.workload.entries(), "lines");
        let mut progress = |done| bar.set_position(done);
        let outcome = run(&options, Viewers { progress: Some(&mut progress), ..Viewers::default() })?;
        bar.finish_and_clear();

        let mut identical = true;
        for (id, node) in outcome.nodes.iter().enumerate() {
            let path = self.out.join(format!("node-{id}.log"));
            fs::write(&path, &node.text).with_context(|| format!("cannot write {}", path.display()))?;
            if node.text != text {
                identical = false;
                eprintln!(
                    "error: {} differs from {file}: {} bytes, not {}",
                    path.display(),
                    node.text.len(),
                    text.len()
                );
            }
        }
        say(report::text(&outcome));
        Ok(identical && outcome.is_clean())
    }
}

/// Every line fits a record, before anything is sent.
fn check_lines(options: &Options) -> Result<()> {
    let Workload::Lines(lines) = &options.workload else { return Ok(()) };
    let limit = line_limit(options.command_limit());
    for (number, line) in (1..).zip(lines.iter()) {
        ensure!(line.len() <= limit, "line {number} has {} bytes; the ring takes lines of at most {limit}", line.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_limit_passes_and_one_more_byte_is_named() {
        let limit =
            line_limit(Options { ring: RingSize::Wide, ..Options::new(1, 3, Workload::Registers(0)) }.command_limit());
        let check =
            |text: &[u8]| check_lines(&Options { ring: RingSize::Wide, ..Options::new(1, 3, Workload::lines(text)) });
        let mut text = vec![b'x'; limit];
        assert!(check(&text).is_ok());
        text.insert(0, b'\n');
        assert!(check(&text).is_ok());
        text.push(b'\n');
        assert!(check(&text).unwrap_err().to_string().starts_with("line 2 has "));
    }
}
