//! The pages in the bytes of an image.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, bail};
use embassy_futures::block_on;
use quoring::store::file::FileMedium;
use quoring::store::medium::{Geometry, Medium};
use quoring::store::paged::{Layout, Owner, PageHeader, identify};
use quoring_ring::DEFAULT_CRC32C;

use super::contents::Verdict;
use super::{Erased, Inspect};

/// Bytes of a page header.
const HEADER: usize = 64;
/// What page headers are aligned to, and begin with.
const STEP: usize = 16;
/// What the file of a log begins with.
const FILE: &[u8] = b"QUORLOG\0";

/// A part of an image, as a medium that cannot be written. What is missing at its end reads as erased.
#[derive(Clone, Copy, Debug)]
pub(super) struct Image<'b> {
    bytes: &'b [u8],
    geometry: Geometry,
}

/// Somebody tried to write an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ReadOnly;

/// Where the pages are, and what they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) start: usize,
    pub(super) geometry: Geometry,
    pub(super) owner: Owner,
    pub(super) layout: Layout,
    /// What erased bytes read as is known, not guessed.
    pub(super) sure: bool,
}

impl Place {
    /// Looks for page headers. In `Ok(Err(..))`, why there are no pages.
    pub(super) fn find(bytes: &[u8], told: &Inspect) -> Result<Result<Self, Verdict>> {
        let file = if bytes.starts_with(FILE) {
            match FileMedium::examine(&told.image) {
                Ok(medium) => Some(medium.geometry()),
                Err(error) => return Ok(Err(Verdict::Refuses(error.to_string()))),
            }
        } else {
            None
        };
        let offset = told.offset.unwrap_or(0) as usize;
        let Some(searched) = bytes.get(offset..) else {
            bail!("the image has {} bytes: no page begins at {offset}", bytes.len())
        };
        let Some((header, base)) = headers(searched) else { return Ok(Err(without_a_page(bytes, file.is_some()))) };
        let layout = Layout {
            log_pages: told.log_pages.unwrap_or(header.layout.log_pages),
            slot_pages: told.slot_pages.unwrap_or(header.layout.slot_pages),
        };
        let pages = u32::from(layout.log_pages) + 2 * u32::from(layout.slot_pages);
        let (page, word) = (told.page.unwrap_or(header.page), told.word.unwrap_or(header.word));
        let found = file.unwrap_or(Geometry { word, page, pages, erased: Some(0xFF), ordered: true });
        let erased = told.erased.map_or(found.erased, |Erased(erased)| erased);
        let geometry = Geometry { word, page, pages, erased, ordered: found.ordered };
        let start = if told.offset.is_some() { offset } else { base };
        let sure = told.erased.is_some() || file.is_some();
        Ok(Ok(Self { start, geometry, owner: header.owner, layout, sure }))
    }

    /// Bytes of the image that are needed.
    pub(super) fn end(&self) -> u64 {
        self.start as u64 + u64::from(self.geometry.page) * u64::from(self.geometry.pages)
    }
}

/// The header that most of the headers in the image agree with, and where the first page that fits it begins.
fn headers(bytes: &[u8]) -> Option<(PageHeader, usize)> {
    let mut found = BTreeMap::new();
    for (at, window) in bytes.windows(HEADER).enumerate().step_by(STEP) {
        if let Some(header) = header(window).filter(|header| header.page as usize >= HEADER) {
            let (Owner { cluster, node }, Layout { log_pages, slot_pages }) = (header.owner, header.layout);
            let base = at % header.page as usize;
            let key = (cluster.0, node.get(), header.page, header.word, log_pages, slot_pages, base);
            found.entry(key).or_insert((0_u32, header, base)).0 += 1;
        }
    }
    // Each header stands twice; the first copies lie lower.
    let (_, header, base) = found.into_values().rev().max_by_key(|&(count, ..)| count)?;
    Some((header, base))
}

fn header(window: &[u8]) -> Option<PageHeader> {
    let page = HEADER as u32;
    let geometry = Geometry { word: 1, page, pages: 1, erased: None, ordered: true };
    block_on(identify(&mut Image { bytes: window, geometry }, DEFAULT_CRC32C)).ok()?
}

fn without_a_page(bytes: &[u8], file: bool) -> Verdict {
    let first = bytes.first().copied().unwrap_or_default();
    if bytes.is_empty() {
        Verdict::NoLog("the image is empty".into())
    } else if file {
        Verdict::Begins("the file holds no page yet".into())
    } else if bytes.iter().all(|&byte| byte == first) {
        Verdict::Begins(format!("all bytes are {first:#04x}"))
    } else {
        Verdict::NoLog("there is no page of one in it, and a node would begin an empty one".into())
    }
}

impl<'b> Image<'b> {
    pub(super) fn new(bytes: &'b [u8], place: &Place) -> Self {
        Self { bytes: bytes.get(place.start..).unwrap_or_default(), geometry: place.geometry }
    }
}

impl Medium for Image<'_> {
    type Error = ReadOnly;

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ReadOnly> {
        bytes.fill(self.geometry.erased.unwrap_or(0));
        let there = self.bytes.get(offset as usize..).unwrap_or_default();
        bytes.iter_mut().zip(there).for_each(|(to, &byte)| *to = byte);
        Ok(())
    }

    async fn write(&mut self, _: u32, _: &[u8]) -> Result<(), ReadOnly> {
        Err(ReadOnly)
    }

    async fn erase(&mut self, _: u32) -> Result<(), ReadOnly> {
        Err(ReadOnly)
    }

    async fn sync(&mut self) -> Result<(), ReadOnly> {
        Ok(())
    }
}

impl fmt::Display for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an image is only read")
    }
}

impl std::error::Error for ReadOnly {}
