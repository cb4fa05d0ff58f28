//! Seeds through all faults: nothing violated, every kind of fault met, memory constant.

use quoring_sim::{Action, Fault, FaultSet, Options, Outcome, RingSize, Tally, Viewers, Workload, run};

fn options(seed: u64, nodes: usize, entries: u32) -> Options {
    Options::new(seed, nodes, Workload::Registers(entries))
}

/// A run in which nothing was wrong.
fn clean(options: &Options) -> Outcome {
    let outcome = run(options, Viewers::default()).unwrap();
    assert!(outcome.is_clean(), "{options}: {:#?}", outcome.violations);
    assert_eq!((outcome.allocations, outcome.allocated_bytes), (0, 0));
    outcome
}

/// covers: C1, C4, C6, C11, C12, D2, D3, D5, D6, D9, E1, E2, E3, E10, L4, L5, P2, P4, P5, P7, P8, P10, P13, P15, R1, R2, R6, R7, R9, R15, S1, S2, S3, S4, S5, S6, T2, T3, T5
/// Scenarios 34, 44, 45, 47, 48, 52
#[test]
fn twenty_seeds_in_a_row_are_clean_and_meet_every_kind_of_fault_and_of_client() {
    let tallies: Vec<Tally> = (1..=20).map(|seed| clean(&options(seed, 5, 2000)).tally).collect();
    let met = |count: &dyn Fn(&Tally) -> u64| tallies.iter().map(count).sum::<u64>() > 0;
    let faults = Fault::ALL.into_iter().filter(|&fault| !met(&|tally| tally.of(fault))).map(Fault::name);
    let actions = Action::ALL.into_iter().filter(|&action| !met(&|tally| tally.done(action))).map(Action::name);
    let missed: Vec<&str> = faults.chain(actions).collect();
    assert!(missed.is_empty(), "{missed:?} did not occur");
}

/// covers: C6, C11, R15, S6
#[test]
fn seeds_that_once_found_a_fault_in_the_way_of_clients_are_clean() {
    // A session was called expired by a node that had restored a snapshot from before its opening.
    [17, 45, 78].into_iter().for_each(|seed| drop(clean(&options(seed, 5, 2000))));
    // A command took effect in a session of which its client was told that it had expired.
    clean(&options(87, 5, 2000));
    // A leader lost power with its boot number, of which others had entries already.
    clean(&options(1, 2, 200));
    clean(&Options { ring: RingSize::Wide, ..options(18, 7, 500) });
    // A snapshot did not fit beside the sessions.
    [186, 373, 481].into_iter().for_each(|seed| drop(clean(&options(seed, 5, 2000))));
}

/// covers: P8, P10, P11, P12, R6
#[test]
fn a_ring_that_is_always_full_stops_nothing() {
    for seed in 1..=20 {
        clean(&Options { ring: RingSize::Small, ..options(seed, 3, 500) });
    }
}

#[test]
fn clusters_of_any_size_get_everything_done() {
    for nodes in [1, 2, 3, 4, 6, 7, 31, 32] {
        clean(&options(1, nodes, 200));
    }
}

#[test]
fn each_set_of_faults_has_its_own_kinds_only() {
    let of_links = [Fault::Dropped, Fault::Duplicated, Fault::Reordered, Fault::Corrupted, Fault::Cut];
    let of_power = [Fault::Crashes, Fault::PowerLosses, Fault::TornWrites];
    let sum = |faults, kinds: &[Fault]| -> u64 {
        let tallies = (1..=5).map(|seed| clean(&Options { faults, ..options(seed, 3, 300) }).tally);
        tallies.map(|tally| kinds.iter().map(|&kind| tally.of(kind)).sum::<u64>()).sum()
    };
    assert_eq!(sum(FaultSet::None, &Fault::ALL), 0);
    assert_eq!((sum(FaultSet::Net, &of_links) > 0, sum(FaultSet::Net, &of_power)), (true, 0));
    assert_eq!((sum(FaultSet::Crash, &of_links), sum(FaultSet::Crash, &of_power) > 0), (0, true));
}

/// covers: P9, P13, S3, S7
/// Scenario 46
#[test]
fn a_log_that_is_much_smaller_than_what_goes_through_it_is_purged_and_serves_who_comes_late() {
    let (mut purged, mut late, mut sent) = (0, 0, 0);
    for seed in 1..=20 {
        let outcome = clean(&Options { ring: RingSize::Small, ..options(seed, 5, 1500) });
        purged += outcome.purged_pages;
        late += outcome.tally.of(Fault::LateStarts);
        sent += outcome.tally.of(Fault::SnapshotsSent);
    }
    assert!(purged > 1000 && late > 1 && sent > 20, "{purged} {late} {sent}");
}

/// covers: D5
#[test]
fn a_node_whose_chip_rots_refuses_to_start_and_the_others_go_on() {
    let lost = |outcome: &Outcome| outcome.nodes.iter().filter(|node| node.lost).count();
    let outcomes: Vec<Outcome> = (1..=20).map(|seed| clean(&options(seed, 5, 300))).collect();
    assert!(outcomes.iter().all(|outcome| lost(outcome) <= 2));
    assert!(outcomes.iter().map(lost).sum::<usize>() > 3);
}

/// covers: P13
#[test]
fn the_memory_of_a_node_does_not_depend_on_what_it_does() {
    let ram = |entries| clean(&options(3, 5, entries)).ram_bytes_per_node;
    assert_eq!(ram(10), ram(3000));
}

/// covers: P14
#[test]
fn a_text_comes_out_of_every_node_as_it_went_in() {
    for text in [&b""[..], b"\n", b"one line", b"\n\n\xFF\xFEnot text\0\r\n\nno end"] {
        for seed in 1..=5 {
            let outcome = clean(&Options { ring: RingSize::Wide, ..Options::new(seed, 3, Workload::lines(text)) });
            assert!(outcome.nodes.iter().all(|node| node.text == text));
        }
    }
}
