//! What clients did and saw, and whether that can be true.
//!
//! Each register has one writer at a time, who puts one value after the other, so what it may hold is known: the last value that was
//! acknowledged, or one that was tried later. A value tells its register and the number of the attempt, so none is met by chance.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};

use crate::answer::Status;

/// Registers that the history keeps an account of. The last register of a node is what `load` writes.
pub const REGISTERS: u8 = 63;

/// Attempts that a value can count.
const ATTEMPTS: u32 = 1 << 24;

/// What is known of a cluster.
#[derive(Debug)]
pub struct History {
    registers: Vec<Register>,
    /// Puts that were acknowledged.
    acknowledged: u64,
    /// Their indices.
    indices: BTreeSet<u64>,
    /// Digests by the index up to which they were taken.
    digests: BTreeMap<u64, u32>,
    /// Leaders by term.
    leaders: BTreeMap<u64, u8>,
    /// The highest term that each node told since it started.
    terms: BTreeMap<u8, u64>,
}

#[derive(Clone, Default, Debug)]
struct Register {
    /// Values that were tried, numbered from 1.
    attempts: u32,
    /// Those of them of which nothing was stored.
    refused: BTreeSet<u32>,
    /// It holds this attempt or a later one.
    floor: u32,
}

/// A put whose answer is not there yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Put {
    /// The register.
    pub key: u8,
    /// Its new value.
    pub value: u32,
    /// The index of the newest entry that was known to be committed.
    behind: u64,
}

/// A get whose answer is not there yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Get {
    /// The register.
    pub key: u8,
    /// What it held or had held before.
    floor: u32,
}

impl History {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            registers: vec![Register::default(); usize::from(REGISTERS)],
            acknowledged: 0,
            indices: BTreeSet::new(),
            digests: BTreeMap::new(),
            leaders: BTreeMap::new(),
            terms: BTreeMap::new(),
        }
    }

    /// How many puts were acknowledged.
    #[must_use]
    pub const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// The highest index of an acknowledged put.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.indices.last().copied().unwrap_or_default()
    }

    /// A node starts. Terms that it had not yet made durable it need not know any more.
    pub fn boot(&mut self, node: u8) {
        self.terms.remove(&node);
    }

    /// A put begins. The one before to the same register is over: it was answered, or its board has lost power.
    pub fn put(&mut self, key: u8) -> Put {
        let behind = self.newest();
        let register = &mut self.registers[usize::from(key)];
        register.attempts += 1;
        Put { key, value: u32::from(key) * ATTEMPTS + register.attempts, behind }
    }

    /// The put was committed and applied, at this index.
    ///
    /// # Errors
    /// It cannot have been.
    pub fn applied(&mut self, put: Put, index: u64) -> Result<()> {
        ensure!(index > put.behind, "{put:?} was acknowledged at {index}, behind what had been acknowledged before");
        ensure!(self.indices.insert(index), "{put:?} was acknowledged at {index}, where another was");
        self.acknowledged += 1;
        let register = &mut self.registers[usize::from(put.key)];
        register.floor = register.floor.max(put.value % ATTEMPTS);
        Ok(())
    }

    /// Nothing of the put was stored.
    pub fn refused(&mut self, put: Put) {
        self.registers[usize::from(put.key)].refused.insert(put.value % ATTEMPTS);
    }

    /// A get begins.
    #[must_use]
    pub fn get(&self, key: u8) -> Get {
        Get { key, floor: self.registers[usize::from(key)].floor }
    }

    /// The get was answered.
    ///
    /// # Errors
    /// With a value that was lost since, or never put there.
    pub fn read(&mut self, get: Get, value: u32) -> Result<()> {
        let register = &mut self.registers[usize::from(get.key)];
        let attempt = value % ATTEMPTS;
        ensure!(
            value == 0 || value / ATTEMPTS == u32::from(get.key),
            "{get:?} found {value:#x}, put to another register"
        );
        ensure!(attempt <= register.attempts, "{get:?} found attempt {attempt}, which was never made");
        ensure!(attempt >= get.floor, "{get:?} found attempt {attempt}: what was acknowledged or read before is lost");
        ensure!(!register.refused.contains(&attempt), "{get:?} found attempt {attempt}, which was refused");
        register.floor = register.floor.max(attempt);
        Ok(())
    }

    /// A node told how it stands.
    ///
    /// # Errors
    /// It contradicts itself, or what other nodes told, or what it told before.
    pub fn status(&mut self, status: &Status) -> Result<()> {
        let Status { node, term, last, committed, applied, start, snapshot, digest, .. } = *status;
        if !(applied <= committed && committed <= last && start <= snapshot && status.durable <= last) {
            bail!("pointers that cannot be: {status:?}");
        }
        let newest = self.terms.entry(node).or_default();
        ensure!(term >= *newest, "a term that fell from {newest}: {status:?}");
        *newest = term;
        if status.leads() {
            let leader = *self.leaders.entry(term).or_insert(node);
            ensure!(leader == node, "two leaders in a term, the other is {leader}: {status:?}");
        }
        let known = *self.digests.entry(applied).or_insert(digest);
        ensure!(known == digest, "other commands than on another node, or before, which had {known:08x}: {status:?}");
        Ok(())
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::History;
    use crate::answer::{Answer, Status};

    #[test]
    fn a_register_holds_what_was_acknowledged_last_or_tried_later() {
        let mut history = History::new();
        let never = history.get(5);
        history.read(never, 0).unwrap();
        let (first, second, third, fourth) = (history.put(5), history.put(5), history.put(5), history.put(5));
        history.applied(second, 7).unwrap();
        history.refused(third);
        assert_eq!((history.acknowledged(), history.newest()), (1, 7));
        let get = history.get(5);
        for wrong in [0, first.value, third.value, fourth.value + 1, history.put(6).value] {
            assert!(history.read(get, wrong).is_err(), "{wrong:#x}");
        }
        history.read(get, second.value).unwrap();
        history.read(get, fourth.value).unwrap();
        // What one has read, none who reads later does not.
        let later = history.get(5);
        assert!(history.read(later, second.value).is_err());
        history.read(get, second.value).unwrap();
    }

    #[test]
    fn an_index_is_acknowledged_once_and_rises() {
        let mut history = History::new();
        let (one, other) = (history.put(1), history.put(2));
        history.applied(one, 7).unwrap();
        let later = history.put(3);
        assert!(history.applied(other, 7).is_err());
        history.applied(other, 6).unwrap();
        assert!(history.applied(later, 5).is_err());
    }

    fn status(node: u8, role: &str, term: u64, applied: u64, digest: u32) -> Status {
        let text = format!(
            "status node={node} role={role} term={term} leader=- last=20 committed=15 applied={applied} durable=20 start=2 snapshot=3 digest={digest:x}"
        );
        match Answer::parse(&text).unwrap() {
            Answer::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nodes_that_contradict_each_other_or_themselves_are_found() {
        let mut history = History::new();
        history.status(&status(1, "leader", 3, 10, 77)).unwrap();
        history.status(&status(2, "follower", 3, 10, 77)).unwrap();
        history.status(&status(2, "leader", 4, 11, 78)).unwrap();
        // Of another digest, in a term that has a leader, back to an older term, applied beyond what is committed.
        assert!(history.status(&status(0, "follower", 3, 10, 76)).is_err());
        assert!(history.status(&status(0, "leader", 3, 10, 77)).is_err());
        assert!(history.status(&status(2, "follower", 3, 10, 77)).is_err());
        assert!(history.status(&status(0, "follower", 5, 16, 79)).is_err());
    }
}
