//! A cluster within one test: every task on one executor, in virtual time, with stores that fail and links that break on demand.

mod client;
mod cluster;
mod links;
mod medium;
mod world;

pub(crate) use client::{Client, answer, commands};
pub(crate) use cluster::{Board, Cluster, Usual, node_id, usual};
pub(crate) use medium::Fault;
