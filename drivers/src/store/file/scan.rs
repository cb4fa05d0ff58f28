//! Recovery: the batches of a log, oldest first, and the judgement on its end.

use std::io::IoSlice;

use quoring_core::{RecoveredRecord, Recovery};
use quoring_ring::{ALIGN, HEADER, Header, Record};

use super::error::{Damage, Error};
use super::layout::{BATCH_HEADER, BatchHeader, crc};
use super::medium::Medium;
use super::{BATCH_LIMIT, FileLog, Tail};

impl FileLog {
    /// Hands all records to `recovery`, cuts a torn tail, and makes what is left durable.
    pub(super) fn scan(&mut self, recovery: &mut Recovery) -> Result<Tail, Error> {
        self.offsets.clear()?;
        let mut tail = Tail::START;
        let mut window = Window::new(&self.log)?;
        let mut newest = tail.end;
        while let Some(header) = next_batch(&mut window, tail, self.salt)? {
            let records = tail.end + BATCH_HEADER as u64..tail.end + header.extent();
            let mut at = records.start;
            while at < records.end {
                let (record, size) = window.record(at, records.end)?;
                if let RecoveredRecord::Entry(index) = self.log.sound(at, recovery.record(&record))? {
                    self.offsets.put(index, at)?;
                }
                at += size;
            }
            newest = tail.end;
            tail = Tail { end: records.end, sequence: tail.sequence + 1, last: recovery.last() };
        }
        self.offsets.flush()?;
        settle(&mut window, newest, tail.end)?;
        Ok(tail)
    }
}

/// The batch at `tail`; none at the end of the log, or where a torn tail begins.
fn next_batch(window: &mut Window<'_>, tail: Tail, salt: u64) -> Result<Option<BatchHeader>, Error> {
    let Some(header) = BatchHeader::decode(window.bytes(tail.end, BATCH_HEADER)?, salt, tail.end) else {
        return no_header(window, tail, salt);
    };
    if header.sequence != tail.sequence {
        return Err(window.log.corrupt(tail.end, Damage::Sequence));
    }
    let end = tail.end + header.extent();
    if window.checksum(tail.end + BATCH_HEADER as u64, end)? == Some(header.body) {
        Ok(Some(header))
    } else if end < window.length {
        Err(window.log.corrupt(tail.end, Damage::Batch)) // The next append had begun, so this one had been acknowledged.
    } else {
        Ok(None)
    }
}

/// At `tail` is the end, or a batch torn or damaged in its header. One append writes no more than a header and a full batch, and
/// no header after its own.
fn no_header(window: &mut Window<'_>, tail: Tail, salt: u64) -> Result<Option<BatchHeader>, Error> {
    let corrupt = window.log.corrupt(tail.end, Damage::Batch);
    if window.length - tail.end.min(window.length) > (BATCH_HEADER + BATCH_LIMIT) as u64 {
        return Err(corrupt);
    }
    for at in (tail.end..window.length).step_by(ALIGN).skip(1) {
        if BatchHeader::decode(window.bytes(at, BATCH_HEADER)?, salt, at).is_some() {
            return Err(corrupt);
        }
    }
    Ok(None)
}

/// Cuts everything from `end` on, and makes durable what is before it.
///
/// The batch written last, at `newest`, is written again, the same bytes in the same place: after a sync that failed, the system may
/// hold it for clean and never write it. Older batches were synced before a later one was begun.
fn settle(window: &mut Window<'_>, newest: u64, end: u64) -> Result<(), Error> {
    let log = window.log;
    let mut at = newest;
    while at < end {
        let chunk = window.chunk(at, end)?;
        log.write_at(at, &mut [IoSlice::new(chunk)])?;
        at += chunk.len() as u64;
    }
    if window.length > end {
        log.cut(end)?;
    }
    log.sync_all()
}

/// A file seen through a buffer of constant size.
struct Window<'l> {
    log: &'l Medium,
    length: u64,
    buffer: [u8; WINDOW],
    start: u64,
    filled: usize,
}

const WINDOW: usize = 128 * 1024;
const _: () = assert!(WINDOW >= quoring_ring::record_size(u16::MAX as usize), "a record is seen whole");

impl<'l> Window<'l> {
    fn new(log: &'l Medium) -> Result<Self, Error> {
        Ok(Self { log, length: log.length()?, buffer: [0; WINDOW], start: 0, filled: 0 })
    }

    /// `count` bytes from `at` on; fewer only at the end of the file. At most [`WINDOW`].
    fn bytes(&mut self, at: u64, count: usize) -> Result<&[u8], Error> {
        let shown = at >= self.start && at.saturating_add(count as u64) <= self.start + self.filled as u64;
        if !shown {
            self.filled = 0;
            self.filled = self.log.read_at(at, &mut self.buffer)?;
            self.start = at;
        }
        let from = (at - self.start) as usize;
        Ok(self.buffer.get(from..self.filled.min(from.saturating_add(count))).unwrap_or_default())
    }

    /// Some bytes from `at` on, up to `end`; none only at the end of the file.
    fn chunk(&mut self, at: u64, end: u64) -> Result<&[u8], Error> {
        self.bytes(at, 1)?;
        let shown = self.start + self.filled as u64;
        self.bytes(at, (end.min(shown).saturating_sub(at)) as usize)
    }

    /// The checksum of the bytes from `at` to `end`; none if the file ends before that.
    fn checksum(&mut self, mut at: u64, end: u64) -> Result<Option<u32>, Error> {
        let mut sum = 0;
        while at < end {
            let chunk = self.chunk(at, end)?;
            if chunk.is_empty() {
                return Ok(None);
            }
            sum = crc(sum, chunk);
            at += chunk.len() as u64;
        }
        Ok(Some(sum))
    }

    /// The record at `at`, in a batch that ends at `end`, and its size.
    fn record(&mut self, at: u64, end: u64) -> Result<(Record<'_>, u64), Error> {
        let log = self.log;
        let header = log.sound(at, Header::decode(self.bytes(at, HEADER)?))?;
        let limit = (end - at).min(header.size() as u64) as usize;
        let record = log.sound(at, Record::parse(self.bytes(at, limit)?))?;
        Ok((record, record.bytes.len() as u64))
    }
}
