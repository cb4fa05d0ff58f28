//! The table against a model that is written from its rules, and its image against `SNAPSHOT.md`.

use std::collections::BTreeMap;
use std::vec::Vec;
use std::{format, vec};

use super::*;

const PAGE: &str = include_str!("../../SNAPSHOT.md");

fn request(client: u64, sequence: u32, table: u32) -> RequestId {
    RequestId { client: ClientId(client), sequence, table }
}

fn answer(text: &str) -> Answer {
    Answer::new(text.as_bytes()).unwrap()
}

/// What who opens a session hears: where that was.
fn opened(index: u32) -> Verdict {
    Verdict::Done(Ok(Answer::new(&index.to_le_bytes()).unwrap()))
}

/// Opens a session; it must be possible, and it must be another than before.
fn open(table: &mut SessionTable<'_>, index: u64, client: u64, most: u32) {
    assert_eq!(table.judge(LogIndex(index), &request(client, 0, most)), opened(index as u32));
}

/// A request of the session that the client has now; it must be a new one.
fn apply(table: &mut SessionTable<'_>, index: u64, client: u64, sequence: u32, text: &str) {
    let opened = table.session_mut(ClientId(client)).unwrap().opened;
    let request = request(client, sequence, opened);
    assert_eq!(table.judge(LogIndex(index), &request), Verdict::Apply);
    table.keep(LogIndex(index), &request, &answer(text));
}

fn clients(table: &SessionTable<'_>) -> Vec<u64> {
    table.sessions().iter().map(|session| session.client.0).collect()
}

fn image(table: &SessionTable<'_>) -> Vec<u8> {
    let mut buffer = [0xAA; PIECE];
    let mut bytes = Vec::new();
    for number in 0..=table.len {
        bytes.extend_from_slice(table.piece(number, &mut buffer).unwrap());
    }
    assert_eq!(table.piece(table.len + 1, &mut buffer), None);
    assert_eq!(bytes.len() as u64, table.image_len());
    bytes
}

/// Reads what [`image`] writes, as a snapshot that covers the log up to `last`; the bytes behind it.
fn read<'b>(table: &mut SessionTable<'_>, last: u64, bytes: &'b [u8]) -> Option<&'b [u8]> {
    let (head, mut rest) = bytes.split_first_chunk()?;
    let count = count(*head, bytes.len() as u64)?;
    if !table.begin_image(count) {
        return None;
    }
    for _ in 0..count {
        let (item, behind) = rest.split_first_chunk()?;
        let (answer, behind) = behind.split_at_checked(answer_len(item))?;
        if !table.read_item(LogIndex(last), item, answer) {
            return None;
        }
        rest = behind;
    }
    Some(rest)
}

/// covers: C11
#[test]
fn a_request_takes_effect_once_and_every_repetition_has_the_first_answer() {
    let mut places = [Session::FREE; 2];
    let mut table = SessionTable::new(&mut places);
    open(&mut table, 1, 7, 2);
    apply(&mut table, 2, 7, 1, "first");
    for index in 3..6 {
        assert_eq!(table.judge(LogIndex(index), &request(7, 1, 1)), Verdict::Done(Ok(answer("first"))));
    }
    apply(&mut table, 6, 7, 2, "second");
    assert_eq!(table.judge(LogIndex(7), &request(7, 1, 1)), Verdict::Done(Err(Lost::Covered)));
    assert_eq!(table.judge(LogIndex(8), &request(7, 2, 1)), Verdict::Done(Ok(answer("second"))));
    // A number that never came in is no reason to refuse the next one.
    apply(&mut table, 9, 7, u32::MAX, "last");
    assert_eq!(table.judge(LogIndex(10), &request(7, u32::MAX, 1)), Verdict::Done(Ok(answer("last"))));
}

/// covers: C11
#[test]
fn a_session_that_is_opened_again_is_the_same_one() {
    let mut places = [Session::FREE; 2];
    let mut table = SessionTable::new(&mut places);
    open(&mut table, 1, 7, 2);
    apply(&mut table, 2, 7, 1, "on");
    assert_eq!(table.judge(LogIndex(3), &request(7, 0, 2)), opened(1), "after commands too");
    assert_eq!(table.judge(LogIndex(4), &request(7, 1, 1)), Verdict::Done(Ok(answer("on"))));
}

/// Else a late repetition of what opened a session would make its commands new ones, once it has expired.
///
/// covers: C11
#[test]
fn a_session_that_expired_stays_expired_though_its_client_opens_another() {
    let mut places = [Session::FREE; 2];
    let mut table = SessionTable::new(&mut places);
    open(&mut table, 1, 7, 2);
    apply(&mut table, 2, 7, 1, "on");
    open(&mut table, 3, 8, 2);
    open(&mut table, 4, 9, 2);
    open(&mut table, 5, 7, 2);
    for sequence in [1, 2, u32::MAX] {
        assert_eq!(table.judge(LogIndex(6), &request(7, sequence, 1)), Verdict::Done(Err(Lost::SessionExpired)));
    }
    apply(&mut table, 7, 7, 1, "anew");
    assert_eq!(table.judge(LogIndex(8), &request(7, 1, 1)), Verdict::Done(Err(Lost::SessionExpired)));
    assert_eq!(table.judge(LogIndex(9), &request(7, 1, 5)), Verdict::Done(Ok(answer("anew"))));
    // Beyond 2^32 entries the low half of the index is the name.
    let far = 1 << 32 | 10;
    open(&mut table, far, 6, 1);
    apply(&mut table, far + 1, 6, 1, "far");
    assert_eq!(table.judge(LogIndex(far + 2), &request(6, 1, 10)), Verdict::Done(Ok(answer("far"))));
}

/// covers: C11
#[test]
fn the_session_that_was_used_longest_ago_expires() {
    let mut places = [Session::FREE; 3];
    let mut table = SessionTable::new(&mut places);
    (1..=3).for_each(|client| open(&mut table, client, client, 3));
    apply(&mut table, 4, 1, 1, "used");
    // A repetition has no effect and is no use; one that opens is.
    assert_eq!(table.judge(LogIndex(5), &request(1, 1, 1)), Verdict::Done(Ok(answer("used"))));
    assert_eq!(table.judge(LogIndex(6), &request(2, 0, 3)), opened(2));
    open(&mut table, 7, 4, 3);
    assert_eq!(clients(&table), [1, 2, 4]);
    open(&mut table, 8, 5, 3);
    assert_eq!(clients(&table), [2, 4, 5]);
    assert_eq!(table.judge(LogIndex(9), &request(1, 2, 1)), Verdict::Done(Err(Lost::SessionExpired)));
    // It was never there: no wonder it is not, it may still be opened.
    assert_eq!(table.outcome(LogIndex(9), &request(9, 0, 3)), None);
    assert_eq!(table.outcome(LogIndex(9), &request(1, 2, 1)), Some(Err(Lost::SessionExpired)));
    // It was opened later than this table is: a node that has just started is behind its clients.
    assert_eq!(table.outcome(LogIndex(9), &request(9, 2, 10)), None);
    assert_eq!(table.judge(LogIndex(12), &request(9, 2, 10)), Verdict::Done(Err(Lost::SessionExpired)));
}

/// All nodes must forget the same sessions, and so the entry says how many are kept, not the node.
///
/// covers: C11
#[test]
fn each_entry_that_opens_a_session_says_how_many_are_kept() {
    let mut places = [Session::FREE; 5];
    let mut table = SessionTable::new(&mut places);
    (1..=5).for_each(|client| open(&mut table, client, client, 5));
    apply(&mut table, 6, 1, 1, "used");
    assert_eq!(table.judge(LogIndex(7), &request(6, 0, 0)), Verdict::Done(Err(Lost::SessionExpired)));
    assert_eq!(clients(&table), [1, 2, 3, 4, 5], "where none are kept, none is opened and none goes");
    assert_eq!(table.judge(LogIndex(8), &request(2, 0, 3)), opened(2));
    assert_eq!(clients(&table), [1, 2, 5], "also one that is there already");
    open(&mut table, 9, 6, 2);
    assert_eq!(clients(&table), [2, 6]);
    open(&mut table, 10, 7, 5);
    assert_eq!(clients(&table), [2, 6, 7]);
    open(&mut table, 11, 8, 1);
    assert_eq!(clients(&table), [8]);
    for most in [6, u32::MAX] {
        assert_eq!(table.judge(LogIndex(12), &request(9, 0, most)), Verdict::TooMany(most));
    }
    assert_eq!(clients(&table), [8]);
    let mut none = SessionTable::new(&mut []);
    assert_eq!(none.judge(LogIndex(1), &request(9, 0, 1)), Verdict::TooMany(1));
    assert_eq!(none.judge(LogIndex(1), &request(9, 0, 0)), Verdict::Done(Err(Lost::SessionExpired)));
    assert_eq!(none.judge(LogIndex(1), &request(9, 1, 0)), Verdict::Done(Err(Lost::SessionExpired)));
    assert_eq!(image(&none), [1, 0, 0]);
}

/// What a client knows of its session: the number, when and with which answer it took effect, and where it was opened.
type Model = BTreeMap<u64, (u32, u64, Answer, u32)>;

fn model(model: &mut Model, places: usize, index: u64, request: &RequestId, said: &Answer) -> Verdict {
    let (client, most) = (request.client.0, request.table as usize);
    match (request.sequence, model.get_mut(&client)) {
        (0, _) if most == 0 => Verdict::Done(Err(Lost::SessionExpired)),
        (0, _) if most > places => Verdict::TooMany(request.table),
        (0, session) => {
            match session {
                Some(session) => session.1 = index,
                None => drop(model.insert(client, (0, index, Answer::EMPTY, index as u32))),
            }
            let place = model[&client].3;
            while model.len() > most {
                let oldest = *model.iter().min_by_key(|(_, session)| session.1).unwrap().0;
                model.remove(&oldest);
            }
            opened(place)
        }
        (_, Some((.., opened))) if *opened != request.table => Verdict::Done(Err(Lost::SessionExpired)),
        (_, None) => Verdict::Done(Err(Lost::SessionExpired)),
        (sequence, Some((last, _, kept, _))) if sequence == *last => Verdict::Done(Ok(*kept)),
        (sequence, Some((last, ..))) if sequence < *last => Verdict::Done(Err(Lost::Covered)),
        (sequence, Some(session)) => {
            *session = (sequence, index, *said, session.3);
            Verdict::Apply
        }
    }
}

/// covers: C11, S6
#[test]
fn the_table_does_what_the_model_does_and_so_does_one_that_is_read_from_its_image() {
    for seed in 0..60_u64 {
        let mut state = seed;
        let mut below = move |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let places = seed as usize % 6;
        let (mut here, mut there) = (vec![Session::FREE; places], vec![Session::FREE; places + 2]);
        let (mut table, mut other) = (SessionTable::new(&mut here), SessionTable::new(&mut there));
        let mut plain = Model::new();
        for index in 1..600 {
            let opens = below(3) == 0;
            let sequence = if opens { 0 } else { 1 + below(index / 40 + 2) as u32 };
            let most = if below(4) == 0 { below(places as u64 + 2) } else { places as u64 };
            let client = 1 + below(9);
            // Now and then the name of an earlier one.
            let stale = u32::from(below(8) == 0);
            let known = plain.get(&client).map_or(0, |session| session.3.saturating_sub(stale));
            let request = request(client, sequence, if opens { most as u32 } else { known });
            let said = answer(&format!("{index}")[..below(4).min(format!("{index}").len() as u64) as usize]);
            let verdict = table.judge(LogIndex(index), &request);
            assert_eq!(verdict, model(&mut plain, places, index, &request, &said), "seed {seed}, {index}: {request:?}");
            if verdict == Verdict::Apply {
                table.keep(LogIndex(index), &request, &said);
            }
            let known: Model =
                table.sessions().iter().map(|s| (s.client.0, (s.sequence, s.used.0, s.answer, s.opened))).collect();
            assert_eq!((&known, table.len), (&plain, plain.len()), "seed {seed}, {index}: {request:?}");
            let bytes = image(&table);
            assert_eq!(read(&mut other, index, &[&bytes[..], b"state"].concat()), Some(&b"state"[..]));
            assert_eq!((other.sessions(), image(&other)), (table.sessions(), bytes));
        }
    }
}

/// covers: S6
#[test]
fn the_page_and_the_code_say_the_same() {
    let blocks: Vec<_> = PAGE.split("```vector ").skip(1).map(|block| block.split_once("```").unwrap().0).collect();
    let vectors: Vec<Vec<u8>> = blocks
        .iter()
        .map(|block| {
            let digits: Vec<_> = block.split_once('\n').unwrap().1.bytes().filter(u8::is_ascii_hexdigit).collect();
            let hex = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
            digits.chunks(2).map(hex).collect()
        })
        .collect();
    let mut places = [Session::FREE; 2];
    let mut table = SessionTable::new(&mut places);
    assert_eq!((image(&table), vectors.len()), (vectors[0].clone(), 2));
    open(&mut table, 9, 0x0200_0000_0700_0001, 2);
    open(&mut table, 10, 0x0100_0000_0300_0002, 2);
    apply(&mut table, 12, 0x0100_0000_0300_0002, 5, "on");
    assert_eq!(image(&table), vectors[1]);
    let sessions = table.sessions().to_vec();
    table.len = 0;
    assert_eq!(read(&mut table, 12, &vectors[1]), Some(&b""[..]));
    assert_eq!(table.sessions(), sessions);
}

/// covers: S6, T5
#[test]
fn what_is_no_image_is_refused() {
    let mut places = [Session::FREE; 2];
    let mut table = SessionTable::new(&mut places);
    open(&mut table, 3, 1, 2);
    open(&mut table, 4, 2, 2);
    apply(&mut table, 5, 2, 1, "on");
    let good = image(&table);
    let mut places = [Session::FREE; 2];
    let mut table = SessionTable::new(&mut places);
    let mut refuses = |last: u64, bytes: &[u8], why: &str| assert_eq!(read(&mut table, last, bytes), None, "{why}");
    refuses(4, &good, "used behind the end of the log");
    (0..good.len()).for_each(|len| refuses(5, &good[..len], "cut"));
    let damaged = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let second = HEAD + ITEM;
    refuses(5, &damaged(0, 2), "another version");
    refuses(5, &damaged(2, 1), "a count for which there is no room");
    refuses(5, &damaged(second, 1), "a client twice");
    refuses(5, &damaged(HEAD + 16, 0), "used before the log");
    refuses(5, &damaged(HEAD + 8, 4), "opened behind its use");
    refuses(5, &damaged(HEAD + 8, 0), "opened before the log");
    refuses(5, &damaged(HEAD + 16, 5), "two used by one entry");
    refuses(5, &[&damaged(second + 24, 33)[..], &[0; 40]].concat(), "an answer that is too long");
    assert_eq!(read(&mut table, 5, &good), Some(&b""[..]));
    let mut one = [Session::FREE];
    assert!(!SessionTable::new(&mut one).begin_image(2), "more sessions than places");
}

/// A snapshot may hold anything if its medium does.
///
/// covers: S6, T5
#[test]
fn no_bytes_make_the_table_panic() {
    let mut places = [Session::FREE; 3];
    let mut table = SessionTable::new(&mut places);
    (1..=3).for_each(|client| open(&mut table, client, client, 3));
    let good = image(&table);
    let mut places = [Session::FREE; 3];
    let mut table = SessionTable::new(&mut places);
    for at in 0..good.len() {
        for byte in 0..=255 {
            let mut bytes = good.clone();
            bytes[at] = byte;
            let _ = read(&mut table, 3, &bytes);
            assert!(table.len <= 3);
        }
    }
}
