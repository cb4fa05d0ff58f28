//! A leader hands over its office: it takes no more commands, waits until the successor has its whole log, and tells it to campaign (Raft thesis 3.10; E10).
//!
//! The leave may be lost, late or repeated: a node that campaigns without need costs a term, never safety. But it overrides the promise that leases stand on, so
//! who gives leave has no lease again in its term.

use core::fmt;

use super::{Raft, Recorded, count};
use crate::event::Role;
use crate::progress::Due;
use crate::types::{Instant, NodeId};
use crate::wire::CampaignNow;

/// Why a leader does not hand over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TransferError {
    /// Only a leader can; this node leads, if it is known.
    NotLeader(Option<NodeId>),
    /// There is no such peer, or none that has answered lately.
    NoPeer,
    /// The successor did not take over within an election timeout: this node leads on, and takes commands again.
    TimedOut,
    /// The node has stopped.
    Halted,
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader(Some(leader)) => write!(f, "node {leader} leads"),
            Self::NotLeader(None) => f.write_str("no leader is known"),
            Self::NoPeer => f.write_str("no such peer, or none that has answered lately"),
            Self::TimedOut => f.write_str("the successor did not take over in time"),
            Self::Halted => f.write_str("the node has stopped"),
        }
    }
}

impl core::error::Error for TransferError {}

/// The successor, and until when it may come up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    to: NodeId,
    until: Instant,
}

impl Raft<'_> {
    /// Hands over to `to`, or to the peer that is nearest to this node's log. Commands are refused as [`Busy`](super::ProposeError::Busy) meanwhile. The successor.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub fn transfer(&mut self, now: Instant, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        match self.role {
            Role::Leader => {}
            Role::Halted => return Err(TransferError::Halted),
            _ => return Err(TransferError::NotLeader(self.leader)),
        }
        let patience = self.config.election_timeout;
        let able = |peer: &&crate::Peer| now - peer.heard_at <= patience && to.is_none_or(|to| peer.node == to);
        let best = self.peers.iter().filter(able).max_by_key(|peer| (peer.matched, core::cmp::Reverse(peer.node)));
        let to = best.ok_or(TransferError::NoPeer)?.node;
        self.leading.give_leave(Transfer { to, until: now + patience });
        self.rounds.leased_until = Instant(0);
        self.look_after_transfer(now);
        Ok(to)
    }

    /// To whom this node is handing over.
    pub fn transfers_to(&self) -> Option<NodeId> {
        self.leading.transfer.filter(|_| self.role == Role::Leader).map(|transfer| transfer.to)
    }

    /// Tells the successor to campaign once it has everything, again and again; and gives up in the end.
    pub(super) fn look_after_transfer(&mut self, now: Instant) {
        let Some(Transfer { to, until }) = self.leading.transfer else { return };
        if now >= until {
            self.leading.transfer = None;
            return self.tell_clients();
        }
        let last = self.last();
        if self.peer(to).is_some_and(|peer| peer.matched == last) {
            self.owe(to, Due::CAMPAIGN);
        }
    }

    pub(super) fn campaign_now(&self) -> Option<CampaignNow> {
        self.leading.transfer.map(|_| CampaignNow { last: self.last() })
    }

    /// The leader wants this node to succeed it.
    #[cold]
    pub(super) fn handle_campaign_now(&mut self, now: Instant, from: NodeId, leave: &CampaignNow) {
        let follows = self.role == Role::Follower && self.leader == Some(from);
        if !follows || self.last() < leave.last || self.recorded != Recorded::Durable {
            return count(&mut self.refusals.stale_answer);
        }
        if self.can_campaign() {
            self.by_leave = true;
            self.campaign(now);
        }
    }
}
