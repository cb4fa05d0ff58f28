//! Cables and frames.

use std::time::Duration;

use anyhow::{Result, ensure};
use quoring_boards::answer::Status;
use quoring_boards::board::Cable;
use quoring_boards::cluster::Cluster;
use quoring_boards::switch::Faults;

use crate::{cluster, rounds};

/// Scenario 20. covers: E1
#[test]
fn a_leader_whose_cable_is_pulled_is_replaced_and_follows_when_it_is_back() -> Result<()> {
    let Some(mut cluster) = cluster(3, 31)? else { return Ok(()) };
    for _ in 0..rounds(3)? {
        cluster.acknowledge(20)?;
        let leader = cluster.leader()?;
        cluster.connect(leader, Cable::Out)?;
        cluster.leader_after(leader)?;
        cluster.until("it steps down", |cluster| cluster.status(leader).is_some_and(|status| !status.leads()))?;
        cluster.acknowledge(20)?;
        cluster.connect(leader, Cable::In)?;
        cluster.settle()?;
    }
    Ok(())
}

/// Scenario 20. covers: E1, R7
#[test]
fn a_minority_with_the_leader_acknowledges_nothing_and_the_majority_goes_on() -> Result<()> {
    let Some(mut cluster) = cluster(5, 32)? else { return Ok(()) };
    for _ in 0..rounds(2)? {
        cluster.acknowledge(20)?;
        let leader = cluster.leader()?;
        let node = |number: usize| (leader + number) % 5;
        let (minority, majority) = ([node(0), node(3)], [node(1), node(2), node(4)]);
        cluster.switch().partition(&[&minority, &majority]);
        let leads = |cluster: &Cluster, node| cluster.status(node).is_some_and(Status::leads);
        cluster.until("the majority has a leader", |cluster| majority.iter().any(|&node| leads(cluster, node)))?;
        cluster.until("the minority has none", |cluster| !minority.iter().any(|&node| leads(cluster, node)))?;
        cluster.acknowledge(50)?;
        cluster.switch().heal();
        cluster.settle()?;
    }
    Ok(())
}

/// Scenario 21. Its heartbeats hold the others back, until it sees that nobody answers. covers: E1
#[test]
fn a_leader_that_hears_nobody_steps_down() -> Result<()> {
    let Some(mut cluster) = cluster(3, 33)? else { return Ok(()) };
    cluster.acknowledge(20)?;
    let leader = cluster.leader()?;
    (1..3).for_each(|number| cluster.switch().cut((leader + number) % 3, leader));
    cluster.leader_after(leader)?;
    cluster.acknowledge(20)?;
    cluster.switch().heal();
    cluster.settle()
}

/// covers: T1, T2
#[test]
fn frames_lost_delayed_doubled_damaged_and_out_of_order_lose_no_command() -> Result<()> {
    let Some(mut cluster) = cluster(3, 34)? else { return Ok(()) };
    let delay = Duration::from_millis(4);
    cluster.switch().set_faults(Faults { lost: 50, duplicated: 50, corrupted: 30, reordered: 100, delay });
    cluster.acknowledge(150 * rounds(1)?)?;
    let before = cluster.switch().counts();
    cluster.settle()?;
    for count in [before.lost, before.duplicated, before.corrupted, before.reordered] {
        ensure!(count > 10, "hardly a fault was drawn: {before:?}");
    }
    Ok(())
}
