//! Each checker sees a fault that was put into the code on purpose, within 400 seeds.

use quoring_core::Planted as Core;
use quoring_sim::{Checker, Options, Planted, RingSize, Viewers, Workload, run};

const SEEDS: u64 = 400;

/// Each fault, and the checker that must see it.
const FAULTS: [(Planted, Checker); 27] = [
    (Planted::Core(Core::VoteTwice), Checker::ElectionSafety),
    (Planted::Core(Core::AnswerBeforeDurable), Checker::Promise),
    (Planted::Core(Core::VoteForOlderLog), Checker::LeaderCompleteness),
    (Planted::Core(Core::CommitByCounting), Checker::Commit),
    (Planted::Core(Core::AcknowledgeUnflushed), Checker::Promise),
    (Planted::Core(Core::CommitUnmatched), Checker::Commit),
    (Planted::Core(Core::SkipConsistencyCheck), Checker::LogMatching),
    (Planted::Core(Core::AlwaysTruncate), Checker::Commit),
    (Planted::Core(Core::ApplyAccepted), Checker::Pointers),
    (Planted::Core(Core::NeverRetry), Checker::Liveness),
    (Planted::Core(Core::InstallStale), Checker::Snapshots),
    (Planted::Core(Core::PurgeUncovered), Checker::Snapshots),
    (Planted::Core(Core::SkipRestore), Checker::StateMachineSafety),
    (Planted::Core(Core::StaleLease), Checker::Linearizability),
    (Planted::Core(Core::StreamGap), Checker::Streams),
    (Planted::Core(Core::ApplyTwice), Checker::Sessions),
    (Planted::Allocate, Checker::ConstantMemory),
    (Planted::Panic, Checker::NoPanic),
    (Planted::SkipEntry, Checker::StateMachineSafety),
    (Planted::AnswerOfAnother, Checker::Linearizability),
    (Planted::AnswerOfAnotherItem, Checker::Streams),
    (Planted::EagerDesk, Checker::AcknowledgedIsDurable),
    (Planted::LyingStore, Checker::Promise),
    (Planted::ForgetfulStore, Checker::Recovery),
    (Planted::ImpatientStore, Checker::Conduct),
    (Planted::ForgetfulSnapshot, Checker::Snapshots),
    (Planted::PhantomRecord, Checker::Recovery),
];

/// The first seed at which the checker sees the fault. A run ends with the first violation, so another checker may see it first in others.
fn find(planted: Planted, checker: Checker) -> Option<u64> {
    (1..=SEEDS).find(|&seed| {
        // A small ring is full; in a larger one logs diverge further.
        let ring = if seed % 2 == 0 { RingSize::Small } else { RingSize::Medium };
        let options = Options { ring, planted: Some(planted), ..Options::new(seed, 5, Workload::Registers(600)) };
        let outcome = run(&options, Viewers::default()).unwrap();
        outcome.violations.iter().any(|violation| violation.checker == checker)
    })
}

#[test]
fn every_planted_fault_is_seen_by_its_checker() {
    for (planted, checker) in FAULTS {
        assert!(find(planted, checker).is_some(), "{planted:?} was not seen by {checker:?} in {SEEDS} seeds");
    }
}

#[test]
fn every_checker_has_a_planted_fault_to_see() {
    for checker in Checker::ALL {
        assert!(FAULTS.iter().any(|(_, sees)| *sees == checker), "{checker:?}");
    }
}

#[test]
fn every_fault_of_the_core_is_planted_here() {
    let is_planted = |core| FAULTS.iter().any(|(planted, _)| *planted == Planted::Core(core));
    assert!(Core::ALL.into_iter().all(is_planted));
}
