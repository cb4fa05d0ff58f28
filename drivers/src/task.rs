//! The tasks. Each is a loop that watches a pointer, and decides nothing about the protocol.

mod log_writer;
mod receiver;
mod replicator;
mod ticker;

pub use log_writer::LogWriter;
pub use receiver::Receiver;
pub use replicator::Replicator;
pub use ticker::Ticker;
