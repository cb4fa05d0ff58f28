//! Bringing a node up.

use core::fmt;

use embassy_sync::mutex::Mutex as StoreMutex;
use quoring_core::wire::{CHUNK_HEADER, FORWARD_HEADER};
use quoring_core::{Config, ConfigError, Raft, Recovered, Recovery, RecoveryError};
use quoring_ring::{ALIGN, Checksum};

use crate::clock::Clock;
use crate::committed::Committed;
use crate::node::Node;
use crate::platform::Platform;
use crate::proposals::Proposals;
use crate::resources::{Devices, Resources, Tenant};
use crate::runner::Runner;
use crate::sessions::SessionTable;
use crate::shared::Shared;
use crate::store::LogStore;
use crate::transport::Transport;

/// Why a node did not start. Nothing was written but what the store repaired by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StartError<E> {
    /// The configuration makes no sense.
    Config(ConfigError),
    /// The store could not recover its log.
    Store(E),
    /// What the store holds is no state a node can have been in.
    Recovery(RecoveryError),
}

/// A node: its handle for clients, its application's, and its tasks.
type Started<'a, P, const PEERS: usize> = (Node<'a, P>, Committed<'a, P>, Runner<'a, P, PEERS>);

/// Recovers the log and makes a node of it. Nothing happens until its [`Runner`] runs.
///
/// Cancel-safe: dropped, it drops store, transport and clock, as if it had failed.
///
/// # Errors
/// See [`StartError`].
// Not an `async fn`: its future would hold store and transport twice, as arguments and as what becomes of them.
pub fn new<
    'a,
    P,
    const UNITS: usize,
    const SLOTS: usize,
    const PEERS: usize,
    const FRAME: usize,
    const PROPOSALS: usize,
    const SESSIONS: usize,
>(
    mut config: Config,
    store: P::Store,
    transport: P::Transport,
    clock: P::Clock,
    resources: &'a mut Resources<'a, P, UNITS, SLOTS, PEERS, FRAME, PROPOSALS, SESSIONS>,
) -> impl Future<Output = Result<Started<'a, P, PEERS>, StartError<<P::Store as LogStore>::Error>>>
where
    P: Platform,
{
    let Resources { storage, peers, buffers, proposals, sessions, wakes, devices, shared } = resources;
    let mut devices = Tenant::new(devices, Devices { store: StoreMutex::new(store), transport, clock });
    async move {
        let recovered = recover(devices.get().store.get_mut(), &config, FRAME).await?;
        // What this node was built for is what it tells its peers.
        let places = match config.capabilities.sessions() {
            0 => SESSIONS as u32,
            fewer => fewer.min(SESSIONS as u32),
        };
        config.capabilities = config.capabilities.with_sessions(places as u16);
        let checksum = Checksum::new(config.cluster.0, config.crc);
        let ring = storage.split(recovered.origin(config.origin), checksum);
        let Devices { store, transport, clock } = devices.get();
        let store = store.get_mut();
        let mut raft =
            Raft::new(config, FRAME, recovered, ring.writer, peers, clock.now()).map_err(StartError::Config)?;
        raft.check_store(&store.space(), store.record_limit()).map_err(StartError::Config)?;
        raft.handle_space(&store.space());
        // What may be on its way goes into one frame.
        let window = buffers.window.get_mut(..FRAME.saturating_sub(FORWARD_HEADER)).unwrap_or_default();
        raft.lend_window(window, transport.pipelines());
        let proposals = Proposals::new(proposals);
        let limit = store.snapshot_limit();
        let shared = shared.fill(Shared::new(
            raft,
            proposals,
            ring.reader,
            checksum,
            limit,
            devices.keep(),
            &wakes.replicators,
            &wakes.proposals,
            SESSIONS as u32,
        ));
        let committed = Committed::new(shared, ring.applier, &mut buffers.committed, SessionTable::new(sessions));
        let runner =
            Runner::new(shared, ring.flusher, &mut buffers.log_writer, &mut buffers.receiver, &mut buffers.replicators);
        Ok((Node::new(shared), committed, runner))
    }
}

/// What the log holds. Purges what the newest snapshot covers.
async fn recover<S: LogStore>(store: &mut S, config: &Config, frame: usize) -> Result<Recovered, StartError<S::Error>> {
    if store.snapshot_limit() > 0 && frame < CHUNK_HEADER + ALIGN {
        return Err(StartError::Config(ConfigError::FrameTooSmall));
    }
    let mut recovery = Recovery::new(config.cluster, config.crc);
    store.recover(&mut recovery).await.map_err(StartError::Store)?;
    let recovered = recovery.finish().map_err(StartError::Recovery)?;
    store.purge(recovered.purgeable());
    Ok(recovered)
}

impl<E: fmt::Display> fmt::Display for StartError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(f, "configuration: {error}"),
            Self::Store(error) => write!(f, "store: {error}"),
            Self::Recovery(error) => write!(f, "recovery: {error}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for StartError<E> {}
