//! A medium in RAM with the rules of flash, and a power supply that can be cut at any word: to test stores and boards with.

mod random;
#[cfg(test)]
mod tests;

use core::fmt;
use std::vec::Vec;

use self::random::Random;
use super::medium::{Geometry, Medium};

/// A medium in RAM that obeys, and enforces, the rules of its [`Geometry`].
///
/// Each word is programmed at most once between two erases, at its own alignment, within the medium (D1): what breaks a rule does nothing but fail and
/// be [counted](Counters::violations). Power can be [cut](Self::cut_after) after any number of operations: the word or page at work then is
/// left as [`Tear`] says, and nothing works until [`restore_power`](Self::restore_power). A word whose programming was interrupted counts as programmed unless it
/// reads as erased; a page whose erasing was interrupted counts as programmed, whatever it reads as.
/// Where words are not [ordered](Geometry::ordered), a cut also takes back a drawn part of what was written since the last sync.
///
/// One *operation* is a word programmed, a page erased, or, where words are not ordered, a sync. All futures are ready at once. What is drawn depends on
/// the seed alone.
#[derive(Clone, Debug)]
pub struct MockFlash {
    geometry: Geometry,
    bytes: Vec<u8>,
    words: Vec<Word>,
    wear: Vec<u32>,
    counters: Counters,
    power: Power,
    /// Words written since the last sync, as they were before.
    unsynced: Vec<(usize, Vec<u8>)>,
    random: Random,
}

/// What was done to a medium since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Words programmed, the interrupted ones included.
    pub words: u64,
    /// Pages erased, the interrupted ones included.
    pub erases: u64,
    /// Calls of `read`.
    pub reads: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Calls of `write`.
    pub writes: u64,
    /// Calls of `sync`.
    pub syncs: u64,
    /// Calls that broke a rule.
    pub violations: u64,
}

/// What an interrupted operation leaves behind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Tear {
    /// What was there before.
    Unchanged,
    /// Some bits as they were, some as they were to become.
    Partial,
    /// All bits but one as they were to become: the slowest one.
    Slow,
    /// What was to become.
    Whole,
    /// Anything.
    Random,
    /// A word whose error correction fails at each read, until it is erased; a page of such words and others.
    Unreadable,
}

impl Tear {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Unchanged, Self::Partial, Self::Slow, Self::Whole, Self::Random, Self::Unreadable];
}

/// Why a [`MockFlash`] refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Error {
    /// Power is off: call [`restore_power`](MockFlash::restore_power).
    PowerLoss,
    /// The word at this offset fails its error correction.
    Unreadable(u32),
    /// The word at this offset was programmed before and not erased since.
    NotErased(u32),
    /// The operation is not made of whole words or pages.
    Misaligned(u32),
    /// The operation leaves the medium.
    OutOfBounds(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Word {
    Erased,
    Programmed,
    Unreadable,
}

#[derive(Clone, Copy, Debug)]
enum Power {
    On,
    /// Fails in the operation after this many.
    Cut {
        left: u64,
        tear: Tear,
    },
    Off,
}

impl MockFlash {
    /// An erased medium; zeros, where nothing is erased.
    ///
    /// # Panics
    /// The geometry makes no sense.
    #[must_use]
    pub fn new(geometry: Geometry) -> Self {
        let Geometry { word, page, pages, .. } = geometry;
        assert!(word.is_power_of_two() && page > 0 && page.is_multiple_of(word), "pages of whole words");
        let size = u64::from(page) * u64::from(pages);
        assert!(size <= u64::from(u32::MAX), "offsets have 32 bits");
        Self {
            geometry,
            bytes: vec_of(geometry.erased.unwrap_or(0), size as usize),
            words: vec_of(Word::Erased, (size / u64::from(word)) as usize),
            wear: vec_of(0, pages as usize),
            counters: Counters::default(),
            power: Power::On,
            unsynced: Vec::new(),
            random: Random::new(0),
        }
    }

    /// A medium with this content: a word that reads as erased is, all others are programmed.
    ///
    /// # Panics
    /// The image has another size than the geometry says, or that makes no sense.
    #[must_use]
    pub fn from_image(geometry: Geometry, image: &[u8]) -> Self {
        let mut flash = Self::new(geometry);
        assert_eq!(image.len(), flash.bytes.len(), "an image of the whole medium");
        flash.bytes.copy_from_slice(image);
        let size = flash.word();
        for (state, word) in flash.words.iter_mut().zip(image.chunks(size)) {
            if geometry.erased.is_some_and(|erased| word.iter().any(|&byte| byte != erased)) {
                *state = Word::Programmed;
            }
        }
        flash
    }

    /// Draws differently from now on.
    #[must_use]
    pub const fn with_seed(mut self, seed: u64) -> Self {
        self.draw_from(seed);
        self
    }

    /// Draws differently from now on.
    pub const fn draw_from(&mut self, seed: u64) {
        self.random = Random::new(seed);
    }

    /// Cuts power in the operation after `operations` more, and leaves that one as `tear` says.
    pub fn cut_after(&mut self, operations: u64, tear: Tear) {
        self.power = Power::Cut { left: operations, tear };
    }

    /// Cuts power between two operations.
    pub fn cut_now(&mut self) {
        self.power = Power::Off;
        self.forget_unsynced();
    }

    /// Power is back, and no cut is planned any more.
    pub fn restore_power(&mut self) {
        self.power = Power::On;
    }

    /// Whether there is power.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !matches!(self.power, Power::Off)
    }

    /// What the medium holds, unreadable words included.
    #[must_use]
    pub fn image(&self) -> &[u8] {
        &self.bytes
    }

    /// Flips bit `bit` (0 to 7) of the byte at `offset`, as ageing does: no rule is asked.
    ///
    /// # Panics
    /// There is no such byte.
    pub fn flip(&mut self, offset: u32, bit: u8) {
        self.bytes[offset as usize] ^= 1 << (bit & 7);
    }

    /// Makes the word that holds this byte fail its error correction until it is erased.
    ///
    /// # Panics
    /// There is no such byte.
    pub fn spoil(&mut self, offset: u32) {
        let word = offset as usize / self.word();
        self.words[word] = Word::Unreadable;
    }

    /// How often each page was erased.
    #[must_use]
    pub fn wear(&self) -> &[u32] {
        &self.wear
    }

    /// What was done so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Words programmed, pages erased, and, where words are not ordered, syncs: what a cut can fall into.
    #[must_use]
    pub const fn operations(&self) -> u64 {
        let syncs = if self.geometry.ordered { 0 } else { self.counters.syncs };
        self.counters.words + self.counters.erases + syncs
    }

    /// As [`Medium::read`], at once.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn read_now(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        self.powered()?;
        self.counters.reads += 1;
        self.counters.bytes_read += bytes.len() as u64;
        let from = offset as usize;
        let source = self.bytes.get(from..from + bytes.len());
        let source = source.ok_or(Error::OutOfBounds(offset)).inspect_err(|_| self.counters.violations += 1)?;
        let word = self.geometry.word as usize;
        if let Some(bad) = (from / word..(from + bytes.len()).div_ceil(word))
            .find(|&index| self.words.get(index) == Some(&Word::Unreadable))
        {
            return Err(Error::Unreadable((bad * word) as u32));
        }
        bytes.copy_from_slice(source);
        Ok(())
    }

    /// As [`Medium::write`], at once.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn write_now(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.powered()?;
        self.counters.writes += 1;
        let word = self.word();
        self.check(offset, bytes.len(), word)?;
        let first = offset as usize / word;
        let erases = self.geometry.erased.is_some();
        let programmed = |index: &usize| self.words[*index] != Word::Erased;
        if let Some(taken) = (first..first + bytes.len() / word).find(programmed).filter(|_| erases) {
            self.counters.violations += 1;
            return Err(Error::NotErased((taken * word) as u32));
        }
        for (index, content) in (first..).zip(bytes.chunks(word)) {
            self.program(index, content)?;
        }
        Ok(())
    }

    /// As [`Medium::erase`], at once.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn erase_now(&mut self, offset: u32) -> Result<(), Error> {
        self.powered()?;
        let page = self.geometry.page as usize;
        self.check(offset, page, page)?;
        let Some(erased) = self.geometry.erased else { return Ok(()) };
        let cut = self.interrupts();
        let from = offset as usize;
        self.counters.erases += 1;
        self.wear[from / page] += 1;
        for index in from / self.word()..(from + page) / self.word() {
            let target = vec_of(erased, self.word());
            match cut {
                None => self.put(index, &target, Word::Erased),
                // Some words of the page are done, others are not.
                Some(tear) if self.random.chance(2) => self.tear(index, &target, tear),
                Some(_) => self.tear(index, &target, Tear::Partial),
            }
        }
        self.end(cut)
    }

    /// As [`Medium::sync`], at once.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn sync_now(&mut self) -> Result<(), Error> {
        self.powered()?;
        if self.geometry.ordered {
            self.counters.syncs += 1;
            return Ok(());
        }
        let cut = self.interrupts();
        self.counters.syncs += 1;
        match cut {
            Some(_) => self.end(cut),
            None => {
                self.unsynced.clear();
                Ok(())
            }
        }
    }

    fn program(&mut self, index: usize, content: &[u8]) -> Result<(), Error> {
        let cut = self.interrupts();
        self.counters.words += 1;
        if !self.geometry.ordered {
            let before = self.bytes[index * self.word()..][..content.len()].to_vec();
            self.unsynced.push((index, before));
        }
        match cut {
            None => self.put(index, content, Word::Programmed),
            Some(tear) => {
                self.tear(index, content, tear);
                self.spare_erased(index);
            }
        }
        self.end(cut)
    }

    fn put(&mut self, index: usize, content: &[u8], state: Word) {
        let from = index * self.word();
        self.bytes[from..from + content.len()].copy_from_slice(content);
        self.words[index] = state;
    }

    fn tear(&mut self, index: usize, target: &[u8], tear: Tear) {
        let from = index * self.word();
        let old = self.bytes[from..from + target.len()].to_vec();
        let mut mixed = |old: u8, new: u8| {
            let mask = self.random.byte();
            old & mask | new & !mask
        };
        let content: Vec<u8> = match tear {
            Tear::Unchanged | Tear::Unreadable => old,
            Tear::Partial => old.iter().zip(target).map(|(&old, &new)| mixed(old, new)).collect(),
            Tear::Slow => self.all_but_one_bit(&old, target),
            Tear::Whole => target.to_vec(),
            Tear::Random => target.iter().map(|_| self.random.byte()).collect(),
        };
        let unreadable = tear == Tear::Unreadable && self.geometry.erased.is_some();
        self.put(index, &content, if unreadable { Word::Unreadable } else { Word::Programmed });
    }

    /// What was interrupted before anything changed.
    fn spare_erased(&mut self, index: usize) {
        let from = index * self.word();
        let erased = |byte: &u8| Some(*byte) == self.geometry.erased;
        if self.words[index] == Word::Programmed && self.bytes[from..from + self.word()].iter().all(erased) {
            self.words[index] = Word::Erased;
        }
    }

    fn all_but_one_bit(&mut self, old: &[u8], target: &[u8]) -> Vec<u8> {
        let differs = |bit: &usize| (old[bit / 8] ^ target[bit / 8]) & 1 << (bit % 8) != 0;
        let bits: Vec<usize> = (0..target.len() * 8).filter(differs).collect();
        let mut content = target.to_vec();
        if let Some(bit) = bits.get(self.random.below(bits.len().max(1))) {
            content[bit / 8] ^= 1 << (bit % 8);
        }
        content
    }

    /// How the operation that begins now is torn, if power fails in it.
    fn interrupts(&mut self) -> Option<Tear> {
        match &mut self.power {
            Power::Cut { left: 0, tear } => Some(*tear),
            Power::Cut { left, .. } => {
                *left -= 1;
                None
            }
            Power::On | Power::Off => None,
        }
    }

    fn end(&mut self, cut: Option<Tear>) -> Result<(), Error> {
        if cut.is_none() {
            return Ok(());
        }
        self.cut_now();
        Err(Error::PowerLoss)
    }

    /// Of what was not synced, any part may not have reached the medium.
    fn forget_unsynced(&mut self) {
        for (index, before) in core::mem::take(&mut self.unsynced).into_iter().rev() {
            if self.random.chance(2) {
                self.put(index, &before, Word::Programmed);
            }
        }
    }

    fn powered(&self) -> Result<(), Error> {
        if self.is_on() { Ok(()) } else { Err(Error::PowerLoss) }
    }

    fn check(&mut self, offset: u32, length: usize, unit: usize) -> Result<(), Error> {
        let from = offset as usize;
        let error = if !from.is_multiple_of(unit) || !length.is_multiple_of(unit) {
            Error::Misaligned(offset)
        } else if from + length > self.bytes.len() {
            Error::OutOfBounds(offset)
        } else {
            return Ok(());
        };
        self.counters.violations += 1;
        Err(error)
    }

    const fn word(&self) -> usize {
        self.geometry.word as usize
    }
}

fn vec_of<T: Clone>(value: T, count: usize) -> Vec<T> {
    std::vec![value; count]
}

impl Medium for MockFlash {
    type Error = Error;

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        self.read_now(offset, bytes)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.write_now(offset, bytes)
    }

    async fn erase(&mut self, offset: u32) -> Result<(), Error> {
        self.erase_now(offset)
    }

    async fn sync(&mut self) -> Result<(), Error> {
        self.sync_now()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerLoss => f.write_str("power is off"),
            Self::Unreadable(offset) => write!(f, "the word at {offset:#x} fails its error correction"),
            Self::NotErased(offset) => write!(f, "the word at {offset:#x} was programmed and not erased since"),
            Self::Misaligned(offset) => write!(f, "the operation at {offset:#x} is not made of whole words or pages"),
            Self::OutOfBounds(offset) => write!(f, "the operation at {offset:#x} leaves the medium"),
        }
    }
}

impl core::error::Error for Error {}
