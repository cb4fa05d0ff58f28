//! A cluster within one test: every task on one executor, in virtual time, with stores that fail on demand.

mod cluster;
mod medium;
mod world;

pub(crate) use cluster::{Board, Cluster, node_id};
pub(crate) use medium::Fault;
