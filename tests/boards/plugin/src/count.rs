//! What is counted, and the report of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::options::Options;

/// The marker that says "entry applied", by which the others are chosen.
const APPLIED: u8 = 0x51;
/// The markers around what is done under a lock.
const LOCK: u8 = 0x52;
const UNLOCK: u8 = 0x53;

/// The guest's instructions so far. Counters are written by the guest's only core: by code that QEMU generates, and by callbacks out of it.
#[derive(Debug)]
pub(crate) struct Counts {
    options: Options,
    window: Range<u64>,
    total: AtomicU64,
    stores: AtomicU64,
    /// One for each half word of code.
    at: Vec<AtomicU64>,
    noted: Mutex<Noted>,
}

/// What callbacks have noted.
#[derive(Debug, Default)]
struct Noted {
    /// Each marker, and the instructions before it.
    markers: Vec<(u8, u64)>,
    /// How many of them said "entry applied".
    applied: u64,
    /// What the counters by address were at the first marker that counts.
    before: Vec<u64>,
    /// What they had become at the last.
    after: Vec<u64>,
    masked: Sections,
    locked: Sections,
}

/// Sections of one kind. Those within others count as part of them.
#[derive(Debug, Default)]
struct Sections {
    /// Where the outermost began that has not ended, and the instructions before it.
    open: Option<(u64, u64)>,
    /// How many are open.
    depth: u32,
    by_place: BTreeMap<u64, Lengths>,
}

/// The sections that begin at one place.
#[derive(Clone, Copy, Debug, Default)]
struct Lengths {
    times: u64,
    longest: u64,
    total: u64,
}

/// What the plugin makes of an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Instruction {
    /// `hint #0x50` to `hint #0x5f`, but for those around a lock.
    Marker(u8),
    /// `hint #0x52`.
    Lock,
    /// `hint #0x53`.
    Unlock,
    /// `cpsid i`.
    Mask,
    /// `cpsie i`.
    Unmask,
    Other,
}

impl Instruction {
    /// Of the bytes as they lie in memory.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match *bytes {
            [0xaf, 0xf3, LOCK, 0x80] => Self::Lock,
            [0xaf, 0xf3, UNLOCK, 0x80] => Self::Unlock,
            [0xaf, 0xf3, hint @ 0x50..=0x5f, 0x80] => Self::Marker(hint),
            [0x72, 0xb6] => Self::Mask,
            [0x62, 0xb6] => Self::Unmask,
            _ => Self::Other,
        }
    }
}

impl Counts {
    pub(crate) fn new(options: Options) -> Self {
        let halves = usize::try_from(options.code / 2).unwrap_or(0);
        Self {
            window: options.window(),
            total: AtomicU64::new(0),
            stores: AtomicU64::new(0),
            at: std::iter::repeat_with(AtomicU64::default).take(halves).collect(),
            noted: Mutex::default(),
            options,
        }
    }

    /// The counter of all instructions.
    pub(crate) fn total(&self) -> &AtomicU64 {
        &self.total
    }

    /// The counter of the instruction at `address`.
    pub(crate) fn at(&self, address: u64) -> Option<&AtomicU64> {
        self.at.get(usize::try_from(address / 2).ok()?)
    }

    pub(crate) fn watches_stores(&self) -> bool {
        !self.window.is_empty()
    }

    /// Something was stored at `address`; whether the power goes now.
    pub(crate) fn stored(&self, address: u64) -> bool {
        self.window.contains(&address) && self.stores.fetch_add(1, Relaxed) + 1 == self.options.cut
    }

    pub(crate) fn marker(&self, hint: u8) {
        let mut noted = self.noted();
        noted.markers.push((hint, self.total.load(Relaxed)));
        if hint != APPLIED {
            return;
        }
        if noted.applied == self.options.from {
            noted.before = self.snapshot();
            noted.masked.by_place.clear();
            noted.locked.by_place.clear();
        }
        if Some(noted.applied) == self.options.to {
            noted.after = self.snapshot();
        }
        noted.applied += 1;
    }

    /// `cpsid i` at `address`. Another before the next `cpsie i` changes nothing.
    pub(crate) fn masked(&self, address: u64) {
        let total = self.total.load(Relaxed);
        self.noted().masked.open.get_or_insert((address, total));
    }

    pub(crate) fn unmasked(&self) {
        let mut noted = self.noted();
        let counts = noted.after.is_empty();
        noted.masked.close(self.total.load(Relaxed), counts);
    }

    pub(crate) fn locked(&self, address: u64) {
        let total = self.total.load(Relaxed);
        let locked = &mut self.noted().locked;
        locked.open.get_or_insert((address, total));
        locked.depth += 1;
    }

    pub(crate) fn unlocked(&self) {
        let mut noted = self.noted();
        noted.locked.depth = noted.locked.depth.saturating_sub(1);
        if noted.locked.depth == 0 {
            let counts = noted.after.is_empty();
            noted.locked.close(self.total.load(Relaxed), counts);
        }
    }

    /// Writes the report, if it was asked for.
    pub(crate) fn report(&self) -> std::io::Result<()> {
        let Some(path) = &self.options.out else { return Ok(()) };
        let mut out = BufWriter::new(File::create(path)?);
        let noted = self.noted();
        writeln!(out, "instructions {}", self.total.load(Relaxed))?;
        writeln!(out, "stores {}", self.stores.load(Relaxed))?;
        for (hint, total) in &noted.markers {
            writeln!(out, "marker {hint:x} {total}")?;
        }
        for (kind, sections) in [("masked", &noted.masked), ("locked", &noted.locked)] {
            for (address, Lengths { times, longest, total }) in &sections.by_place {
                writeln!(out, "{kind} {address:x} {times} {longest} {total}")?;
            }
        }
        let now = self.snapshot();
        let after = if noted.after.is_empty() { &now } else { &noted.after };
        for (index, count) in after.iter().enumerate() {
            let count = count - noted.before.get(index).copied().unwrap_or(0);
            if count > 0 {
                writeln!(out, "at {:x} {count}", index * 2)?;
            }
        }
        out.flush()
    }

    fn snapshot(&self) -> Vec<u64> {
        self.at.iter().map(|counter| counter.load(Relaxed)).collect()
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sections {
    fn close(&mut self, now: u64, counts: bool) {
        let Some((address, since)) = self.open.take() else { return };
        if counts {
            let lengths = self.by_place.entry(address).or_default();
            lengths.times += 1;
            lengths.longest = lengths.longest.max(now - since);
            lengths.total += now - since;
        }
    }
}
