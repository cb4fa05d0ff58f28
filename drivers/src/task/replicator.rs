//! Sends a peer what it should be sent: watches what is due, copies entries out of the ring or the store.

use core::fmt;

use embassy_futures::yield_now;
use quoring_core::{ChunkBatch, LogIndex, NodeId, RingBatch, StoreBatch, Term, Transmit};
use quoring_ring::{HEADER, Header};

use crate::clock::Clock;
use crate::halt::Halt;
use crate::platform::Platform;
use crate::shared::Shared;
use crate::store::{LogStore, ReadError, SnapshotError};
use crate::transport::Transport;
use crate::wake::Wake;

/// The replicator to one peer. Copies outside of the lock; a leader change never waits for it (P7).
pub struct Replicator<'a, P: Platform> {
    shared: &'a Shared<'a, P>,
    peer: Option<NodeId>,
    frame: &'a mut [u8],
}

impl<P: Platform> fmt::Debug for Replicator<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Replicator").field(&self.peer).finish()
    }
}

impl<'a, P: Platform> Replicator<'a, P> {
    pub(crate) const fn new(shared: &'a Shared<'a, P>, peer: Option<NodeId>, frame: &'a mut [u8]) -> Self {
        Self { shared, peer, frame }
    }

    /// Whom it sends to; `None` when the cluster has fewer nodes than the resources.
    pub const fn peer(&self) -> Option<NodeId> {
        self.peer
    }

    /// Runs until the node halts; for ever if there is no peer. Not cancel-safe: a peer without its replicator hears nothing.
    pub async fn run(mut self) -> Halt {
        let shared = self.shared;
        let Some((peer, line)) = self.peer.and_then(|peer| Some((peer, shared.replicator(peer)?))) else {
            return core::future::pending().await;
        };
        let wake = &line.wake;
        loop {
            let called = wake.until_next(|| match shared.halted() {
                Some(halt) => Some(Err(halt)),
                None => line.take_call().then_some(Ok(())),
            });
            if let Err(halt) = called.await {
                return halt;
            }
            if shared.with(|state| state.raft.owes_only_commit(peer)) {
                // It may go with the next entry: the application and its client come first.
                yield_now().await;
            }
            let Some(transmit) = self.poll(peer) else { continue };
            let len = match transmit {
                Transmit::Frame(len) => Some(len),
                Transmit::FromRing(batch) => self.copy(&batch),
                Transmit::FromStore(batch) => match self.read(wake, &batch).await {
                    Ok(len) => len,
                    Err(halt) => return halt,
                },
                Transmit::FromSnapshot(batch) => match self.read_chunk(wake, &batch).await {
                    Ok(len) => len,
                    Err(halt) => return halt,
                },
            };
            if let Some(frame) = len.and_then(|len| self.frame.get(..len)) {
                // A frame the link refuses is a lost frame.
                let _ = shared.transport.send(peer, frame).await;
            }
        }
    }

    /// What the core has for the peer, if anything. If that is not all, the line calls again.
    fn poll(&mut self, peer: NodeId) -> Option<Transmit> {
        let (shared, frame) = (self.shared, &mut *self.frame);
        let now = shared.clock.now();
        let (transmit, more) =
            shared.with(|state| (state.raft.poll_transmit(now, peer, frame), state.raft.take_ready()));
        shared.call(more);
        transmit
    }

    /// Copies the batch behind its header. What lies there is what the core told, for as long as it is in the ring; it is still the log of a
    /// leader if the node leads in that term *after* the copy: only another leader's entries replace entries, and `leading` is cleared before
    /// any of those is written (ring rule 5).
    fn copy(&mut self, batch: &RingBatch) -> Option<usize> {
        let (shared, reader) = (self.shared, self.shared.ring);
        let records = self.frame.get_mut(batch.offset..batch.len)?;
        if reader.copy_span(batch.start, records).is_err() {
            let now = shared.clock.now();
            shared.step(|state| state.raft.unsent(now, batch));
            return None;
        }
        (reader.leading() == batch.term.0).then_some(batch.len)
    }

    /// Reads the batch from the store, as many entries as are there and fit, and asks the core for the header.
    async fn read(&mut self, wake: &Wake<P::Mutex>, batch: &StoreBatch) -> Result<Option<usize>, Halt> {
        let shared = self.shared;
        let read = self.read_records(wake, batch).await;
        let now = shared.clock.now();
        match read {
            Ok(Read { prev_term, last, bytes }) => {
                Ok(shared.step(|state| state.raft.seal(now, batch, prev_term, last, bytes, self.frame)))
            }
            // The new leader's entries may have replaced the batch while this task waited for the store.
            Err(Unread::Missing(_)) if shared.ring.leading() != batch.term.0 => Ok(None),
            // Or it was purged: the core then finds something else to send.
            Err(Unread::Missing(index)) if shared.is_gone(index) => Ok(None),
            Err(Unread::TooSmall) => {
                shared.step(|state| state.raft.postpone(now, batch));
                Ok(None)
            }
            Err(Unread::Missing(index) | Unread::Failed(index)) => Err(shared.halt(Halt::Read(index))),
        }
    }

    /// Reads a piece of the snapshot, and asks the core for the header.
    async fn read_chunk(&mut self, wake: &Wake<P::Mutex>, batch: &ChunkBatch) -> Result<Option<usize>, Halt> {
        let (shared, snapshot) = (self.shared, &batch.snapshot);
        let bytes = self.frame.get_mut(batch.at..).and_then(|rest| rest.get_mut(..batch.len)).unwrap_or_default();
        let read = shared.use_store(wake, async |store| store.read_snapshot(snapshot, batch.offset, bytes).await).await;
        match read {
            Ok(len) if len == batch.len => {
                let now = shared.clock.now();
                Ok(shared.step(|state| state.raft.seal_chunk(now, batch, self.frame)))
            }
            Err(SnapshotError::Superseded) if shared.ring.leading() != batch.term.0 => Ok(None),
            // A newer one has taken its place: the core goes on with that.
            Err(SnapshotError::Superseded) if shared.with(|state| state.raft.snapshot() != Some(snapshot)) => Ok(None),
            _ => Err(shared.halt(Halt::Snapshot)),
        }
    }

    /// All under one lock: one entry at a time, each behind a turn of all others, is slower than a leader takes new ones, and the peer
    /// never catches up. A frame's worth of reads is what the log writer waits for at most.
    async fn read_records(&mut self, wake: &Wake<P::Mutex>, batch: &StoreBatch) -> Result<Read, Unread> {
        let records =
            self.frame.get_mut(batch.offset..).and_then(|rest| rest.get_mut(..batch.limit)).unwrap_or_default();
        self.shared.use_store(wake, async |store| read_batch(store, batch, records).await).await
    }
}

/// Reads entries of a batch, as many as are there and fit into `records`.
async fn read_batch<S: LogStore>(store: &mut S, batch: &StoreBatch, records: &mut [u8]) -> Result<Read, Unread> {
    let prev = batch.first.previous();
    let prev_term = match batch.prev_term {
        Some(term) => term,
        None => read_term(store, prev).await?,
    };
    let mut read = Read { prev_term, last: prev, bytes: 0 };
    while read.last < batch.last {
        let index = read.last.next();
        let rest = records.get_mut(read.bytes..).unwrap_or_default();
        if rest.len() < HEADER && read.bytes > 0 {
            break;
        }
        match store.read(index, rest).await {
            Ok(size) => (read.last, read.bytes) = (index, read.bytes + size),
            // What is accepted and not yet durable is still in the ring, and what does not fit goes in the next frame.
            Err(ReadError::Missing | ReadError::TooSmall(_)) if read.last >= batch.first => break,
            Err(ReadError::TooSmall(_)) => return Err(Unread::TooSmall),
            Err(ReadError::Missing) => return Err(Unread::Missing(index)),
            // A local read error is never sent as "nothing more" (L12).
            Err(ReadError::Store(_)) => return Err(Unread::Failed(index)),
        }
    }
    Ok(read)
}

/// Why nothing was read.
pub(super) enum Unread {
    /// The first entry is larger than what the peer can take.
    TooSmall,
    /// This entry is not in the store; by rights, if it was replaced or purged.
    Missing(LogIndex),
    /// This entry is in the store, and cannot be read: the medium failed.
    Failed(LogIndex),
}

/// What was read.
struct Read {
    prev_term: Term,
    last: LogIndex,
    bytes: usize,
}

impl<P: Platform> Shared<'_, P> {
    /// Whether the entry is no longer in the log, by rights.
    pub(super) fn is_gone(&self, index: LogIndex) -> bool {
        self.with(|state| index <= state.raft.start())
    }
}

/// The term of an entry in the store.
pub(super) async fn read_term<S: LogStore>(store: &mut S, index: LogIndex) -> Result<Term, Unread> {
    let mut header = [0; HEADER];
    match store.read(index, &mut header).await {
        Ok(_) | Err(ReadError::TooSmall(_)) => {}
        Err(ReadError::Missing) => return Err(Unread::Missing(index)),
        Err(ReadError::Store(_)) => return Err(Unread::Failed(index)),
    }
    let header = Header::decode(&header).ok();
    let header = header.filter(|header| header.kind.is_entry() && header.index_low == index.0 as u32);
    header.map(|header| Term(header.term)).ok_or(Unread::Failed(index))
}
