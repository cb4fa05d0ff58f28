//! Flash forgets.

use anyhow::{Context, Result, ensure};
use quoring_boards::flash::Flash;

use crate::{cluster, rounds};

/// Bytes of a page.
const PAGE: usize = 4096;

/// In the end of the very last batch, rot cannot be told from a write that power interrupted.
const TAIL: usize = 32;

/// Of a page's header there are two copies: one bit in it harms nothing.
const HEADERS: usize = 128;

/// Of each byte that has been written, its first bit: behind the first `without` bytes of each page, and in front of the end of what is written in it.
fn written(flash: &Flash, without: usize) -> Result<Vec<u64>> {
    let bytes = flash.read()?;
    let mut written = Vec::new();
    for (number, page) in bytes.chunks(PAGE).enumerate() {
        let end = page.iter().rposition(|&byte| byte != 0xFF).unwrap_or_default();
        written.extend((without..end.saturating_sub(TAIL)).map(|offset| 8 * (number * PAGE + offset) as u64));
    }
    Ok(written)
}

/// In the first round the log is one page, and all of it is needed; later, snapshots and newer pages stand for parts of it.
/// Scenario 37. covers: D5
#[test]
fn a_flipped_bit_stops_a_board_with_a_reason_or_harms_nothing() -> Result<()> {
    let Some(mut cluster) = cluster(3, 41)? else { return Ok(()) };
    for round in 0..rounds(12)? {
        cluster.acknowledge(20)?;
        let follower = (cluster.leader()? + 1) % 3;
        let newest = cluster.history().newest();
        cluster.until("the follower has caught up", |cluster| {
            cluster.status(follower).is_some_and(|status| status.applied >= newest)
        })?;
        cluster.kill(follower)?;
        let written = written(cluster.flash(follower), if round == 0 { HEADERS } else { 0 })?;
        let bit = *cluster.rng().choice(&written).context("nothing is written")? + cluster.rng().u64(..8);
        cluster.flash(follower).flip(bit)?;
        if let Some(reason) = cluster.try_boot(follower)? {
            // In the log, or in the snapshot without which that has a hole.
            ensure!(reason.starts_with("store: ") || reason.starts_with("recovery: "), "bit {bit} flipped: {reason}");
            // The others go on; and so does the board, once its flash is what it was.
            cluster.acknowledge(20)?;
            cluster.flash(follower).flip(bit)?;
            cluster.boot(follower)?;
            cluster.all_ready()?;
        } else {
            ensure!(round > 0, "bit {bit} flipped, and the board has not noticed");
        }
    }
    cluster.settle()
}
