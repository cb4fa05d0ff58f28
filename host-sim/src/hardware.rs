//! What the nodes' chips are like, and how often the application saves its state: drawn anew for each seed, the same for all nodes of a run.

use std::fmt;

use quoring::store::medium::Geometry;
use quoring::store::paged::Layout;

use crate::application::{JOURNAL, STATE};
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

/// So many frames of records fit a log at least, however they are batched.
const ROOM: u32 = 4;
/// Pages of a log at most.
pub(crate) const LOG_PAGES: u32 = 32;

impl Hardware {
    pub(crate) fn new(options: &Options) -> Self {
        let mut prng = Prng::new(options.seed, "hardware");
        let word = 1 << [0, 2, 3, 4, 5, 8][prng.below(6) as usize];
        let erased = [Some(0xFF), Some(0xFF), Some(0xFF), Some(0x00), None][prng.below(5) as usize];
        let ordered = erased.is_some() || prng.below(2) == 0;
        let frame = options.frame() as u32;
        // Headers, the largest record, and a few small batches beside it; and pages must not be so small that no log of a few has room for its leaders.
        let unit = word.max(16);
        let least = 2 * unit.max(64) + frame + 8 * unit;
        let mut page = (least + least / 4).next_power_of_two() << prng.below(3);
        let promise = |page: u32| (page - least) / (unit + 16) * 16;
        while promise(page) * 8 < ROOM * frame {
            page *= 2;
        }
        let journal = if prng.below(4) == 0 { 0 } else { prng.octaves(1, JOURNAL as u64) as usize };

        let entries = options.workload.entries();
        let text = match &options.workload {
            Workload::Registers(_) => 0,
            Workload::Lines(lines) => lines.iter().map(Vec::len).sum(),
        };
        // A long text is written again and again: less often, the longer it is.
        let fewest =
            (text as u64).div_ceil(8 * u64::from(page)).max(u64::from((ROOM * frame).div_ceil(promise(page)) + 2));
        let log_pages = prng.octaves(fewest.min(LOG_PAGES.into()), LOG_PAGES.into()) as u32;
        let snapshot_after = match prng.below(6) {
            0 => 1_000_000,
            _ => prng.octaves(8.max(entries / 64), 512.max(entries / 8)) as u32,
        };
        let state = (STATE + 8 * journal + text) as u32;
        // A header before it, a commit record behind it.
        let slot_pages = (state + 2 * unit.max(64)).div_ceil(page);
        let geometry = Geometry { word, page, pages: log_pages + 2 * slot_pages, erased, ordered };
        let layout = Layout { log_pages: log_pages as u16, slot_pages: slot_pages as u16 };
        Self { geometry, layout, snapshot_after, journal }
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
