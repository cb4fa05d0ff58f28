//! All is well.

use anyhow::Result;
use quoring_boards::cluster::Cluster;

use crate::seed;

#[test]
fn three_boards_elect_a_leader_commit_and_read_everything_back_on_all() -> Result<()> {
    let Some(mut cluster) = Cluster::start(3, seed(1)?)? else { return Ok(()) };
    cluster.acknowledge(100)?;
    cluster.settle()
}
