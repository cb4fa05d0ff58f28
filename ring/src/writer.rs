//! The core's end: appends, truncates, commits.

use crate::checksum::Checksum;
use crate::position::{Position, UNIT};
use crate::reader::Reader;
use crate::record::{HEADER, Header, Kind, Record, record_size};
use crate::ring::{EMPTY, Ring};
use crate::storage::Origin;
use crate::sync::{Ordering::Relaxed, Ordering::Release, Step, fence, release};
use crate::watermark::extend;

/// The core's end: the only writer of records and slots, and of `tail`, `accepted`, `last`,
/// `committed` and `leading`.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Writer<'r> {
    ring: Ring<'r>,
    checksum: Checksum,
    /// The writer's own marks, which it need not load.
    tail: Position,
    accepted: Position,
    last: u64,
    committed: u64,
    /// `flushed` as last seen: its cache line is loaded only when that does not suffice.
    flushed: Position,
    /// `applied` as last seen: the base it is extended against.
    applied: u64,
    /// From this index on, all records up to `accepted` are entries that lie end to end: nothing else has come between them.
    unbroken: u64,
    /// The slot that is scrubbed next.
    scrubbed: u64,
}

/// Why nothing was appended. The ring is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AppendError {
    /// What would be overwritten is not durable yet: try again when `flushed` has moved.
    Full,
    /// Larger than [`record_limit`](Writer::record_limit): will never fit, refuse it to its author.
    TooLarge,
    /// Above the index after `last`: append what lies between first.
    Gap,
    /// At or below `committed`: the entry there stands for ever.
    Committed,
    /// A vote, a pad, or a record that is not of this index: drop it.
    NotAnEntry,
}

/// Records of successive indices that lie end to end in the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Span {
    /// Where the first one begins.
    pub start: Position,
    /// Number of records.
    pub count: u32,
    /// Their size in bytes, headers and padding included.
    pub bytes: usize,
}

impl<'r> Writer<'r> {
    pub(crate) fn new(ring: Ring<'r>, origin: &Origin, checksum: Checksum) -> Self {
        Self {
            ring,
            checksum,
            tail: origin.position,
            accepted: origin.position,
            last: origin.last,
            committed: origin.committed,
            flushed: origin.position,
            applied: origin.applied,
            unbroken: origin.last.saturating_add(1),
            scrubbed: 0,
        }
    }

    /// Encodes and appends an entry. An index up to `last` truncates: this entry replaces that
    /// index and all above (rule 2).
    ///
    /// Returns where the record begins.
    ///
    /// # Errors
    /// Any [`AppendError`].
    pub fn append(&mut self, kind: Kind, term: u32, index: u64, payload: &[u8]) -> Result<Position, AppendError> {
        let len = u16::try_from(payload.len()).map_err(|_| AppendError::TooLarge)?;
        let mut header = Header { checksum: 0, term, index_low: index as u32, len, kind, flags: 0 };
        let start = self.claim_entry(&header, index)?;
        header.checksum = self.checksum.of(&header, (index >> 32) as u32, payload);
        self.ring.arena.store(start, &header, payload);
        self.enter(index, start, header.size());
        Ok(start)
    }

    /// Encodes and appends an entry whose payload is `head` and `body`, end to end.
    ///
    /// Returns where the record begins.
    ///
    /// # Errors
    /// Any [`AppendError`].
    pub fn append_parts(
        &mut self,
        kind: Kind,
        term: u32,
        index: u64,
        head: &[u8; HEADER],
        body: &[u8],
    ) -> Result<Position, AppendError> {
        let len = u16::try_from(head.len() + body.len()).map_err(|_| AppendError::TooLarge)?;
        let mut header = Header { checksum: 0, term, index_low: index as u32, len, kind, flags: 0 };
        let start = self.claim_entry(&header, index)?;
        header.checksum = self.checksum.of_parts(&header, (index >> 32) as u32, head, body);
        self.ring.arena.store_parts(start, &header, head, body);
        self.enter(index, start, header.size());
        Ok(start)
    }

    /// Appends an entry that was encoded elsewhere and [verified](Checksum::verify): its bytes go
    /// in as they are.
    ///
    /// Returns where the record begins.
    ///
    /// # Errors
    /// Any [`AppendError`].
    pub fn append_record(&mut self, record: &Record<'_>, index: u64) -> Result<Position, AppendError> {
        if record.bytes.len() != record.header.size() {
            return Err(AppendError::NotAnEntry);
        }
        let start = self.claim_entry(&record.header, index)?;
        self.ring.arena.store_bytes(start, record.bytes);
        self.enter(index, start, record.bytes.len());
        Ok(start)
    }

    /// Appends entries that were encoded elsewhere and verified, and that follow on the last one: `records` holds those of `count` successive indices
    /// from `first` on, end to end. All of them at once where there is room for all in one piece, else the first one alone.
    ///
    /// Returns where they lie; call again for the rest.
    ///
    /// # Errors
    /// Any [`AppendError`], about the first of them.
    pub fn append_span(&mut self, records: &[u8], first: u64, count: u32) -> Result<Span, AppendError> {
        if first != self.last.wrapping_add(1) {
            return Err(AppendError::Gap);
        }
        let start = self.accepted;
        let end = start.advanced((records.len() / UNIT) as u32);
        if !self.flushed_suffices(|writer| writer.has_room_for_all(end, count)) {
            return self.append_first(records, first);
        }
        self.reclaim(end);
        self.ring.arena.store_bytes(start, records);
        let span = self.enter_span(records, first, count);
        if span.count > 0 { Ok(span) } else { Err(AppendError::NotAnEntry) }
    }

    /// Where there is not room for all in one piece.
    #[cold]
    fn append_first(&mut self, records: &[u8], index: u64) -> Result<Span, AppendError> {
        let record = Record::parse(records).map_err(|_| AppendError::NotAnEntry)?;
        let start = self.append_record(&record, index)?;
        Ok(Span { start, count: 1, bytes: record.bytes.len() })
    }

    /// Appends a vote: a record without payload and without index. `boot`, which the ring does not look at, stands in the place of that
    /// ([`Header::index_low`]).
    ///
    /// Returns where the record begins.
    ///
    /// # Errors
    /// [`AppendError::Full`].
    pub fn append_vote(&mut self, term: u32, flags: u8, boot: u32) -> Result<Position, AppendError> {
        let header = Header { checksum: 0, term, index_low: boot, len: 0, kind: Kind::Vote, flags };
        let start = self.store_aside(header, &[])?;
        self.unbroken = self.last.saturating_add(1);
        self.accept(start, header.size());
        Ok(start)
    }

    /// Starts the log anew behind entry `index` of `term`, which a durable snapshot covers: all entries leave the ring, and the next one has the index
    /// after it. A record says so to the store, in its place in the order of writes.
    ///
    /// What is below is committed. `committed` moves last, so a reader that sees it finds no entry from before.
    ///
    /// Returns where the record begins.
    ///
    /// # Errors
    /// [`AppendError::Full`], or [`AppendError::Committed`] if more than `index` is committed.
    pub fn append_start(&mut self, term: u32, index: u64) -> Result<Position, AppendError> {
        if index < self.committed {
            return Err(AppendError::Committed);
        }
        let payload = index.to_le_bytes();
        let len = payload.len() as u16;
        let header = Header { checksum: 0, term, index_low: index as u32, len, kind: Kind::Start, flags: 0 };
        let start = self.store_aside(header, &payload)?;
        self.ring.slots.iter().for_each(|slot| slot.store(EMPTY, Relaxed));
        self.last = index;
        self.ring.marks.core.last.store(index as u32, Release);
        self.committed = index;
        self.ring.marks.core.committed.store(index as u32, release(Step::Commit));
        self.unbroken = index.saturating_add(1);
        self.accept(start, header.size());
        Ok(start)
    }

    /// Finds room for a record without an index, and stores it there.
    fn store_aside(&mut self, mut header: Header, payload: &[u8]) -> Result<Position, AppendError> {
        let start = self.claim(header.size())?;
        header.checksum = self.checksum.of(&header, 0, payload);
        self.ring.arena.store(start, &header, payload);
        Ok(start)
    }

    /// The application is about to jump to `index`, maybe further than low halves of indices can tell (L15).
    pub fn restored(&mut self, index: u64) {
        self.applied = index;
    }

    /// Moves `committed` up to `index`: forward only, at most to `last`.
    pub fn commit(&mut self, index: u64) {
        self.applied = self.applied();
        let index = index.min(self.last);
        if index > self.committed {
            self.committed = index;
            self.ring.marks.core.committed.store(index as u32, release(Step::Commit));
        }
    }

    /// Says that this node leads in `term`.
    pub fn lead(&mut self, term: u32) {
        self.ring.marks.core.leading.store(term, Release);
    }

    /// Says that this node leads no more. To be called before anything of another leader is
    /// appended or committed (rule 5).
    pub fn follow(&mut self) {
        self.ring.marks.core.leading.store(0, Release);
    }

    /// A view of the ring.
    #[must_use]
    pub fn reader(&self) -> Reader<'r> {
        Reader::new(self.ring)
    }

    /// Bytes of the arena.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.ring.arena.units() as usize * UNIT
    }

    /// Number of indices that can be found.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.ring.slots.len()
    }

    /// Bytes of the largest padded record: half of the arena, so that with its pad it always fits;
    /// and no more than a header's `len` can tell.
    #[must_use]
    pub fn record_limit(&self) -> usize {
        (self.capacity() / 2).min(record_size(u16::MAX as usize))
    }

    /// Bytes of the largest padded record that could be appended now as the entry after `last`.
    pub fn room(&mut self) -> usize {
        self.flushed = self.flushed();
        if !self.slot_is_free(self.last.wrapping_add(1)) {
            return 0;
        }
        let free = self.ring.arena.units() - self.accepted.since(self.flushed);
        let in_place = self.ring.arena.units_to_end(self.accepted).min(free);
        let after_pad = free - in_place;
        (in_place.max(after_pad) as usize * UNIT).min(self.record_limit())
    }

    /// Whether `count` records of `bytes` bytes in all could be appended now, one after the other, as the entries after `last`.
    pub fn takes(&mut self, bytes: usize, count: u32) -> bool {
        let last = self.last.wrapping_add(count.into());
        // If the last of them may take its slot, all may. If one record of that size has room, so have small ones: what they leave unused before the pad
        // is less than the whole.
        count as usize <= self.slots()
            && self.flushed_suffices(|writer| writer.slot_is_free(last))
            && bytes <= self.room()
    }

    /// Index of the last entry.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Index up to which entries are committed.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// End of the last record.
    #[must_use]
    pub fn accepted(&self) -> Position {
        self.accepted
    }

    /// End of what is durable.
    #[must_use]
    pub fn flushed(&self) -> Position {
        self.ring.marks.flushed()
    }

    /// Index up to which the application has finished.
    #[must_use]
    pub fn applied(&self) -> u64 {
        extend(self.applied, self.ring.marks.applied.load(Relaxed))
    }

    /// Where the record of `index` begins, if it is in the ring.
    #[must_use]
    pub fn position(&self, index: u64) -> Option<Position> {
        // The slots are owned by the latest indices; those among them that are not in the ring are
        // empty or lead out of it.
        let is_latest = index <= self.last && self.last - index < self.ring.slots.len() as u64;
        self.ring.find(index, Relaxed).filter(|&at| is_latest && self.ring.holds(at, self.tail))
    }

    /// The header of the record of `index`, if it is in the ring.
    #[must_use]
    pub fn header(&self, index: u64) -> Option<Header> {
        self.ring.arena.header(self.position(index)?)
    }

    /// The records from index `first` on, none above `last`, that lie end to end and fit into `limit` bytes: a reader copies them in one
    /// piece ([`Reader::copy_span`]). A pad, a vote, or a tail that was replaced ends the span. It is empty if even the first record does
    /// not fit, and `None` if that is not in the ring.
    #[must_use]
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub fn span(&self, first: u64, last: u64, limit: usize) -> Option<Span> {
        let start = self.position(first)?;
        // A record may end exactly at the arena's end, where there is no pad, and the next one then lies at its begin.
        let limit = limit.min(self.ring.arena.units_to_end(start) as usize * UNIT);
        let all = self.accepted.since(start) as usize * UNIT;
        if last >= self.last && first >= self.unbroken && all <= limit {
            return Some(Span { start, count: (self.last - first) as u32 + 1, bytes: all });
        }
        Some(self.span_some(start, first, last, limit))
    }

    /// As many as there are, record by record.
    fn span_some(&self, start: Position, first: u64, last: u64, limit: usize) -> Span {
        let mut span = Span { start, count: 0, bytes: 0 };
        let (mut at, last) = (start, last.min(self.last));
        let mut index = first;
        while index <= last {
            // The slots of these indices are their own: what they lead to is live.
            let Some(header) = self.ring.arena.header(at).filter(|_| self.ring.find(index, Relaxed) == Some(at)) else {
                break;
            };
            let size = header.size();
            if size > limit - span.bytes {
                break;
            }
            span = Span { start, count: span.count + 1, bytes: span.bytes + size };
            index = index.wrapping_add(1);
            at = at.advanced((size / UNIT) as u32);
        }
        span
    }

    /// Whether the entry of `index` is durable: flushed, or gone from the ring, which it leaves
    /// only then.
    #[must_use]
    pub fn is_durable(&self, index: u64) -> bool {
        index <= self.last && self.position(index).is_none_or(|start| start.precedes(self.flushed()))
    }

    /// Finds room for an entry, or the reason why it must not be appended.
    fn claim_entry(&mut self, header: &Header, index: u64) -> Result<Position, AppendError> {
        if !header.is_entry_of(index) {
            return Err(AppendError::NotAnEntry);
        }
        if index <= self.committed {
            return Err(AppendError::Committed);
        }
        if index - 1 > self.last {
            return Err(AppendError::Gap);
        }
        if !self.flushed_suffices(|writer| writer.slot_is_free(index)) {
            return Err(AppendError::Full);
        }
        self.claim(header.size())
    }

    /// Whether the slot of `index` may be taken. A new index takes it from the one that many slots
    /// before, which can then only be found in the store; an index up to `last` takes it from
    /// itself.
    fn slot_is_free(&self, index: u64) -> bool {
        index <= self.last || self.slot_is_durable(index)
    }

    /// Whether what the slot of `index` leads to is not in the ring, or durable.
    fn slot_is_durable(&self, index: u64) -> bool {
        // Durable is what begins before `flushed`, and what is older than the ring; anything else begins at most a ring behind.
        let is_durable = |owner: Position| owner.since(self.flushed) >= self.ring.arena.units();
        self.ring.find(index, Relaxed).is_none_or(is_durable)
    }

    /// Whether the next `count` entries, which end at `end`, fit in one piece. If the last of them may take its slot, all may: positions rise with
    /// indices, so what the others take their slots from is older, and durable too.
    #[cfg_attr(target_pointer_width = "64", inline)]
    fn has_room_for_all(&self, end: Position, count: u32) -> bool {
        end.since(self.accepted) <= self.ring.arena.units_to_end(self.accepted)
            && end.since(self.flushed) <= self.ring.arena.units()
            && count as usize <= self.ring.slots.len()
            && self.slot_is_durable(self.last.wrapping_add(count.into()))
    }

    /// Finds room for `size` bytes in one piece, and takes it.
    fn claim(&mut self, size: usize) -> Result<Position, AppendError> {
        let start = self.place(size)?;
        self.occupy(start, size);
        Ok(start)
    }

    /// Where a record of `size` bytes may begin: only what is durable is overwritten (rule 3).
    #[cfg_attr(target_pointer_width = "64", inline)]
    fn place(&mut self, size: usize) -> Result<Position, AppendError> {
        if size > self.record_limit() {
            return Err(AppendError::TooLarge);
        }
        let units = (size / UNIT) as u32;
        let capacity = self.ring.arena.units();
        let to_end = self.ring.arena.units_to_end(self.accepted);
        let pad = if units > to_end { to_end } else { 0 };
        let start = self.accepted.advanced(pad);
        let end = start.advanced(units);
        if !self.flushed_suffices(|writer| end.since(writer.flushed) <= capacity) {
            return Err(AppendError::Full);
        }
        Ok(start)
    }

    /// Takes the room from what is durable: exactly as much as is needed, so that slow readers find as much as possible. Pads up to it.
    fn occupy(&mut self, start: Position, size: usize) {
        self.reclaim(start.advanced((size / UNIT) as u32));
        if start != self.accepted {
            self.pad(start);
        }
    }

    fn reclaim(&mut self, end: Position) {
        let capacity = self.ring.arena.units();
        if end.since(self.tail) > capacity {
            self.tail = end.advanced(capacity.wrapping_neg());
            self.ring.marks.core.tail.store(self.tail.get(), Relaxed);
            fence(Step::Reclaim, Release);
        }
    }

    /// Fills what is left before the arena's end, where `start` lies.
    #[cold]
    fn pad(&mut self, start: Position) {
        let len = (start.since(self.accepted) as usize * UNIT).saturating_sub(HEADER) as u16;
        let header = Header { checksum: 0, term: 0, index_low: 0, len, kind: Kind::Pad, flags: 0 };
        self.ring.arena.store_bytes(self.accepted, &header.encode());
    }

    /// Whether `condition` holds with `flushed` as last seen, or else as it is now.
    fn flushed_suffices(&mut self, condition: impl Fn(&Self) -> bool) -> bool {
        condition(self) || {
            self.flushed = self.flushed();
            condition(self)
        }
    }

    /// Makes the record at `start` that of `index`, and the last one.
    #[cfg_attr(target_pointer_width = "64", inline)]
    fn enter(&mut self, index: u64, start: Position, size: usize) {
        if index <= self.last {
            self.truncate(index);
        }
        if start != self.accepted {
            self.unbroken = index;
        }
        if let Some(slot) = self.ring.slot(index) {
            slot.store(start.get(), release(Step::Enter));
        }
        self.last = index;
        self.ring.marks.core.last.store(index as u32, Release);
        self.accept(start, size);
    }

    /// The entry of `index` is about to be replaced, and those above it go (rule 2).
    #[cold]
    fn truncate(&mut self, index: u64) {
        let mut gone = self.last.min(index.saturating_add(self.ring.slots.len() as u64));
        while gone > index {
            self.clear(gone);
            gone -= 1;
        }
        self.unbroken = index;
    }

    /// Makes the records that were stored behind the last one those of the indices from `first` on, as far as they are that.
    #[cfg_attr(target_pointer_width = "64", inline)]
    fn enter_span(&mut self, records: &[u8], first: u64, count: u32) -> Span {
        let limit = self.record_limit();
        let mut span = Span { start: self.accepted, count: 0, bytes: 0 };
        while span.count < count {
            let Some(index) = first.checked_add(span.count.into()) else { break };
            let size = records.get(span.bytes..).and_then(|rest| entry_size(rest, index, limit));
            let (Some(size), Some(slot)) = (size, self.ring.slot(index)) else { break };
            slot.store(span.start.advanced((span.bytes / UNIT) as u32).get(), release(Step::Enter));
            span.count += 1;
            span.bytes += size;
        }
        if span.count > 0 {
            self.last += u64::from(span.count);
            self.ring.marks.core.last.store(self.last as u32, Release);
            self.accept(span.start, span.bytes);
        }
        span
    }

    /// Publishes what begins at `start`.
    #[cfg_attr(target_pointer_width = "64", inline)]
    fn accept(&mut self, start: Position, size: usize) {
        let end = start.advanced((size / UNIT) as u32);
        if end.since(self.accepted) >= self.ring.arena.units_to_end(self.accepted) {
            self.scrub();
        }
        self.accepted = end;
        self.ring.marks.core.accepted.store(end.get(), release(Step::Accept));
    }

    /// Empties slots that lead out of the ring, in turn, each time that the ring begins anew: each slot is looked at once in 2^31 units,
    /// so that none gets so old that it seems to lead into the ring again (L15).
    #[cold]
    fn scrub(&mut self) {
        let due = 1 + ((u64::from(self.ring.arena.units()) * self.ring.slots.len() as u64) >> 31);
        for _ in 0..due {
            self.scrubbed = self.scrubbed.wrapping_add(1);
            if self.ring.find(self.scrubbed, Relaxed).is_some_and(|at| !self.ring.holds(at, self.tail)) {
                self.clear(self.scrubbed);
            }
        }
    }

    fn clear(&self, index: u64) {
        if let Some(slot) = self.ring.slot(index) {
            slot.store(EMPTY, Relaxed);
        }
    }
}

/// Bytes of the entry of `index` at the beginning of `bytes`, if the whole entry is there and not above `limit`.
#[cfg_attr(target_pointer_width = "64", inline)]
fn entry_size(bytes: &[u8], index: u64, limit: usize) -> Option<usize> {
    let header = Header::from_array(bytes.first_chunk()?)?;
    let size = header.size();
    (header.is_entry_of(index) && size <= bytes.len().min(limit)).then_some(size)
}

#[cfg(all(test, not(loom)))]
mod tests;
