//! The tasks of a node, together or one by one.

use core::fmt;

use embassy_futures::select::{Either4, select_array, select4};
use quoring_ring::Flusher;

use crate::halt::Halt;
use crate::platform::Platform;
use crate::shared::Shared;
use crate::task::{LogWriter, Receiver, Replicator, Ticker};

/// All tasks of a node. Dropping it, or a future of it, stops the node as a loss of power would.
pub struct Runner<'a, P: Platform, const PEERS: usize> {
    tasks: Tasks<'a, P, PEERS>,
}

/// The tasks one by one, for executors of different priority or for threads. All of them must run.
pub struct Tasks<'a, P: Platform, const PEERS: usize> {
    /// Makes durable what is accepted.
    pub log_writer: LogWriter<'a, P>,
    /// One for each peer the resources have room for.
    pub replicators: [Replicator<'a, P>; PEERS],
    /// Takes frames.
    pub receiver: Receiver<'a, P>,
    /// Keeps deadlines.
    pub ticker: Ticker<'a, P>,
}

impl<'a, P: Platform, const PEERS: usize> Runner<'a, P, PEERS> {
    pub(crate) fn new<const FRAME: usize>(
        shared: &'a Shared<'a, P>,
        flusher: Flusher<'a>,
        log_writer: &'a mut [u8],
        receiver: &'a mut [u8],
        replicators: &'a mut [[u8; FRAME]; PEERS],
    ) -> Self {
        let mut peers = shared.peers.iter();
        Self {
            tasks: Tasks {
                log_writer: LogWriter::new(shared, flusher, log_writer),
                replicators: replicators.each_mut().map(|frame| Replicator::new(shared, peers.next(), frame)),
                receiver: Receiver::new(shared, receiver),
                ticker: Ticker::new(shared),
            },
        }
    }

    /// Runs all tasks in one future. It ends only when the node halts. Dropping it stops the node as a loss of power would.
    ///
    /// Also where the store blocks while it writes, as a file log does: frames that have come in are handled, and what is to be sent is sent, before the log is
    /// written, so the peers write at the same time. The node is deaf for as long as a write takes, which the election timeout must exceed anyway.
    pub async fn run(self) -> Halt {
        let Tasks { log_writer, replicators, receiver, ticker } = self.split();
        let replicators = select_array(replicators.map(Replicator::run));
        // In this order.
        match select4(receiver.run(), replicators, ticker.run(), log_writer.run()).await {
            Either4::First(halt) | Either4::Second((halt, _)) | Either4::Third(halt) | Either4::Fourth(halt) => halt,
        }
    }

    /// The tasks one by one.
    ///
    /// Where the store blocks while it writes, a log writer on a thread of its own lets the node hear and send meanwhile. That costs two wake-ups of another
    /// thread for each write, which on a fast disk take longer than the rest; a host whose writes are short lets one thread do it all, the log
    /// writer last. All others belong on one thread, the only one that drives sockets and timers.
    pub fn split(self) -> Tasks<'a, P, PEERS> {
        self.tasks
    }
}

impl<P: Platform, const PEERS: usize> fmt::Debug for Runner<'_, P, PEERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Runner").field(&self.tasks).finish()
    }
}

impl<P: Platform, const PEERS: usize> fmt::Debug for Tasks<'_, P, PEERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peers = self.replicators.iter().filter_map(Replicator::peer);
        f.debug_struct("Tasks").field("peers", &peers.collect::<quoring_core::NodeSet>()).finish_non_exhaustive()
    }
}
