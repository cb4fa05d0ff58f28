//! What a log lies on.

use core::fmt::Debug;

/// Pages that are erased whole and programmed word by word, as NOR flash is; a file or FRAM is one that need not be erased.
///
/// Offsets count bytes from the beginning of the medium's first page.
#[allow(async_fn_in_trait)] // As for `LogStore`.
pub trait Medium {
    /// What can go wrong.
    type Error: Debug;

    /// What the medium is like. Never changes.
    fn geometry(&self) -> Geometry;

    /// Fills `bytes` from `offset` on; any alignment.
    ///
    /// # Errors
    /// The medium failed, or a word there was torn and its error correction says so.
    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error>;

    /// Programs whole words, one after the other. On a medium that is erased, each word once between two erases (D1).
    ///
    /// # Errors
    /// The medium failed; any of these words may be torn.
    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Erases the page that begins at `offset`. Does nothing where nothing is erased.
    ///
    /// # Errors
    /// The medium failed; the page may hold anything.
    async fn erase(&mut self, offset: u32) -> Result<(), Self::Error>;

    /// Waits until all that was written is durable: at once on flash, `fdatasync` on a file.
    ///
    /// # Errors
    /// The medium failed; any of what was written may be torn.
    async fn sync(&mut self) -> Result<(), Self::Error>;
}

/// A medium that is lent.
impl<M: Medium> Medium for &mut M {
    type Error = M::Error;

    fn geometry(&self) -> Geometry {
        (**self).geometry()
    }

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        (**self).read(offset, bytes).await
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        (**self).write(offset, bytes).await
    }

    async fn erase(&mut self, offset: u32) -> Result<(), Self::Error> {
        (**self).erase(offset).await
    }

    async fn sync(&mut self) -> Result<(), Self::Error> {
        (**self).sync().await
    }
}

/// What a [`Medium`] is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Geometry {
    /// Bytes of the smallest unit that is programmed: a power of two, 1 to 256.
    pub word: u32,
    /// Bytes of a page, the unit of erasing: a multiple of `word`.
    pub page: u32,
    /// How many pages there are.
    pub pages: u32,
    /// What an erased byte reads as; `None` where words can be written over, and nothing is ever erased.
    pub erased: Option<u8>,
    /// Whether words become durable in the order they are written. On a file they do not, until it is synced.
    pub ordered: bool,
}
