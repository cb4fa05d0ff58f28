//! The medium of a board: a file that QEMU maps into the board's memory.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Bytes of the window that QEMU maps.
const WINDOW: u64 = 16 << 20;

/// Bytes of it that are erased when it is new: more than a board uses.
pub const SIZE: usize = 1 << 20;

/// Flash that outlives its board. Every store of the board is in the file when the instruction is over, so a killed board loses none.
#[derive(Debug)]
pub struct Flash {
    path: PathBuf,
    file: File,
}

impl Flash {
    /// Erased flash, in this new file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn erased(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        file.set_len(WINDOW)?;
        file.write_all_at(&vec![0xFF; SIZE], 0).context("cannot erase the flash")?;
        Ok(Self { path: path.into(), file })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All that the flash holds.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; SIZE];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Turns one bit over: bit 0 of byte 0 is the first. Only while no board runs on it.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn flip(&self, bit: u64) -> Result<()> {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, bit / 8)?;
        byte[0] ^= 1 << (bit % 8);
        self.file.write_all_at(&byte, bit / 8).context("cannot flip a bit of the flash")
    }
}

#[cfg(test)]
mod tests {
    use super::Flash;

    #[test]
    fn a_bit_that_is_flipped_twice_is_what_it_was() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let flash = Flash::erased(&folder.path().join("flash"))?;
        flash.flip(8 * 4096 + 3)?;
        let bytes = flash.read()?;
        assert_eq!((bytes[4095], bytes[4096], bytes[4097]), (0xFF, 0xF7, 0xFF));
        flash.flip(8 * 4096 + 3)?;
        assert!(flash.read()?.iter().all(|&byte| byte == 0xFF));
        Ok(())
    }
}
