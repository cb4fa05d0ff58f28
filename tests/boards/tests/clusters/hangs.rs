//! Boards stand still, and their time with them.

use anyhow::Result;

use crate::{cluster, rounds};

/// It goes on where it stood: with a put that a client sent long ago, and frames of an earlier term. covers: E1, R7
#[test]
fn a_leader_that_hangs_is_replaced_and_follows_when_it_goes_on() -> Result<()> {
    let Some(mut cluster) = cluster(3, 21)? else { return Ok(()) };
    for _ in 0..rounds(3)? {
        cluster.acknowledge(20)?;
        let leader = cluster.leader()?;
        cluster.hang(leader)?;
        cluster.leader_after(leader)?;
        cluster.acknowledge(20)?;
        cluster.resume(leader)?;
        cluster.settle()?;
    }
    Ok(())
}

/// covers: P8
#[test]
fn a_follower_that_hangs_delays_nobody() -> Result<()> {
    let Some(mut cluster) = cluster(3, 22)? else { return Ok(()) };
    let leader = cluster.leader()?;
    let follower = (leader + 1) % 3;
    cluster.hang(follower)?;
    // More than fits into the ring of its leader.
    cluster.acknowledge(300)?;
    cluster.resume(follower)?;
    cluster.settle()
}
