//! Reading and writing a medium through two small buffers.

use core::ops::Range;

use super::format::{BATCH_HEADER, BatchHeader, Format, HEADER, PageHeader, STEP, TRAILER};
use crate::store::medium::Medium;

/// A medium, what was last read from it, and the word that is being filled.
#[derive(Clone, Debug)]
pub(super) struct Io<M, const WORD: usize, const RECORD: usize> {
    pub(super) medium: M,
    pub(super) format: Format,
    buffer: [u8; RECORD],
    /// The part of the medium that `buffer` holds the bytes of.
    held: Range<u32>,
    word: [u8; WORD],
    /// The same of the snapshot that is being written.
    snapshot_word: [u8; WORD],
}

/// Where a run of words is written, and how much of the next one is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    at: u32,
    filled: u32,
}

impl Words {
    pub(super) const fn at(at: u32) -> Self {
        Self { at, filled: 0 }
    }

    /// Where the next byte goes.
    pub(super) const fn end(&self) -> u32 {
        self.at + self.filled
    }
}

/// The checksums of a batch that is written at a place, as its bytes come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sums {
    sum: u32,
    prefix: u32,
    /// Bytes until the last word.
    left: u32,
}

impl Sums {
    pub(super) const fn new(format: &Format, place: u32, body: u32) -> Self {
        let extent = format.extent(body);
        let left = extent.saturating_sub(format.tail()).saturating_sub(BATCH_HEADER);
        Self { sum: place, prefix: place, left }
    }

    pub(super) fn add(&mut self, format: &Format, bytes: &[u8]) {
        let (first, rest) = bytes.split_at_checked(self.left as usize).unwrap_or((bytes, &[]));
        if !first.is_empty() {
            self.prefix = (format.crc)(self.prefix, first);
            self.sum = self.prefix;
            self.left -= first.len() as u32;
        }
        self.sum = (format.crc)(self.sum, rest);
    }

    /// Of `count` zeros.
    pub(super) fn pad(&mut self, format: &Format, count: u32) {
        (0..count).for_each(|_| self.add(format, &[0]));
    }

    pub(super) const fn prefix(&self) -> u32 {
        self.prefix
    }

    pub(super) const fn sum(&self) -> u32 {
        self.sum
    }
}

impl<M: Medium, const WORD: usize, const RECORD: usize> Io<M, WORD, RECORD> {
    pub(super) const fn new(medium: M, format: Format) -> Self {
        Self { medium, format, buffer: [0; RECORD], held: 0..0, word: [0; WORD], snapshot_word: [0; WORD] }
    }

    /// Forgets what was read.
    pub(super) const fn forget(&mut self) {
        self.held = 0..0;
    }

    /// Bytes of the medium, at most [`RECORD`](Self) of them.
    pub(super) async fn get(&mut self, at: u32, length: u32) -> Result<&[u8], M::Error> {
        let range = self.load(at, length).await?;
        Ok(self.buffer.get(range).unwrap_or_default())
    }

    /// Where in the buffer those bytes are.
    async fn load(&mut self, at: u32, length: u32) -> Result<Range<usize>, M::Error> {
        let end = at + length;
        if at < self.held.start || end > self.held.end {
            let page = self.format.page();
            let into_page = at.checked_rem(page).unwrap_or_default();
            let ahead = (page - into_page).min(RECORD as u32).max(length);
            self.forget();
            // Words ahead may be unreadable though these are not.
            let mut held = ahead;
            if self.medium.read(at, self.buffer.get_mut(..ahead as usize).unwrap_or_default()).await.is_err() {
                held = length;
                self.medium.read(at, self.buffer.get_mut(..length as usize).unwrap_or_default()).await?;
            }
            self.held = at..at + held;
        }
        let from = at.saturating_sub(self.held.start) as usize;
        Ok(from..from + length as usize)
    }

    /// On media that are erased, a word that cannot be read is one that was torn: damage of that place, not a failure.
    pub(super) fn torn<T>(&self, read: Result<T, M::Error>) -> Result<Option<T>, M::Error> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(_) if self.format.geometry.erased.is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A field of the medium; `None` if it cannot be read.
    pub(super) async fn array<const N: usize>(&mut self, at: u32) -> Result<Option<[u8; N]>, M::Error> {
        let read = self.get(at, N as u32).await.map(|bytes| bytes.first_chunk().copied());
        Ok(self.torn(read)?.flatten())
    }

    /// The checksum of a range, going on from `sum`; `None` if it cannot be read.
    pub(super) async fn sum(&mut self, mut sum: u32, mut at: u32, end: u32) -> Result<Option<u32>, M::Error> {
        let crc = self.format.crc;
        while at < end {
            let length = (end - at).min(RECORD as u32);
            let read = self.get(at, length).await.map(|bytes| crc(sum, bytes));
            let Some(next) = self.torn(read)? else { return Ok(None) };
            sum = next;
            at += length;
        }
        Ok(Some(sum))
    }

    /// Whether a range reads as erased.
    pub(super) async fn erased(&mut self, mut at: u32, end: u32) -> Result<bool, M::Error> {
        let format = self.format;
        while at < end {
            let length = (end - at).min(RECORD as u32);
            let read = self.get(at, length).await.map(|bytes| format.is_erased(bytes));
            if self.torn(read)? != Some(true) {
                return Ok(false);
            }
            at += length;
        }
        Ok(true)
    }

    /// The header of a page, from whichever copy checks: a version in `Err` if it is not this one's.
    pub(super) async fn header(&mut self, number: usize) -> Result<Option<Result<PageHeader, u8>>, M::Error> {
        let (base, crc) = (self.format.base(number), self.format.crc);
        for at in [base, base + self.format.header()] {
            if let Some(bytes) = self.array::<HEADER>(at).await?
                && let Some(header) = PageHeader::decode(&bytes, crc)
            {
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Whether both copies of a page's header check.
    pub(super) async fn has_both_headers(&mut self, number: usize) -> Result<bool, M::Error> {
        let (base, crc) = (self.format.base(number), self.format.crc);
        for at in [base, base + self.format.header()] {
            let bytes = self.array::<HEADER>(at).await?;
            if !bytes.is_some_and(|bytes| matches!(PageHeader::decode(&bytes, crc), Some(Ok(_)))) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes what comes next of a run of words.
    pub(super) async fn push(&mut self, words: &mut Words, bytes: &[u8]) -> Result<(), M::Error> {
        push(&mut self.medium, &mut self.word, self.format.geometry.word, words, bytes).await
    }

    /// Writes what comes next of a snapshot.
    pub(super) async fn push_snapshot(&mut self, words: &mut Words, bytes: &[u8]) -> Result<(), M::Error> {
        push(&mut self.medium, &mut self.snapshot_word, self.format.geometry.word, words, bytes).await
    }

    /// Writes the last word of a snapshot, if one was begun.
    pub(super) async fn end_snapshot(&mut self, words: &mut Words) -> Result<(), M::Error> {
        while words.filled > 0 {
            self.push_snapshot(words, &[0]).await?;
        }
        Ok(())
    }

    /// Writes `count` zeros.
    pub(super) async fn push_zeros(&mut self, words: &mut Words, count: u32) -> Result<(), M::Error> {
        for _ in 0..count {
            self.push(words, &[0]).await?;
        }
        Ok(())
    }

    /// Writes bytes that lie elsewhere on the medium, at most [`RECORD`](Self) of them.
    pub(super) async fn copy(&mut self, words: &mut Words, at: u32, length: u32) -> Result<(), M::Error> {
        let range = self.load(at, length).await?;
        let bytes = self.buffer.get(range).unwrap_or_default();
        push(&mut self.medium, &mut self.word, self.format.geometry.word, words, bytes).await
    }

    /// Writes a batch of these records: at once, if it fits the buffer.
    pub(super) async fn write_batch(&mut self, at: u32, number: u16, place: u32, body: &[u8]) -> Result<(), M::Error> {
        let length = body.len() as u32;
        let format = self.format;
        if let Some(batch) = self.buffer.get_mut(..format.extent(length) as usize) {
            self.held = 0..0;
            format.encode_batch(batch, number, place, body);
            return self.medium.write(at, batch).await;
        }
        let mut sums = Sums::new(&format, place, length);
        sums.add(&format, body);
        sums.pad(&format, padding(&format, length));
        let header = BatchHeader { number, length: (length / STEP) as u16, prefix: sums.prefix() };
        let mut words = Words::at(at);
        self.begin_batch(&mut words, &header, place).await?;
        self.push(&mut words, body).await?;
        self.end_batch(&mut words, length, sums.sum()).await
    }

    /// Writes the header of a batch; what follows is [pushed](Self::push).
    pub(super) async fn begin_batch(
        &mut self,
        words: &mut Words,
        header: &BatchHeader,
        place: u32,
    ) -> Result<(), M::Error> {
        self.forget();
        self.push(words, &header.encode(&self.format, place)).await
    }

    /// Writes what is missing to the end of a batch, and its checksum.
    pub(super) async fn end_batch(&mut self, words: &mut Words, body: u32, sum: u32) -> Result<(), M::Error> {
        self.push_zeros(words, padding(&self.format, body)).await?;
        self.push(words, &sum.to_le_bytes()).await
    }

    /// Writes both copies of a page's header.
    pub(super) async fn write_header(&mut self, number: usize, header: &PageHeader) -> Result<(), M::Error> {
        self.forget();
        let bytes = header.encode(self.format.crc);
        let mut words = Words::at(self.format.base(number));
        for _ in 0..2 {
            self.push(&mut words, &bytes).await?;
            self.push_zeros(&mut words, self.format.header() - HEADER as u32).await?;
        }
        Ok(())
    }

    /// Takes the page at `base` out of use: erases it, or, where nothing is erased, the `head` bytes that it counts by.
    pub(super) async fn wipe(&mut self, base: u32, head: u32) -> Result<(), M::Error> {
        self.forget();
        if self.format.geometry.erased.is_some() {
            return self.medium.erase(base).await;
        }
        let mut words = Words::at(base);
        self.push_zeros(&mut words, head).await?;
        self.medium.sync().await
    }
}

/// Zeros between the records of a batch and its checksum.
pub(super) const fn padding(format: &Format, body: u32) -> u32 {
    format.extent(body) - BATCH_HEADER - body - TRAILER
}

/// Fills the word that is begun, then writes whole words from where they lie, then begins the next.
async fn push<M: Medium>(
    medium: &mut M,
    buffer: &mut [u8],
    word: u32,
    words: &mut Words,
    mut bytes: &[u8],
) -> Result<(), M::Error> {
    let buffer = buffer.get_mut(..word as usize).unwrap_or_default();
    while !bytes.is_empty() {
        if words.filled == 0 && bytes.len() >= word as usize {
            // Words are powers of two.
            let whole = bytes.len() & (word as usize).wrapping_neg();
            let (now, rest) = bytes.split_at_checked(whole).unwrap_or((bytes, &[]));
            medium.write(words.at, now).await?;
            words.at += whole as u32;
            bytes = rest;
            continue;
        }
        let room = buffer.get_mut(words.filled as usize..).unwrap_or_default();
        let (now, rest) = bytes.split_at_checked(room.len()).unwrap_or((bytes, &[]));
        room.iter_mut().zip(now).for_each(|(to, &byte)| *to = byte);
        words.filled += now.len() as u32;
        bytes = rest;
        if words.filled == word {
            medium.write(words.at, buffer).await?;
            *words = Words::at(words.at + word);
        }
    }
    Ok(())
}
