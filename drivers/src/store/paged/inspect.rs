//! What a medium holds, for a tool that prints it. Writes nothing and takes anything.

use quoring_ring::{Crc32c, Header};

use super::PagedLog;
use super::error::{Damage, Error};
use super::format::{Commit, PageHeader};
use super::walk::{Cursor, Step, Walk};
use crate::store::medium::Medium;

/// Something that lies on a medium. Offsets count bytes from the page's beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Finding {
    /// A page with a header; what follows lies on it.
    Page {
        /// Its number.
        number: u32,
        /// The header.
        header: PageHeader,
    },
    /// A page without one: free.
    Free {
        /// Its number.
        number: u32,
    },
    /// A page whose header is of another version or could not be read.
    Unknown {
        /// Its number.
        number: u32,
    },
    /// A whole batch; its records follow.
    Batch {
        /// Its offset.
        offset: u32,
        /// Its number on the page.
        number: u16,
        /// Bytes of its records.
        bytes: u32,
    },
    /// A record, its checksum unchecked.
    Record {
        /// Its offset.
        offset: u32,
        /// Its header.
        header: Header,
    },
    /// A batch whose writing was interrupted: skipped, and never completed.
    Torn {
        /// Its offset.
        offset: u32,
        /// Bytes of the records it was to have.
        bytes: u32,
    },
    /// A beginning that was interrupted before it could be told.
    Stray {
        /// Its offset.
        offset: u32,
    },
    /// What no loss of power explains.
    Corrupt {
        /// Its offset.
        offset: u32,
        /// What is wrong.
        damage: Damage,
    },
    /// A finished snapshot whose bytes check.
    Snapshot {
        /// 0 or 1.
        slot: u8,
        /// Its commit record.
        commit: Commit,
    },
}

/// The first page header on a medium: whose log it is, and how it is laid out.
///
/// # Errors
/// The medium failed.
pub async fn identify<M: Medium>(medium: &mut M, crc: Crc32c) -> Result<Option<PageHeader>, M::Error> {
    let geometry = medium.geometry();
    for number in 0..geometry.pages {
        let mut bytes = [0; super::format::HEADER];
        medium.read(number * geometry.page, &mut bytes).await?;
        if let Some(Ok(header)) = PageHeader::decode(&bytes, crc) {
            return Ok(Some(header));
        }
    }
    Ok(None)
}

impl<M: Medium, const PAGES: usize, const WORD: usize, const RECORD: usize> PagedLog<M, PAGES, WORD, RECORD> {
    /// Shows everything that lies on the medium, page by page. May be called at any time, also on a log that cannot be recovered.
    ///
    /// # Errors
    /// The medium failed.
    pub async fn inspect(&mut self, mut visit: impl FnMut(Finding)) -> Result<(), Error<M::Error>> {
        self.io.forget();
        let layout = self.io.format.layout;
        for number in 0..usize::from(layout.log_pages) {
            let found = self.io.header(number).await.map_err(Error::Medium)?;
            let number32 = number as u32;
            match found {
                None => visit(Finding::Free { number: number32 }),
                Some(Err(_)) => visit(Finding::Unknown { number: number32 }),
                Some(Ok(header)) => {
                    visit(Finding::Page { number: number32, header });
                    self.inspect_page(number, &header, &mut visit).await.map_err(Error::Medium)?;
                }
            }
        }
        for slot in 0..if layout.slot_pages == 0 { 0 } else { 2_u8 } {
            if let Some(commit) = self.io.commit(usize::from(slot)).await.map_err(Error::Medium)? {
                visit(Finding::Snapshot { slot, commit });
            }
        }
        Ok(())
    }

    async fn inspect_page(
        &mut self,
        number: usize,
        header: &PageHeader,
        visit: &mut impl FnMut(Finding),
    ) -> Result<(), M::Error> {
        let format = self.io.format;
        let base = format.base(number);
        let mut walk = Walk::new(&format, number, format.seed(header.sequence, header.salt));
        loop {
            match self.io.step(&mut walk).await? {
                Step::Batch(batch) => {
                    visit(Finding::Batch { offset: batch.at, number: batch.number, bytes: batch.body });
                    let mut cursor = Cursor::of(walk, &batch);
                    loop {
                        match self.io.record(&mut cursor).await? {
                            Ok(Some(found)) => {
                                visit(Finding::Record { offset: found.at - base, header: found.header });
                            }
                            Ok(None) => break,
                            Err(at) => {
                                visit(Finding::Corrupt { offset: at - base, damage: Damage::Entry });
                                break;
                            }
                        }
                    }
                }
                Step::Torn(batch) => visit(Finding::Torn { offset: batch.at, bytes: batch.body }),
                Step::Stray(offset) => visit(Finding::Stray { offset }),
                Step::Corrupt(offset, damage) => {
                    visit(Finding::Corrupt { offset, damage });
                    return Ok(());
                }
                Step::End => return Ok(()),
            }
        }
    }
}
