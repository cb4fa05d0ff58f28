//! The log on flash beside the queue of `sequential-storage`, on the same flash in RAM, which counts what is done to it and enforces its
//! rules.

mod contender;
mod entry;
mod log;
mod queue;

use quoring::store::medium::Geometry;

use crate::flash::contender::{Contender, Cost, LAPS, REPEATS, measure};
use crate::flash::entry::{BUFFER, COMMAND, Form, RECORD};
use crate::flash::log::LogOf;
use crate::flash::queue::QueueOf;

/// Prints the tables.
pub(crate) fn print() {
    introduce();
    table::<2048, 8>();
    table::<4096, 16>();
}

fn introduce() {
    println!(
        "\
Entries with commands of {COMMAND} bytes are appended one by one, or 8 at a time, each time durably, and the oldest make room for the newest.

- `log`: `quoring`'s log on flash. An entry is a record of {RECORD} bytes: 16 with term, index, kind and checksum, and the command.
  One page is always erased ahead.
- `queue, records`: `sequential-storage` 8.0.2, an item for each append, holding the same records. 8 at a time are one item, which
  the application must take apart again.
- `queue, commands`: the same with the bare commands: all that a queue needs, but no log.

Items are not popped but overwritten when their page is needed: popping programs a word twice, which this flash forbids. The queue has its caches of
page states and page pointers. Both recover through a buffer of {BUFFER} bytes, the log with a CRC by table, the queue
with its own, bit by bit. Programmed, erased and read in the steady state, over {LAPS} laps. Recovery: from opening to the last entry,
every entry read, when the next append would erase a page; the time is this host's, the median of {REPEATS}, with flash that answers at
once."
    );
}

fn table<const PAGE: usize, const PAGES: usize>() {
    println!("\n{PAGES} pages of {PAGE} bytes:\n");
    println!(
        "| word | | at a time | bytes programmed per entry | erases per 1000 entries | bytes read per entry | entries held | recovery reads bytes \
         | in calls | takes µs |"
    );
    println!("|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    rows::<1, PAGE, PAGES>();
    rows::<4, PAGE, PAGES>();
    rows::<8, PAGE, PAGES>();
    rows::<16, PAGE, PAGES>();
    rows::<32, PAGE, PAGES>();
}

fn rows<const WORD: usize, const PAGE: usize, const PAGES: usize>() {
    let (word, page, pages) = (WORD as u32, PAGE as u32, PAGES as u32);
    let geometry = Geometry { word, page, pages, erased: Some(0xFF), ordered: true };
    for batch in [1, 8] {
        row::<LogOf<PAGES>>("log", geometry, Form::Record, batch);
        row::<QueueOf<WORD, PAGE, PAGES>>("queue, records", geometry, Form::Record, batch);
        row::<QueueOf<WORD, PAGE, PAGES>>("queue, commands", geometry, Form::Command, batch);
    }
}

fn row<C: Contender>(name: &str, geometry: Geometry, form: Form, batch: u64) {
    let Cost { programmed, erases, read, entries, recovery_bytes, recovery_reads, recovery_micros } =
        measure::<C>(geometry, form, batch);
    println!(
        "| {} | {name} | {batch} | {programmed:.1} | {erases:.1} | {read:.1} | {entries} | {recovery_bytes} | {recovery_reads} | {recovery_micros:.0} |",
        geometry.word
    );
}
