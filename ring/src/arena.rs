//! The bytes of the ring: atomic words, so that a reader may look while the writer overwrites, and
//! be told afterwards.

use crate::position::{ALIGN, Position, UNIT};
use crate::record::{HEADER, Header};
use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// Bytes of a word: what the machine loads and stores at once.
const WORD: usize = size_of::<usize>();
/// Words of a unit.
pub(crate) const WORDS: usize = UNIT / WORD;

/// Words of what records are aligned to.
const LINE: usize = ALIGN / WORD;

/// Eight bytes of the arena.
pub(crate) type Unit = [AtomicUsize; WORDS];

/// A view of the whole arena, whose length is a power of two.
#[derive(Clone, Copy)]
pub(crate) struct Arena<'r> {
    words: &'r [AtomicUsize],
}

impl<'r> Arena<'r> {
    pub(crate) fn new(units: &'r [Unit]) -> Self {
        Self { words: units.as_flattened() }
    }

    /// W: the arena's length in units.
    pub(crate) fn units(self) -> u32 {
        (self.words.len() / WORDS) as u32
    }

    /// Units from `at` to the arena's end.
    pub(crate) fn units_to_end(self, at: Position) -> u32 {
        self.units() - (at.get() & (self.units() - 1))
    }

    /// The header at `at`, if what is there looks like one.
    pub(crate) fn header(self, at: Position) -> Option<Header> {
        self.from(at).header()
    }

    /// The words from `at` to the arena's end.
    pub(crate) fn from(self, at: Position) -> Words<'r> {
        let first = (at.get() & (self.units() - 1)) as usize * WORDS;
        Words(self.words.get(first..).unwrap_or_default())
    }

    /// Fills `to`, a multiple of the alignment of records, from the words at `at`; false, and nothing done, if they run over the arena's
    /// end.
    pub(crate) fn load(self, at: Position, to: &mut [u8]) -> bool {
        self.from(at).load(to)
    }

    /// Stores a record at `at`, padded with zeros.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(crate) fn store(self, at: Position, header: &Header, payload: &[u8]) {
        let Some((head, body)) = self.window(at, header.size()).and_then(|words| words.split_at_checked(HEADER / WORD))
        else {
            return;
        };
        fill(head, &header.encode());
        fill(body, payload);
    }

    /// Stores a record at `at` whose payload is `head` and `body`, end to end.
    pub(crate) fn store_parts(self, at: Position, header: &Header, head: &[u8; HEADER], body: &[u8]) {
        self.store_bytes(at, &header.encode());
        self.store_bytes(at.advanced((HEADER / UNIT) as u32), head);
        let rest = header.size().saturating_sub(2 * HEADER);
        if let Some(words) = self.window(at.advanced((2 * HEADER / UNIT) as u32), rest) {
            fill(words, body);
        }
    }

    /// Stores the bytes of a whole record, or of a header, at `at`.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(crate) fn store_bytes(self, at: Position, bytes: &[u8]) {
        let words = self.window(at, bytes.len()).unwrap_or_default();
        for (words, line) in words.as_chunks::<LINE>().0.iter().zip(bytes.as_chunks::<ALIGN>().0) {
            for (word, chunk) in words.iter().zip(line.as_chunks().0) {
                word.store(usize::from_le_bytes(*chunk), Relaxed);
            }
        }
    }

    /// The words of `bytes` bytes from `at` on, if they do not run over the arena's end.
    fn window(self, at: Position, bytes: usize) -> Option<&'r [AtomicUsize]> {
        let first = (at.get() & (self.units() - 1)) as usize * WORDS;
        self.words.get(first..first + bytes / WORD)
    }
}

/// What lies in front of the arena's end.
#[derive(Clone, Copy)]
pub(crate) struct Words<'r>(&'r [AtomicUsize]);

impl Words<'_> {
    /// The header at their beginning, if what is there looks like one.
    pub(crate) fn header(self) -> Option<Header> {
        let mut bytes = [0; HEADER];
        self.load(&mut bytes);
        Header::from_array(&bytes)
    }

    /// Fills `to`, a multiple of the alignment of records, from their beginning; false, and nothing done, if they are fewer.
    pub(crate) fn load(self, to: &mut [u8]) -> bool {
        let Some(words) = self.0.get(..to.len() / WORD) else {
            return false;
        };
        for (line, words) in to.as_chunks_mut::<ALIGN>().0.iter_mut().zip(words.as_chunks::<LINE>().0) {
            for (chunk, word) in line.as_chunks_mut().0.iter_mut().zip(words) {
                *chunk = word.load(Relaxed).to_le_bytes();
            }
        }
        true
    }
}

/// Stores `bytes` into `words`, and zeros into the words that are left.
#[cfg_attr(target_pointer_width = "64", inline)]
fn fill(words: &[AtomicUsize], bytes: &[u8]) {
    let (chunks, rest) = bytes.as_chunks();
    let Some((whole, words)) = words.split_at_checked(chunks.len()) else {
        return;
    };
    for (word, chunk) in whole.iter().zip(chunks) {
        word.store(usize::from_le_bytes(*chunk), Relaxed);
    }
    let mut last = [0; WORD];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let mut value = usize::from_le_bytes(last);
    for word in words {
        word.store(value, Relaxed);
        value = 0;
    }
}
