//! The durable log of each node, which survives what happens to the node, and the store through which the node reaches it.
//!
//! ```text
//!   begin(batch)           complete()
//!        |  latency, stall      |
//!   -----+----------------------+---->   durable
//!        '-- power loss: any prefix of the batch is durable, noise may follow it
//! ```

use std::rc::Rc;

use allocation_counter::opt_out;
use quoring::{LogStore, ReadError};
use quoring_core::{LogIndex, Recovery};
use quoring_ring::{Kind, Record, RecordError, Records, extend};

use crate::options::Planted;
use crate::prng::Prng;
use crate::tally::Fault;
use crate::timeline::Micros;
use crate::trace::Source;
use crate::world::World;

/// What a store is like at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mood {
    /// A write or read takes this long, up to double at random ...
    pub(crate) latency: Micros,
    /// ... times this.
    pub(crate) slowness: u64,
    /// It hangs until then.
    pub(crate) stalled_until: Micros,
    /// The next operation fails.
    pub(crate) fails: bool,
}

/// The medium of one node.
pub(crate) struct Medium {
    /// Records end to end, then, after a torn write, the tear.
    bytes: Vec<u8>,
    /// End of the whole records.
    whole: usize,
    /// Where the newest record of entry `index` lies is at `index - 1`.
    places: Vec<Place>,
    /// The write that is going on.
    writing: Option<Vec<u8>>,
    pub(crate) mood: Mood,
    /// An operation has failed, and the node was told.
    pub(crate) failed: bool,
    prng: Prng,
}

#[derive(Clone, Copy)]
struct Place {
    start: usize,
    end: usize,
}

/// A record that has become durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Durable<'b> {
    /// An entry; it replaces what the log held from its index on.
    Entry { index: u64, term: u32, kind: Kind, payload: &'b [u8] },
    /// A vote, as its record's flags tell it.
    Vote { term: u32, flags: u8 },
}

/// What a power loss did to the write that was going on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tear {
    /// Bytes of the batch that are on the medium ...
    pub(crate) kept: usize,
    /// ... of this many.
    pub(crate) of: usize,
}

impl Medium {
    pub(crate) fn new(seed: u64, node: usize, latency: Micros) -> Self {
        let mood = Mood { latency, slowness: 1, stalled_until: 0, fails: false };
        let prng = Prng::new(seed ^ (node as u64) << 56, "store");
        Self { bytes: Vec::new(), whole: 0, places: Vec::new(), writing: None, mood, failed: false, prng }
    }

    /// A batch begins to be written. False if another still is: its future was dropped, and nobody has recovered the log since.
    fn begin(&mut self, batch: &[u8]) -> bool {
        let clean = self.writing.is_none() && self.whole == self.bytes.len();
        self.writing = Some(batch.to_vec());
        clean
    }

    /// The batch is durable; each of its records is shown to `durable`.
    ///
    /// # Errors
    /// The batch was not a sequence of whole records.
    fn complete(&mut self, durable: &mut dyn FnMut(Durable<'_>)) -> Result<(), RecordError> {
        let Some(batch) = self.writing.take() else { return Ok(()) };
        self.bytes.extend_from_slice(&batch);
        let error = self.absorb(durable);
        self.bytes.truncate(self.whole);
        error.map_or(Ok(()), Err)
    }

    /// Power is lost. Of the write that was going on, any prefix may be durable, torn at any byte, and noise may follow the tear.
    pub(crate) fn lose_power(&mut self, durable: &mut dyn FnMut(Durable<'_>)) -> Option<Tear> {
        let batch = self.writing.take()?;
        let kept = match self.prng.below(8) {
            0 => 0,
            1 => batch.len(),
            _ => self.prng.below(batch.len() as u64 + 1) as usize,
        };
        self.bytes.extend_from_slice(&batch[..kept]);
        self.absorb(durable);
        if let Some(&missing) = batch.get(kept)
            && self.prng.chance(300_000)
        {
            // Not what was to come there, or the tear might be whole after all.
            self.bytes.push(!missing);
            self.bytes.extend((0..self.prng.below(64)).map(|_| self.prng.next() as u8));
        }
        Some(Tear { kept, of: batch.len() })
    }

    /// Shows every valid record to `log` and cuts off the tear. False if that is not all that was durable.
    fn recover(&mut self, log: &mut Recovery) -> bool {
        let mut valid = 0;
        for record in Records::new(&self.bytes) {
            match record {
                Ok(record) if log.record(&record).is_ok() => valid += record.bytes.len(),
                _ => break,
            }
        }
        let complete = valid == self.whole && log.last() == LogIndex(self.places.len() as u64);
        self.bytes.truncate(self.whole);
        complete
    }

    /// Loses the last bytes, as no store must.
    fn forget(&mut self) {
        self.bytes.truncate(self.whole.saturating_sub(1));
    }

    fn read(&self, index: LogIndex, buffer: &mut [u8]) -> Result<usize, ReadError<MediumFailed>> {
        let place = index.0.checked_sub(1).and_then(|place| self.places.get(usize::try_from(place).ok()?));
        let Place { start, end } = *place.ok_or(ReadError::Missing)?;
        let (record, fits) = (&self.bytes[start..end], buffer.len().min(end - start));
        buffer[..fits].copy_from_slice(&record[..fits]);
        if fits < record.len() { Err(ReadError::TooSmall(record.len())) } else { Ok(fits) }
    }

    /// Whether a write is going on.
    pub(crate) const fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// How long the next operation takes, and until when it waits for the store at least.
    fn wait(&mut self, now: Micros) -> Micros {
        now + (self.mood.latency + self.prng.below(self.mood.latency + 1)) * self.mood.slowness
    }

    /// Takes the whole records behind those known into the log, and says what stopped it before the end of the bytes.
    fn absorb(&mut self, durable: &mut dyn FnMut(Durable<'_>)) -> Option<RecordError> {
        for record in Records::new(&self.bytes[self.whole..]) {
            let record = match record {
                Ok(record) => record,
                Err(error) => return Some(error),
            };
            let start = self.whole;
            self.whole += record.bytes.len();
            durable(Self::index(&mut self.places, &record, Place { start, end: self.whole }));
        }
        None
    }

    fn index<'b>(places: &mut Vec<Place>, record: &Record<'b>, place: Place) -> Durable<'b> {
        let header = record.header;
        if header.kind == Kind::Vote {
            return Durable::Vote { term: header.term, flags: header.flags };
        }
        let index = extend(places.len() as u64, header.index_low);
        // A gap shows up as a log that is longer than its last index says: the checkers compare.
        places.truncate(index.saturating_sub(1) as usize);
        places.push(place);
        Durable::Entry { index, term: header.term, kind: header.kind, payload: record.payload }
    }
}

/// The medium failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MediumFailed;

/// The present incarnation's handle on its medium.
pub(crate) struct SimStore {
    pub(crate) world: Rc<World>,
    pub(crate) node: usize,
}

impl LogStore for SimStore {
    type Error = MediumFailed;

    async fn recover(&mut self, log: &mut Recovery) -> Result<(), MediumFailed> {
        self.ready().await;
        if self.world.has(Planted::ForgetfulStore) {
            self.world.media[self.node].borrow_mut().forget();
        }
        self.world.fail_if_told(self.node)?;
        let complete = self.world.media[self.node].borrow_mut().recover(log);
        self.world.oracle.borrow_mut().recovers(self.world.now(), self.node, complete);
        Ok(())
    }

    async fn append(&mut self, batch: &[u8]) -> Result<(), MediumFailed> {
        let (world, node) = (&self.world, self.node);
        let lies = world.has(Planted::LyingStore);
        opt_out(|| {
            if lies {
                let _ = world.finish_write(node);
            }
            let clean = world.media[node].borrow_mut().begin(batch);
            world.oracle.borrow_mut().writes(world.now(), node, clean);
            world.trace(Source::Node(node), "write", format_args!("{} bytes", batch.len()));
        });
        if lies {
            return Ok(()); // It is written before the next write begins.
        }
        self.ready().await;
        let mut outcome = Ok(());
        opt_out(|| outcome = world.finish_write(node));
        outcome
    }

    async fn read(&mut self, index: LogIndex, buffer: &mut [u8]) -> Result<usize, ReadError<MediumFailed>> {
        self.ready().await;
        self.world.fail_if_told(self.node).map_err(ReadError::Store)?;
        self.world.media[self.node].borrow().read(index, buffer)
    }
}

impl SimStore {
    /// Waits as long as an operation takes now, and until the store no longer hangs.
    async fn ready(&self) {
        let (world, medium) = (&self.world, &self.world.media[self.node]);
        if medium.borrow().mood.slowness >= 10 {
            world.count(Fault::StoreSlow);
        }
        let usual = medium.borrow_mut().wait(world.now());
        world.sleep_until(usual).await;
        if medium.borrow().mood.stalled_until > world.now() {
            world.count(Fault::StoreStalls);
            world.trace(Source::Node(self.node), "store hangs", format_args!(""));
        }
        // It may be told to hang longer while it hangs.
        while medium.borrow().mood.stalled_until > world.now() {
            if world.has(Planted::ImpatientStore) {
                let clean = medium.borrow_mut().begin(&[]);
                world.oracle.borrow_mut().writes(world.now(), self.node, clean);
            }
            let until = medium.borrow().mood.stalled_until;
            world.sleep_until(until).await;
        }
    }
}

impl World {
    /// The write that is going on ends, well or badly.
    fn finish_write(&self, node: usize) -> Result<(), MediumFailed> {
        let now = self.now();
        let medium = &mut *self.media[node].borrow_mut();
        let mut durable = |record: Durable<'_>| self.becomes_durable(node, record);
        if medium.mood.fails {
            // Part of the batch may be durable.
            medium.lose_power(&mut durable);
            return self.fail(node, medium);
        }
        if let Err(error) = medium.complete(&mut durable) {
            self.oracle.borrow_mut().wrote_nonsense(now, node, error);
        }
        Ok(())
    }

    fn fail_if_told(&self, node: usize) -> Result<(), MediumFailed> {
        let medium = &mut *self.media[node].borrow_mut();
        if medium.mood.fails { self.fail(node, medium) } else { Ok(()) }
    }

    fn fail(&self, node: usize, medium: &mut Medium) -> Result<(), MediumFailed> {
        (medium.mood.fails, medium.failed) = (false, true);
        self.count(Fault::StoreFailures);
        self.trace(Source::Node(node), "store fails", format_args!(""));
        Err(MediumFailed)
    }

    pub(crate) fn becomes_durable(&self, node: usize, record: Durable<'_>) {
        let now = self.now();
        self.oracle.borrow_mut().durable(now, node, record);
        match record {
            Durable::Entry { index, term, payload, .. } => {
                self.trace(
                    Source::Node(node),
                    "durable",
                    format_args!("entry {index} of term {term}, {} bytes", payload.len()),
                );
            }
            Durable::Vote { term, flags } => {
                self.trace(Source::Node(node), "durable", format_args!("term {term}, vote {flags:#04x}"));
            }
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
