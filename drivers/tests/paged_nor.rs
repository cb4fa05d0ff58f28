//! A log on a flash driver of `embedded-storage-async`.

#![cfg(all(feature = "std", feature = "nor"))]

mod paged_rig;

use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use paged_rig::*;
use quoring::store::mock::{self, MockFlash};
use quoring::store::nor::Nor;
use quoring::store::paged::PagedLog;
use quoring::{LogIndex, LogStore, Recovery};
use quoring_ring::DEFAULT_CRC32C;

/// A chip with the rules of the mock.
struct Chip(MockFlash);

#[derive(Debug)]
struct Broken(#[allow(dead_code)] mock::Error);

impl NorFlashError for Broken {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl ErrorType for Chip {
    type Error = Broken;
}

impl ReadNorFlash for Chip {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Broken> {
        self.0.read_now(offset, bytes).map_err(Broken)
    }

    fn capacity(&self) -> usize {
        self.0.image().len()
    }
}

impl NorFlash for Chip {
    const WRITE_SIZE: usize = 8;
    const ERASE_SIZE: usize = 768;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Broken> {
        (from..to).step_by(Self::ERASE_SIZE).try_for_each(|page| self.0.erase_now(page)).map_err(Broken)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Broken> {
        self.0.write_now(offset, bytes).map_err(Broken)
    }
}

/// covers: D4
#[test]
fn a_log_on_a_nor_flash_driver_goes_on_after_a_restart() {
    let mut chip = Chip(MockFlash::new(geometry(8, Some(0xFF))));
    for round in 0..20 {
        let mut log: PagedLog<_, 8, 8, RECORD> = PagedLog::new(Nor::new(chip), owner(), LAYOUT).unwrap();
        let mut recovery = Recovery::new(CLUSTER, DEFAULT_CRC32C);
        now(log.recover(&mut recovery)).unwrap();
        assert_eq!(recovery.last(), LogIndex(round * 5));
        for index in round * 5 + 1..=round * 5 + 5 {
            log.purge(LogIndex(index - 1));
            now(log.append(&entry(1, index, &[1; 40]))).unwrap();
        }
        chip = log.into_medium().into_inner();
    }
    assert_eq!(chip.0.counters().violations, 0);
}
