//! What can happen at a moment of virtual time, other than a sleeping task's wake-up.

use crate::desk::{Answer, Request};
use crate::faults::Strike;
use crate::network::Delivery;
use crate::timeline::Micros;

/// Something the simulation has to do.
#[derive(Debug)]
pub(crate) enum Event {
    /// A frame comes to the end of its link.
    Arrives(Delivery),
    /// A client may have something to do.
    Client(usize),
    /// A request comes to the node of its client's choice.
    Requests(Request),
    /// An answer comes to its client.
    Replies(Answer),
    /// The next epoch of faults begins.
    Epoch,
    /// A fault of the present epoch.
    Strikes(Strike),
    /// A node loses power now, for this long.
    LosesPower(usize, Micros),
    /// A node that has no power gets it back.
    Starts(usize),
    /// A paused node may go on.
    Resumes,
}
