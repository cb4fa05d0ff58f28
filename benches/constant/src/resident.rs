//! What the operating system says this process has of the machine's memory.

use std::fs::File;
use std::io::{Read, Seek};

/// Asks Linux, without an allocation.
#[derive(Debug)]
pub(crate) struct Resident {
    status: File,
    text: [u8; 4096],
}

impl Resident {
    /// `None` where there is no `/proc`.
    pub(crate) fn open() -> Option<Self> {
        Some(Self { status: File::open("/proc/self/status").ok()?, text: [0; 4096] })
    }

    /// Bytes of the machine's memory that the process has.
    pub(crate) fn bytes(&mut self) -> Option<u64> {
        self.status.rewind().ok()?;
        let len = self.status.read(&mut self.text).ok()?;
        let text = str::from_utf8(self.text.get(..len)?).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kibibytes * 1024)
    }
}
