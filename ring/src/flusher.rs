//! The log writer's end: takes records to the store, in order.

use crate::position::{Position, UNIT};
use crate::record::{Header, Kind};
use crate::ring::Ring;

/// The log writer's end, and the only writer of `flushed`.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Flusher<'r> {
    ring: Ring<'r>,
    flushed: Position,
}

/// What [`Flusher::gather`] copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Batch {
    /// Bytes that were copied; zero if nothing is pending, or the buffer is smaller than the next
    /// record.
    pub bytes: usize,
    /// What to [publish](Flusher::publish) when they are durable.
    pub end: Position,
}

impl<'r> Flusher<'r> {
    pub(crate) fn new(ring: Ring<'r>, flushed: Position) -> Self {
        Self { ring, flushed }
    }

    /// Moves `flushed` up to `end`, the end of a batch that is durable now: forward only, never
    /// past `accepted`. A completion that comes late, or comes twice, moves nothing (R2).
    pub fn publish(&mut self, end: Position) {
        // An older end lies almost the whole axis ahead, so one comparison refuses both.
        if end.since(self.flushed) <= self.ring.marks.accepted().since(self.flushed) {
            self.flushed = end;
            self.ring.marks.publish_flushed(end);
        }
    }

    /// Copies whole records from `flushed` on, in order and end to end, as many as are accepted and
    /// fit into `buf`.
    ///
    /// A buffer of [`record_limit`](crate::Writer::record_limit) bytes takes any record. Gathering
    /// again before publishing copies the same records again.
    #[must_use]
    pub fn gather(&self, buf: &mut [u8]) -> Batch {
        let accepted = self.ring.marks.accepted();
        let pending = accepted.since(self.flushed);
        // A pad reaches to the arena's end, and `accepted` never lies behind one: what does not run over that end is records and nothing else.
        match buf.get_mut(..pending as usize * UNIT) {
            Some(all) if pending <= self.ring.arena.units_to_end(self.flushed) => {
                self.ring.arena.load(self.flushed, all);
                Batch { bytes: all.len(), end: accepted }
            }
            _ => self.gather_some(accepted, buf),
        }
    }

    /// As many as fit, without the pad.
    #[cold]
    fn gather_some(&self, accepted: Position, buf: &mut [u8]) -> Batch {
        let mut batch = Batch { bytes: 0, end: self.flushed };
        while batch.end != accepted {
            let wrap = batch.end.advanced(self.ring.arena.units_to_end(batch.end));
            let done = batch;
            self.measure(&mut batch, accepted, wrap, buf.len());
            if let Some(to) = buf.get_mut(done.bytes..batch.bytes) {
                self.ring.arena.load(done.end, to);
            }
            if batch.end != wrap {
                break;
            }
        }
        batch
    }

    /// Whether records wait to be flushed.
    #[must_use]
    pub fn pending(&self) -> bool {
        self.ring.marks.accepted() != self.flushed
    }

    /// Adds to `batch` the records after it that lie before `accepted`, before the arena's end at
    /// `wrap`, and within `room` bytes. Nothing from `flushed` on is overwritten: headers are whole.
    fn measure(&self, batch: &mut Batch, accepted: Position, wrap: Position, room: usize) {
        while batch.end != accepted && batch.end != wrap {
            match self.ring.arena.header(batch.end) {
                Some(Header { kind: Kind::Pad, .. }) => batch.end = wrap,
                Some(header) if batch.bytes + header.size() <= room => {
                    batch.bytes += header.size();
                    batch.end = batch.end.advanced((header.size() / UNIT) as u32);
                }
                _ => break,
            }
        }
    }
}
