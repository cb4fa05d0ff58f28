//! What a node is told at construction.

use core::fmt;

use quoring_ring::{Crc32c, DEFAULT_CRC32C, Position};

use crate::capabilities::Capabilities;
use crate::members::NodeSet;
use crate::progress::IN_FLIGHT;
use crate::types::{ClusterId, Duration, NodeId};

/// Decides about a client's command before anything of it is stored: the one place where the application refuses one (C4). A plain function of the
/// command; what depends on the state is decided when the command is applied.
pub type Admit = fn(command: &[u8]) -> Result<(), Rejection>;

/// Why the application refused a command; the number is the application's own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Rejection(pub u8);

/// A node's place in its cluster, and its patience.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// Its cluster: frames and records of another one are refused.
    pub cluster: ClusterId,
    /// Who votes; this node is one of them.
    pub voters: NodeSet,
    /// A follower that hears no leader for this long, and up to twice as long at random, asks for votes (E1). At least ten round trips
    /// plus the worst stall of the store.
    pub election_timeout: Duration,
    /// A leader looks this often whether a peer has had a sign of life since it last looked, so none waits longer than twice this. At most a
    /// third of the election timeout.
    pub heartbeat_interval: Duration,
    /// How many appends with entries may be on their way to one peer, 1 to [`IN_FLIGHT`] (L1).
    pub max_in_flight: usize,
    /// How many bytes of records may be on their way to one peer (L1).
    pub max_in_flight_bytes: u32,
    /// The application is asked for a snapshot after this many entries, or earlier when the store fills up. Above zero (S8).
    pub snapshot_after: u32,
    /// Lets a leader answer reads without asking a quorum each time, for as long as no other can have been elected, if no clock of the cluster runs this many
    /// parts per million faster or slower than time does. All nodes must have it, and the same election timeout, and the grain of their clocks finer than
    /// half of the heartbeat interval. A clock that stands still while its machine sleeps or is
    /// moved is none of these. Off by default: then no promise about clocks is made (C12).
    pub lease_drift: Option<u32>,
    /// What this node offers to do for clients of other nodes; less than all during a rolling upgrade. The drivers add how many sessions it has places
    /// for, if it does not say that they are fewer.
    pub capabilities: Capabilities,
    /// Decides about each command of a client before anything of it is stored.
    pub admit: Admit,
    /// Seeds the random timeouts. Nodes of a cluster need not differ in it.
    pub seed: u64,
    /// Where the ring's positions start; any value is right. Tests start near the wrap (L15).
    pub origin: Position,
    /// Computes CRC-32C; a hardware unit may stand in.
    pub crc: Crc32c,
    /// The protocol fault to commit, for tests of the simulator's checkers.
    #[cfg(feature = "planted-faults")]
    pub planted: Option<crate::Planted>,
}

/// Why a configuration was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConfigError {
    /// The node is not among the voters.
    NotAVoter,
    /// The heartbeat interval is zero or more than a third of the election timeout.
    Timeouts,
    /// `max_in_flight` is not in 1..=[`IN_FLIGHT`], or `max_in_flight_bytes` is zero.
    InFlight,
    /// `snapshot_after` is zero (S8).
    SnapshotAfter,
    /// A clock that drifts by a tenth or more measures no lease.
    LeaseDrift,
    /// The store's snapshot was made in a cluster of other voters (S6).
    Voters,
    /// Half of the store's log does not take the largest command: make the log larger, or frame or ring smaller.
    LogTooSmall,
    /// The store does not take a record of the largest command: let it take larger ones, or make frame or ring smaller.
    RecordTooSmall,
    /// There is memory for fewer peers than the cluster has.
    Peers,
    /// The frame or the ring is too small for a single record, or, if the store holds snapshots, the frame for a piece of one: 80 bytes.
    FrameTooSmall,
}

impl Config {
    /// A node with a patience of one second that fits most networks.
    pub const fn new(id: NodeId, cluster: ClusterId, voters: NodeSet) -> Self {
        Self {
            id,
            cluster,
            voters,
            election_timeout: Duration::from_millis(1000),
            heartbeat_interval: Duration::from_millis(100),
            max_in_flight: IN_FLIGHT,
            max_in_flight_bytes: 64 * 1024,
            snapshot_after: 4096,
            lease_drift: None,
            capabilities: Capabilities::ALL,
            admit: |_| Ok(()),
            seed: 0,
            origin: Position::new(0),
            crc: DEFAULT_CRC32C,
            #[cfg(feature = "planted-faults")]
            planted: None,
        }
    }

    /// The other nodes.
    pub const fn peers(&self) -> NodeSet {
        self.voters.without(self.id)
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if !self.voters.contains(self.id) {
            return Err(ConfigError::NotAVoter);
        }
        let beat = self.heartbeat_interval;
        if beat == Duration::ZERO || beat.times(3) > self.election_timeout {
            return Err(ConfigError::Timeouts);
        }
        if self.max_in_flight == 0 || self.max_in_flight > IN_FLIGHT || self.max_in_flight_bytes == 0 {
            return Err(ConfigError::InFlight);
        }
        if self.lease_drift.is_some_and(|drift| drift >= 100_000) {
            return Err(ConfigError::LeaseDrift);
        }
        if self.snapshot_after == 0 {
            return Err(ConfigError::SnapshotAfter);
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAVoter => "the node is not among the voters",
            Self::Timeouts => "the heartbeat interval must be above zero and at most a third of the election timeout",
            Self::InFlight => "the limits of what is in flight must be above zero, and at most 16 appends",
            Self::SnapshotAfter => "a snapshot after zero entries is none",
            Self::LeaseDrift => "a clock that drifts by 100000 parts per million or more measures no lease",
            Self::Voters => "the snapshot in the store was made in a cluster of other voters",
            Self::LogTooSmall => "half of the store's log does not take the largest command",
            Self::RecordTooSmall => "the store does not take a record of the largest command",
            Self::Peers => "the resources hold fewer peers than the cluster has",
            Self::FrameTooSmall => "the frame is too small for a record",
        })
    }
}

impl core::error::Error for ConfigError {}
