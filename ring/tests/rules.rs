//! The rules of the ring, each with what would go wrong without it.
#![cfg(not(loom))]

mod common;

use common::{checksum, verified};
use quoring_ring::*;

/// An empty ring of `UNITS` units and `SLOTS` slots from the default origin, as `$ring`.
macro_rules! ring {
    ($ring:ident: $units:literal, $slots:literal) => {
        ring!($ring: $units, $slots, Origin::default());
    };
    ($ring:ident: $units:literal, $slots:literal, $origin:expr) => {
        let mut storage = Storage::<$units, $slots>::new();
        #[allow(unused_mut, reason = "not every test moves something")]
        let mut $ring = storage.split($origin, checksum());
    };
}

/// Appends a command.
fn put(ring: &mut Handles<'_>, term: u32, index: u64, payload: &[u8]) -> Result<Position, AppendError> {
    ring.writer.append(Kind::Command, term, index, payload)
}

/// Makes all that was appended durable, and gives its bytes.
fn flush(ring: &mut Handles<'_>) -> Vec<u8> {
    let mut bytes = vec![0; ring.writer.capacity()];
    let batch = ring.flusher.gather(&mut bytes);
    ring.flusher.publish(batch.end);
    bytes.truncate(batch.bytes);
    bytes
}

/// Copies `index` and gives its term and payload.
fn copied(reader: Reader<'_>, index: u64) -> Option<(u32, Vec<u8>)> {
    let mut buf = vec![0xA5; 65552];
    let copied = reader.copy(index, &mut buf).ok()?;
    let record = verified(&buf[..copied.size], index);
    assert_eq!(record.header, copied.header);
    Some((record.header.term, record.payload.to_vec()))
}

fn units(position: Position) -> u32 {
    position.get()
}

// A log that starts anew.

/// covers: S4, L15
#[test]
fn behind_a_start_record_no_entry_from_before_is_found() {
    ring!(ring: 64, 8);
    (1..=5).for_each(|index| _ = put(&mut ring, 1, index, b"old").unwrap());
    ring.writer.commit(2);
    let far = (7 << 32) + 9;
    ring.writer.append_start(3, far).unwrap();
    assert_eq!((ring.writer.last(), ring.writer.committed()), (far, far));
    assert!((1..=5).all(|index| copied(ring.reader, index).is_none()));
    assert_eq!(put(&mut ring, 3, far, b"").err(), Some(AppendError::Committed));
    assert_eq!(put(&mut ring, 3, far + 2, b"").err(), Some(AppendError::Gap));
    put(&mut ring, 3, far + 1, b"new").unwrap();
    assert_eq!(copied(ring.reader, far + 1), Some((3, b"new".to_vec())));

    // The application jumps too: low halves of indices alone would not tell how far.
    ring.writer.restored(far);
    ring.applier.publish(far);
    assert_eq!((ring.writer.applied(), ring.reader.committed(far)), (far, far));

    let bytes = flush(&mut ring);
    let start = Records::new(&bytes).map(Result::unwrap).nth(5).unwrap();
    assert_eq!((start.header.kind, start.header.term, start.start()), (Kind::Start, 3, Some(far)));
    verified(start.bytes, 0);
}

#[test]
fn a_log_does_not_start_anew_below_what_is_committed_or_over_what_is_not_durable() {
    ring!(ring: 16, 8);
    (1..=3).for_each(|index| _ = put(&mut ring, 1, index, &[1; 16]).unwrap());
    ring.writer.commit(3);
    assert_eq!(ring.writer.append_start(2, 2).err(), Some(AppendError::Committed));
    put(&mut ring, 1, 4, b"").unwrap();
    assert_eq!(ring.writer.append_start(2, 9).err(), Some(AppendError::Full));
    assert_eq!((ring.writer.last(), copied(ring.reader, 4).is_some()), (4, true), "nothing has changed");
    flush(&mut ring);
    ring.writer.append_start(2, 9).unwrap();
    assert!(ring.writer.is_durable(9), "the snapshot is");
}

// Rule 1: append.

/// covers: P3
#[test]
fn an_entry_can_be_copied_by_its_index_and_gathered_in_order() {
    ring!(ring: 64, 8);
    assert_eq!(put(&mut ring, 1, 1, b"one").map(units), Ok(0));
    assert_eq!(ring.writer.append_vote(2, 5, 0x8000_0007).map(units), Ok(4));
    assert_eq!(put(&mut ring, 2, 2, b"").map(units), Ok(6));

    assert_eq!(copied(ring.reader, 1), Some((1, b"one".to_vec())));
    assert_eq!(copied(ring.reader, 2), Some((2, vec![])));
    assert_eq!(copied(ring.reader, 3), None);
    assert_eq!((ring.reader.last(0), units(ring.reader.accepted())), (2, 8));

    let bytes = flush(&mut ring);
    let records: Vec<_> = Records::new(&bytes).map(Result::unwrap).collect();
    let heads = records.iter().map(|it| (it.header.kind, it.header.term, it.header.index_low, it.header.flags));
    let expected = [(Kind::Command, 1, 1, 0), (Kind::Vote, 2, 0x8000_0007, 5), (Kind::Command, 2, 2, 0)];
    assert_eq!(heads.collect::<Vec<_>>(), expected);
    verified(records[1].bytes, 0);
}

/// Without the pad, a record would wrap and no consumer could take it in one piece.
#[test]
fn a_pad_fills_the_end_of_the_arena_and_never_leaves_the_ring() {
    ring!(ring: 16, 8); // 128 bytes, record limit 64
    put(&mut ring, 1, 1, &[1; 48]).unwrap();
    put(&mut ring, 1, 2, &[2; 16]).unwrap();
    flush(&mut ring);
    assert_eq!(put(&mut ring, 1, 3, &[3; 48]).map(units), Ok(16), "32 bytes are left: not enough");
    assert_eq!(copied(ring.reader, 3), Some((1, vec![3; 48])));

    let bytes = flush(&mut ring);
    assert_eq!(verified(&bytes, 3).bytes.len(), bytes.len());
    assert_eq!(units(ring.writer.flushed()), 24);
}

/// Scenario 29. covers: L10
#[test]
fn a_record_of_exactly_half_the_arena_always_fits_and_one_byte_more_never() {
    ring!(ring: 16, 8);
    assert_eq!(ring.writer.record_limit(), 64);
    for index in 1..100 {
        assert_eq!(put(&mut ring, 1, index, &[0; 49]), Err(AppendError::TooLarge));
        assert!(put(&mut ring, 1, index, &[0; 48]).is_ok(), "index {index}");
        flush(&mut ring);
        ring.writer.append_vote(1, 0, 0).unwrap(); // so that every alignment of the pad occurs
        flush(&mut ring);
    }
}

#[test]
#[cfg_attr(miri, ignore = "slow, and one thread's arithmetic")]
fn a_record_is_limited_by_its_length_field_too() {
    let mut storage = Box::new(Storage::<32768, 8>::new()); // 256 KiB
    let mut ring = storage.split(Origin::default(), checksum());
    assert_eq!(ring.writer.record_limit(), 65552);
    assert_eq!(put(&mut ring, 1, 1, &[7; 65536]), Err(AppendError::TooLarge));
    for index in 1..8 {
        put(&mut ring, 1, index, &[7; 65535]).unwrap();
        assert_eq!(copied(ring.reader, index), Some((1, vec![7; 65535])));
        flush(&mut ring);
    }
}

#[test]
fn what_is_no_next_entry_is_refused_and_changes_nothing() {
    ring!(ring: 64, 8);
    put(&mut ring, 1, 1, b"x").unwrap();
    put(&mut ring, 1, 2, b"y").unwrap();
    ring.writer.commit(1);
    let accepted = ring.writer.accepted();
    assert_eq!(put(&mut ring, 2, 4, b""), Err(AppendError::Gap));
    assert_eq!(put(&mut ring, 2, 1, b""), Err(AppendError::Committed));
    assert_eq!(put(&mut ring, 2, 0, b""), Err(AppendError::Committed));
    assert_eq!(put(&mut ring, 2, u64::MAX, b""), Err(AppendError::Gap));
    for kind in [Kind::Vote, Kind::Pad] {
        assert_eq!(ring.writer.append(kind, 2, 3, b""), Err(AppendError::NotAnEntry));
    }
    assert_eq!((ring.writer.accepted(), ring.writer.last()), (accepted, 2));
}

/// The boot number of a vote stands where other records have an index.
///
/// covers: R15
#[test]
fn a_vote_is_no_entry_whatever_boot_number_it_carries() {
    ring!(ring: 64, 8);
    put(&mut ring, 1, 1, b"first").unwrap();
    for boot in [1, 2, u32::MAX] {
        ring.writer.append_vote(2, 0x80, boot).unwrap();
        assert_eq!((ring.writer.last(), ring.reader.last(0)), (1, 1));
        assert_eq!((copied(ring.reader, 1), copied(ring.reader, 2)), (Some((1, b"first".to_vec())), None));
    }
    let bytes = flush(&mut ring);
    let boots: Vec<_> = Records::new(&bytes).map(|record| record.unwrap().header.index_low).skip(1).collect();
    assert_eq!(boots, [1, 2, u32::MAX]);
    for record in Records::new(&bytes).map(Result::unwrap).skip(1) {
        let index = u64::from(record.header.index_low);
        assert_eq!(ring.writer.append_record(&record, index), Err(AppendError::NotAnEntry));
        assert_eq!(verified(record.bytes, 0).header.kind, Kind::Vote);
    }
}

/// covers: P14
#[test]
fn an_encoded_record_goes_in_as_it_is() {
    ring!(leader: 64, 8);
    ring!(follower: 64, 8);
    put(&mut leader, 1, 1, b"some bytes").unwrap();
    let sent = flush(&mut leader);
    let record = Records::new(&sent).next().unwrap().unwrap();

    assert_eq!(follower.writer.append_record(&record, 2), Err(AppendError::NotAnEntry), "of index 1");
    let cut = Record { bytes: &sent[..16], ..record };
    assert_eq!(follower.writer.append_record(&cut, 1), Err(AppendError::NotAnEntry));
    assert_eq!(follower.writer.append_record(&record, 1).map(units), Ok(0));
    assert_eq!(flush(&mut follower), sent);
}

// Rule 2: truncation is an entry.

/// Without fresh space, an old write's completion would count for a newer entry of the same index. covers: P4, R1
#[test]
fn an_entry_that_replaces_others_takes_fresh_space() {
    ring!(ring: 64, 8);
    for index in 1..=4 {
        put(&mut ring, 1, index, b"old").unwrap();
    }
    let old = ring.flusher.gather(&mut [0; 512]); // begun: completes late
    assert_eq!(put(&mut ring, 2, 2, b"new").map(units), Ok(16));
    assert_eq!((ring.writer.last(), ring.reader.last(0)), (2, 2));
    assert_eq!(copied(ring.reader, 2), Some((2, b"new".to_vec())));
    assert_eq!((copied(ring.reader, 3), copied(ring.reader, 4)), (None, None));
    assert_eq!((ring.writer.position(3), ring.writer.header(4)), (None, None));

    ring.flusher.publish(old.end);
    assert!(ring.writer.is_durable(1));
    assert!(!ring.writer.is_durable(2), "durable is the old entry 2, not the new one");
    assert!(!ring.writer.is_durable(3), "there is no entry 3");
    flush(&mut ring);
    assert!(ring.writer.is_durable(2));
}

/// Truncation reaches indices that are in the store only.
#[test]
fn a_restarted_node_truncates_below_what_is_in_the_ring() {
    let origin = Origin { position: Position::new(7), last: 100, committed: 90, applied: 80 };
    ring!(ring: 64, 8, origin);
    assert_eq!(units(ring.writer.accepted()), 8, "records lie on even positions");
    assert_eq!((ring.writer.last(), ring.writer.committed(), ring.writer.applied()), (100, 90, 80));
    assert!(ring.writer.is_durable(100) && !ring.writer.is_durable(101));
    assert_eq!(copied(ring.reader, 100), None);
    assert_eq!(put(&mut ring, 5, 90, b""), Err(AppendError::Committed));
    put(&mut ring, 5, 91, b"new").unwrap();
    assert_eq!((ring.writer.last(), copied(ring.reader, 91)), (91, Some((5, b"new".to_vec()))));
}

// Rule 3: reclaim.

/// Gated by anything else, a ring full of durable but uncommitted entries could take neither the vote nor the entry that
/// would free it. covers: P8, P10, P12
#[test]
fn an_append_waits_for_the_local_flash_alone() {
    ring!(ring: 16, 8); // 4 records of 32 bytes
    for index in 1..=4 {
        assert_eq!(ring.writer.room(), 64.min(128 - 32 * (index as usize - 1)));
        put(&mut ring, 1, index, b"x").unwrap();
    }
    assert_eq!(ring.writer.room(), 0);
    assert_eq!(put(&mut ring, 1, 5, b"x"), Err(AppendError::Full));
    assert_eq!(ring.writer.append_vote(2, 0, 0), Err(AppendError::Full));

    let mut buf = [0; 32];
    let batch = ring.flusher.gather(&mut buf);
    assert_eq!(batch.bytes, 32);
    assert_eq!(ring.writer.append_vote(2, 0, 0), Err(AppendError::Full), "gathered is not yet durable");
    ring.flusher.publish(batch.end);
    assert_eq!(ring.writer.room(), 32);
    ring.writer.append_vote(2, 0, 0).unwrap();
    assert_eq!(ring.writer.room(), 16);
    assert_eq!(copied(ring.reader, 1), None, "its space was taken");
    assert!(ring.writer.is_durable(1));
}

/// Slow readers find what they can: only what is overwritten is gone.
#[test]
fn an_append_takes_no_more_than_it_needs() {
    ring!(ring: 64, 64); // 512 bytes: 16 records of 32
    for index in 1..=16 {
        put(&mut ring, 1, index, b"x").unwrap();
    }
    flush(&mut ring);
    for index in 17..=40 {
        put(&mut ring, 1, index, b"x").unwrap();
        flush(&mut ring);
        assert_eq!(copied(ring.reader, index - 16), None);
        assert!((index - 15..=index).all(|index| copied(ring.reader, index).is_some()));
    }
}

/// Otherwise an entry that is neither in the store nor to be found in the ring could be asked for.
#[test]
fn an_append_waits_until_the_slot_it_takes_is_durable() {
    ring!(ring: 256, 4);
    for index in 1..=4 {
        put(&mut ring, 1, index, b"x").unwrap();
    }
    assert_eq!(put(&mut ring, 1, 5, b"x"), Err(AppendError::Full));
    assert_eq!(ring.writer.room(), 0);
    ring.writer.append_vote(1, 0, 0).expect("a vote needs no slot");
    put(&mut ring, 2, 4, b"y").expect("the slot of 4 is taken from 4 itself");

    let first = ring.flusher.gather(&mut [0; 32]);
    ring.flusher.publish(first.end);
    assert!(ring.writer.room() > 0);
    put(&mut ring, 2, 5, b"x").unwrap();
    assert_eq!((copied(ring.reader, 1), ring.writer.position(1)), (None, None));
    assert!(ring.writer.is_durable(1) && !ring.writer.is_durable(2));
    assert_eq!(put(&mut ring, 2, 6, b"x"), Err(AppendError::Full));
}

/// `room` says neither too much nor too little, wherever the arena's end is.
#[test]
#[cfg_attr(miri, ignore = "slow, and one thread's arithmetic")]
fn a_record_fits_exactly_when_there_is_room() {
    for before in 0..16 {
        for unflushed in 0..=8 {
            for size in 1..=8 {
                ring!(ring: 16, 8, Origin { position: Position::new(before * 2), ..Origin::default() });
                for _ in 0..unflushed {
                    ring.writer.append_vote(1, 0, 0).unwrap();
                }
                let fits = size * 16 <= ring.writer.room();
                let payload = vec![0; size * 16 - 16];
                assert_eq!(put(&mut ring, 1, 1, &payload).is_ok(), fits, "{before} {unflushed} {size}");
            }
        }
    }
}

// Rule 4: copy.

#[test]
fn a_copy_says_how_much_room_it_needs() {
    ring!(ring: 64, 8);
    put(&mut ring, 1, 1, &[9; 40]).unwrap();
    assert_eq!(ring.reader.copy(1, &mut [0; 63]), Err(CopyError::TooSmall(64)));
    assert_eq!(ring.reader.copy(1, &mut []), Err(CopyError::TooSmall(64)));
    let mut buf = [0xA5; 70];
    let copied = ring.reader.copy(1, &mut buf).unwrap();
    assert_eq!((copied.size, copied.position), (64, Position::new(0)));
    assert_eq!(buf[64..], [0xA5; 6], "and touches no more");
}

/// Without the check of the index, the slot of 1 would pass entry 9 off as entry 1.
#[test]
fn a_slot_taken_over_is_not_mistaken() {
    ring!(ring: 256, 8);
    for index in 1..=8 {
        put(&mut ring, 1, index, b"x").unwrap();
    }
    flush(&mut ring);
    put(&mut ring, 1, 9, b"x").unwrap();
    assert_eq!(ring.reader.copy(1, &mut [0; 64]), Err(CopyError::Gone));
    assert!(ring.reader.copy(9, &mut [0; 64]).is_ok());
}

#[test]
fn a_span_is_what_fits_and_lies_end_to_end() {
    ring!(ring: 64, 8);
    for index in 1..=5 {
        put(&mut ring, 1, index, &vec![0; 16 * (index as usize - 1)]).unwrap(); // 16, 32, 48, ...
    }
    let span = |first, last, limit| {
        let span = ring.writer.span(first, last, limit)?;
        Some((span.count, span.bytes))
    };
    assert_eq!(span(1, 5, 4096), Some((5, 240)));
    assert_eq!(span(1, 99, 4096), Some((5, 240)));
    assert_eq!(span(2, 3, 4096), Some((2, 80)));
    assert_eq!(span(1, 5, 95), Some((2, 48)));
    assert_eq!(span(1, 5, 96), Some((3, 96)));
    assert_eq!(span(2, 5, 31), Some((0, 0)));
    assert_eq!(span(2, 1, 4096), Some((0, 0)));
    assert_eq!(span(6, 9, 4096), None);
}

/// covers: L1
#[test]
fn a_vote_a_pad_or_a_replaced_tail_ends_a_span() {
    ring!(ring: 16, 8);
    put(&mut ring, 1, 1, b"x").unwrap();
    ring.writer.append_vote(2, 0, 0).unwrap();
    put(&mut ring, 2, 2, b"y").unwrap();
    assert_eq!(ring.writer.span(1, 2, 4096).unwrap().count, 1);
    put(&mut ring, 3, 2, b"z").unwrap();
    assert_eq!(ring.writer.span(2, 2, 4096).unwrap().start, ring.writer.position(2).unwrap());
    flush(&mut ring);
    put(&mut ring, 3, 3, b"behind the pad").unwrap();
    assert_eq!(ring.writer.span(2, 3, 4096).unwrap().count, 1);
}

/// A span over the end could never be copied: its peer would ask for it again and again.
#[test]
fn a_span_ends_with_the_arena_also_where_no_pad_is() {
    ring!(ring: 16, 8);
    for index in 1..=5 {
        put(&mut ring, 1, index, &[7; 16]).unwrap();
        flush(&mut ring);
    }
    let span = ring.writer.span(2, 5, 4096).unwrap();
    assert_eq!((span.count, span.bytes), (3, 96));
    assert_eq!(ring.reader.copy_span(span.start, &mut [0; 96]), Ok(()));
    assert_eq!(ring.writer.span(5, 5, 4096).unwrap().count, 1);
}

/// covers: P7
#[test]
fn a_span_is_copied_in_one_piece_until_it_has_left_the_ring() {
    ring!(ring: 16, 8);
    put(&mut ring, 1, 1, b"one").unwrap();
    put(&mut ring, 1, 2, b"two").unwrap();
    let span = ring.writer.span(1, 2, 4096).unwrap();
    let mut whole = [0; 64];
    assert_eq!((ring.reader.copy_span(span.start, &mut whole), span.bytes), (Ok(()), 64));
    let mut single = [0; 32];
    for (index, part) in (1..).zip(whole.chunks(32)) {
        ring.reader.copy(index, &mut single).unwrap();
        assert_eq!(single, part);
    }
    flush(&mut ring);
    for index in 3..=6 {
        put(&mut ring, 1, index, b"more").unwrap();
    }
    assert_eq!(ring.reader.copy_span(span.start, &mut whole), Err(CopyError::Gone));
}

#[test]
fn gather_goes_on_at_the_begin_of_the_arena_with_and_without_a_pad() {
    for before in 0..8 {
        ring!(ring: 16, 8, Origin { position: Position::new(before * 2), ..Origin::default() });
        let mut appended = vec![];
        for index in 1..=3 {
            let payload = [index as u8; 16];
            put(&mut ring, 1, index, &payload).unwrap();
            appended.push(payload.to_vec());
        }
        let bytes = flush(&mut ring);
        let payloads = Records::new(&bytes).map(|record| record.unwrap().payload.to_vec());
        assert_eq!(payloads.collect::<Vec<_>>(), appended, "after {before} records");
    }
}

// Watermarks.

/// covers: P2, P4, R2, R3
#[test]
fn completions_in_any_order_move_flushed_forward_only() {
    ring!(ring: 64, 8);
    put(&mut ring, 1, 1, b"").unwrap();
    let first = ring.flusher.gather(&mut [0; 64]);
    put(&mut ring, 1, 2, b"").unwrap();
    let second = ring.flusher.gather(&mut [0; 64]);
    assert!(ring.flusher.pending());

    ring.flusher.publish(second.end);
    ring.flusher.publish(first.end);
    assert_eq!(ring.reader.flushed(), second.end);
    ring.flusher.publish(second.end.advanced(2));
    assert_eq!(ring.reader.flushed(), second.end, "never past accepted");
    assert!(!ring.flusher.pending());
    assert_eq!(ring.flusher.gather(&mut [0; 64]), Batch { bytes: 0, end: second.end });
}

#[test]
fn gather_takes_whole_records_only() {
    ring!(ring: 64, 8);
    put(&mut ring, 1, 1, &[1; 10]).unwrap();
    put(&mut ring, 1, 2, &[2; 20]).unwrap();
    let gathered = |room: usize| {
        let batch = ring.flusher.gather(&mut vec![0; room]);
        (batch.bytes, batch.end.get())
    };
    assert_eq!(gathered(31), (0, 0));
    assert_eq!(gathered(32), (32, 4));
    assert_eq!(gathered(79), (32, 4));
    assert_eq!(gathered(80), (80, 10));
    assert_eq!(gathered(999), (80, 10));
}

/// covers: P2
#[test]
fn committed_and_applied_move_forward_only() {
    ring!(ring: 64, 8);
    put(&mut ring, 1, 1, b"").unwrap();
    put(&mut ring, 1, 2, b"").unwrap();
    ring.writer.commit(1);
    ring.writer.commit(0);
    assert_eq!((ring.writer.committed(), ring.reader.committed(0)), (1, 1));
    ring.writer.commit(9);
    assert_eq!(ring.reader.committed(0), 2, "at most last");

    ring.applier.publish(2);
    ring.applier.publish(1);
    assert_eq!((ring.applier.applied(), ring.reader.applied(0), ring.writer.applied()), (2, 2, 2));
}

/// Rule 5. covers: P7
#[test]
fn leading_is_the_term_while_this_node_leads() {
    ring!(ring: 64, 8);
    assert_eq!(ring.reader.leading(), 0);
    ring.writer.lead(7);
    assert_eq!(ring.applier.reader().leading(), 7);
    ring.writer.follow();
    assert_eq!(ring.writer.reader().leading(), 0);
}

// Rule 7: low halves.

/// covers: L15
#[test]
fn a_low_half_is_extended_to_the_nearest_index() {
    const LAP: u64 = 1 << 32;
    for base in [0, 1, 5, LAP - 1, LAP, LAP + 1, 7 * LAP - 3, 7 * LAP + 3, u64::MAX - 9, u64::MAX] {
        for distance in [0, 1, 2, 3, 1 << 20, (1 << 31) - 1] {
            if let Some(above) = base.checked_add(distance) {
                assert_eq!(extend(base, above as u32), above);
            }
            if let Some(below) = base.checked_sub(distance) {
                assert_eq!(extend(base, below as u32), below);
            }
        }
    }
    assert_eq!(extend(0, u32::MAX), LAP - 1, "there is no index below zero");
    assert_eq!(extend(u64::MAX, 3), u64::MAX - LAP + 4, "nor one above the last");
}

/// An application that restarts from nothing lies further behind than a low half can tell. covers: L15
#[test]
fn applied_is_right_however_far_behind() {
    const FAR: u64 = 1 << 33;
    ring!(ring: 64, 8, Origin { last: FAR, committed: FAR + 1, ..Origin::default() });
    assert_eq!(ring.writer.committed(), FAR, "nothing is committed above last");
    for applied in [0, (1 << 31) - 1, (1 << 32) - 2, (1 << 32) + 9, FAR - (1 << 31)] {
        ring.applier.publish(applied);
        assert_eq!(ring.writer.applied(), applied);
        ring.writer.commit(FAR);
    }
}

/// covers: L15
#[test]
fn positions_compare_across_the_wrap() {
    let (before, after) = (Position::new(u32::MAX - 1), Position::new(4));
    assert!(before.precedes(after) && !after.precedes(before) && !before.precedes(before));
    assert_eq!((after.since(before), before.advanced(6)), (6, after));
    assert!(Position::new(0).precedes(Position::new((1 << 31) - 1)));
    assert!(!Position::new(0).precedes(Position::new(1 << 31)));
}
