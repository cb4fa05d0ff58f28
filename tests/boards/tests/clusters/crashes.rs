//! Power is lost.

use std::time::Duration;

use anyhow::{Result, ensure};
use quoring_boards::cluster::Cluster;

use crate::{cluster, rounds};

/// Some time under load, drawn anew.
fn a_while(cluster: &mut Cluster) -> Result<()> {
    let time = Duration::from_micros(cluster.rng().u64(..150_000));
    cluster.pass(time)
}

/// `ROUNDS=200` for a long one. covers: D2
#[test]
fn boards_that_lose_power_under_load_again_and_again_lose_nothing() -> Result<()> {
    let Some(mut cluster) = cluster(3, 11)? else { return Ok(()) };
    for _ in 0..rounds(12)? {
        a_while(&mut cluster)?;
        let first = cluster.rng().usize(..3);
        cluster.kill(first)?;
        a_while(&mut cluster)?;
        // Now and then all but one are down.
        let second = (first + 1) % 3;
        let both = cluster.rng().u8(..4) == 0;
        if both {
            cluster.kill(second)?;
            a_while(&mut cluster)?;
        }
        cluster.boot(first)?;
        a_while(&mut cluster)?;
        if both {
            cluster.boot(second)?;
        }
        cluster.all_ready()?;
        cluster.acknowledge(5)?;
    }
    cluster.settle()
}

/// Scenario 40. covers: D2
#[test]
fn a_cluster_that_loses_power_as_a_whole_has_all_that_was_acknowledged() -> Result<()> {
    let Some(mut cluster) = cluster(3, 12)? else { return Ok(()) };
    for _ in 0..rounds(4)? {
        cluster.acknowledge(30)?;
        a_while(&mut cluster)?;
        (0..3).try_for_each(|node| cluster.kill(node))?;
        (0..3).try_for_each(|node| cluster.boot(node))?;
        cluster.settle()?;
    }
    Ok(())
}

/// covers: P8, S1, S7
#[test]
fn a_minority_that_is_down_stops_nobody_and_catches_up_by_snapshot() -> Result<()> {
    let Some(mut cluster) = cluster(5, 13)? else { return Ok(()) };
    cluster.acknowledge(20)?;
    let leader = cluster.leader()?;
    let down = [leader, (leader + 2) % 5];
    down.into_iter().try_for_each(|node| cluster.kill(node))?;
    cluster.leader_after(leader)?;
    let behind = cluster.history().newest();
    cluster.until("the others let their logs go", |cluster| {
        let purged = |node| cluster.status(node).is_some_and(|status| status.start > behind + 100);
        (0..5).filter(|node| !down.contains(node)).all(purged)
    })?;
    down.into_iter().try_for_each(|node| cluster.boot(node))?;
    cluster.settle()?;
    cluster.until("they tell", |cluster| down.iter().all(|&node| cluster.status(node).is_some()))?;
    for node in down {
        let start = cluster.status(node).map_or(0, |status| status.start);
        ensure!(start > behind, "node {node} has no snapshot of another: its log begins at {start}");
    }
    Ok(())
}

/// Its clients are told that the outcome is open. covers: E1, R7
#[test]
fn a_node_that_is_alone_acknowledges_nothing_until_the_others_return() -> Result<()> {
    let Some(mut cluster) = cluster(3, 14)? else { return Ok(()) };
    cluster.acknowledge(20)?;
    let leader = cluster.leader()?;
    let down = [(leader + 1) % 3, (leader + 2) % 3];
    down.into_iter().try_for_each(|node| cluster.kill(node))?;
    // What was on its way when the second lost power.
    cluster.until("the leader steps down", |cluster| cluster.status(leader).is_some_and(|status| !status.leads()))?;
    let acknowledged = cluster.history().acknowledged();
    cluster.pass(Duration::from_secs(1))?;
    ensure!(cluster.history().acknowledged() == acknowledged, "it acknowledged puts alone");
    down.into_iter().try_for_each(|node| cluster.boot(node))?;
    cluster.settle()
}
