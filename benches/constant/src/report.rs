//! What a run has found.

use std::fmt;

use allocation_counter::AllocationInfo;
use anyhow::{Result, ensure};
use quoring::NodeId;

use crate::clients::Done;
use crate::node::{NODES, Sizes};
use crate::resident::Resident;
use crate::script::{CYCLES, Mark, What};

/// Bytes by which a process may grow late: pages of code and stack that nothing had touched before. Over ten million entries, one byte lost in a hundred of them is more.
pub const SLACK: u64 = 64 * 1024;

/// The memory after so many entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// Commands that had been applied.
    pub applied: u64,
    /// Bytes on the heap.
    pub heap: i64,
    /// Bytes of the machine's memory that the process has, if that can be known.
    pub resident: Option<u64>,
}

/// What a run has found. Its own memory is there, and touched, before the run begins.
#[derive(Clone, Debug)]
pub struct Report {
    /// Bytes of a node.
    pub sizes: Sizes,
    /// What clients have done.
    pub done: Done,
    /// Proposals that had to wait for room in a ring.
    pub busy: u64,
    /// Snapshots that applications made.
    pub saved: u64,
    /// Allocations after the start.
    pub allocations: u64,
    /// Bytes on the heap now.
    pub heap: i64,
    samples: Kept<Sample>,
    marks: Kept<Mark>,
}

/// A list whose memory is there, and touched, before it is filled.
#[derive(Clone, Debug)]
struct Kept<T> {
    places: Vec<T>,
    taken: usize,
}

impl Report {
    pub(crate) fn new(sizes: Sizes, heap: i64, node: NodeId, (samples, marks): (usize, usize)) -> Self {
        Self {
            sizes,
            done: Done::default(),
            busy: 0,
            saved: 0,
            allocations: 0,
            heap,
            samples: Kept::new(Sample { applied: u64::MAX, heap: i64::MAX, resident: None }, samples),
            marks: Kept::new(Mark { applied: u64::MAX, node, what: What::Saved }, marks),
        }
    }

    /// Notes what was allocated since the last time.
    pub(crate) fn count(&mut self, counted: &AllocationInfo) {
        self.allocations += counted.count_total;
        self.heap += counted.bytes_current;
    }

    /// Looks at the memory.
    pub(crate) fn take(&mut self, applied: u64, resident: Option<&mut Resident>) {
        self.samples.push(Sample { applied, heap: self.heap, resident: resident.and_then(Resident::bytes) });
    }

    pub(crate) fn mark(&mut self, mark: Mark) {
        match mark.what {
            What::Saved => self.saved += 1,
            _ => self.marks.push(mark),
        }
    }

    /// The memory over the run.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        self.samples.as_slice()
    }

    /// What happened, in order; without the snapshots that applications made.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        self.marks.as_slice()
    }

    /// How often that happened.
    #[must_use]
    pub fn count_of(&self, what: What) -> usize {
        self.marks().iter().filter(|mark| mark.what == what).count()
    }

    /// Commands that were applied.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.samples().last().map_or(0, |sample| sample.applied)
    }

    /// Whether nothing was allocated after the start, and everything that must have happened has.
    ///
    /// # Errors
    /// What is not so.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.samples.taken <= self.samples.places.len() && self.marks.taken <= self.marks.places.len(),
            "a list is too short"
        );
        let first = self.samples().first().map_or(0, |sample| sample.heap);
        ensure!(self.allocations == 0, "{} allocations after the start", self.allocations);
        let flat = self.samples().iter().all(|sample| sample.heap == first);
        ensure!(flat && self.heap == first, "the heap has changed");
        let happened = |what, least: u64| self.count_of(what) as u64 >= least;
        ensure!(happened(What::Leads, 4 * CYCLES), "too few leaders");
        ensure!(happened(What::Installed, CYCLES) && happened(What::CaughtUp, CYCLES), "no peer had to be caught up");
        ensure!(self.saved > 0 && self.busy > 0, "no snapshot was made, or no ring was full");
        let Done { proposed, in_sessions, in_streams, read, stale } = self.done;
        ensure!(
            [proposed, in_sessions, in_streams, read].iter().all(|&done| done > 0),
            "a kind of client has done nothing"
        );
        ensure!(stale == 0, "{stale} reads were stale");
        Ok(())
    }

    /// Whether the process has not grown since the first cycle, in which everything has happened once.
    ///
    /// # Errors
    /// It has, by more than [`SLACK`].
    pub fn check_resident(&self) -> Result<()> {
        let highest = |samples: &[Sample]| samples.iter().filter_map(|sample| sample.resident).max().unwrap_or(0);
        let (first, rest) = self.samples().split_at(self.warm());
        let (first, rest) = (highest(first), highest(rest));
        ensure!(rest <= first + SLACK, "the process has grown from {first} bytes to {rest}");
        Ok(())
    }

    /// The first sample after the first cycle.
    fn warm(&self) -> usize {
        self.samples().partition_point(|sample| sample.applied < self.applied() / CYCLES)
    }
}

impl<T: Clone> Kept<T> {
    fn new(filler: T, room: usize) -> Self {
        Self { places: vec![filler; room], taken: 0 }
    }

    /// What finds no room is counted.
    fn push(&mut self, item: T) {
        if let Some(place) = self.places.get_mut(self.taken) {
            *place = item;
        }
        self.taken += 1;
    }

    fn as_slice(&self) -> &[T] {
        self.places.get(..self.taken).unwrap_or(&self.places)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sizes { resources, tasks, application, flash } = self.sizes;
        let Done { proposed, in_sessions, in_streams, read, .. } = self.done;
        writeln!(f, "{} commands applied on each of {NODES} nodes:", self.applied())?;
        writeln!(
            f,
            "  {proposed} proposed, {in_sessions} in sessions and {in_streams} in streams were answered; {read} reads"
        )?;
        writeln!(
            f,
            "  {} elections; {} times a peer was caught up from the store, and {} times by a snapshot; {} snapshots made, {} times a ring was full",
            self.count_of(What::Leads),
            self.count_of(What::CaughtUp),
            self.count_of(What::Installed),
            self.saved,
            self.busy
        )?;
        writeln!(
            f,
            "RAM of a node: {} bytes ({resources} of resources, {tasks} of tasks, {application} of the application)",
            self.sizes.ram()
        )?;
        let first = self.samples().first().map_or(0, |sample| sample.heap);
        writeln!(
            f,
            "heap: {first} bytes at the start, {} at the end, {} allocations in between ({flash} bytes of each node's are its flash)",
            self.heap, self.allocations
        )?;
        let resident = |sample: Option<&Sample>| sample.and_then(|sample| sample.resident).unwrap_or(0) / 1024;
        let warm = self.samples().get(self.warm());
        write!(
            f,
            "process: {} KiB at the start, {} after a tenth, {} at the end",
            resident(self.samples().first()),
            resident(warm),
            resident(self.samples().last())
        )
    }
}
