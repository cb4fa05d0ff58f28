use quoring_core::Recovery;
use quoring_ring::{Checksum, DEFAULT_CRC32C, Header};

use super::*;
use crate::world::CLUSTER;

fn record(kind: Kind, term: u32, index: u64, payload: &[u8]) -> Vec<u8> {
    let mut header = Header { checksum: 0, term, index_low: index as u32, len: payload.len() as u16, kind, flags: 0 };
    header.checksum = Checksum::new(CLUSTER.0, DEFAULT_CRC32C).of(&header, (index >> 32) as u32, payload);
    let mut bytes = header.encode().to_vec();
    bytes.extend_from_slice(payload);
    bytes.resize(header.size(), 0);
    bytes
}

fn entry(term: u32, index: u64) -> Vec<u8> {
    record(Kind::Command, term, index, format!("entry {index} of term {term}").as_bytes())
}

fn medium(seed: u64) -> Medium {
    Medium::new(seed, 0, 100)
}

fn write(medium: &mut Medium, batch: &[u8]) {
    assert!(medium.begin(batch));
    medium.complete(&mut |_| ()).unwrap();
}

fn recovered(medium: &mut Medium) -> u64 {
    let mut log = Recovery::new(CLUSTER, DEFAULT_CRC32C);
    assert!(medium.recover(&mut log));
    log.last().0
}

fn read(medium: &Medium, index: u64) -> Vec<u8> {
    let mut buffer = [0; 256];
    let len = medium.read(LogIndex(index), &mut buffer).unwrap();
    buffer[..len].to_vec()
}

#[test]
fn what_was_written_is_recovered_and_read_back_newest_first() {
    let mut medium = medium(1);
    write(&mut medium, &[entry(1, 1), entry(1, 2), record(Kind::Vote, 2, 0, b"")].concat());
    write(&mut medium, &[entry(2, 3), entry(3, 2)].concat());
    assert_eq!(recovered(&mut medium), 2);
    assert_eq!((read(&medium, 1), read(&medium, 2)), (entry(1, 1), entry(3, 2)));
    assert!(matches!(medium.read(LogIndex(3), &mut [0; 256]), Err(ReadError::Missing)));
    assert!(matches!(medium.read(LogIndex(0), &mut [0; 256]), Err(ReadError::Missing)));
    let mut short = [0; 20];
    assert!(matches!(medium.read(LogIndex(1), &mut short), Err(ReadError::TooSmall(48))));
    assert_eq!(short, entry(1, 1)[..20]);
}

#[test]
fn a_power_loss_tears_the_last_write_at_any_byte_and_nothing_before_it() {
    let batch = [entry(1, 2), entry(1, 3)].concat();
    let (mut cuts, mut noisy) = (std::collections::BTreeSet::new(), 0);
    for seed in 0..2000 {
        let mut medium = medium(seed);
        write(&mut medium, &entry(1, 1));
        assert!(medium.begin(&batch));
        let mut seen = 0;
        let tear = medium.lose_power(&mut |_| seen += 1).unwrap();
        noisy += usize::from(medium.bytes.len() > 48 + tear.kept);
        let whole = 1 + tear.kept as u64 / 48;
        assert_eq!((tear.of, seen), (96, whole - 1));
        assert_eq!(recovered(&mut medium), whole);
        write(&mut medium, &entry(2, whole + 1));
        assert_eq!(recovered(&mut medium), whole + 1, "the tear must not hide or complete what is written after it");
        cuts.insert(tear.kept);
    }
    assert_eq!(cuts.len(), 97, "every byte is torn at");
    assert!(noisy > 100);
}

#[test]
fn a_store_used_after_a_cancelled_write_without_recovery_is_noticed() {
    let mut medium = medium(1);
    assert!(medium.begin(&entry(1, 1)));
    assert!(!medium.begin(&entry(1, 1)));
    medium.lose_power(&mut |_| ());
    recovered(&mut medium);
    assert!(medium.begin(&entry(1, 1)));
}

#[test]
fn a_batch_that_is_not_whole_records_is_refused() {
    let mut medium = medium(1);
    let batch = entry(1, 1);
    assert!(medium.begin(&batch[..batch.len() - 1]));
    assert_eq!(medium.complete(&mut |_| panic!("nothing is durable")), Err(RecordError::Truncated));
}

#[test]
fn an_operation_takes_its_latency_times_the_slowness() {
    let mut medium = medium(1);
    medium.mood.slowness = 20;
    assert!((0..100).map(|_| medium.wait(1_000)).all(|end| (3_000..=5_000).contains(&end)));
}
