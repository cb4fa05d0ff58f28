//! The node's events for a debugger's console: `defmt` over semihosting, which halts the processor for each line and is a fault where no debugger listens.

use defmt_semihosting as _;
use embassy_time::{Instant, Timer};
use quoring::Node;

use crate::Mps2;

defmt::timestamp!("{=u64:us}", Instant::now().as_micros());

/// Looks ten times a second, for no event wakes it: a line's time is up to 100 ms late. The node keeps the last eight events; of more between two looks
/// the oldest are missing here, and its refusals count them.
#[embassy_executor::task]
pub(crate) async fn report(node: Node<'static, Mps2>) {
    loop {
        while let Some(event) = node.poll_event() {
            defmt::info!("{}", event);
        }
        Timer::after_millis(100).await;
    }
}
