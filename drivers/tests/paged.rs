//! A log on pages: what it keeps, what it refuses, what it costs, and what it finds on a medium that has aged.

#![cfg(feature = "std")]

mod paged_rig;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use paged_rig::*;
use quoring::store::ReadError;
use quoring::store::medium::{Geometry, Medium};
use quoring::store::mock::{self, MockFlash};
use quoring::store::paged::{Damage, Error, Finding, Layout, LayoutError, Origin, Owner, PagedLog, Plan, identify};
use quoring::{ClusterId, LogIndex, LogStore, NodeId, Recovery, Snapshot};
use quoring_ring::DEFAULT_CRC32C;

const NOR: Geometry = geometry(8, Some(0xFF));

/// An empty log on an erased medium.
fn fresh(geometry: Geometry, layout: Layout) -> Log {
    let mut log = open(MockFlash::new(geometry), layout);
    recover(&mut log).unwrap();
    log
}

/// The same medium after a restart.
fn restarted(log: Log) -> Log {
    let mut flash = log.into_medium();
    flash.cut_now();
    flash.restore_power();
    open(flash, LAYOUT)
}

fn append(log: &mut Log, batch: &[u8]) {
    now(log.append(batch)).unwrap_or_else(|error| panic!("{error}: {:?}", log.space()));
    log.assert_invariants();
}

fn merged_pages(log: &mut Log) -> usize {
    let mut count = 0;
    let merged = |finding| matches!(finding, Finding::Page { header, .. } if header.origin == Origin::Merged);
    now(log.inspect(|finding| count += usize::from(merged(finding)))).unwrap();
    count
}

/// Any history, any word: every entry that may not go can be read, newest record first, before and after a restart.
///
/// covers: D2, D4, S3
#[test]
fn every_entry_that_may_not_go_is_read_after_any_history() {
    for (seed, word) in (0..).zip([1, 4, 8, 16, 32, 256]) {
        for erased in [Some(0xFF), None] {
            let mut random_read = random(seed);
            let mut author = Author::new(random(seed + 100));
            let (mut log, mut model) = (fresh(geometry(word, erased), LAYOUT), Model::default());
            for step in 0..1500 {
                let op = author.next(&model, log.space().free);
                op.run(&mut log).unwrap_or_else(|error| panic!("word {word} step {step} {op:?}: {error}"));
                op.apply(&mut model);
                log.assert_invariants();
                for _ in 0..4 {
                    let index = random_read(model.last + 3);
                    let expected = match model.entries.get(&index) {
                        Some((_, bytes)) if index > log.space().start.0 => Ok(bytes.clone()),
                        _ => Err(ReadError::Missing),
                    };
                    assert_eq!(read(&mut log, index), expected, "word {word} step {step} index {index}");
                }
                if step % 50 == 0 {
                    log = restarted(log);
                    author.restart(&model);
                    model.agrees(&recover(&mut log).unwrap()).unwrap();
                }
            }
            assert_eq!(log.medium().counters().violations, 0);
        }
    }
}

/// What `space` calls free is taken, whatever stands in the log and however it is batched; and a full log of live entries refuses.
///
/// covers: P12
#[test]
fn what_space_calls_free_can_be_appended_however_it_is_batched() {
    for seed in 0..60 {
        let word = [1, 4, 8, 16, 32, 256][seed as usize % 6];
        let mut random = random(seed);
        let (mut log, mut model) = (fresh(geometry(word, Some(0xFF)), LAYOUT), Model::default());
        for _ in 0..3 {
            // Some history, then fill it up to the last byte that is promised.
            for _ in 0..random(40) {
                let kept = model.last - random((model.last - model.allowed).min(12) + 1);
                let batch =
                    if random(3) == 0 { vote(model.term + 1, 0) } else { entry(model.term + 1, kept + 1, &[7; 20]) };
                if batch.len() as u64 <= log.space().free {
                    append(&mut log, &batch);
                    model.apply(&batch);
                }
            }
            if random(2) == 0 {
                model.allowed = model.allowed.max(model.last / 2);
                log.purge(LogIndex(model.allowed));
            }
            let promised = log.space().free;
            let mut left = promised;
            while left >= 16 {
                let mut batch = Vec::new();
                for _ in 0..1 + random(4) {
                    let room = left - batch.len() as u64;
                    let size = 16 * (1 + random(4)).min(room / 16);
                    match size {
                        0 => break,
                        16 if random(2) == 0 => batch.extend(vote(model.term.max(1), 0x80)),
                        _ => {
                            let index = model.last + 1;
                            batch.extend(entry(model.term.max(1), index, &vec![1; size as usize - 16]));
                        }
                    }
                    let mut next = model.clone();
                    next.apply(&batch);
                    model.last = next.last;
                }
                left -= batch.len() as u64;
                model.apply(&batch);
                append(&mut log, &batch);
            }
            assert!(read(&mut log, model.last).is_ok());
        }
        // Beyond the promise there is an end, and what is refused does no harm.
        let refused = (0..2000).find_map(|_| {
            let batch = entry(model.term.max(1), model.last + 1, &[3; 40]);
            let refusal = now(log.append(&batch)).err();
            if refusal.is_none() {
                model.apply(&batch);
            }
            refusal
        });
        assert_eq!(refused, Some(Error::Full));
        let mut log = restarted(log);
        let mut recovery = Recovery::new(CLUSTER, DEFAULT_CRC32C);
        now(log.recover(&mut recovery)).unwrap();
        assert_eq!(recovery.last().0, model.last);
        append(&mut log, &vote(model.term + 1, 0x81));
    }
}

/// Large batches waste nothing, so the log comes to the last byte that it keeps for votes: up to there it keeps its promise too.
///
/// covers: P12
#[test]
fn what_space_calls_free_leaves_room_for_votes() {
    for word in [1, 8, 32, 256] {
        for share in 1..40 {
            let mut log = fresh(geometry(word, Some(0xFF)), LAYOUT);
            let mut index = 0;
            while log.space().free >= 16 {
                let mut batch = Vec::new();
                for _ in 0..(log.space().free / 16).min(share) {
                    index += 1;
                    batch.extend(entry(1, index, b""));
                }
                append(&mut log, &batch);
            }
            for term in 2..60 {
                append(&mut log, &vote(term, 0x80));
            }
        }
    }
}

/// covers: P12
///
/// Scenario 27
#[test]
fn a_thousand_elections_on_a_full_log_leave_it_able_to_vote() {
    for word in [1, 8, 32, 256] {
        let mut log = fresh(geometry(word, Some(0xFF)), LAYOUT);
        let mut model = Model::default();
        while log.space().free >= 64 {
            let batch = entry(1, model.last + 1, &[9; 48]);
            append(&mut log, &batch);
            model.apply(&batch);
        }
        let full = log.space();
        for term in 2..1002 {
            append(&mut log, &vote(term, 0x82));
            model.apply(&vote(term, 0x82));
            if term % 97 == 0 {
                log = restarted(log);
                model.agrees(&recover(&mut log).unwrap()).unwrap();
            }
        }
        assert_eq!((log.space().start, log.space().capacity), (full.start, full.capacity));
        append(&mut log, &[vote(1002, 0), start(1002, 5000)].concat());
        assert!(
            log.space().free >= full.capacity / 2,
            "a start record makes everything before it free: {:?}",
            log.space()
        );
    }
}

/// covers: P12
#[test]
fn a_thousand_truncations_are_merged_away() {
    let mut log = fresh(NOR, LAYOUT);
    let mut model = Model::default();
    let mut random = random(5);
    let mut merged = 0;
    for step in 0..1000 {
        // Keeps one more entry each time that the tail is replaced, so that dead ones lie everywhere.
        let keep = (step / 100).min(model.last);
        let mut batch = Vec::new();
        for index in keep + 1..keep + 3 + random(3) {
            batch.extend(entry(model.term + 1, index, &[step as u8; 30]));
        }
        if batch.len() as u64 > log.space().free {
            while now(log.tidy()).unwrap() {}
        }
        append(&mut log, &batch);
        model.apply(&batch);
        merged += merged_pages(&mut log);
    }
    assert!(merged > 0);
    let mut log = restarted(log);
    model.agrees(&recover(&mut log).unwrap()).unwrap();
}

/// Power fails anywhere in a merge; then a vote is taken, and then the merged page rots: the pages that it was made of do not come back without
/// the vote.
///
/// covers: D2, D5
#[test]
fn what_a_merged_page_was_made_of_does_not_come_back_once_something_follows_it() {
    let mut log = fresh(NOR, LAYOUT);
    let mut term = 1;
    let mut index = 0;
    while log.space().free >= 64 {
        index += 1;
        append(&mut log, &entry(1, index, &[9; 48]));
    }
    // Until a vote needs a merge.
    let merges = loop {
        term += 1;
        let mut next = log.clone();
        append(&mut next, &vote(term, 0x81));
        if merged_pages(&mut next) > 0 {
            break next.medium().operations() - log.medium().operations();
        }
        log = next;
    };
    let (mut stood, mut refused) = (0, 0);
    for cut in 0..=merges {
        let mut log = log.clone();
        if cut < merges {
            log.medium_mut().cut_after(cut, mock::Tear::Whole);
            assert!(now(log.append(&vote(term, 0x81))).is_err());
            log.medium_mut().restore_power();
            log = restarted(log);
            recover(&mut log).unwrap();
        }
        append(&mut log, &vote(term + 1, 0x82));
        let mut merged = None;
        now(log.inspect(|finding| match finding {
            Finding::Page { number, header } if header.origin == Origin::Merged => merged = Some(number),
            _ => {}
        }))
        .unwrap();
        log.medium_mut().flip(merged.expect("a merge made room") * NOR.page + 150, 3);
        match recover(&mut restarted(log)) {
            Ok(found) => {
                assert_eq!((found.term, found.vote), (term + 1, 0x82), "cut {cut}");
                stood += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0, "{stood} stood, {refused} were refused");
}

/// covers: P9
#[test]
fn nothing_goes_before_the_room_is_needed() {
    let mut log = fresh(NOR, LAYOUT);
    for index in 1..=20 {
        append(&mut log, &entry(1, index, &[1; 32]));
    }
    log.purge(LogIndex(20));
    assert_eq!((log.space().start, read(&mut log, 1).is_ok()), (LogIndex::ZERO, true));
    for index in 21..=200 {
        append(&mut log, &entry(1, index, &[1; 32]));
        log.purge(LogIndex(index - 5));
        assert!((index - 5..=index).all(|index| read(&mut log, index).is_ok()));
    }
    assert!(log.space().start > LogIndex(100));
}

/// A flip of any bit of a log ends in the whole log or in a reason; only in the last word of the very last batch it looks like an interrupted write.
///
/// covers: D5
///
/// Scenarios 37, 59
#[test]
fn a_flipped_bit_never_shortens_the_log_silently() {
    for word in [1, 4, 8, 16, 32] {
        let mut author = Author::new(random(u64::from(word)));
        let (mut log, mut model) = (fresh(geometry(word, Some(0xFF)), LAYOUT), Model::default());
        for _ in 0..120 {
            let op = author.next(&model, log.space().free);
            op.run(&mut log).unwrap();
            op.apply(&mut model);
        }
        // The last batch has more than one word, and ends it all.
        let mut before = vec![model.clone()];
        let last =
            [entry(model.term.max(1), model.last + 1, &[0x5A; 48]), entry(model.term.max(1), model.last + 2, b"x")];
        append(&mut log, &last.concat());
        for record in &last {
            model.apply(record);
            before.push(model.clone());
        }
        let (page, batch) = newest_batch(&mut log);
        let tail = page * NOR.page + batch - word.max(4)..page * NOR.page + batch;
        let flash = log.into_medium();
        let (mut same, mut refused, mut explained) = (0, 0, 0);
        for offset in 0..flash.image().len() as u32 {
            let mut flash = flash.clone();
            flash.flip(offset, (offset.wrapping_mul(7) % 8) as u8);
            match recover(&mut open(flash, LAYOUT)) {
                Ok(found) if model.agrees(&found).is_ok() => same += 1,
                Ok(found) => {
                    let sound = |snapshot: Snapshot| snapshot.checksum == DEFAULT_CRC32C(0, &found.snapshot_bytes);
                    assert!(found.snapshot.is_none_or(sound), "word {word}: rot at {offset} is taken for a snapshot");
                    // A snapshot that rots leaves the one before, if the log covers the rest.
                    let older = Model { snapshot: None, ..model.clone() };
                    let found = Found { snapshot: None, ..found };
                    if older.agrees(&found).is_ok() {
                        same += 1;
                        continue;
                    }
                    assert!(tail.contains(&offset), "word {word}: {offset} is not in {tail:?}");
                    let prefix = |model: &Model| Model { snapshot: None, ..model.clone() }.agrees(&found).is_ok();
                    assert!(before.iter().any(prefix), "{found:?}");
                    explained += 1;
                }
                Err(Refusal::Store(Error::Corrupt { .. }) | Refusal::Hole) => refused += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        println!("word {word}: {same} flips change nothing, {refused} are refused, {explained} look torn");
        assert!(same > 0 && refused > 100 && explained <= word.max(4));
    }
}

/// The newest page, and where its last batch ends.
fn newest_batch(log: &mut Log) -> (u32, u32) {
    let (mut page, mut newest, mut end) = (0, None, (0, 0));
    let unit = log.plan().word.max(16);
    now(log.inspect(|finding| match finding {
        Finding::Page { number, header } => {
            page = number;
            newest = newest.max(Some(header.first));
            if newest == Some(header.first) {
                end.0 = number;
            }
        }
        Finding::Batch { offset, bytes, .. } if end.0 == page => end.1 = offset + (bytes + 16).next_multiple_of(unit),
        _ => {}
    }))
    .unwrap();
    end
}

/// covers: D5
#[test]
fn damage_before_what_was_acknowledged_later_stops_the_node_with_the_place() {
    let mut log = fresh(NOR, LAYOUT);
    for index in 1..=3 {
        append(&mut log, &entry(1, index, &[1; 32]));
    }
    let flash = log.into_medium();
    for (offset, expected) in [(128, Damage::Number), (140, Damage::Batch)] {
        let mut damaged = flash.clone();
        damaged.flip(offset, 0);
        let refusal = recover(&mut open(damaged, LAYOUT)).unwrap_err();
        let Refusal::Store(Error::Corrupt { page: 0, damage, .. }) = refusal else { panic!("{refusal:?}") };
        assert!(damage == expected || damage == Damage::Header, "{damage:?}");
    }
    // A page of the middle that is gone.
    let mut log = open(flash, LAYOUT);
    recover(&mut log).unwrap();
    let mut index = 3;
    while log.space().free >= 64 {
        index += 1;
        append(&mut log, &entry(1, index, &[1; 48]));
    }
    let mut flash = log.into_medium();
    flash.erase_now(NOR.page).unwrap();
    assert!(matches!(
        recover(&mut open(flash, LAYOUT)),
        Err(Refusal::Store(Error::Corrupt { damage: Damage::Order | Damage::Missing, .. }))
    ));
}

/// A batch is interrupted before its last word; after the restart another one is written that ends with the same bytes.
///
/// covers: D2
///
/// Scenario 35
#[test]
fn a_torn_batch_is_never_completed_by_a_later_one() {
    for geometry in [NOR, geometry(4, None), Geometry { ordered: false, ..geometry(16, None) }] {
        let first = [vote(5, 0x80), entry(5, 1, &[1; 40])].concat();
        let second = [vote(5, 0x81), entry(5, 1, &[1; 40])].concat();
        let words = 96 / u64::from(geometry.word);
        for cut in 0..words {
            for again in 0..words {
                let mut log = fresh(geometry, LAYOUT);
                append(&mut log, &vote(4, 0));
                log.medium_mut().cut_after(cut, mock::Tear::Partial);
                assert!(now(log.append(&first)).is_err());
                log.medium_mut().restore_power();
                let mut log = restarted(log);
                let found = recover(&mut log).unwrap();
                if found.term == 5 {
                    continue;
                }
                log.medium_mut().cut_after(again, mock::Tear::Whole);
                let _ = now(log.append(&second));
                log.medium_mut().restore_power();
                let found = recover(&mut restarted(log)).unwrap();
                assert!(found.vote != 0x80, "{geometry:?} {cut} {again}: {found:?}");
            }
        }
    }
}

/// The same where words are in no order, and the page itself is begun by what is interrupted: its header may be missing, and the batch be whole.
///
/// covers: D2
///
/// Scenario 35
#[test]
fn a_batch_without_its_page_is_not_given_one_by_a_later_header() {
    let geometry = Geometry { ordered: false, ..geometry(16, None) };
    let mut lost = 0;
    for seed in 0..2000 {
        let mut log = open(MockFlash::new(geometry).with_seed(seed), LAYOUT);
        recover(&mut log).unwrap();
        let mut whole = log.clone();
        append(&mut whole, &vote(5, 0x80));
        let operations = whole.medium().operations() - log.medium().operations();
        log.medium_mut().cut_after(operations - 1, mock::Tear::Whole);
        assert!(now(log.append(&vote(5, 0x80))).is_err());
        let mut log = restarted(log);
        if recover(&mut log).unwrap().term == 5 {
            continue;
        }
        lost += 1;
        for again in 0..operations + 16 {
            let mut log = log.clone();
            log.medium_mut().draw_from(seed + again);
            log.medium_mut().cut_after(again, mock::Tear::Whole);
            let _ = now(log.append(&vote(5, 0x81)));
            let found = recover(&mut restarted(log)).unwrap();
            assert!(found.vote != 0x80, "seed {seed} again {again}: {found:?}");
        }
    }
    assert!(lost > 100);
}

/// covers: D3
///
/// Scenario 36
#[test]
fn valid_batches_of_an_earlier_lap_are_not_seen_again() {
    let mut log = fresh(geometry(8, None), LAYOUT);
    let mut model = Model::default();
    for lap in 0..300_u64 {
        let batch = entry(1, lap + 1, &lap.to_le_bytes());
        append(&mut log, &batch);
        model.apply(&batch);
        model.allowed = lap;
        log.purge(LogIndex(lap));
        let mut again = open(log.medium().clone(), LAYOUT);
        let mut recovery = Recovery::new(CLUSTER, DEFAULT_CRC32C);
        now(again.recover(&mut recovery)).unwrap();
        assert_eq!(recovery.last(), LogIndex(lap + 1));
    }
    assert!(log.space().start > LogIndex(200));
}

/// covers: D2, E2
///
/// Scenario 64
#[test]
fn the_newest_vote_outlives_its_page() {
    for cut in [None, Some(mock::Tear::Partial), Some(mock::Tear::Random), Some(mock::Tear::Unreadable)] {
        let mut log = fresh(NOR, LAYOUT);
        append(&mut log, &vote(9, 0x82));
        let (mut index, worn) = (0, log.medium().wear()[0]);
        // Until its page is to be erased.
        loop {
            index += 1;
            log.purge(LogIndex(index));
            let mut next = log.clone();
            append(&mut next, &entry(9, index, &[1; 48]));
            while now(next.tidy()).unwrap() {}
            if next.medium().wear()[0] > worn {
                break;
            }
            log = next;
        }
        if let Some(tear) = cut {
            let erased = (0..200).any(|cut| {
                let mut log = log.clone();
                log.medium_mut().cut_after(cut, tear);
                let failed =
                    now(log.append(&entry(9, index, &[1; 48]))).is_err() || (0..5).any(|_| now(log.tidy()).is_err());
                let erased = log.medium().wear()[0] > worn;
                log.medium_mut().restore_power();
                let mut recovery = Recovery::new(CLUSTER, DEFAULT_CRC32C);
                now(restarted(log).recover(&mut recovery)).unwrap();
                recovery.snapshot(&snapshot((9, index - 1), b""));
                let recovered = recovery.finish().unwrap();
                assert_eq!((recovered.term.0, recovered.vote), (9, NodeId::new(2)));
                failed && erased
            });
            assert!(erased, "a cut fell into the erase");
        }
    }
}

/// Its record is of an older term than a vote before it, and what follows has none.
///
/// covers: R15, D2
///
/// Scenario 64
#[test]
fn the_newest_boot_number_outlives_its_page() {
    for cut in [None, Some(mock::Tear::Partial), Some(mock::Tear::Random), Some(mock::Tear::Unreadable)] {
        let mut log = fresh(NOR, LAYOUT);
        append(&mut log, &[booted(9, 0x82, 6), booted(8, 0, 7), vote(9, 0x82)].concat());
        let (mut index, worn) = (0, log.medium().wear()[0]);
        // The page is erased, and so is what was written to it next.
        while log.medium().wear()[0] < worn + 2 {
            index += 1;
            log.purge(LogIndex(index - 1));
            let mut next = log.clone();
            append(&mut next, &entry(9, index, &[1; 48]));
            while now(next.tidy()).unwrap() {}
            let operations = next.medium().operations() - log.medium().operations();
            for (at, tear) in (0..operations).filter_map(|at| Some((at, cut?))) {
                let mut log = log.clone();
                log.medium_mut().cut_after(at, tear);
                let _ = now(log.append(&entry(9, index, &[1; 48])));
                while now(log.tidy()).is_ok_and(|more| more) {}
                assert_eq!(boot_of(&restarted(log), index - 1), 7, "entry {index}, cut at {at}");
            }
            assert_eq!(boot_of(&next, index - 1), 7, "entry {index}");
            log = next;
        }
    }
}

/// A medium was put back as it was before.
///
/// covers: R15
#[test]
fn a_log_that_is_recovered_again_knows_the_boot_number_of_the_medium_alone() {
    let mut log = fresh(NOR, LAYOUT);
    append(&mut log, &booted(1, 0x81, 4));
    let before = log.medium().clone();
    append(&mut log, &booted(1, 0x81, 5));
    assert_eq!(recover(&mut log).unwrap().boot, 5);
    *log.medium_mut() = before;
    assert_eq!(recover(&mut log).unwrap().boot, 4);
}

/// The boot number that recovery finds, if a snapshot covers entries up to `index`.
fn boot_of(log: &Log, index: u64) -> u32 {
    let mut recovery = Recovery::new(CLUSTER, DEFAULT_CRC32C);
    recovery.snapshot(&snapshot((9, index), b""));
    now(open(log.medium().clone(), LAYOUT).recover(&mut recovery)).unwrap();
    recovery.finish().unwrap().boot
}

/// A merge leaves dead votes out, and a start record kills all before it.
///
/// covers: R15, P12
#[test]
fn the_newest_boot_number_outlives_merges_and_start_records() {
    for word in [1, 8, 32, 256] {
        let mut log = fresh(geometry(word, Some(0xFF)), LAYOUT);
        let mut index = 0;
        while log.space().free >= 64 {
            index += 1;
            append(&mut log, &entry(9, index, &[9; 48]));
        }
        append(&mut log, &booted(8, 0x81, 0x8000_0001));
        let mut merged = 0;
        for term in 10..150 {
            append(&mut log, &vote(term, 0x82));
            merged = merged.max(merged_pages(&mut log));
            log = restarted(log);
            let found = recover(&mut log).unwrap();
            assert_eq!((found.term, found.boot), (term, 0x8000_0001), "word {word}");
        }
        assert!(merged > 0);
        append(&mut log, &booted(150, 0, 0x8000_0002));
        append(&mut log, &[start(150, 5000), vote(151, 0x80)].concat());
        for index in 5001..5100 {
            append(&mut log, &entry(151, index, &[9; 48]));
            log.purge(LogIndex(index));
        }
        assert_eq!(boot_of(&log, 5100), 0x8000_0002, "word {word}");
    }
}

/// covers: D6, D9
#[test]
fn what_fails_or_is_cancelled_leaves_a_log_that_refuses_until_it_is_recovered() {
    let batch = [entry(1, 2, &[1; 40]), entry(1, 3, &[2; 40])].concat();
    for polls in 1..40 {
        let mut log: PagedLog<Slow, 8, 256, RECORD> =
            PagedLog::new(Slow { flash: MockFlash::new(NOR), waits: false }, owner(), LAYOUT).unwrap();
        drive(log.recover(&mut Recovery::new(CLUSTER, DEFAULT_CRC32C)), 10_000).unwrap().unwrap();
        drive(log.append(&entry(1, 1, b"first")), 10_000).unwrap().unwrap();
        let done = drive(log.append(&batch), polls);
        if done.is_none() {
            assert_eq!(drive(log.append(&batch), 10_000), Some(Err(Error::Halted)));
            assert_eq!(drive(log.tidy(), 10_000), Some(Err(Error::Halted)));
            assert_eq!(drive(log.begin_snapshot(snapshot((1, 1), b"").last), 10_000), Some(Err(Error::Halted)));
        }
        let mut recovery = Recovery::new(CLUSTER, DEFAULT_CRC32C);
        drive(log.recover(&mut recovery), 10_000).unwrap().unwrap();
        let last = recovery.last().0;
        assert!(if done.is_some() { last == 3 } else { last == 1 || last == 3 }, "{polls}: {last}");
        drive(log.append(&entry(2, last + 1, b"goes on")), 10_000).unwrap().unwrap();
        let mut recovery = Recovery::new(CLUSTER, DEFAULT_CRC32C);
        drive(log.recover(&mut recovery), 10_000).unwrap().unwrap();
        assert_eq!(recovery.last().0, last + 1);
        if polls > 12 && done.is_some() {
            return;
        }
    }
    panic!("no append was ever done");
}

/// Polls a future that many times.
fn drive<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    (0..polls).find_map(|_| match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}

/// A medium of which each word takes a while.
struct Slow {
    flash: MockFlash,
    waits: bool,
}

impl Slow {
    async fn wait(&mut self) {
        self.waits = true;
        std::future::poll_fn(|_| if std::mem::take(&mut self.waits) { Poll::Pending } else { Poll::Ready(()) }).await;
    }
}

impl Medium for Slow {
    type Error = mock::Error;

    fn geometry(&self) -> Geometry {
        self.flash.geometry()
    }

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), mock::Error> {
        self.flash.read_now(offset, bytes)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), mock::Error> {
        for (at, word) in (offset..).step_by(8).zip(bytes.chunks(8)) {
            self.wait().await;
            self.flash.write_now(at, word)?;
        }
        Ok(())
    }

    async fn erase(&mut self, offset: u32) -> Result<(), mock::Error> {
        self.wait().await;
        self.flash.erase_now(offset)
    }

    async fn sync(&mut self) -> Result<(), mock::Error> {
        self.wait().await;
        self.flash.sync_now()
    }
}

/// covers: D7
#[test]
fn a_log_of_another_node_version_or_shape_is_refused_with_the_reason() {
    let mut log = fresh(NOR, LAYOUT);
    append(&mut log, &entry(1, 1, b"mine"));
    let mut flash = log.into_medium();
    let theirs = Owner { cluster: ClusterId(1), node: owner().node };
    let recover_as = |owner, layout| {
        let mut log: Log = PagedLog::new(flash.clone(), owner, layout).unwrap();
        now(log.recover(&mut Recovery::new(CLUSTER, DEFAULT_CRC32C)))
    };
    assert_eq!(recover_as(theirs, LAYOUT), Err(Error::Foreign(owner())));
    assert_eq!(recover_as(owner(), Layout { slot_pages: 1, ..LAYOUT }), Err(Error::Geometry));
    assert_eq!(now(identify(&mut flash, DEFAULT_CRC32C)).unwrap().map(|header| header.owner), Some(owner()));
    let mut image = flash.image().to_vec();
    for at in [0, 64] {
        image[at + 3] = 2;
        let sum = DEFAULT_CRC32C(0, &image[at..at + 60]);
        image[at + 60..at + 64].copy_from_slice(&sum.to_le_bytes());
    }
    let mut log = open(MockFlash::from_image(NOR, &image), LAYOUT);
    assert_eq!(recover(&mut log).unwrap_err(), Refusal::Store(Error::Version(2)));
    let mut log = fresh(NOR, LAYOUT);
    assert_eq!(now(log.append(&entry(1, 1, &[0; 49]))), Err(Error::TooLarge(80)));
    assert!(matches!(now(log.append(&entry(1, 2, b"gap"))), Err(Error::Record(_))));
    append(&mut log, &entry(1, 1, b"still works"));
    let never = now(open(MockFlash::new(NOR), LAYOUT).append(&vote(1, 0)));
    assert_eq!(never, Err(Error::NotRecovered));
}

#[test]
fn a_layout_that_cannot_work_is_refused_with_the_reason() {
    let refused = |geometry, layout| Log::new(MockFlash::new(geometry), owner(), layout).unwrap_err();
    assert_eq!(refused(NOR, Layout { log_pages: 2, slot_pages: 0 }), LayoutError::TooFewPages(2));
    assert_eq!(refused(NOR, Layout { log_pages: 9, slot_pages: 0 }), LayoutError::TooManyPages(9));
    assert_eq!(refused(NOR, Layout { log_pages: 5, slot_pages: 2 }), LayoutError::TooManyPages(9));
    assert_eq!(refused(Geometry { page: 256, ..NOR }, LAYOUT), LayoutError::PageTooSmall(520));
    assert_eq!(refused(Geometry { page: 776, ..NOR }, LAYOUT), LayoutError::Page(776));
    assert_eq!(refused(Geometry { word: 512, page: 4096, ..NOR }, LAYOUT), LayoutError::Word(512));
    let log = PagedLog::<_, 8, 256, 72>::new(MockFlash::new(NOR), owner(), LAYOUT);
    assert_eq!(log.unwrap_err(), LayoutError::Record(72));
}

/// covers: D7, D8
#[test]
fn the_plan_counts_what_the_medium_counts() {
    for (word, payload) in [(1, 16), (4, 16), (8, 0), (8, 16), (16, 48), (32, 20), (256, 48)] {
        let mut log = fresh(geometry(word, Some(0xFF)), LAYOUT);
        while now(log.tidy()).unwrap() {}
        let plan: Plan = log.plan();
        let (start, size) = (log.medium().counters(), 16 + u32::from(payload as u16).next_multiple_of(16));
        let flushes = 3 * u64::from(plan.batches_per_page(size)) / 2;
        for index in 1..=flushes {
            log.purge(LogIndex(index));
            append(&mut log, &entry(1, index, &vec![0; payload]));
        }
        let count = log.medium().counters();
        let programmed = (count.words - start.words) * u64::from(word);
        assert_eq!(programmed, plan.programmed(flushes, size), "word {word} payload {payload}");
        // In the long run each page that is begun was erased.
        let long = 40 * u64::from(plan.batches_per_page(size));
        let before = log.medium().counters().erases;
        for index in flushes + 1..=flushes + long {
            log.purge(LogIndex(index));
            append(&mut log, &entry(1, index, &vec![0; payload]));
        }
        let erases = log.medium().counters().erases - before;
        assert!(erases.abs_diff(plan.pages(long, size)) <= 1, "word {word}: {erases}");
        let wear = log.medium().wear();
        let (least, most) = (wear[..4].iter().min().unwrap(), wear[..4].iter().max().unwrap());
        assert!(most - least <= 2, "all pages of the log wear alike: {wear:?}");
    }
}

/// covers: D8
#[test]
fn what_an_entry_costs() {
    let geometry = Geometry { word: 8, page: 2048, pages: 8, erased: Some(0xFF), ordered: true };
    let layout = Layout { log_pages: 8, slot_pages: 0 };
    for (name, batch) in [("alone", 1), ("by eight", 8)] {
        let mut log = fresh(geometry, layout);
        let mut index = 0;
        while index < 4000 {
            let mut bytes = Vec::new();
            for _ in 0..batch {
                index += 1;
                bytes.extend(entry(1, index, &[1; 32]));
            }
            append(&mut log, &bytes);
            log.purge(LogIndex(index));
        }
        let count = log.medium().counters();
        println!(
            "32-byte entries flushed {name}: {:.1} bytes programmed, {:.2} writes, {:.4} erases each",
            (count.words * 8) as f64 / index as f64,
            count.writes as f64 / index as f64,
            count.erases as f64 / index as f64,
        );
        let before = log.medium().counters();
        let mut again = open(log.medium().clone(), layout);
        let mut recovery = Recovery::new(CLUSTER, DEFAULT_CRC32C);
        now(again.recover(&mut recovery)).unwrap();
        let after = again.medium().counters();
        println!(
            "recovery of 8 pages of 2 KiB: {} reads, {} bytes",
            after.reads - before.reads,
            after.bytes_read - before.bytes_read
        );
        assert!(count.words * 8 <= index * 72);
        assert!(after.bytes_read - before.bytes_read < 6 * 16384);
    }
}

/// Bytes that anybody may have written, and true ones with holes shot into them.
///
/// covers: D5
#[test]
fn any_bytes_are_recovered_or_refused() {
    let mut author = Author::new(random(77));
    let (mut log, mut model) = (fresh(NOR, LAYOUT), Model::default());
    for _ in 0..100 {
        let op = author.next(&model, log.space().free);
        op.run(&mut log).unwrap();
        op.apply(&mut model);
    }
    let image = log.medium().image().to_vec();
    let mut random = random(78);
    let mut refused = 0;
    for round in 0..3000 {
        let mut bytes = image.clone();
        if round % 10 == 0 {
            bytes.iter_mut().for_each(|byte| *byte = random(256) as u8);
        }
        for _ in 0..random(12) {
            let (at, length) = (random(bytes.len() as u64) as usize, 1 + random(80) as usize);
            let from = random(bytes.len() as u64) as usize;
            for i in 0..length {
                let value = [random(256) as u8, 0xFF, bytes[(from + i) % bytes.len()]][random(3) as usize];
                let length = bytes.len();
                bytes[(at + i) % length] = value;
            }
        }
        let mut log = open(MockFlash::from_image(NOR, &bytes), LAYOUT);
        let mut findings = 0;
        now(log.inspect(|_| findings += 1)).unwrap();
        assert!(findings >= 4);
        refused += u64::from(recover(&mut log).is_err());
    }
    assert!(refused > 1000, "{refused}");
}

/// covers: D7
#[test]
fn the_bytes_are_those_of_the_first_version() {
    for (geometry, expected) in [(NOR, GOLDEN_8), (geometry(32, Some(0)), GOLDEN_32)] {
        let mut log = fresh(geometry, LAYOUT);
        append(&mut log, &[vote(2, 0x81), entry(2, 1, b"valve 3 open")].concat());
        let state = snapshot((2, 1), b"state");
        for op in [Op::Begin(state), Op::Chunk(state, 0, b"state".to_vec()), Op::Finish(state, Vec::new())] {
            op.run(&mut log).unwrap();
        }
        let written = 2 * 64 + 96;
        let slot = LAYOUT.log_pages as usize * geometry.page as usize;
        let image = log.medium().image();
        let bytes = [&image[..written], &image[slot..slot + 96]].concat();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected.concat(), "{geometry:?}");
        // And they are read.
        let mut image = vec![geometry.erased.unwrap(); image.len()];
        image[..written].copy_from_slice(&bytes[..written]);
        image[slot..slot + 96].copy_from_slice(&bytes[written..]);
        let found = recover(&mut open(MockFlash::from_image(geometry, &image), LAYOUT)).unwrap();
        assert_eq!((found.term, found.vote, found.last, found.snapshot), (2, 0x81, 1, Some(state)));
    }
}

/// covers: D7, R15
#[test]
fn the_header_of_a_later_page_is_byte_for_byte_as_drawn() {
    let mut log = open(MockFlash::new(NOR), LAYOUT).with_salt(0xA1B2_C3D4);
    recover(&mut log).unwrap();
    append(&mut log, &[booted(2, 0x81, 0x0708_090A), booted(1, 0x82, 0x0708_090B)].concat());
    (1..9).for_each(|index| append(&mut log, &entry(2, index, &[1; 48])));
    let (page, mut batches) = (NOR.page as usize, Vec::new());
    now(log.inspect(|finding| match finding {
        Finding::Page { .. } => batches.push(0_u16),
        Finding::Batch { .. } => *batches.last_mut().unwrap() += 1,
        _ => {}
    }))
    .unwrap();
    assert_eq!(batches, [8, 1], "a batch of votes and seven entries, and the eighth on the next page");
    for copy in log.medium().image()[page..page + 128].chunks(64) {
        let hex: String = copy.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN_LATER.concat());
    }
}

/// Its size does not fit 16 bits, even counted in 16 bytes.
///
/// covers: D4, D7
#[test]
fn a_log_of_the_largest_pages_is_found_again() {
    let (size, layout) = (1 << 20, Layout { log_pages: 3, slot_pages: 0 });
    let geometry = Geometry { page: size, pages: 3, ..NOR };
    let mut log = fresh(geometry, layout);
    append(&mut log, &entry(1, 1, b"on a large page"));
    let mut flash = log.into_medium();
    let header = now(identify(&mut flash, DEFAULT_CRC32C)).unwrap().unwrap();
    assert_eq!((header.page, header.previous_batches, &flash.image()[12..16]), (size, 0, &[0; 4][..]));
    assert_eq!(recover(&mut open(flash, layout)).unwrap().last, 1);
    let refused = Log::new(MockFlash::new(Geometry { page: size + 16, ..geometry }), owner(), layout).unwrap_err();
    assert_eq!(refused, LayoutError::Page(size + 16));
}

// Checked by a CRC-32C of their own, from the drawings.
const GOLDEN_8: &[&str] = &[
    "51504c01127ea5c1030300003000000004000200010000000000000000000000",
    "00000000000000000000000000000000000000000000000000000000f341b3a5",
    "51504c01127ea5c1030300003000000004000200010000000000000000000000",
    "00000000000000000000000000000000000000000000000000000000f341b3a5",
    "000003003c5ad99fe16e862b3e65adae02000000000000000000048195f4c80d",
    "02000000010000000c00010076616c76652033206f70656e000000007f7ba542",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "51505301127ea5c1030000000100000001000000000000000200000005000000",
    "00000000df68db66070000000000000000000000000000000000000021df382f",
    "7374617465000000ffffffffffffffffffffffffffffffffffffffffffffffff",
];
const GOLDEN_LATER: &[&str] = &[
    "51504c01127ea5c1030300813000080004000200020000000100000001000000",
    "010000000b09080707000000000000000200000002000000d4c3b2a1f1ea1acb",
];
const GOLDEN_32: &[&str] = &[
    "51504c01127ea5c1030500003000000004000200010000000000000000000000",
    "00000000000000000000000000000000000000000000000000000000e7de4333",
    "51504c01127ea5c1030500003000000004000200010000000000000000000000",
    "00000000000000000000000000000000000000000000000000000000e7de4333",
    "01000300655c4497f1ab2b543e65adae02000000000000000000048195f4c80d",
    "02000000010000000c00010076616c76652033206f70656e000000007f7ba542",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "51505301127ea5c1030000000100000001000000000000000200000005000000",
    "00000000df68db66070000000000000000000000000000000000000021df382f",
    "7374617465000000000000000000000000000000000000000000000000000000",
];

/// A node may lose power between the moment when a leader's snapshot is durable and that when its log is started anew behind it. The log may then contradict the
/// snapshot, and must go on to do so until the start record is there, whatever is dropped to make room.
///
/// covers: S3, S5
#[test]
fn a_log_that_contradicts_the_snapshot_does_so_until_it_is_started_anew() {
    let mut dropped = 0;
    for length in 5..22 {
        let mut log = fresh(geometry(8, Some(0xFF)), LAYOUT);
        (1..=length).for_each(|index| append(&mut log, &entry(1, index, &[1; 20])));
        (length - 2..length + 3).for_each(|index| append(&mut log, &entry(2, index, &[2; 20])));
        let snapshot = snapshot((3, length - 3), b"else");
        now(log.begin_snapshot(snapshot.last)).unwrap();
        now(log.write_snapshot(snapshot.last, 0, b"else")).unwrap();
        now(log.finish_snapshot(&snapshot)).unwrap();
        for _ in 0..60 {
            log = restarted(log);
            let mut recovery = Recovery::new(CLUSTER, DEFAULT_CRC32C);
            now(log.recover(&mut recovery)).unwrap();
            let recovered = recovery.finish().unwrap();
            assert!(recovered.restart, "of {length} entries, {} are left", length - log.space().start.0);
            log.purge(recovered.purgeable());
            (0..4).for_each(|_| append(&mut log, &vote(9, 0x80)));
        }
        dropped += u32::from(log.space().start.0 > 0);
    }
    assert!(dropped > 5, "in {dropped} of 17 logs pages were dropped");
}

/// A read stops at an entry that a start record then kills: the next one does not go on among the dead.
///
/// covers: L2
#[test]
fn a_read_after_a_start_record_finds_the_new_entries() {
    let mut log = fresh(geometry(8, Some(0xFF)), LAYOUT);
    (1..=5).for_each(|index| append(&mut log, &entry(1, index, b"old")));
    assert_eq!(read(&mut log, 3), Ok(entry(1, 3, b"old")));
    append(&mut log, &start(2, 2));
    (3..=5).for_each(|index| append(&mut log, &entry(2, index, b"new")));
    for index in [4, 3, 5] {
        assert_eq!(read(&mut log, index), Ok(entry(2, index, b"new")));
    }
}

/// What was interrupted stays on the page, with records that are whole, and what is written later has its number there. No read takes it for the log.
///
/// covers: D2, D4
///
/// Scenario 35
#[test]
fn a_read_steps_over_what_was_torn() {
    for geometry in [NOR, geometry(4, None)] {
        let batch = [entry(1, 3, b"torn"), entry(1, 4, b"torn")].concat();
        let words = (batch.len() as u64 + 16) / u64::from(geometry.word);
        for cut in words - 4..words {
            let mut log = fresh(geometry, LAYOUT);
            (1..=2).for_each(|index| append(&mut log, &entry(1, index, b"kept")));
            log.medium_mut().cut_after(cut, mock::Tear::Unchanged);
            assert!(now(log.append(&batch)).is_err());
            log.medium_mut().restore_power();
            let mut log = restarted(log);
            assert_eq!(recover(&mut log).unwrap().last, 2);
            (3..=6).for_each(|index| append(&mut log, &entry(2, index, b"new")));
            assert_eq!(recover(&mut log).unwrap().last, 6, "torn and new lie on one page");
            for index in [4, 6, 3, 5] {
                assert_eq!(read(&mut log, index), Ok(entry(2, index, b"new")), "{geometry:?} cut at {cut}");
            }
        }
    }
}

/// Followers that are behind at different places, and entries that are appended between any two reads: nobody goes through a page from its beginning
/// twice, nor does who had too little room for an entry and asks for it again.
///
/// covers: D4, P8
#[test]
fn three_readers_each_go_on_where_they_stopped() {
    let mut log = fresh(NOR, LAYOUT);
    (1..=36).for_each(|index| append(&mut log, &entry(1, index, &[7; 10])));
    // Each has found its first entry.
    let firsts = [1, 10, 19];
    firsts.iter().for_each(|&first| assert!(read(&mut log, first).is_ok()));
    let before = log.medium().counters().reads;
    for step in 1..=12 {
        for first in firsts {
            let index = first + step;
            assert_eq!(now(log.read(LogIndex(index), &mut [0; 16])), Err(ReadError::TooSmall(32)));
            assert_eq!(read(&mut log, index), Ok(entry(1, index, &[7; 10])));
        }
        append(&mut log, &vote(1, 0));
    }
    let reads = log.medium().counters().reads - before;
    // Of each entry what stands before it, its header, and its bytes twice; and little more where a page ends.
    assert!(reads <= 12 * 14, "{reads} reads of the medium for 36 entries");
}
