//! Records and their checksums.
#![cfg(not(loom))]

mod common;

use common::{CLUSTER, Random, checksum};
use quoring_ring::*;

/// A sealed record.
fn encoded(index: u64, payload: &[u8]) -> Vec<u8> {
    let mut header = Header {
        checksum: 0,
        term: 3,
        index_low: index as u32,
        len: payload.len() as u16,
        kind: Kind::Command,
        flags: 0,
    };
    header.checksum = checksum().of(&header, (index >> 32) as u32, payload);
    let mut bytes = [&header.encode(), payload].concat();
    bytes.resize(record_size(payload.len()), 0);
    bytes
}

#[test]
fn crc32c_has_its_known_values_and_goes_on_where_it_ended() {
    for crc in [software_crc32c, DEFAULT_CRC32C] {
        assert_eq!(crc(0, b""), 0);
        assert_eq!(crc(0, b"123456789"), 0xE306_9283);
        assert_eq!(crc(0, &[0; 32]), 0x8A91_36AA); // RFC 3720, B.4
        assert_eq!(crc(0, &[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc(0, &core::array::from_fn::<u8, 32, _>(|i| i as u8)), 0x46DD_794E);
        for cut in 0..=9 {
            let (a, b) = b"123456789".split_at(cut);
            assert_eq!(crc(crc(0, a), b), 0xE306_9283, "cut at {cut}");
        }
    }
}

#[test]
fn the_software_checksum_agrees_with_the_default_one_at_every_length() {
    let mut random = Random(1);
    let bytes: Vec<u8> = (0..80).map(|_| random.next() as u8).collect();
    for len in 0..bytes.len() {
        let start = random.next() as u32;
        assert_eq!(software_crc32c(start, &bytes[..len]), DEFAULT_CRC32C(start, &bytes[..len]));
    }
}

/// The layout of the header, byte by byte, and what its checksum starts from.
#[test]
fn a_record_has_the_documented_bytes() {
    let header = Header { checksum: 0, term: 0x0403_0201, index_low: 0x0807_0605, len: 3, kind: Kind::Vote, flags: 9 };
    assert_eq!(header.encode(), [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 3, 0, 4, 9]);
    assert_eq!(Header::decode(&header.encode()), Ok(header));

    let start = software_crc32c(0, &CLUSTER.to_le_bytes()) ^ 0x0C0B_0A09_u32.wrapping_mul(0x9E37_79B1);
    let counted = [&header.encode()[4..], b"abc"].concat();
    assert_eq!(checksum().of(&header, 0x0C0B_0A09, b"abc"), software_crc32c(start, &counted));
}

#[test]
fn a_record_is_padded_to_sixteen_bytes() {
    for (payload, size) in [(0, 16), (1, 32), (16, 32), (17, 48), (65535, 65552)] {
        assert_eq!(record_size(payload), size, "payload {payload}");
    }
}

/// covers: T3, L15
#[test]
fn a_record_of_another_cluster_or_another_high_half_of_the_index_does_not_pass() {
    let bytes = encoded(7, b"command");
    let record = Record::parse(&bytes).unwrap();
    assert_eq!(checksum().verify(&record, 0), Ok(()));
    assert_eq!(checksum().verify(&record, 1), Err(RecordError::BadChecksum));
    let other = Checksum::new(CLUSTER + 1, DEFAULT_CRC32C);
    assert_eq!(other.verify(&record, 0), Err(RecordError::BadChecksum));
}

/// covers: T2
#[test]
fn no_flipped_bit_passes() {
    let bytes = encoded(7, b"command");
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let passed = Record::parse(&flipped).is_ok_and(|record| checksum().verify(&record, 0).is_ok());
        assert!(!passed, "bit {bit}");
    }
}

/// Two flips in one column of two words are what a stuck data line makes. covers: T2
#[test]
#[cfg_attr(miri, ignore = "slow, and one thread's arithmetic")]
fn no_two_flipped_bits_pass() {
    let bytes = encoded(7, b"command");
    for first in 0..bytes.len() * 8 {
        for second in 0..first {
            let mut flipped = bytes.clone();
            flipped[first / 8] ^= 1 << (first % 8);
            flipped[second / 8] ^= 1 << (second % 8);
            let passed = Record::parse(&flipped).is_ok_and(|record| checksum().verify(&record, 0).is_ok());
            assert!(!passed, "bits {second} and {first}");
        }
    }
}

#[test]
fn zeroed_memory_is_no_record() {
    assert_eq!(Header::decode(&[0; HEADER]), Err(RecordError::UnknownKind));
    assert_eq!(Header::decode(&[0xFF; HEADER]), Err(RecordError::UnknownKind));
}

#[test]
fn only_entries_have_an_index() {
    let entries = [Kind::Command, Kind::NoOp, Kind::Configuration, Kind::Session, Kind::Stream];
    for byte in 0..=u8::MAX {
        let kind = Kind::from_byte(byte);
        assert_eq!(kind.map(|kind| kind as u8).unwrap_or(byte), byte);
        assert_eq!(kind.is_some(), [1, 2, 3, 4, 5, 6, 7, 0xF].contains(&byte), "byte {byte}");
        assert_eq!(kind.is_some_and(Kind::is_entry), kind.is_some_and(|kind| entries.contains(&kind)));
    }
}

#[test]
fn records_are_split_end_to_end_and_an_error_ends_them() {
    let first = encoded(1, b"");
    let second = encoded(2, &[7; 100]);
    let both = [&first[..], &second].concat();

    let split: Vec<_> = Records::new(&both).map(Result::unwrap).collect();
    assert_eq!(split.iter().map(|record| record.bytes).collect::<Vec<_>>(), [&first[..], &second]);
    assert_eq!(split[1].payload, [7; 100]);
    assert_eq!(split[1].header.index_low, 2);

    for cut in first.len() + 1..both.len() {
        let mut torn = Records::new(&both[..cut]);
        assert!(torn.next().unwrap().is_ok());
        assert_eq!(torn.next(), Some(Err(RecordError::Truncated)), "cut at {cut}");
        assert_eq!(torn.next(), None);
    }
    let mut padded = both;
    *padded.last_mut().unwrap() = 1;
    assert_eq!(Records::new(&padded).last(), Some(Err(RecordError::NonZeroPadding)));
}

/// covers: T5
#[test]
fn random_bytes_are_split_without_panic() {
    let mut random = Random(5);
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    for _ in 0..rounds {
        let bytes: Vec<u8> = (0..random.below(100)).map(|_| random.next() as u8 & 0x1F).collect();
        let split = Records::new(&bytes).filter_map(Result::ok).map(|record| record.bytes.len());
        assert!(split.sum::<usize>() <= bytes.len());
    }
}
