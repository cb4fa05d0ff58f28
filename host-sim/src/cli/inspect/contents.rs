//! What lies on the pages, gathered for printing.

use anyhow::{Result, bail};
use embassy_futures::block_on;
use quoring::store::LogStore;
use quoring::store::file::LARGEST;
use quoring::store::medium::Geometry;
use quoring::store::paged::{Commit, Error, Finding, LayoutError, Origin, PageHeader, PagedLog};
use quoring_core::{Recovered, Recovery};
use quoring_ring::{DEFAULT_CRC32C, Header, Kind, extend};

use super::image::{Image, Place};

/// The most pages of a log.
const PAGES: usize = 4096;
/// The largest word.
const WORD: usize = 256;

/// Reads an image through a buffer of one size.
type Read = fn(Image<'_>, Place) -> Result<Option<Contents>>;

/// The largest first.
const BUFFERS: [Read; 9] = [
    Contents::read_with::<LARGEST>,
    Contents::read_with::<{ largest_on(1 << 16) }>,
    Contents::read_with::<{ largest_on(1 << 15) }>,
    Contents::read_with::<{ largest_on(1 << 14) }>,
    Contents::read_with::<{ largest_on(1 << 13) }>,
    Contents::read_with::<{ largest_on(1 << 12) }>,
    Contents::read_with::<{ largest_on(1 << 11) }>,
    Contents::read_with::<{ largest_on(1 << 10) }>,
    Contents::read_with::<64>,
];

/// The largest record of a log on pages of so many bytes: with what each page needs besides, four fifths.
const fn largest_on(page: usize) -> usize {
    (page / 5 * 4 - 352) / 16 * 16
}

/// All that was found.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) place: Option<Place>,
    pub(super) pages: Vec<Page>,
    /// Finished snapshots, by slot.
    pub(super) snapshots: Vec<(u8, Commit)>,
    pub(super) verdict: Verdict,
}

/// What a node would do with it.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It goes on from here.
    Starts(Box<Recovered>),
    /// It begins a new log, since nothing was ever written, as this says.
    Begins(String),
    /// It does not start, and says why.
    Refuses(String),
    /// There is something else in the image, or nothing.
    NoLog(String),
}

/// A page of the log.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) number: u32,
    pub(super) state: State,
    pub(super) pieces: Vec<Piece>,
}

#[derive(Debug)]
pub(super) enum State {
    /// It has a header.
    Begun { header: PageHeader, part: Part },
    /// It has none; `blank` if it reads as erased, or nothing is erased there.
    Free { blank: bool },
    /// Its header is of another version.
    Unknown,
    /// The image ends before it does.
    CutOff,
}

/// Which part a page has in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// Its records are in the log.
    Live,
    /// A later page stands for it.
    Replaced,
    /// It was to stand for others, which still do.
    Unfinished,
    /// It is damaged, but a snapshot covers all that was on it.
    LeftOut,
}

/// Something on a page, at an offset from its beginning.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) offset: u32,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Batch {
        number: u16,
        bytes: u32,
        records: Vec<Shown>,
    },
    /// Interrupted, and never to be completed.
    Torn {
        bytes: u32,
    },
    /// So short a beginning that it cannot be told what it was to be.
    Stray,
    Damage(String),
}

/// A record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) offset: u32,
    pub(super) header: Header,
    /// Of an entry.
    pub(super) index: Option<u64>,
}

/// Entries of one term, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub(super) term: u32,
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Contents {
    pub(super) const fn none(verdict: Verdict) -> Self {
        Self { place: None, pages: Vec::new(), snapshots: Vec::new(), verdict }
    }

    /// Reads the pages. Unless it is known what erased bytes read as, the value is taken with which more batches are found: a batch tells.
    pub(super) fn read(bytes: &[u8], place: Place) -> Result<Self> {
        let contents = Self::read_as(bytes, place)?;
        if place.sure {
            return Ok(contents);
        }
        let geometry = Geometry { erased: Some(0x00), ..place.geometry };
        let other = Self::read_as(bytes, Place { geometry, ..place })?;
        Ok(if other.batches() > contents.batches() { other } else { contents })
    }

    /// Reads the pages with a buffer for the largest records that a log on such pages can have.
    fn read_as(bytes: &[u8], place: Place) -> Result<Self> {
        let image = Image::new(bytes, &place);
        let Some(contents) = BUFFERS.iter().find_map(|read| read(image, place).transpose()) else {
            bail!("no log has pages of {} bytes", place.geometry.page)
        };
        let mut contents = contents?;
        let pages = bytes.get(place.start..).unwrap_or_default().chunks(place.geometry.page as usize);
        for (page, bytes) in contents.pages.iter_mut().zip(pages) {
            if let (State::Free { blank }, Some(erased)) = (&mut page.state, place.geometry.erased) {
                *blank = bytes.iter().all(|&byte| byte == erased);
            }
        }
        if place.end() > bytes.len() as u64 {
            contents.verdict = Verdict::Refuses(format!("the image ends at byte {} of {}", bytes.len(), place.end()));
            let present = ((bytes.len() - place.start) as u64 / u64::from(place.geometry.page)) as u32;
            for page in contents.pages.iter_mut().filter(|page| page.number >= present) {
                (page.state, page.pieces) = (State::CutOff, Vec::new());
            }
        }
        Ok(contents)
    }

    /// `None` if no log with such records has such pages.
    fn read_with<const RECORD: usize>(image: Image<'_>, place: Place) -> Result<Option<Self>> {
        let mut log = match PagedLog::<_, PAGES, WORD, RECORD>::new(image, place.owner, place.layout) {
            Ok(log) => Box::new(log),
            Err(LayoutError::PageTooSmall(_)) => return Ok(None),
            Err(error) => bail!("no log is like that: {error}"),
        };
        let mut contents = Self { place: Some(place), ..Self::none(Verdict::NoLog(String::new())) };
        block_on(log.inspect(|finding| contents.note(finding)))?;
        let mut recovery = Recovery::new(place.owner.cluster, DEFAULT_CRC32C);
        contents.verdict = match block_on(log.recover(&mut recovery)) {
            Ok(()) => match recovery.finish() {
                Ok(recovered) => Verdict::Starts(Box::new(recovered)),
                Err(error) => Verdict::Refuses(error.to_string()),
            },
            Err(Error::TooLarge(size)) => bail!("a record of {size} bytes is too large for this command on such pages"),
            Err(error) => Verdict::Refuses(error.to_string()),
        };
        contents.find_parts();
        Ok(Some(contents))
    }

    fn batches(&self) -> usize {
        self.pages.iter().map(Page::batches).sum()
    }

    fn note(&mut self, finding: Finding) {
        let page = |number, state| Page { number, state, pieces: Vec::new() };
        let (offset, what) = match finding {
            Finding::Page { number, header } => {
                return self.pages.push(page(number, State::Begun { header, part: Part::Live }));
            }
            Finding::Free { number } => return self.pages.push(page(number, State::Free { blank: true })),
            Finding::Unknown { number } => return self.pages.push(page(number, State::Unknown)),
            Finding::Snapshot { slot, commit } => return self.snapshots.push((slot, commit)),
            Finding::Record { offset, header } => return self.note_record(offset, header),
            Finding::Batch { offset, number, bytes } => (offset, What::Batch { number, bytes, records: Vec::new() }),
            Finding::Torn { offset, bytes } => (offset, What::Torn { bytes }),
            Finding::Stray { offset } => (offset, What::Stray),
            Finding::Corrupt { offset, damage } => (offset, What::Damage(damage.to_string())),
            _ => return,
        };
        if let Some(page) = self.pages.last_mut() {
            page.pieces.push(Piece { offset, what });
        }
    }

    fn note_record(&mut self, offset: u32, header: Header) {
        let Some(page) = self.pages.last_mut() else { return };
        let index = header.kind.is_entry().then(|| extend(page.last_index(), header.index_low));
        if let Some(Piece { what: What::Batch { records, .. }, .. }) = page.pieces.last_mut() {
            records.push(Shown { offset, header, index });
        }
    }

    /// Tells live pages from others, as recovery did.
    fn find_parts(&mut self) {
        let finished =
            |page: &&Page| page.header().is_some_and(|header| header.origin == Origin::Opened) || page.batches() > 0;
        let headers: Vec<PageHeader> = self.pages.iter().filter(finished).filter_map(Page::header).collect();
        let starts = self.verdict.is_healthy();
        for page in &mut self.pages {
            let (begun, damaged) = (page.batches() > 0, page.is_damaged());
            let State::Begun { header, part } = &mut page.state else { continue };
            let stands = |other: &PageHeader| {
                other.sequence > header.sequence && other.first <= header.first && header.last <= other.last
            };
            if header.origin == Origin::Merged && !begun {
                *part = Part::Unfinished;
            } else if headers.iter().any(stands) {
                *part = Part::Replaced;
            } else if starts && damaged {
                *part = Part::LeftOut;
            }
        }
    }
}

impl Verdict {
    pub(super) const fn is_healthy(&self) -> bool {
        matches!(self, Self::Starts(_) | Self::Begins(_))
    }
}

impl Page {
    pub(super) const fn header(&self) -> Option<PageHeader> {
        match self.state {
            State::Begun { header, .. } => Some(header),
            _ => None,
        }
    }

    pub(super) fn records(&self) -> impl DoubleEndedIterator<Item = &Shown> {
        self.pieces.iter().flat_map(|piece| match &piece.what {
            What::Batch { records, .. } => records.as_slice(),
            _ => &[],
        })
    }

    /// Runs of entries, in the order they were written.
    pub(super) fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (index, term) in self.records().filter_map(|record| Some((record.index?, record.header.term))) {
            match runs.last_mut() {
                Some(run) if run.term == term && run.last + 1 == index => run.last = index,
                _ => runs.push(Run { term, first: index, last: index }),
            }
        }
        runs
    }

    /// How many batches are whole.
    pub(super) fn batches(&self) -> usize {
        self.pieces.iter().filter(|piece| matches!(piece.what, What::Batch { .. })).count()
    }

    fn is_damaged(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece.what, What::Damage(_)))
    }

    pub(super) fn votes(&self) -> usize {
        self.records().filter(|record| record.header.kind == Kind::Vote).count()
    }

    /// The last entry so far, to tell the high half of the next index by.
    fn last_index(&self) -> u64 {
        let before = self.header().map_or(0, |header| header.before.index.0);
        self.records().rev().find_map(|record| record.index).unwrap_or(before)
    }
}
