//! The way of a frame out of a node, in the steps in which a task may be interrupted: plan, copies, check, send.

use quoring_core::wire::APPEND_HEADER;
use quoring_core::{ChunkBatch, Instant, NodeId, StoreBatch, Term, Transmit};
use quoring_ring::{HEADER, Header, UNIT};

use crate::disk::Disk;
use crate::node::{Node, Running};

/// A frame that is being made.
pub struct Making {
    frame: Vec<u8>,
    plan: Transmit,
    /// Where the next record goes.
    at: usize,
}

/// What became of it.
#[derive(PartialEq, Eq, Debug)]
pub enum Made {
    /// It may be sent.
    Frame(Vec<u8>),
    /// The node leads no more in the term of the plan, or what it asks for was purged: it must not be sent.
    Stale,
    /// An entry had left the ring: another plan is needed.
    Gone,
}

impl Making {
    /// Asks the core what to send; `None` if nothing is due.
    pub fn plan(running: &mut Running, now: Instant, peer: NodeId, size: usize) -> Option<Self> {
        let mut frame = vec![0; size];
        let plan = running.raft.poll_transmit(now, peer, &mut frame)?;
        Some(Self { frame, plan, at: APPEND_HEADER })
    }

    /// Copies the next entry behind the others; whether there was one to copy. `None`: it has left the ring.
    pub fn copy(&mut self, running: &Running) -> Option<bool> {
        let Transmit::FromRing(batch) = self.plan else { return Some(false) };
        if self.at == batch.len {
            return Some(false);
        }
        let start = batch.start.advanced(((self.at - batch.offset) / UNIT) as u32);
        running.reader.copy_span(start, &mut self.frame[self.at..self.at + HEADER]).ok()?;
        let size = Header::decode(&self.frame[self.at..]).ok()?.size();
        running.reader.copy_span(start, &mut self.frame[self.at..self.at + size]).ok()?;
        self.at += size;
        Some(true)
    }

    /// Copies what is left, checks, and hands out the frame.
    pub fn finish(mut self, node: &mut Node, now: Instant) -> Made {
        let Some(running) = &mut node.running else { return Made::Stale };
        match self.plan {
            Transmit::Frame(len) => self.sized(len),
            Transmit::FromStore(batch) => match self.read(running, &node.disk, now, &batch) {
                Some(len) => self.sized(len),
                None => Made::Stale,
            },
            Transmit::FromSnapshot(batch) => match self.read_chunk(running, &node.disk, now, &batch) {
                Some(len) => self.sized(len),
                None => Made::Stale,
            },
            Transmit::FromRing(batch) => loop {
                match self.copy(running) {
                    Some(true) => {}
                    Some(false) if self.at == batch.len && running.reader.leading() == batch.term.0 => {
                        return self.sized(batch.len);
                    }
                    Some(false) => return Made::Stale,
                    None => {
                        running.raft.unsent(now, &batch);
                        return Made::Gone;
                    }
                }
            },
        }
    }

    fn sized(mut self, len: usize) -> Made {
        self.frame.truncate(len);
        Made::Frame(self.frame)
    }

    /// Reads as many entries as fit; the frame's length.
    fn read(&mut self, running: &mut Running, disk: &Disk, now: Instant, batch: &StoreBatch) -> Option<usize> {
        let prev = batch.first.previous();
        let Some(prev_term): Option<Term> = batch.prev_term.or_else(|| disk.term_of(prev)) else {
            assert!(prev <= running.raft.start(), "{prev} cannot be read, and was not purged");
            return None;
        };
        let (mut last, mut bytes) = (batch.first.previous(), 0);
        while last < batch.last {
            let Some(record) = disk.read(last.next()).filter(|record| bytes + record.len() <= batch.limit) else {
                break;
            };
            self.frame[batch.offset + bytes..][..record.len()].copy_from_slice(record);
            (last, bytes) = (last.next(), bytes + record.len());
        }
        if bytes == 0 && disk.read(batch.first).is_some() {
            running.raft.postpone(now, batch);
            return None;
        }
        let is_there = bytes > 0 || running.reader.leading() != batch.term.0 || batch.first <= running.raft.start();
        assert!(is_there, "{} cannot be read, and was not purged", batch.first);
        running.raft.seal(now, batch, prev_term, last, bytes, &mut self.frame)
    }

    /// Reads a piece of the snapshot; the frame's length. `None` if another has taken its place.
    fn read_chunk(&mut self, running: &mut Running, disk: &Disk, now: Instant, batch: &ChunkBatch) -> Option<usize> {
        let Some(bytes) = disk.snapshots().read(&batch.snapshot) else {
            assert_ne!(running.raft.snapshot(), Some(&batch.snapshot), "the newest snapshot is on the disk");
            return None;
        };
        let piece = &bytes[usize::try_from(batch.offset).expect("a small snapshot")..][..batch.len];
        self.frame[batch.at..][..batch.len].copy_from_slice(piece);
        running.raft.seal_chunk(now, batch, &mut self.frame)
    }
}
