//! NOR flash behind the `embedded-storage-async` traits.

use embedded_storage_async::nor_flash::NorFlash;

use super::medium::{Geometry, Medium};

/// A [`Medium`] on any [`NorFlash`], from its first byte on: use a partition if the log does not own it all.
///
/// A write must not return before the words are programmed, and must program them in order; a word that was interrupted must read as anything or
/// fail. Reads must be possible at any byte.
#[derive(Debug)]
pub struct Nor<F> {
    flash: F,
    erased: u8,
}

impl<F: NorFlash> Nor<F> {
    /// On flash that reads as 0xFF where it is erased.
    #[must_use]
    pub const fn new(flash: F) -> Self {
        const {
            assert!(F::WRITE_SIZE.is_power_of_two() && F::WRITE_SIZE <= 256, "words of 1 to 256 bytes");
            assert!(F::ERASE_SIZE.is_multiple_of(F::WRITE_SIZE), "pages of whole words");
            assert!(F::READ_SIZE == 1, "any bytes are read");
        }
        Self { flash, erased: 0xFF }
    }

    /// On flash that reads as `erased` where it is erased.
    #[must_use]
    pub const fn erased_as(mut self, erased: u8) -> Self {
        self.erased = erased;
        self
    }

    /// The flash back.
    pub fn into_inner(self) -> F {
        self.flash
    }
}

impl<F: NorFlash> Medium for Nor<F> {
    type Error = F::Error;

    fn geometry(&self) -> Geometry {
        Geometry {
            word: F::WRITE_SIZE as u32,
            page: F::ERASE_SIZE as u32,
            pages: (self.flash.capacity() / F::ERASE_SIZE) as u32,
            erased: Some(self.erased),
            ordered: true,
        }
    }

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), F::Error> {
        self.flash.read(offset, bytes).await
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), F::Error> {
        self.flash.write(offset, bytes).await
    }

    async fn erase(&mut self, offset: u32) -> Result<(), F::Error> {
        self.flash.erase(offset, offset + F::ERASE_SIZE as u32).await
    }

    async fn sync(&mut self) -> Result<(), F::Error> {
        Ok(())
    }
}
