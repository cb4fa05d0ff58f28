//! Random traces over the core, compared step by step with a plain model of Raft, and watched by the oracles.

use quoring_core::{NodeSet, Planted};
use quoring_ring::Position;
use quoring_tests::cluster::Settings;
use quoring_tests::memory::RingSize;
use quoring_tests::trace::{Player, Reference, failure, generate, shrink};

/// Actions of a trace.
const LENGTH: usize = 3200;

/// Rings with room for everything. Positions cross the 32-bit wrap. Frames are small or large: a snapshot is of one piece or of many.
fn roomy(seed: u64) -> Settings {
    let voters = NodeSet::first(if seed % 4 == 3 { 5 } else { 3 });
    let frame = if seed % 3 == 1 { 128 } else { 512 };
    // With leases, clocks drift as far as those allow for.
    let lease_drift = [None, Some(0), Some(20_000)][seed as usize / 4 % 3];
    Settings { seed, frame, lease_drift, origin: Position::new(u32::MAX - 2000), ..Settings::new(voters) }
}

/// Rings that are full all the time, small windows and small frames.
fn tight(seed: u64) -> Settings {
    let sizes = [(16, 8), (32, 8), (64, 8), (64, 16), (128, 32)];
    let (units, slots) = sizes[seed as usize % sizes.len()];
    let (frame, max_in_flight) =
        (if seed.is_multiple_of(3) { 512 } else { 128 }, if seed.is_multiple_of(2) { 1 } else { 16 });
    Settings { ring: RingSize { units, slots }, frame, max_in_flight, ..roomy(seed) }
}

/// Plays the seeds; shows the shortest trace that fails.
fn check(seeds: std::ops::Range<u64>, reference: Reference, settings: impl Fn(u64) -> Settings) {
    for seed in seeds {
        let (settings, actions) = (settings(seed), generate(seed, LENGTH));
        let Some(error) = failure(settings, reference, &actions) else { continue };
        let actions = shrink(settings, reference, actions);
        let shrunk = failure(settings, reference, &actions);
        panic!("seed {seed}: {error}\n{} actions suffice: {actions:?}\n{shrunk:?}", actions.len());
    }
}

/// covers: E1, E2, E3, E4, E5, E9, E10, C1, C4, C10, C12, L2, L3, L4, L5, L6, L8, L15, S1, S2, S3, S5, R1, R2, R4, R8, R10, R11, R12, R15
#[test]
fn the_core_agrees_with_the_paper_at_every_step() {
    check(0..1000, Reference::Model, roomy);
}

/// covers: C1, C4, C12, P4, P5, P8, P9, P11, L1, L11, L12, S3, S4, R5, R6, R13
#[test]
fn full_rings_and_small_windows_break_no_promise() {
    check(0..1000, Reference::Oracles, tight);
}

/// A trace in which nothing is committed and nobody is elected tests nothing.
#[test]
fn traces_elect_leaders_commit_entries_install_snapshots_serve_clients_and_lose_power() {
    let (mut committed, mut leaders, mut read_back, mut installs) = (0, 0, 0, 0);
    let (mut reads, mut lost, mut items, mut by_leave) = (0, 0, 0, 0);
    for seed in 0..100 {
        let mut player = Player::new(tight(seed), Reference::Oracles);
        generate(seed, LENGTH).into_iter().for_each(|action| player.play(action).expect("no model, no disagreement"));
        installs += player.installs;
        by_leave += player.by_leave;
        let clients = &player.cluster.clients;
        (reads, lost, items) = (reads + clients.done, lost + clients.lost, items + clients.accepted);
        committed += player.cluster.oracle.committed().0;
        leaders += player.cluster.oracle.leaders().count();
        read_back += player
            .cluster
            .nodes
            .values()
            .filter_map(|node| node.running.as_ref())
            .map(|node| node.read_back())
            .sum::<u64>();
    }
    println!(
        "100 traces: {committed} entries committed, {leaders} leaders elected, {read_back} entries read back, {installs} snapshots installed"
    );
    println!("{reads} reads answered, {lost} lost, {items} items forwarded, {by_leave} campaigns by leave");
    assert!(committed > 1000 && leaders > 200 && read_back > 10 && installs > 10);
    assert!(reads > 1000 && lost > 100 && items > 50 && by_leave > 10);
}

/// The proof that model and oracles would see a broken rule. Some faults are the drivers': the simulator sees those.
#[test]
fn every_planted_fault_is_seen() {
    let elsewhere = [Planted::ApplyAccepted, Planted::SkipRestore, Planted::ApplyTwice];
    for fault in Planted::ALL.into_iter().filter(|fault| !elsewhere.contains(fault)) {
        let sees = |reference| {
            let broken = |seed| Settings { planted: Some(fault), ..roomy(seed) };
            (0..100).find(|&seed| failure(broken(seed), reference, &generate(seed, LENGTH)).is_some())
        };
        let (model, oracles) = (sees(Reference::Model), sees(Reference::Oracles));
        println!("{fault:?}: by the model with seed {model:?}, by the oracles with seed {oracles:?}");
        // The model knows no rounds of reads: those are the oracle's.
        assert!(model.is_some() || fault == Planted::StaleLease, "{fault:?} is not seen by the model");
        // What a leader says is committed is at most what the follower is known to hold (L6): alone, this fault harms nobody. And the ring refuses
        // to start anew below what is committed, so a stale snapshot harms only who has a newer one.
        let is_harmless = [Planted::CommitUnmatched, Planted::InstallStale].contains(&fault);
        assert!(oracles.is_some() || is_harmless, "{fault:?} is not seen by the oracles");
    }
}
