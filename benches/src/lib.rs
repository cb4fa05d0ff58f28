//! What the benches of Quoring measure: its parts, and a whole cluster of it in one process.

pub mod cluster;
pub mod parts;
pub mod record;
