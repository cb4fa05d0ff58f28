//! Time as the node sees it.
//!
//! | module | feature | clock |
//! |---|---|---|
//! | `embassy` | `embassy-time` | the time driver of a board |
//! | `system` | `std` | a host's |

use quoring_core::Instant;

#[cfg(feature = "embassy-time")]
pub mod embassy;
#[cfg(feature = "std")]
pub mod system;

/// A monotonic clock of one node (F3). Clocks of different nodes need not agree; they may drift and stall.
#[allow(async_fn_in_trait)] // Tasks run where their executor is.
pub trait Clock {
    /// Microseconds since any origin; never goes back.
    fn now(&self) -> Instant;

    /// Returns at `deadline` or later. Cancel-safe.
    async fn sleep_until(&self, deadline: Instant);
}
