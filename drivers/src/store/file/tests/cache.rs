//! A loss of power behind a file cache: of what was written since the last sync, any part of the sectors is on the disk.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use quoring_ring::Record;

use super::*;
use crate::store::medium::Geometry;

const SECTOR: usize = 512;

/// A disk and its cache. All clones are one.
#[derive(Clone, Debug)]
struct Cached(Rc<RefCell<Disk>>);

#[derive(Clone, Debug)]
struct Disk {
    durable: Vec<u8>,
    cache: Vec<u8>,
    /// By sector, what was written to it since the last sync, oldest first.
    unsynced: BTreeMap<usize, Vec<[u8; SECTOR]>>,
    /// So many syncs from now power goes.
    syncs: usize,
}

/// Power is gone.
#[derive(Debug)]
struct Cut;

impl Cached {
    fn new(durable: Vec<u8>) -> Self {
        let cache = durable.clone();
        Self(Rc::new(RefCell::new(Disk { durable, cache, unsynced: BTreeMap::new(), syncs: usize::MAX })))
    }

    /// What a loss of power leaves: of each sector the durable content, or any that was written since.
    fn after_loss(&self, mut choose: impl FnMut(usize) -> usize) -> Vec<u8> {
        let disk = self.0.borrow();
        let mut left = disk.durable.clone();
        for (&sector, versions) in &disk.unsynced {
            if let Some(version) = choose(versions.len() + 1).checked_sub(1) {
                left[sector * SECTOR..][..SECTOR].copy_from_slice(&versions[version]);
            }
        }
        left
    }
}

impl Medium for Cached {
    type Error = Cut;

    fn geometry(&self) -> Geometry {
        Geometry { word: WORD, page: SIZE.page, pages: SIZE.pages(), erased: None, ordered: false }
    }

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Cut> {
        bytes.copy_from_slice(&self.0.borrow().cache[offset as usize..][..bytes.len()]);
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Cut> {
        let (disk, offset) = (&mut *self.0.borrow_mut(), offset as usize);
        disk.cache[offset..][..bytes.len()].copy_from_slice(bytes);
        for sector in offset / SECTOR..(offset + bytes.len()).div_ceil(SECTOR) {
            let content = disk.cache[sector * SECTOR..][..SECTOR].try_into().unwrap();
            disk.unsynced.entry(sector).or_default().push(content);
        }
        Ok(())
    }

    async fn erase(&mut self, _: u32) -> Result<(), Cut> {
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), Cut> {
        let disk = &mut *self.0.borrow_mut();
        disk.syncs = disk.syncs.checked_sub(1).ok_or(Cut)?;
        disk.durable.clone_from(&disk.cache);
        disk.unsynced.clear();
        Ok(())
    }
}

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Vec<u8>>),
    /// Of this state, and everything up to there may go.
    Save(Vec<u8>),
}

/// What a log holds: its entries from index 1 on, gone or not, and how many of them the newest snapshot covers.
#[derive(Clone, PartialEq, Debug, Default)]
struct State {
    entries: Vec<Vec<u8>>,
    saved: u64,
}

impl State {
    fn append(&mut self, bytes: &[u8]) {
        let record = Record::parse(bytes).unwrap();
        if record.header.kind.is_entry() {
            self.entries.truncate(record.header.index_low as usize - 1);
            self.entries.push(bytes.to_vec());
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Append(records) => records.iter().for_each(|record| self.append(record)),
            Step::Save(_) => self.saved = self.entries.len() as u64,
        }
    }

    fn last(&self) -> EntryId {
        let term = self.entries.last().map_or(0, |entry| Record::parse(entry).unwrap().header.term);
        EntryId { term: Term(term), index: LogIndex(self.entries.len() as u64) }
    }

    /// What there may be after a step that was cut.
    fn during(&self, step: Option<&Step>) -> Vec<Self> {
        let mut states = std::vec![self.clone()];
        match step {
            Some(Step::Append(records)) => {
                for record in records {
                    let mut next = states.last().unwrap().clone();
                    next.append(record);
                    states.push(next);
                }
            }
            Some(save) => {
                let mut next = self.clone();
                next.take(save);
                states.push(next);
            }
            None => {}
        }
        states
    }

    /// Whether the log holds this, but for what may be gone.
    fn is_in<M: Medium>(&self, log: &mut Pages<M, RECORD>, found: &Recovered) -> bool {
        let mut buffer = [0; 2048];
        found.last.0 == self.entries.len() as u64
            && found.snapshot.map_or(0, |snapshot| snapshot.last.index.0) == self.saved
            && found.start.index.0 <= self.saved
            && (1..).zip(&self.entries).skip(found.start.index.0 as usize).all(|(index, entry)| {
                let read = block_on(log.read(LogIndex(index), &mut buffer));
                read.is_ok_and(|size| buffer[..size] == entry[..])
            })
    }
}

async fn take<M: Medium>(log: &mut Pages<M, RECORD>, step: &Step, state: &State) -> bool {
    match step {
        Step::Append(records) => log.append(&records.concat()).await.is_ok(),
        Step::Save(bytes) => {
            let last = state.last();
            let checksum = DEFAULT_CRC32C(0, bytes);
            let snapshot = Snapshot { last, length: bytes.len() as u64, checksum, voters: NodeSet::first(3) };
            let finished = log.begin_snapshot(last).await.is_ok()
                && log.write_snapshot(last, 0, bytes).await.is_ok()
                && log.finish_snapshot(&snapshot).await.is_ok();
            if finished {
                log.purge(last.index);
            }
            finished
        }
    }
}

/// Entries of many sizes, alone and in batches, with votes and replaced tails; commands that are parts of the log's own pages; snapshots.
fn history(random: &mut impl FnMut(usize) -> usize) -> Vec<Step> {
    let disk = Cached::new(std::vec![0; SIZE.pages() as usize * SIZE.page as usize]);
    let mut log = begin(disk.clone());
    block_on(log.recover(&mut recovery())).unwrap();
    let (mut script, mut state, mut steps) = (Script::starting_at(LogIndex(1)), State::default(), Vec::new());
    for number in 0..80 {
        let step = if number % 6 == 5 {
            Step::Save(std::vec![number as u8; random(1000)])
        } else {
            if random(4) == 0 {
                let kept = state.saved as usize + random(state.entries.len() - state.saved as usize + 1);
                script.truncate(LogIndex(kept as u64 + 1));
            }
            let entry = |random: &mut dyn FnMut(usize) -> usize| match random(4) {
                0 => {
                    let from = random(SIZE.log_pages as usize * SIZE.page as usize - 200) & !15;
                    let image = disk.0.borrow().cache[from..][..random(180)].to_vec();
                    script.entry(&image)
                }
                _ => script.entry(&std::vec![number as u8; random(90)]),
            };
            let count = 1 + random(4);
            let entries = std::iter::repeat_with({
                let mut entry = entry;
                let random = &mut *random;
                move || entry(random)
            });
            Step::Append(std::iter::once(vote()).chain(entries.take(count)).collect())
        };
        assert!(block_on(take(&mut log, &step, &state)), "step {number}: {step:?}");
        state.take(&step);
        steps.push(step);
    }
    steps
}

/// Power goes at each sync of a history, and many parts of what was not synced are left: everything acknowledged is found, of the step that was cut a
/// prefix, and the log goes on.
///
/// covers: D2, D3
#[test]
fn any_part_of_what_was_not_synced_may_be_lost() {
    let mut seed = 1_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below.max(1)
    };
    let steps = history(&mut random);
    let mut images = 0;
    for syncs in 0.. {
        let disk = Cached::new(std::vec![0; SIZE.pages() as usize * SIZE.page as usize]);
        let mut log = begin(disk.clone());
        block_on(log.recover(&mut recovery())).unwrap();
        disk.0.borrow_mut().syncs = syncs;
        let mut state = State::default();
        let mut cut = None;
        for step in &steps {
            if !block_on(take(&mut log, step, &state)) {
                cut = Some(step);
                break;
            }
            state.take(step);
        }
        let allowed = state.during(cut);
        for round in 0..40 {
            let left = disk.after_loss(|versions| match round {
                0 => 0,
                1 => versions - 1,
                _ => random(versions),
            });
            images += 1;
            let disk = Cached::new(left);
            let mut log = begin(disk.clone());
            let mut found = recovery();
            block_on(log.recover(&mut found)).unwrap_or_else(|error| panic!("sync {syncs}, {round}: {error:?}"));
            let found = found.finish().unwrap();
            let holds = allowed.iter().find(|state| state.is_in(&mut log, &found)).cloned();
            let mut holds = holds.unwrap_or_else(|| panic!("sync {syncs}, {round}: {cut:?} {found:?}"));

            let next = Step::Append(std::vec![Script::starting_at(found.last.next()).entry(b"after the cut")]);
            assert!(block_on(take(&mut log, &next, &holds)));
            holds.take(&next);
            let mut log = begin(Cached::new(disk.0.borrow().durable.clone()));
            let mut found = recovery();
            block_on(log.recover(&mut found)).unwrap();
            assert!(holds.is_in(&mut log, &found.finish().unwrap()), "sync {syncs}, {round}, afterwards");
        }
        if cut.is_none() {
            break;
        }
    }
    std::println!("{images} images after a loss of power");
    assert!(images > 2000);
}
