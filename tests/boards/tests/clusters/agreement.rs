//! All is well.

use anyhow::Result;

use crate::cluster;

/// covers: C12, F1
#[test]
fn three_boards_elect_a_leader_commit_and_read_everything_back_on_all() -> Result<()> {
    let Some(mut cluster) = cluster(3, 1)? else { return Ok(()) };
    cluster.acknowledge(200)?;
    cluster.settle()
}

/// covers: C12, F1
#[test]
fn five_boards_elect_a_leader_commit_and_read_everything_back_on_all() -> Result<()> {
    let Some(mut cluster) = cluster(5, 2)? else { return Ok(()) };
    cluster.acknowledge(200)?;
    cluster.settle()
}

/// More than a snapshot's worth of entries: each node makes snapshots and lets its log go. A restart begins from them. covers: S3, S5
#[test]
fn logs_make_way_for_snapshots_and_boards_start_from_them() -> Result<()> {
    let Some(mut cluster) = cluster(3, 3)? else { return Ok(()) };
    cluster.until("logs begin behind snapshots", |cluster| {
        (0..3).all(|node| cluster.status(node).is_some_and(|status| status.start > 0 && status.snapshot > 400))
    })?;
    (0..3).try_for_each(|node| cluster.kill(node))?;
    (0..3).try_for_each(|node| cluster.boot(node))?;
    cluster.settle()
}
