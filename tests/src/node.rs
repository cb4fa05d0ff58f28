//! One node: the core, its ring, what it writes, and what it has durable.

use std::collections::VecDeque;

use quoring_core::{
    Config, EntryId, Event, Handled, Instant, LogIndex, NodeId, NodeSet, Peer, ProposeError, Raft, Recovered, Refusals,
    Role, Status,
};
use quoring_ring::{Applier, Checksum, Flusher, Handles, Origin, Position, Reader, Record, Records};

use crate::disk::{Disk, Log, name};
use crate::memory::{RingSize, ring};

/// A node, running or without power.
pub struct Node {
    /// Who it is.
    pub id: NodeId,
    /// What survives a crash.
    pub disk: Disk,
    /// What does not.
    pub running: Option<Running>,
}

/// A node with power.
pub struct Running {
    /// The core.
    pub raft: Raft<'static>,
    /// A view of its ring.
    pub reader: Reader<'static>,
    /// Peers whose replicators have something to do.
    pub owed: NodeSet,
    flusher: Flusher<'static>,
    applier: Applier<'static>,
    /// Everything accepted.
    log: Log,
    /// The accepted records whose durability nobody was told of, oldest first.
    pending: VecDeque<Vec<u8>>,
    /// How many records were flushed since the start: the number of the first pending one.
    flushed: u64,
    writes: Vec<Write>,
    scratch: Vec<u8>,
    /// Entries the application had to read from the disk.
    read_back: u64,
}

/// A write whose completion is outstanding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Write {
    /// How a script calls it.
    pub name: u32,
    /// What its completion publishes.
    pub end: Position,
    /// The number of the record after its last one.
    until: u64,
}

/// How an application may be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Applied {
    /// The entry.
    pub index: LogIndex,
    /// Its term.
    pub term: quoring_core::Term,
}

impl Node {
    /// A node that has not started.
    #[must_use]
    pub const fn new(id: NodeId, disk: Disk) -> Self {
        Self { id, disk, running: None }
    }

    /// Starts from what the disk holds.
    ///
    /// # Panics
    /// The configuration is refused, or there is no such ring.
    pub fn start(&mut self, config: Config, size: RingSize, frame: usize, now: Instant) {
        let recovered: Recovered = self.disk.recover(config.cluster);
        assert_eq!(
            (recovered.term, recovered.last),
            (self.disk.vote().0, self.disk.log().last()),
            "recovery finds what is durable"
        );
        let checksum = Checksum::new(config.cluster.0, config.crc);
        let (last, vote) = (recovered.last, recovered.vote);
        assert_eq!(vote, self.disk.vote().1, "recovery finds the vote");
        let base = self.disk.log().base().0;
        let origin = Origin { position: config.origin, last: last.0, committed: base, applied: base };
        let Handles { writer, flusher, applier, reader } = ring(size, origin, checksum).expect("a ring of this size");
        let peers: &'static mut [Peer] = Vec::leak((0..config.voters.len()).map(|_| Peer::EMPTY).collect());
        let mut raft = Raft::new(config, frame, recovered, writer, peers, now).expect("a sane configuration");
        if let Some(term) = self.disk.term_of(last) {
            raft.recall(last, term);
        }
        let scratch = vec![0; size.units * 8 + 64];
        let log = self.disk.log().clone();
        let running = Running {
            raft,
            reader,
            owed: NodeSet::EMPTY,
            flusher,
            applier,
            log,
            pending: VecDeque::new(),
            flushed: 0,
            writes: Vec::new(),
            scratch,
            read_back: 0,
        };
        self.running = Some(running);
    }

    /// The power goes. `kept` of the records whose durability nobody was told of are durable nevertheless, and `torn` bytes of the next one.
    pub fn crash(&mut self, kept: usize, torn: usize) {
        let Some(running) = self.running.take() else { return };
        let mut pending = running.pending.into_iter();
        pending.by_ref().take(kept).for_each(|record| self.disk.push(record));
        if let Some(next) = pending.next() {
            self.disk.tear(&next[..torn.min(next.len() - 1)]);
        }
    }

    /// A frame came in. Terms that the core has forgotten are read from the disk.
    ///
    /// # Panics
    /// The core asks for a term that is not there, or without end.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) {
        let Some(running) = &mut self.running else { return };
        for _ in 0..bytes.len() + 2 {
            match running.raft.handle_message(now, bytes) {
                Ok(Handled::NeedsTerm(index)) => {
                    let term = self.disk.term_of(index).expect("forgotten terms are on the disk");
                    running.raft.recall(index, term);
                }
                _ => return running.absorb(),
            }
        }
        panic!("node {} asks for terms without end", self.id);
    }

    /// The deadline has come.
    pub fn time_out(&mut self, now: Instant) {
        if let Some(running) = &mut self.running {
            running.raft.handle_timeout(now);
            running.absorb();
        }
    }

    /// A client proposes.
    ///
    /// # Errors
    /// As the core says; also without power.
    pub fn propose(&mut self, command: &[u8]) -> Result<EntryId, ProposeError> {
        let Some(running) = &mut self.running else { return Err(ProposeError::Halted) };
        let result = running.raft.propose(command);
        running.absorb();
        result
    }

    /// The log writer takes up to `records` pending ones, and is not done with them; `None` if there are none.
    pub fn write(&mut self, name: u32, records: usize) -> Option<Write> {
        let running = self.running.as_mut()?;
        let bytes: usize = running.pending.iter().take(records).map(Vec::len).sum();
        let batch = running.flusher.gather(&mut running.scratch[..bytes]);
        assert_eq!(batch.bytes, bytes, "whole records are gathered");
        if batch.records == 0 {
            return None;
        }
        let write = Write { name, end: batch.end, until: running.flushed + u64::from(batch.records) };
        running.writes.push(write);
        Some(write)
    }

    /// A write has become durable, and the core learns so. Returns how many records became so by it; `None` if there is no such write.
    pub fn complete(&mut self, now: Instant, name: u32) -> Option<usize> {
        let running = self.running.as_mut()?;
        let place = running.writes.iter().position(|write| write.name == name)?;
        let write = running.writes.remove(place);
        let before = running.reader.flushed();
        running.flusher.publish(write.end);
        let done = write.until.saturating_sub(running.flushed);
        assert_eq!(
            running.reader.flushed() != before,
            done > 0,
            "a completion moves `flushed` if it is news, else not"
        );
        running.flushed += done;
        running.pending.drain(..done as usize).for_each(|record| self.disk.push(record));
        running.raft.handle_flushed(now);
        running.absorb();
        Some(done as usize)
    }

    /// Writes up to `records` pending ones at once. Returns how many.
    pub fn flush(&mut self, now: Instant, records: usize) -> usize {
        const AT_ONCE: u32 = u32::MAX;
        self.write(AT_ONCE, records).and_then(|_| self.complete(now, AT_ONCE)).unwrap_or(0)
    }

    /// The application takes what it may: committed and durable.
    ///
    /// # Panics
    /// What it is given is in neither ring nor disk.
    pub fn apply(&mut self) -> Vec<Applied> {
        let Some(running) = &mut self.running else { return Vec::new() };
        let (mut applied, mut buffer) = (Vec::new(), [0; 8192]);
        loop {
            let index = LogIndex(running.applier.applied()).next();
            if running.reader.committed(index.0) < index.0 {
                return applied;
            }
            let record = match running.applier.reader().copy(index.0, &mut buffer) {
                Ok(copied) if copied.position.precedes(running.reader.flushed()) => &buffer[..copied.size],
                Ok(_) => return applied,
                Err(_) => {
                    running.read_back += 1;
                    self.disk.read(index).expect("what left the ring is on the disk")
                }
            };
            let header = Record::parse(record).expect("a whole record").header;
            applied.push(Applied { index, term: quoring_core::Term(header.term) });
            running.applier.publish(index.0);
        }
    }

    /// The core's view of itself.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.running.as_ref().map(|running| running.raft.status())
    }

    /// What the core refused.
    #[must_use]
    pub fn refusals(&self) -> Option<Refusals> {
        self.running.as_ref().map(|running| *running.raft.refusals())
    }

    /// Whether it leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.status().is_some_and(|status| status.role == Role::Leader)
    }
}

impl Running {
    /// Everything accepted, durable or not.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// How many accepted records nobody was told to be durable.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The names of those records.
    #[must_use]
    pub fn pending_names(&self, disk: &Disk) -> Vec<String> {
        let mut log = disk.log().clone();
        let name = |bytes: &Vec<u8>| {
            let record = Record::parse(bytes).expect("whole records");
            name(&record.header, log.put(&record))
        };
        self.pending.iter().map(name).collect()
    }

    /// The pending records.
    pub fn pending_records(&self) -> impl Iterator<Item = &[u8]> {
        self.pending.iter().map(Vec::as_slice)
    }

    /// Entries the application had to read from the disk.
    #[must_use]
    pub const fn read_back(&self) -> u64 {
        self.read_back
    }

    /// What happened.
    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.raft.poll_event()).collect()
    }

    /// Takes note of what the core has accepted. What was accepted before must not have changed.
    fn absorb(&mut self) {
        self.owed = NodeSet::from_bits(self.owed.bits() | self.raft.take_ready().bits());
        let batch = self.flusher.gather(&mut self.scratch);
        for (place, record) in Records::new(&self.scratch[..batch.bytes]).enumerate() {
            let record = record.expect("the ring holds whole records");
            match self.pending.get(place) {
                Some(known) => assert_eq!(known, record.bytes, "what is not durable stays as it is"),
                None => {
                    self.log.put(&record);
                    self.pending.push_back(record.bytes.to_vec());
                }
            }
        }
        assert_eq!(self.log.last(), self.raft.status().last, "the log is what was accepted");
    }
}
