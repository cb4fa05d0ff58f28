//! Memory is a flat line over two hundred thousand entries. Ten million are `cargo run --release -p quoring-constant`, which also looks at the whole process.

use quoring_constant::{Plan, What, draw, run};

const ENTRIES: u64 = 200_000;

/// Elections, cut links, hanging flash, peers caught up from the store and by a snapshot, full rings, applications that stand still; proposals, sessions,
/// streams and reads on all three nodes.
///
/// covers: P13
#[test]
fn nothing_is_allocated_whatever_happens_to_the_cluster() {
    let report = run(&Plan { entries: ENTRIES, hoards: false }).unwrap();
    println!("{report}");
    report.check().unwrap();
    assert!(report.applied() >= ENTRIES && report.count_of(What::CutOff) > 0);
    assert!(draw(&report).contains("no allocation after the start"));
}

#[test]
fn one_that_keeps_each_command_on_the_heap_is_seen() {
    let report = run(&Plan { entries: ENTRIES, hoards: true }).unwrap();
    assert!(report.allocations > 2 * ENTRIES, "{} copies", report.allocations);
    let seen = report.check().unwrap_err().to_string();
    assert!(seen.contains("allocations after the start"), "{seen}");
    assert!(report.check_resident().is_err(), "the process grows with it");
    assert!(report.samples().windows(2).all(|pair| pair[0].heap < pair[1].heap), "the heap rises all the time");
}
