//! Power may go at any word, and again, and nothing acknowledged is lost and nothing never written appears.

#![cfg(feature = "std")]

mod paged_rig;

use paged_rig::*;
use quoring::LogStore;
use quoring::store::medium::Geometry;
use quoring::store::mock::{MockFlash, Tear};
use quoring::store::paged::{Finding, Origin};

/// How one run went.
#[derive(Default, Debug)]
struct Tally {
    cuts: u64,
    again: u64,
    /// Outcomes of interrupted operations: before, in the middle, after.
    before: u64,
    within: u64,
    after: u64,
    /// Pages that were merged, seen after a step without a cut.
    merged: u64,
}

/// Recovers, checks that nothing was written by that, and tells which of these models it is.
fn find(log: &mut Log, models: &[Model], context: &dyn Fn() -> String) -> usize {
    let written = |log: &Log| (log.medium().counters().words, log.medium().counters().erases);
    let before = written(log);
    let found = recover(log).unwrap_or_else(|error| panic!("{}: {error:?}", context()));
    assert_eq!(written(log), before, "recovery writes nothing");
    let verdicts: Vec<_> = models.iter().map(|model| model.agrees(&found)).collect();
    verdicts.iter().position(Result::is_ok).unwrap_or_else(|| {
        now(log.inspect(|finding| println!("{finding:?}"))).unwrap();
        panic!("{}: {verdicts:?}\n{found:?}", context())
    })
}

fn sweep(geometry: Geometry, seed: u64, steps: usize) -> Tally {
    let mut tally = Tally::default();
    let mut author = Author::new(random(seed));
    let mut model = Model::default();
    let mut log = open(MockFlash::new(geometry).with_seed(seed), LAYOUT);
    recover(&mut log).unwrap();
    for step in 0..steps {
        let op = author.next(&model, log.space().free);
        let mut done = log.clone();
        op.run(&mut done).unwrap_or_else(|error| panic!("step {step} {op:?}: {error} with {:?}", log.space()));
        let count = done.medium().operations() - log.medium().operations();
        let outcomes = op.outcomes(&model);
        for cut in 0..count {
            for tear in Tear::ALL {
                tally.cuts += 1;
                let context = || format!("{geometry:?} seed {seed} step {step} {op:?} cut {cut} {tear:?}");
                let seed = seed ^ tally.cuts;
                let mut cut_log = log.clone();
                cut_log.medium_mut().cut_after(cut, tear);
                cut_log.medium_mut().draw_from(seed);
                assert!(op.run(&mut cut_log).is_err(), "{}", context());
                assert!(op.run(&mut cut_log).is_err(), "a log that failed refuses: {}", context());
                assert_eq!(cut_log.medium().counters().violations, 0, "{}", context());
                let mut flash = cut_log.into_medium();
                flash.restore_power();
                let mut log = open(flash, LAYOUT);
                let outcome = find(&mut log, &outcomes, &context);
                match outcome {
                    0 => tally.before += 1,
                    last if last + 1 == outcomes.len() => tally.after += 1,
                    _ => tally.within += 1,
                }
                go_on(log, outcomes[outcome].clone(), seed, &mut tally, &context);
            }
        }
        op.apply(&mut model);
        log = done;
        log.assert_invariants();
        let merged = |finding| matches!(finding, Finding::Page { header, .. } if header.origin == Origin::Merged);
        now(log.inspect(|finding| tally.merged += u64::from(merged(finding)))).unwrap();
        if step % 7 == 0 {
            // Now and then a restart without a cut.
            author.restart(&model);
            let mut flash = log.into_medium();
            flash.cut_now();
            flash.restore_power();
            log = open(flash, LAYOUT);
            find(&mut log, std::slice::from_ref(&model), &|| format!("{geometry:?} seed {seed} step {step}"));
        }
    }
    tally
}

/// Writes on after a loss of power, loses it again in some cases, and looks again.
fn go_on(mut log: Log, mut model: Model, seed: u64, tally: &mut Tally, context: &dyn Fn() -> String) {
    let mut author = Author::new(random(seed ^ 0x5555));
    author.restart(&model);
    let second = seed.is_multiple_of(3);
    for number in 0..2 + seed % 3 {
        let op = author.next(&model, log.space().free);
        let context = || format!("{}; then {op:?}", context());
        let mut done = log.clone();
        op.run(&mut done).unwrap_or_else(|error| panic!("{}: {error} {:?}", context(), log.space()));
        let count = done.medium().operations() - log.medium().operations();
        if second && number > 0 && count > 0 {
            tally.again += 1;
            let tear = Tear::ALL[(seed / 3 % 6) as usize];
            let cut = (seed / 18) % count;
            log.medium_mut().cut_after(cut, tear);
            assert!(op.run(&mut log).is_err(), "{}", context());
            let mut flash = log.into_medium();
            flash.restore_power();
            assert_eq!(flash.counters().violations, 0, "{}", context());
            let context = || format!("{} cut again at {cut} {tear:?}", context());
            let mut log = open(flash, LAYOUT);
            let outcomes = op.outcomes(&model);
            find(&mut log, &outcomes, &context);
            return;
        }
        op.apply(&mut model);
        log = done;
    }
    assert_eq!(log.medium().counters().violations, 0, "{}", context());
    let mut flash = log.into_medium();
    flash.cut_now();
    flash.restore_power();
    find(&mut open(flash, LAYOUT), std::slice::from_ref(&model), context);
}

fn sweeps(geometry: Geometry, seeds: std::ops::Range<u64>, steps: usize) {
    let mut sum = Tally::default();
    for seed in seeds {
        let tally = sweep(geometry, seed, steps);
        sum.cuts += tally.cuts;
        sum.again += tally.again;
        sum.before += tally.before;
        sum.within += tally.within;
        sum.after += tally.after;
        sum.merged += tally.merged;
    }
    let Geometry { word, erased, ordered, .. } = geometry;
    println!("words of {word}, erased {erased:?}, ordered {ordered}: {sum:?}");
    assert!(sum.cuts > 1000 && sum.again > 100 && sum.before > 0 && sum.after > 0 && sum.merged > 0);
}

macro_rules! every_cut {
    ($($name:ident: $geometry:expr, $seeds:expr, $steps:expr;)*) => {
        $(
            /// covers: D1, D2, D3, D4
            ///
            /// Scenarios 34, 35, 36, 64
            #[test]
            fn $name() {
                sweeps($geometry, $seeds, $steps);
            }
        )*
    };
}

// At every single word of one history each, and for the larger words of several.
every_cut! {
    words_of_1_byte: geometry(1, Some(0xFF)), 0..1, 100;
    words_of_4_bytes: geometry(4, Some(0xFF)), 2..3, 150;
    words_of_8_bytes: geometry(8, Some(0xFF)), 4..6, 150;
    words_of_16_bytes: geometry(16, Some(0xFF)), 7..9, 250;
    words_of_32_bytes: geometry(32, Some(0xFF)), 11..14, 250;
    words_of_256_bytes: geometry(256, Some(0xFF)), 14..18, 250;
    words_that_are_erased_to_0: geometry(8, Some(0)), 18..20, 150;
    words_that_are_erased_to_something: geometry(4, Some(0xA5)), 21..22, 150;
    words_that_are_not_erased: geometry(8, None), 25..26, 250;
    words_of_1_byte_that_are_not_erased: geometry(1, None), 26..27, 100;
    words_in_no_order: Geometry { ordered: false, ..geometry(16, None) }, 28..30, 250;
}
