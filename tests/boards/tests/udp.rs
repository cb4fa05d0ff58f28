//! Three boards that speak UDP through a network stack: addresses are asked for and answered, by frames that are lost like any other.

use std::time::Duration;

use anyhow::{Result, ensure};
use quoring_boards::cluster::Cluster;
use quoring_boards::firmware::Firmware;
use quoring_boards::switch::Faults;

fn cluster(seed: u64) -> Result<Option<Cluster>> {
    Cluster::of(&Firmware::MPS2_UDP, 3, seed)
}

// covers: F1, T1
#[test]
fn three_boards_over_udp_elect_commit_and_read_back_on_all() -> Result<()> {
    let Some(mut cluster) = cluster(71)? else { return Ok(()) };
    cluster.acknowledge(100)?;
    cluster.settle()
}

// A board that comes back knows no addresses. Commits go on beside one that is dead, whose address nobody answers for.
// Scenario 40.
// covers: D2, T1
#[test]
fn boards_that_lose_power_come_back_over_udp_that_loses_frames() -> Result<()> {
    let Some(mut cluster) = cluster(72)? else { return Ok(()) };
    let delay = Duration::from_millis(2);
    cluster.switch().set_faults(Faults { lost: 30, duplicated: 30, corrupted: 20, reordered: 50, delay });
    cluster.acknowledge(20)?;
    let leader = cluster.leader()?;
    for node in [leader, (leader + 1) % 3] {
        cluster.kill(node)?;
        cluster.acknowledge(20)?;
        cluster.boot(node)?;
        cluster.all_ready()?;
        cluster.acknowledge(20)?;
    }
    let counts = cluster.switch().counts();
    cluster.settle()?;
    for count in [counts.lost, counts.duplicated, counts.corrupted, counts.reordered] {
        ensure!(count > 5, "hardly a fault was drawn: {counts:?}");
    }
    Ok(())
}
