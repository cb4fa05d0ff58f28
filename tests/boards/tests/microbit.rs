//! Three micro:bits at serial lines: a whole node in 16 KiB of RAM each.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use quoring_boards::microbit::Cluster;
use quoring_boards::serial::Noise;

// covers: F1, T1
#[test]
fn three_boards_elect_commit_and_read_back_on_all() -> Result<()> {
    let Some(mut cluster) = Cluster::start(1)? else { return Ok(()) };
    cluster.put(0..30)?;
    cluster.agree()?;
    cluster.read_back()
}

// More puts than the log has room for. Then what is left is what is in flash.
// Scenario 40.
// covers: D2, R3, R11, S3, S5
#[test]
fn boards_that_are_reset_come_back_with_their_logs_and_snapshots() -> Result<()> {
    let Some(mut cluster) = Cluster::start(2)? else { return Ok(()) };
    for round in 0..4 {
        cluster.put((0..60).map(|put| (put + round * 20) % 63))?;
        let leader = cluster.leader()?;
        cluster.reset(&[(leader + round as usize) % 3])?;
        cluster.put(0..5)?;
    }
    cluster.agree()?;
    let before = cluster.statuses()?;
    ensure!(before.iter().all(|status| status.start > 100 && status.snapshot > 200), "nothing was purged: {before:?}");
    cluster.reset(&[0, 1, 2])?;
    cluster.put([1])?;
    cluster.agree()?;
    cluster.read_back()
}

// Scenario 8.
// covers: T1, T2
#[test]
fn noise_on_the_lines_loses_no_command() -> Result<()> {
    let Some(mut cluster) = Cluster::start(3)? else { return Ok(()) };
    cluster.switch().set_noise(Noise { lost: 50, damaged: 40, cut: 30, preceded: 40 });
    for _ in 0..2 {
        cluster.put(0..63)?;
    }
    let leader = cluster.leader()?;
    cluster.reset(&[(leader + 1) % 3])?;
    cluster.put(0..20)?;
    let counts = cluster.switch().counts();
    ensure!(counts.harmed > 30, "hardly any noise: {counts:?}");
    cluster.switch().set_noise(Noise::default());
    cluster.agree()?;
    cluster.read_back()
}

// Scenario 20.
// covers: E1
#[test]
fn a_leader_that_is_cut_off_or_dead_is_replaced() -> Result<()> {
    let Some(mut cluster) = Cluster::start(4)? else { return Ok(()) };
    cluster.put(0..10)?;
    let first = cluster.leader()?;
    cluster.switch().connect(first, false);
    let deadline = Instant::now() + Duration::from_secs(60);
    let second = loop {
        let leader = cluster.leader()?;
        if leader != first {
            break leader;
        }
        ensure!(Instant::now() < deadline, "nobody takes the place of {first}");
    };
    cluster.put(10..20)?;
    cluster.switch().connect(first, true);
    cluster.agree()?;
    cluster.stop(second)?;
    let third = cluster.leader()?;
    ensure!(third != second, "the dead leads");
    cluster.put(20..30)?;
    cluster.agree()?;
    cluster.read_back()
}

// The stack was painted at the start: what still has the colour was never used. Statics lie below it.
// covers: F4
#[test]
fn a_node_leaves_a_tenth_of_16_kib_of_ram_unused() -> Result<()> {
    let Some(mut cluster) = Cluster::start(5)? else { return Ok(()) };
    cluster.put((0..150).map(|put| put % 63))?;
    cluster.read_back()?;
    for node in 0..3 {
        let memory = cluster.memory(node)?;
        let words: Vec<_> = memory.chunks(4).collect();
        let unused = words.split(|word| *word != [0xCC; 4]).map(<[_]>::len).max().unwrap_or_default() * 4;
        println!("node {node}: {unused} of {} bytes of RAM were never used", memory.len());
        ensure!(unused > memory.len() / 10, "node {node} has used all but {unused} bytes");
    }
    Ok(())
}
