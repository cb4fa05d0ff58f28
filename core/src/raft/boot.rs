//! Which boot of the node this is: a durable number, so that what was said to an earlier one completes nothing in this one (R15).
//!
//! It stands in the record of term and vote. A node takes a new one only when a client of it needs one; who never asks another node writes nothing more.

use super::{Raft, Recorded};
use crate::config::Config;

impl Raft<'_> {
    /// A client is about to be named, or another node asked: makes sure that no earlier boot could have done so under the same number. Until it is durable,
    /// no frame with it leaves, and no entry with it is appended: a leader replicates an entry before its own medium has what came before.
    pub(super) fn begin_boot(&mut self) {
        if !self.has_booted {
            self.boot_again();
        }
    }

    /// The numbers of this boot are used up, or there are none yet.
    pub(super) fn boot_again(&mut self) {
        self.has_booted = true;
        // One a second, they last for 136 years.
        self.boot = self.boot.saturating_add(1);
        self.booted = Recorded::Pending;
        self.window.numbered = 0;
        self.record_boot();
    }

    /// Writes the record, or remembers to.
    pub(super) fn record_boot(&mut self) {
        self.booted = self.append_vote();
    }

    /// The record is durable: questions and forwarded commands may leave.
    pub(super) fn boot_is_durable(&mut self) {
        self.booted = Recorded::Durable;
        self.ready = Config::peers(&self.config);
    }
}
