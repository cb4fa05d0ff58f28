//! What a store finds again after a restart, all of it, as an observer sees it who may look without touching.

use embassy_futures::block_on;
use quoring::LogStore;
use quoring_core::{LogIndex, Recovery, Snapshot};
use quoring_ring::{DEFAULT_CRC32C, Record, extend};

use crate::checker::Entry;
use crate::world::CLUSTER;

/// Bytes of the largest record that a node takes.
const RECORD: usize = 1 << 14;

/// What is on a medium.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Findings {
    pub(crate) term: u32,
    /// As the flags of a vote record say it.
    pub(crate) vote: u8,
    pub(crate) boot: u32,
    pub(crate) snapshot: Option<Snapshot>,
    /// The log begins behind this entry.
    pub(crate) start: u64,
    /// The entries behind it.
    pub(crate) entries: Vec<Entry>,
}

impl Findings {
    /// Recovers the log as a node would that starts now. Nothing of the store is ever waited for.
    ///
    /// # Errors
    /// In words: the node does not start, or it starts and cannot read what it recovered.
    pub(crate) fn of(store: &mut impl LogStore) -> Result<Self, String> {
        let mut log = Recovery::new(CLUSTER, DEFAULT_CRC32C);
        block_on(store.recover(&mut log)).map_err(|error| format!("the store does not recover: {error:?}"))?;
        let (start, last) = (store.space().start.0, log.last().0);
        let recovered = log.finish().map_err(|error| error.to_string())?;
        if !recovered.restart && recovered.start.index.0 != start {
            return Err(format!("the store has purged up to {start}, and told recovery {}", recovered.start.index));
        }
        let entries = (start + 1..=last).map(|index| read(store, index)).collect::<Result<_, _>>()?;
        let vote = recovered.vote.map_or(0, |candidate| 0x80 | candidate.get());
        Ok(Self { term: recovered.term.0, vote, boot: recovered.boot, snapshot: recovered.snapshot, start, entries })
    }
}

fn read<S: LogStore>(store: &mut S, index: u64) -> Result<Entry, String> {
    let mut buffer = vec![0; RECORD];
    let read = block_on(store.read(LogIndex(index), &mut buffer));
    let length = read.map_err(|error| format!("entry {index} cannot be read: {error:?}"))?;
    let record = Record::parse(&buffer[..length]).map_err(|error| format!("entry {index} is none: {error}"))?;
    if !record.header.kind.is_entry() || extend(index, record.header.index_low) != index {
        return Err(format!("in the place of entry {index} is another record: {:?}", record.header));
    }
    Ok(Entry::new(record.header.term, record.header.kind, record.payload))
}
