//! What the nodes' chips are like, and how often the application saves its state: drawn anew for each seed, the same for all nodes of a run.

use std::fmt;

use quoring::store::medium::Geometry;
use quoring::store::paged::Layout;

use crate::application::{JOURNAL, STATE};
use crate::incarnation::SESSIONS;
use crate::options::Options;
use crate::prng::Prng;
use crate::workload::Workload;

/// Chips, and what lies on them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hardware {
    pub(crate) geometry: Geometry,
    pub(crate) layout: Layout,
    /// The application is asked for a snapshot after this many entries.
    pub(crate) snapshot_after: u32,
    /// How many answers the application remembers, and so how long a snapshot is.
    pub(crate) journal: usize,
}

/// Bytes of a header of the log's.
const HEADER: u32 = 64;
/// So many frames of records fit a log at least, however they are batched.
const ROOM: u32 = 4;
/// Bytes of the sessions before the application's state in a snapshot, at most.
const TABLE: usize = 3 + SESSIONS * (25 + quoring::ANSWER);
/// Pages of a log at most.
pub(crate) const LOG_PAGES: u32 = 32;

impl Hardware {
    pub(crate) fn new(options: &Options) -> Self {
        let mut prng = Prng::new(options.seed, "hardware");
        let word = 1 << [0, 2, 3, 4, 5, 8][prng.below(6) as usize];
        let erased = [Some(0xFF), Some(0xFF), Some(0xFF), Some(0x00), None][prng.below(5) as usize];
        let ordered = erased.is_some() || prng.below(2) == 0;
        let text = match &options.workload {
            Workload::Registers(_) => 0,
            Workload::Lines(lines) => lines.iter().map(Vec::len).sum::<usize>() as u32,
        };
        let Pages { page, fewest } = Pages::new(options.frame() as u32, word, text, prng.below(3) as u32);
        let log_pages = prng.octaves(fewest.into(), LOG_PAGES.into()) as u32;
        let journal = if prng.below(4) == 0 { 0 } else { prng.octaves(1, JOURNAL as u64) as usize };
        let entries = options.workload.entries();
        // A long state is not saved after every few entries, or there would be time for nothing else.
        let soonest = (journal as u64 / 16).max(entries / 64).max(8);
        let snapshot_after = match prng.below(6) {
            0 => 1_000_000,
            _ => prng.octaves(soonest, soonest.max(entries / 4)) as u32,
        };
        let state = (STATE + 8 * journal + TABLE) as u32 + text;
        // The state stands behind the record that makes it count.
        let slot_pages = (state + 2 * word.max(HEADER)).div_ceil(page);
        let geometry = Geometry { word, page, pages: log_pages + 2 * slot_pages, erased, ordered };
        let layout = Layout { log_pages: log_pages as u16, slot_pages: slot_pages as u16 };
        Self { geometry, layout, snapshot_after, journal }
    }
}

/// The pages of a log.
struct Pages {
    /// Bytes of each.
    page: u32,
    /// So many are needed.
    fewest: u32,
}

impl Pages {
    /// Pages, some `doublings` larger than need be, for records of up to a frame, of which a log must have room for a few however they are
    /// batched; and the longer the text, the longer the log, as the whole text is saved each time that it is full.
    fn new(frame: u32, word: u32, text: u32, doublings: u32) -> Self {
        let unit = word.max(16);
        // Two headers, the largest record, and a few small batches beside it.
        let least = 2 * unit.max(HEADER) + frame + 8 * unit;
        let promise = |page: u32| (page - least) / (unit + 16) * 16;
        let fewest = |page| ((ROOM * frame).div_ceil(promise(page)) + 2).max(text / 8 / page);
        let mut page = (least + least / 4).next_power_of_two() << doublings;
        while fewest(page) > LOG_PAGES / 2 {
            page *= 2;
        }
        Self { page, fewest: fewest(page) }
    }
}

impl fmt::Display for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { geometry: Geometry { word, page, erased, ordered, .. }, layout, snapshot_after, .. } = self;
        let Layout { log_pages, slot_pages } = layout;
        let kind = match (erased, ordered) {
            (Some(erased), _) => format!("erased to {erased:#04x}"),
            (None, true) => "written over".into(),
            (None, false) => "written over, in any order until it is synced".into(),
        };
        write!(
            f,
            "words of {word}, pages of {page} bytes, {kind}; {log_pages} pages of log, 2 x {slot_pages} of snapshots"
        )?;
        write!(f, ", one after {snapshot_after} entries")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::RingSize;

    #[test]
    fn a_log_fits_whatever_is_drawn_and_every_word_size_is() {
        let mut words = std::collections::BTreeSet::new();
        for seed in 0..200 {
            for ring in [RingSize::Small, RingSize::Medium, RingSize::Wide] {
                let options = Options { ring, ..Options::new(seed, 3, Workload::Registers(500)) };
                let Hardware { geometry, layout, snapshot_after, .. } = Hardware::new(&options);
                let used = u32::from(layout.log_pages) + 2 * u32::from(layout.slot_pages);
                assert_eq!((used, geometry.page % geometry.word), (geometry.pages, 0));
                assert!(layout.log_pages >= 3 && u32::from(layout.log_pages) <= LOG_PAGES && snapshot_after > 0);
                words.insert(geometry.word);
            }
        }
        assert_eq!(Vec::from_iter(words), [1, 4, 8, 16, 32, 256]);
    }

    #[test]
    fn a_long_text_gets_a_long_log_and_room_for_it_twice() {
        let text = vec![b'x'; 3_000_000];
        let options = Options { ring: RingSize::Wide, ..Options::new(1, 3, Workload::lines(&text)) };
        let Hardware { geometry, layout, .. } = Hardware::new(&options);
        assert!(u32::from(layout.log_pages) * geometry.page > 3_000_000 / 8);
        assert!(u32::from(layout.slot_pages) * geometry.page > 3_000_000);
    }
}
