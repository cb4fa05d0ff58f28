//! What only shows from inside: slots and positions half the axis old.

use super::*;
use crate::{DEFAULT_CRC32C, Storage};

/// Moves the ring by `units` units as if they had been appended and flushed.
fn skip(writer: &mut Writer<'_>, units: u32) {
    let start = writer.accepted.advanced(units - 2);
    writer.accept(start, HEADER);
    let end = writer.accepted;
    writer.flushed = end;
    writer.ring.marks.publish_flushed(end);
    writer.tail = end;
    writer.ring.marks.core.tail.store(end.get(), Relaxed);
}

/// A slot that is never emptied leads into the ring again after 2^32 units: to bytes that may by then look like its entry.
/// covers: L15
#[test]
#[cfg_attr(miri, ignore = "goes around the whole axis")]
fn no_slot_gets_so_old_that_it_leads_into_the_ring_again() {
    const STRIDE: u32 = 4096;
    let mut storage = Box::new(Storage::<8192, 65536>::new());
    let mut writer = storage.split(Origin::default(), Checksum::new(0, DEFAULT_CRC32C)).writer;
    let start = writer.append(Kind::Command, 1, 1, b"old").unwrap();
    for _ in 0..(1_u64 << 32) / u64::from(STRIDE) - 1 {
        skip(&mut writer, STRIDE);
    }
    assert!(writer.accepted.precedes(start) && start.since(writer.accepted) <= STRIDE);
    assert_eq!(writer.ring.find(1, Relaxed), None);
}

/// The same with appends so few and large that one slot per append would not do.
#[test]
#[cfg_attr(miri, ignore = "goes around the whole axis")]
fn large_appends_scrub_more_than_one_slot() {
    const STRIDE: u32 = 1 << 20;
    let mut storage = Box::new(Storage::<{ 1 << 21 }, 65536>::new());
    let mut writer = storage.split(Origin::default(), Checksum::new(0, DEFAULT_CRC32C)).writer;
    for index in 1..=100 {
        writer.append(Kind::Command, 1, index, b"old").unwrap();
    }
    for _ in 0..(1_u64 << 32) / u64::from(STRIDE) - 1 {
        skip(&mut writer, STRIDE);
    }
    assert!((1..=100).all(|index| writer.ring.find(index, Relaxed).is_none()));
}

/// The same where a record always ends exactly where the arena does: there is neither a pad then, nor a record on both sides of that end.
/// covers: L15
#[test]
#[cfg_attr(miri, ignore = "goes around the whole axis")]
fn records_that_end_where_the_arena_ends_scrub_too() {
    const UNITS: u32 = 8192;
    let mut storage = Box::new(Storage::<{ UNITS as usize }, 4096>::new());
    let mut writer = storage.split(Origin::default(), Checksum::new(0, DEFAULT_CRC32C)).writer;
    writer.append(Kind::Command, 1, 1, b"old").unwrap();
    let first = UNITS - writer.accepted.get();
    skip(&mut writer, first);
    for _ in 0..(1_u64 << 31) / u64::from(UNITS) {
        skip(&mut writer, UNITS);
    }
    assert_eq!(writer.ring.find(1, Relaxed), None);
}
