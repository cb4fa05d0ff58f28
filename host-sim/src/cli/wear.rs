//! `quoring wear`: how long the pages of a log on flash last, by the store's own arithmetic.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use clap::Args;
use quoring::store::paged::Plan;
use quoring_ring::record_size;
use serde_json::json;

use super::say;

const DAY: f64 = 24.0 * 3600.0;
const YEAR: f64 = 365.25;

/// What `quoring wear` is told.
#[derive(Clone, Debug, Args)]
pub struct Wear {
    /// Bytes of a page, the unit of erasing.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(64..=1 << 20))]
    page: u32,
    /// Pages of the log; those of snapshots come on top.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(3..))]
    pages: u16,
    /// How many erases a page takes, as its maker says.
    #[arg(long, value_name = "ERASES", value_parser = clap::value_parser!(u32).range(1..))]
    endurance: u32,
    /// Bytes of a command.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16))]
    entry: u16,
    /// Entries a second, day and night.
    #[arg(long, value_name = "PER SECOND", value_parser = rate)]
    rate: f64,
    /// Bytes of a word, the unit of programming.
    #[arg(long, value_name = "BYTES", default_value_t = 8, value_parser = word)]
    word: u32,
    /// Entries that become durable together.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Bytes of a snapshot.
    #[arg(long, value_name = "BYTES", requires = "snapshot_every", value_parser = clap::value_parser!(u32).range(..=1 << 30))]
    snapshot_bytes: Option<u32>,
    /// Entries from one snapshot to the next.
    #[arg(long, value_name = "ENTRIES", requires = "snapshot_bytes", value_parser = clap::value_parser!(u32).range(1..))]
    snapshot_every: Option<u32>,
    /// Print the result as a JSON object.
    #[arg(long)]
    json: bool,
}

/// The shortest run of pages after which a log whose oldest pages may always go repeats itself. Mostly one page; but what of a batch does not fit a
/// page goes to the next, and shifts the batches there.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Cycle {
    /// Pages begun, each of which was erased before.
    pub pages: u64,
    /// Entries appended.
    pub entries: u64,
    /// Bytes programmed, headers and padding included.
    pub programmed: u64,
}

impl Cycle {
    /// For records of this many bytes, `batch` of them at a time; `None` if a page does not take a single one.
    #[must_use]
    pub fn new(plan: &Plan, record: u32, batch: u32) -> Option<Self> {
        let (mut so_far, mut due) = (Self::default(), batch);
        // What there was when a page began with so many records still due of the batch in hand.
        let mut begun = vec![None; batch as usize + 1];
        loop {
            if let Some(before) = begun.get_mut(due as usize)?.replace(so_far) {
                return (so_far.entries > before.entries).then(|| so_far.since(before));
            }
            due = so_far.fill_page(plan, record, batch, due);
        }
    }

    /// Begins a page and fills it; how many records of the last batch are left for the next one.
    fn fill_page(&mut self, plan: &Plan, record: u32, batch: u32, mut due: u32) -> u32 {
        self.pages += 1;
        self.programmed += u64::from(plan.header());
        let mut room = plan.page.saturating_sub(plan.header());
        while let Some(count) = (1..=due).rev().find(|count| plan.batch(count * record) <= room) {
            let bytes = plan.batch(count * record);
            self.entries += u64::from(count);
            self.programmed += u64::from(bytes);
            room -= bytes;
            due = if count == due { batch } else { due - count };
        }
        due
    }

    const fn since(self, before: Self) -> Self {
        Self {
            pages: self.pages - before.pages,
            entries: self.entries - before.entries,
            programmed: self.programmed - before.programmed,
        }
    }
}

/// What follows from a [`Wear`].
struct Forecast {
    cycle: Cycle,
    entries_per_lap: f64,
    bytes_per_entry: f64,
    amplification: f64,
    /// Erases of each page of the log in a day.
    log_erases: f64,
    /// Pages of a snapshot, and erases of each in a day.
    snapshot: Option<(u32, f64)>,
    days: f64,
}

impl Wear {
    /// True, since a forecast is neither good nor bad.
    pub(super) fn perform(self) -> Result<bool> {
        let forecast = self.forecast()?;
        say(if self.json { self.as_json(&forecast) } else { self.as_text(&forecast) });
        Ok(true)
    }

    const fn plan(&self) -> Plan {
        Plan { word: self.word, page: self.page, log_pages: self.pages }
    }

    fn forecast(&self) -> Result<Forecast> {
        let (plan, record) = (self.plan(), record_size(self.entry.into()) as u32);
        ensure!(
            self.page.is_multiple_of(self.word.max(16)),
            "pages of {} bytes are not made of whole words and records",
            self.page
        );
        let least = least_page(&plan, record);
        ensure!(
            self.page >= least,
            "pages of {} bytes are too small for records of {record}: {least} or more",
            self.page
        );
        let cycle = Cycle::new(&plan, record, self.batch).context("a page takes no record")?;
        let (entries, a_day) = (cycle.entries as f64, self.rate * DAY);
        let entries_per_lap = entries * f64::from(self.pages) / cycle.pages as f64;
        let log_erases = a_day / entries_per_lap;
        let mut bytes_per_entry = cycle.programmed as f64 / entries;
        let mut snapshot = None;
        if let (Some(bytes), Some(every)) = (self.snapshot_bytes, self.snapshot_every) {
            let programmed = plan.header() / 2 + bytes.next_multiple_of(self.word);
            bytes_per_entry += f64::from(programmed) / f64::from(every);
            // Two of them take turns.
            snapshot = Some((programmed.div_ceil(self.page), a_day / f64::from(every) / 2.0));
        }
        let most = snapshot.map_or(log_erases, |(_, erases)| log_erases.max(erases));
        Ok(Forecast {
            cycle,
            entries_per_lap,
            bytes_per_entry,
            amplification: bytes_per_entry / f64::from(self.entry.max(1)),
            log_erases,
            snapshot,
            days: f64::from(self.endurance) / most,
        })
    }

    fn as_json(&self, forecast: &Forecast) -> String {
        let Forecast { cycle, entries_per_lap, bytes_per_entry, amplification, log_erases, snapshot, days } = forecast;
        json!({
            "record_bytes": record_size(self.entry.into()),
            "bytes_per_entry": bytes_per_entry,
            "write_amplification": amplification,
            "entries_per_lap": entries_per_lap,
            "erases_per_1000_entries": 1000.0 * cycle.pages as f64 / cycle.entries as f64,
            "log": { "pages": self.pages, "erases_per_page_and_day": log_erases },
            "snapshots": snapshot.map(|(pages, erases)| json!({ "pages": 2 * pages, "erases_per_page_and_day": erases })),
            "days": days,
            "years": days / YEAR,
        })
        .to_string()
    }

    fn as_text(&self, forecast: &Forecast) -> String {
        let Forecast { cycle, entries_per_lap, bytes_per_entry, amplification, log_erases, snapshot, days } = forecast;
        let record = record_size(self.entry.into());
        let erases = 1000.0 * cycle.pages as f64 / cycle.entries as f64;
        let mut text = format!(
            "{} pages of {} bytes, words of {}; commands of {} bytes in records of {record}, {} at a time\n\n\
             bytes programmed per entry  {bytes_per_entry:>12.1}   {amplification:.2} for each byte of a command\n\
             entries in a lap            {entries_per_lap:>12.1}   {erases:.1} erases per 1000 entries\n\
             erases a day, page of log   {log_erases:>12.3}\n",
            self.pages, self.page, self.word, self.entry, self.batch
        );
        if let Some((pages, erases)) = snapshot {
            let _ = writeln!(text, "erases a day, of snapshot   {erases:>12.3}   twice {pages} pages");
        }
        let years = days / YEAR;
        let _ = write!(
            text,
            "days until a page is worn   {days:>12.1}   {years:.2} years at {} entries a second",
            self.rate
        );
        text
    }
}

/// The smallest page on which a log takes records of this size: with one of them, an empty batch and votes, it is four fifths full.
const fn least_page(plan: &Plan, record: u32) -> u32 {
    let least = plan.header() + plan.batch(record) + plan.batch(0) + 4 * plan.batch(32);
    least + least / 4
}

pub(super) fn word(text: &str) -> Result<u32, String> {
    let word = text.parse().ok().filter(|word: &u32| word.is_power_of_two() && *word <= 256);
    word.ok_or_else(|| "a word has 1, 2, 4 ... 256 bytes".into())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "it is a number above zero".into())
}

#[cfg(test)]
mod tests {
    use quoring::store::medium::Geometry;
    use quoring::store::mock::MockFlash;
    use quoring::store::paged::{Layout, LayoutError, Owner, PagedLog};
    use quoring_core::{ClusterId, NodeId};

    use super::*;

    /// As the store itself does: [`LayoutError::PageTooSmall`].
    #[test]
    fn the_smallest_page_is_the_one_the_store_names() {
        for (word, record) in [(1, 64), (16, 64), (32, 64), (64, 64), (256, 64)] {
            let geometry = Geometry { word, page: word.max(16), pages: 3, erased: Some(0xFF), ordered: true };
            let owner = Owner { cluster: ClusterId(0), node: NodeId::new(0).unwrap() };
            let log =
                PagedLog::<_, 3, 256, 64>::new(MockFlash::new(geometry), owner, Layout { log_pages: 3, slot_pages: 0 });
            let plan = Plan { word, page: geometry.page, log_pages: 3 };
            assert_eq!(log.unwrap_err(), LayoutError::PageTooSmall(least_page(&plan, record)));
        }
    }

    #[test]
    fn what_does_not_fit_a_page_shifts_the_batches_of_the_next() {
        // Behind 128 bytes of headers: a batch of two records, 112, and the first of the next, 64; then its second, and two more.
        let plan = Plan { word: 8, page: 128 + 112 + 64, log_pages: 4 };
        assert_eq!(Cycle::new(&plan, 48, 2), Some(Cycle { pages: 2, entries: 6, programmed: 2 * (128 + 112 + 64) }));
        assert_eq!(Cycle::new(&plan, 48, 1), Some(Cycle { pages: 1, entries: 2, programmed: 128 + 2 * 64 }));
        assert_eq!(Cycle::new(&plan, 176, 1), None, "a record of 176 bytes and 16 around it do not fit");
    }
}
