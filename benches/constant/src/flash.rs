//! Flash in RAM, which hangs when the script says so.

use std::cell::Cell;
use std::rc::Rc;

use quoring::Duration;
use quoring::store::medium::{Geometry, Medium};
use quoring::store::paged::Layout;

use crate::clock::Hand;

const WORD: usize = 8;
const PAGE: usize = 2048;
const ERASED: u8 = 0xFF;
/// Whoever waits for flash that hangs looks this often.
const LOOK: Duration = Duration::from_millis(1);

/// How the log uses it: some thousand entries, and two snapshots.
pub(crate) const LAYOUT: Layout = Layout { log_pages: 32, slot_pages: 1 };
/// Bytes of it.
pub(crate) const BYTES: usize = (LAYOUT.log_pages + 2 * LAYOUT.slot_pages) as usize * PAGE;

/// NOR flash with words of 8 bytes, each programmed once between two erases (D1).
#[derive(Debug)]
pub(crate) struct Flash {
    bytes: Box<[u8]>,
    hangs: Rc<Cell<bool>>,
    clock: Hand,
}

/// Why it refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Error {
    /// The operation leaves the medium, or is not made of whole words or pages.
    Misplaced(u32),
    /// A word there was programmed before and not erased since.
    NotErased(u32),
}

impl Flash {
    /// Erased. It hangs as long as `hangs` says.
    pub(crate) fn new(clock: Hand, hangs: Rc<Cell<bool>>) -> Self {
        Self { bytes: vec![ERASED; BYTES].into(), hangs, clock }
    }

    fn range(&mut self, offset: u32, length: usize, unit: usize) -> Result<&mut [u8], Error> {
        let from = offset as usize;
        let whole = from.is_multiple_of(unit) && length.is_multiple_of(unit);
        let bytes = self.bytes.get_mut(from..from + length).filter(|_| whole);
        bytes.ok_or(Error::Misplaced(offset))
    }

    async fn until_it_works(&self) {
        while self.hangs.get() {
            self.clock.sleep(LOOK).await;
        }
    }
}

impl Medium for Flash {
    type Error = Error;

    fn geometry(&self) -> Geometry {
        let pages = (BYTES / PAGE) as u32;
        Geometry { word: WORD as u32, page: PAGE as u32, pages, erased: Some(ERASED), ordered: true }
    }

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        bytes.copy_from_slice(self.range(offset, bytes.len(), 1)?);
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.until_it_works().await;
        let words = self.range(offset, bytes.len(), WORD)?;
        if words.iter().any(|&byte| byte != ERASED) {
            return Err(Error::NotErased(offset));
        }
        words.copy_from_slice(bytes);
        Ok(())
    }

    async fn erase(&mut self, offset: u32) -> Result<(), Error> {
        self.until_it_works().await;
        self.range(offset, PAGE, PAGE)?.fill(ERASED);
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
