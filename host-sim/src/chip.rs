//! The flash chip of each node, which survives what happens to the node, and the bus through which the node reaches it.
//!
//! ```text
//!   begin(operation)         finish()
//!        |  latency, stall      |
//!   -----+----------------------+---->   done
//!        '-- power loss, failure: any number of words are programmed, the next one is torn
//! ```

use std::ops::Range;
use std::rc::Rc;

use allocation_counter::opt_out;
use quoring::store::medium::{Geometry, Medium};
use quoring::store::mock::{self, MockFlash, Tear};
use quoring::store::paged::{Layout, Owner};
use quoring_core::NodeId;

use crate::options::Planted;
use crate::prng::Prng;
use crate::tally::Fault;
use crate::timeline::Micros;
use crate::trace::Source;
use crate::world::{CLUSTER, World};

/// A read takes this many times less than a write, an erase twice as much.
const READ_SPEED: Micros = 16;
const ERASE: Micros = 2;

/// Bytes of the checksum that ends what is written.
const CHECKSUM: u32 = 4;

/// What a chip is like at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mood {
    /// A write takes this long, up to double at random ...
    pub(crate) latency: Micros,
    /// ... times this.
    pub(crate) slowness: u64,
    /// It hangs until then.
    pub(crate) stalled_until: Micros,
    /// The next operation fails.
    pub(crate) fails: bool,
}

/// The chip of one node.
pub(crate) struct Chip {
    flash: MockFlash,
    pub(crate) mood: Mood,
    /// An operation has failed, and the node was told.
    pub(crate) failed: bool,
    /// Bits have flipped while the node was down.
    pub(crate) rotten: bool,
    /// How often it lost power or was damaged.
    forces: u64,
    /// What is going on.
    operation: Option<Operation>,
    /// It hangs until its power is cut.
    stuck: bool,
    /// Whether what is written belongs to a batch of the log.
    pub(crate) appends: bool,
    /// Where the last write of the log's last batch lies.
    last: Range<u32>,
    prng: Prng,
}

/// What a chip is asked to do.
#[derive(Debug)]
enum Operation {
    Read,
    Write { offset: u32, bytes: Vec<u8> },
    Erase { offset: u32 },
    Sync,
}

/// What a power loss did to the write that was going on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Torn {
    /// Words that were programmed whole ...
    pub(crate) kept: u64,
    /// ... of this many.
    pub(crate) of: u64,
}

/// Why an operation of a chip failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ChipError {
    /// As it was told to.
    Failed,
    /// By its own rules.
    Flash(mock::Error),
}

impl Chip {
    pub(crate) fn new(seed: u64, node: usize, geometry: Geometry, latency: Micros) -> Self {
        let mut prng = Prng::new(seed ^ (node as u64) << 56, "chip");
        Self {
            flash: MockFlash::new(geometry).with_seed(prng.next()),
            mood: Mood { latency, slowness: 1, stalled_until: 0, fails: false },
            failed: false,
            rotten: false,
            forces: 0,
            operation: None,
            stuck: false,
            appends: true,
            last: 0..0,
            prng,
        }
    }

    /// What it is, and what was done to it.
    pub(crate) const fn flash(&self) -> &MockFlash {
        &self.flash
    }

    /// How often something was written or erased.
    pub(crate) const fn changes(&self) -> u64 {
        let counters = self.flash.counters();
        counters.words + counters.erases
    }

    /// Differs whenever the chip holds something else: how often something was changed, by its node or by other forces.
    pub(crate) const fn state(&self) -> u64 {
        self.changes() + self.forces
    }

    /// Whether something is being written or erased.
    pub(crate) const fn is_writing(&self) -> bool {
        matches!(self.operation, Some(Operation::Write { .. } | Operation::Erase { .. } | Operation::Sync))
    }

    /// Hangs for longer than until then.
    pub(crate) const fn stick(&mut self, until: Micros) {
        (self.mood.stalled_until, self.stuck) = (until + 1, true);
    }

    /// It hangs no more; whether that had kept an operation from its end.
    pub(crate) const fn unstick(&mut self) -> bool {
        if !std::mem::replace(&mut self.stuck, false) {
            return false;
        }
        self.mood.stalled_until = 0;
        self.operation.is_some()
    }

    /// Power is lost and comes back. What was going on is cut at any word.
    pub(crate) fn lose_power(&mut self) -> Option<Torn> {
        let torn = self.operation.take().and_then(|operation| self.tear(&operation));
        self.flash.cut_now();
        self.flash.restore_power();
        self.forces += 1;
        torn
    }

    /// Flips a few bits of one word: of the last write, or anywhere. Where that is.
    pub(crate) fn rot(&mut self, tail: bool) -> u32 {
        let Geometry { word, page, pages, .. } = self.flash.geometry();
        let range = if tail && !self.last.is_empty() { self.last.clone() } else { 0..page * pages };
        let offset = range.start + self.prng.below(range.len() as u64) as u32;
        for _ in 0..self.prng.between(1, 3) {
            let byte = offset / word * word + self.prng.below(word.into()) as u32;
            self.flash.flip(byte, self.prng.below(8) as u8);
        }
        self.rotten = true;
        self.forces += 1;
        offset
    }

    /// Whether a flipped bit there may look like a torn write: in the checksum that ends the last write of a batch and the word that holds it or, where words are not
    /// ordered or lie over older ones, in any of it.
    pub(crate) fn looks_torn(&self, offset: u32) -> bool {
        let Geometry { word, ordered, erased, .. } = self.flash.geometry();
        let is_provable = ordered && erased.is_some();
        self.last.contains(&offset) && (!is_provable || self.last.end - offset <= word.max(CHECKSUM))
    }

    /// Spoils the last word that was written.
    pub(crate) fn spoil_tail(&mut self) {
        if !self.last.is_empty() {
            self.flash.spoil(self.last.end - 1);
            self.forces += 1;
        }
    }

    /// An operation begins. False if a write still goes on: its future was dropped, and nobody has recovered the log since.
    fn begin(&mut self, operation: Operation) -> bool {
        let clean = !self.is_writing();
        self.operation = Some(operation);
        clean
    }

    /// The operation is done.
    fn finish(&mut self) -> Result<(), mock::Error> {
        self.operation.take().map_or(Ok(()), |operation| self.perform(&operation))
    }

    fn perform(&mut self, operation: &Operation) -> Result<(), mock::Error> {
        match operation {
            Operation::Read => Ok(()),
            Operation::Write { offset, bytes } => {
                if self.appends {
                    self.last = *offset..*offset + bytes.len() as u32;
                }
                self.flash.write_now(*offset, bytes)
            }
            Operation::Erase { offset } => self.flash.erase_now(*offset),
            Operation::Sync => self.flash.sync_now(),
        }
    }

    /// Does a part of it, and leaves the rest as power fails in it.
    fn tear(&mut self, operation: &Operation) -> Option<Torn> {
        let of = match operation {
            Operation::Read => return None,
            Operation::Write { bytes, .. } => bytes.len() as u64 / u64::from(self.flash.geometry().word),
            Operation::Erase { .. } | Operation::Sync => 1,
        };
        let kept = match self.prng.below(8) {
            0 => 0,
            1 => of,
            _ => self.prng.below(of + 1),
        };
        let tear = Tear::ALL[self.prng.below(Tear::ALL.len() as u64) as usize];
        let untouched = kept == 0 && self.prng.below(2) == 0;
        if !untouched {
            self.flash.cut_after(kept, tear);
            // It ends when power does, unless it is done before.
            let _ = self.perform(operation);
        }
        matches!(operation, Operation::Write { .. }).then_some(Torn { kept, of })
    }

    /// How long an operation takes, and until when it waits for the chip at least.
    fn wait(&mut self, now: Micros) -> Micros {
        let Mood { latency, slowness, .. } = self.mood;
        let usual = latency + self.prng.below(latency + 1);
        now + slowness
            * match self.operation {
                Some(Operation::Read) => usual / READ_SPEED,
                Some(Operation::Erase { .. }) => usual * ERASE,
                _ => usual,
            }
    }
}

/// The way to the chip of one node.
pub(crate) struct Bus {
    world: Rc<World>,
    node: usize,
    pace: Pace,
}

/// How long operations take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pace {
    /// As long as the chip's mood says, and they may fail.
    Real,
    /// No time: an observer's.
    Instant,
}

impl Bus {
    /// A node's.
    pub(crate) const fn new(world: Rc<World>, node: usize) -> Self {
        Self { world, node, pace: Pace::Real }
    }

    /// An observer's: whatever is done through it is done at once, and nothing fails.
    pub(crate) const fn of_observer(world: Rc<World>, node: usize) -> Self {
        Self { world, node, pace: Pace::Instant }
    }

    /// Whose chip it is.
    pub(crate) fn owner(&self) -> Owner {
        Owner { cluster: CLUSTER, node: NodeId::new(self.node as u8).unwrap_or_default() }
    }

    /// What lies where on it.
    pub(crate) fn layout(&self) -> Layout {
        self.world.hardware.layout
    }

    async fn operate(&self, operation: impl FnOnce() -> Operation) -> Result<(), ChipError> {
        let (world, chip) = (&self.world, &self.world.chips[self.node]);
        let mut clean = true;
        opt_out(|| clean = chip.borrow_mut().begin(operation()));
        if self.pace == Pace::Real {
            world.oracle.borrow_mut().writes(world.now(), self.node, clean);
            self.ready().await;
            if chip.borrow().mood.fails {
                return Err(self.fail());
            }
        }
        let mut done = Ok(());
        opt_out(|| done = chip.borrow_mut().finish());
        done.map_err(|error| self.refused(error))
    }

    /// Waits as long as an operation takes now, and until the chip no longer hangs.
    async fn ready(&self) {
        let (world, chip) = (&self.world, &self.world.chips[self.node]);
        if chip.borrow().mood.slowness >= 10 {
            world.count(Fault::StoreSlow);
        }
        let usual = chip.borrow_mut().wait(world.now());
        world.sleep_until(usual).await;
        if chip.borrow().mood.stalled_until > world.now() {
            world.count(Fault::StoreStalls);
            world.trace(Source::Node(self.node), "store hangs", format_args!(""));
        }
        // It may be told to hang longer while it hangs.
        while chip.borrow().mood.stalled_until > world.now() {
            if world.has(Planted::ImpatientStore) && chip.borrow().is_writing() {
                let clean = chip.borrow_mut().begin(Operation::Sync);
                world.oracle.borrow_mut().writes(world.now(), self.node, clean);
            }
            let until = chip.borrow().mood.stalled_until;
            world.sleep_until(until).await;
        }
    }

    /// The operation fails; any part of it may be done.
    fn fail(&self) -> ChipError {
        opt_out(|| {
            let chip = &mut *self.world.chips[self.node].borrow_mut();
            chip.lose_power();
            (chip.mood.fails, chip.failed) = (false, true);
            self.world.count(Fault::FlashFailures);
            self.world.trace(Source::Node(self.node), "flash fails", format_args!(""));
        });
        ChipError::Failed
    }

    /// The chip's own rules: only what a torn word reads as is nobody's fault.
    fn refused(&self, error: mock::Error) -> ChipError {
        if !matches!(error, mock::Error::Unreadable(_)) {
            opt_out(|| self.world.oracle.borrow_mut().abuses(self.world.now(), self.node, error));
        }
        ChipError::Flash(error)
    }
}

impl Medium for Bus {
    type Error = ChipError;

    fn geometry(&self) -> Geometry {
        self.world.chips[self.node].borrow().flash.geometry()
    }

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ChipError> {
        self.operate(|| Operation::Read).await?;
        let read = self.world.chips[self.node].borrow_mut().flash.read_now(offset, bytes);
        read.map_err(|error| self.refused(error))
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ChipError> {
        self.operate(|| Operation::Write { offset, bytes: bytes.to_vec() }).await
    }

    async fn erase(&mut self, offset: u32) -> Result<(), ChipError> {
        self.operate(|| Operation::Erase { offset }).await
    }

    async fn sync(&mut self) -> Result<(), ChipError> {
        self.operate(|| Operation::Sync).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: Geometry = Geometry { word: 8, page: 512, pages: 4, erased: Some(0xFF), ordered: true };

    fn chip(seed: u64) -> Chip {
        Chip::new(seed, 0, GEOMETRY, 100)
    }

    fn write(chip: &mut Chip, offset: u32, bytes: &[u8]) {
        assert!(chip.begin(Operation::Write { offset, bytes: bytes.to_vec() }));
        chip.finish().unwrap();
    }

    #[test]
    fn a_power_loss_tears_the_write_that_is_going_on_at_any_word_and_nothing_before_it() {
        let (mut cuts, mut torn_words) = (std::collections::BTreeSet::new(), 0);
        for seed in 0..500 {
            let mut chip = chip(seed);
            write(&mut chip, 0, &[1; 64]);
            chip.begin(Operation::Write { offset: 64, bytes: vec![2; 64] });
            let torn = chip.lose_power().unwrap();
            let image = chip.flash().image();
            let kept = torn.kept as usize * 8;
            assert_eq!((&image[..64], &image[64..64 + kept]), (&[1; 64][..], &[2; 64][..kept]));
            assert!(image[64 + kept..].chunks(8).skip(1).all(|word| word == [0xFF; 8]));
            torn_words += usize::from(kept < 64 && !matches!(image[64 + kept..][..8], [0xFF, ..] | [2, ..]));
            cuts.insert(torn.kept);
        }
        assert_eq!(Vec::from_iter(cuts), Vec::from_iter(0..=8));
        assert!(torn_words > 10);
    }

    #[test]
    fn a_chip_used_after_a_cancelled_write_is_noticed_and_a_cancelled_read_is_fine() {
        let mut chip = chip(1);
        assert!(chip.begin(Operation::Read) && chip.begin(Operation::Sync));
        assert!(!chip.begin(Operation::Sync));
        chip.lose_power();
        assert!(chip.begin(Operation::Erase { offset: 0 }));
    }

    #[test]
    fn a_flipped_bit_looks_torn_only_where_the_last_write_ended() {
        let mut chip = chip(1);
        write(&mut chip, 0, &[1; 64]);
        write(&mut chip, 64, &[2; 64]);
        let looks_torn: Vec<u32> = (0..256).filter(|&offset| chip.looks_torn(offset)).collect();
        assert_eq!(looks_torn, Vec::from_iter(120..128));
        let before = (chip.state(), chip.flash().image().to_vec());
        assert!((64..128).contains(&chip.rot(true)) && chip.rotten);
        assert!(before.0 != chip.state() && before.1 != chip.flash().image());
    }

    #[test]
    fn an_operation_takes_its_latency_times_the_slowness_and_reads_are_faster() {
        let mut chip = chip(1);
        chip.mood.slowness = 20;
        chip.begin(Operation::Sync);
        assert!((0..100).map(|_| chip.wait(1_000)).all(|end| (3_000..=5_000).contains(&end)));
        chip.lose_power();
        chip.begin(Operation::Read);
        assert!((0..100).map(|_| chip.wait(1_000)).all(|end| (1_120..=1_240).contains(&end)));
    }

    #[test]
    fn a_chip_that_is_stuck_is_freed_by_a_power_cycle() {
        let mut chip = chip(1);
        assert!(!chip.unstick());
        chip.stick(1_000);
        chip.begin(Operation::Sync);
        assert!(chip.mood.stalled_until > 1_000 && chip.unstick() && chip.mood.stalled_until == 0);
    }
}
