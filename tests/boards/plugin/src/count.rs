//! What is counted, and the report of it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::options::Options;

/// The marker that says "entry applied", by which the others are chosen.
const APPLIED: u8 = 0x51;

/// Bytes that are stored at once.
const WORD: u64 = 4;

/// The guest's instructions so far. Counters are written by the guest's only core: by code that QEMU generates, and by callbacks out of it.
#[derive(Debug)]
pub(crate) struct Counts {
    options: Options,
    window: Range<u64>,
    total: AtomicU64,
    stores: AtomicU64,
    /// Blocks are written to the trace.
    traces: AtomicBool,
    noted: Mutex<Noted>,
}

/// What callbacks have noted.
#[derive(Debug, Default)]
struct Noted {
    /// Each marker, and the instructions before it.
    markers: Vec<(u8, u64)>,
    /// How many of them said "entry applied".
    applied: u64,
    /// Addresses and instructions of the blocks that were translated.
    blocks: Vec<(u64, usize)>,
    trace: Option<BufWriter<File>>,
    /// Stores to the window, word behind word: the address of the first and their number.
    runs: Vec<(u64, u64)>,
}

impl Counts {
    /// Nothing yet.
    pub(crate) fn new(options: Options) -> std::io::Result<Self> {
        let trace = options.trace.as_ref().map(File::create).transpose()?;
        let noted = Noted { trace: trace.map(BufWriter::new), ..Noted::default() };
        Ok(Self {
            window: options.window(),
            total: AtomicU64::new(0),
            stores: AtomicU64::new(0),
            traces: AtomicBool::new(false),
            noted: Mutex::new(noted),
            options,
        })
    }

    /// The counter of all instructions.
    pub(crate) fn total(&self) -> &AtomicU64 {
        &self.total
    }

    pub(crate) fn watches_stores(&self) -> bool {
        !self.window.is_empty()
    }

    /// The number of a new block, if blocks are to be traced.
    pub(crate) fn block(&self, address: u64, instructions: usize) -> Option<u32> {
        let mut noted = self.noted();
        noted.trace.as_ref()?;
        let number = u32::try_from(noted.blocks.len()).ok()?;
        noted.blocks.push((address, instructions));
        Some(number)
    }

    /// A block begins.
    pub(crate) fn executed(&self, block: u32) {
        if self.traces.load(Relaxed)
            && let Some(trace) = &mut self.noted().trace
        {
            // What is missing of the trace is seen by who reads it.
            let _ = trace.write_all(&block.to_le_bytes());
        }
    }

    /// Something was stored at `address`; whether the power goes now.
    pub(crate) fn stored(&self, address: u64) -> bool {
        if !self.window.contains(&address) {
            return false;
        }
        if self.options.out.is_some() {
            let runs = &mut self.noted().runs;
            match runs.last_mut() {
                Some((first, stores)) if *first + WORD * *stores == address => *stores += 1,
                _ => runs.push((address, 1)),
            }
        }
        self.stores.fetch_add(1, Relaxed) + 1 == self.options.cut
    }

    pub(crate) fn marker(&self, hint: u8) {
        let mut noted = self.noted();
        noted.markers.push((hint, self.total.load(Relaxed)));
        if hint == APPLIED {
            if noted.applied == self.options.from {
                self.traces.store(true, Relaxed);
            }
            if noted.applied == self.options.to {
                self.traces.store(false, Relaxed);
            }
            noted.applied += 1;
        }
    }

    /// Writes the report, if it was asked for.
    pub(crate) fn report(&self) -> std::io::Result<()> {
        let mut noted = self.noted();
        if let Some(trace) = &mut noted.trace {
            trace.flush()?;
        }
        let Some(path) = &self.options.out else { return Ok(()) };
        let mut out = BufWriter::new(File::create(path)?);
        writeln!(out, "instructions {}", self.total.load(Relaxed))?;
        writeln!(out, "stores {}", self.stores.load(Relaxed))?;
        for (hint, total) in &noted.markers {
            writeln!(out, "marker {hint:x} {total}")?;
        }
        for (address, stores) in &noted.runs {
            writeln!(out, "run {address:x} {stores}")?;
        }
        for (number, (address, instructions)) in noted.blocks.iter().enumerate() {
            writeln!(out, "block {number} {address:x} {instructions}")?;
        }
        out.flush()
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of a marker, if this is one: the bytes as they lie in memory.
pub(crate) fn marker(instruction: &[u8]) -> Option<u8> {
    match *instruction {
        [0xaf, 0xf3, hint @ 0x50..=0x5f, 0x80] => Some(hint),
        _ => None,
    }
}
