//! Who learns what, and when.

use quoring_core::{ClientId, Term};

use super::*;
use crate::sessions::Session;

const CLIENT: ClientId = ClientId(7);

fn entry(term: u32, index: u64) -> EntryId {
    EntryId { term: Term(term), index: LogIndex(index) }
}

/// A request of the session that was opened by entry 3.
fn session(sequence: u32) -> RequestKey {
    of_session(CLIENT, sequence, if sequence == 0 { 2 } else { 3 })
}

fn of_session(client: ClientId, sequence: u32, table: u32) -> RequestKey {
    RequestKey { kind: Kind::Session, request: RequestId { client, sequence, table } }
}

fn stream(sequence: u32) -> RequestKey {
    RequestKey { kind: Kind::Stream, request: RequestId { client: ClientId(8), sequence, table: 0 } }
}

fn answer(text: &str) -> Answer {
    Answer::new(text.as_bytes()).unwrap()
}

/// covers: P15, C11
#[test]
fn a_request_has_its_outcome_in_whichever_entry_it_comes() {
    let mut slots = [Proposal::Free; 4];
    let mut proposals = Proposals::new(&mut slots);
    proposals.wait(0, entry(1, 5));
    proposals.wait_for_request(1, session(1));
    proposals.wait_for_request(2, stream(1));
    proposals.wait_for_request(3, session(2));
    assert_eq!(proposals.applied(entry(2, 5), Ok(&answer("of another"))).0, 0);
    let nobody = of_session(CLIENT, 1, 4);
    assert_eq!(proposals.applied_request(nobody, Err(Lost::SessionExpired)).0, 0, "under a wrong name");
    assert_eq!(proposals.applied_request(session(2), Err(Lost::SessionExpired)).0, 0b1000);
    assert_eq!(proposals.applied_request(session(1), Ok(&answer("one"))).0, 0b0010);
    assert_eq!(proposals.applied_request(session(1), Ok(&answer("again"))).0, 0, "nobody waits for it any more");
    assert_eq!(proposals.applied_request(stream(1), Ok(&answer("item"))).0, 0b0100);
    assert_eq!(proposals.applied(entry(1, 5), Ok(&answer("entry"))).0, 0b0001);
    let outcomes = [Ok(answer("entry")), Ok(answer("one")), Ok(answer("item")), Err(Lost::SessionExpired)];
    (0..4).for_each(|slot| assert_eq!(proposals.outcome(slot), Some(outcomes[slot])));
    assert_eq!(proposals.waiting, 0);
}

/// covers: R7, P15
#[test]
fn a_request_outlives_the_office_of_the_node_but_not_the_node() {
    let mut slots = [Proposal::Free; 3];
    let mut proposals = Proposals::new(&mut slots);
    proposals.wait(0, entry(1, 5));
    proposals.wait_for_request(1, session(1));
    proposals.wait_for_request(2, stream(1));
    assert_eq!(proposals.lose(Lost::LeadershipLost).0, 0b001);
    assert_eq!((proposals.outcome(1), proposals.outcome(2)), (None, None));
    assert_eq!(proposals.lose(Lost::Halted).0, 0b110);
    let lost = [Lost::LeadershipLost, Lost::Halted, Lost::Halted];
    (0..3).for_each(|slot| assert_eq!(proposals.outcome(slot), Some(Err(lost[slot]))));
}

/// Scenario 52, every kind of waiter.
///
/// covers: R7, P15, S4
#[test]
fn who_waits_for_what_a_snapshot_covers_learns_what_can_be_known() {
    let mut places = [Session::FREE; 2];
    let mut sessions = SessionTable::new(&mut places);
    sessions.judge(LogIndex(3), &session(0).request);
    sessions.keep(LogIndex(10), &session(4).request, &answer("four"));

    let mut slots = [Proposal::Free; 14];
    let mut proposals = Proposals::new(&mut slots);
    let covered = Some(Err(Lost::Covered));
    let stranger = |sequence| of_session(ClientId(9), sequence, 2);
    proposals.wait(0, entry(1, 20));
    proposals.wait(1, entry(1, 21));
    [session(0), session(3), session(4), session(5), stream(1), stranger(0), stranger(1)]
        .into_iter()
        .zip(2..)
        .for_each(|(request, slot)| proposals.wait_for_request(slot, request));
    proposals.queue(9);
    proposals.leave(10);
    // Of sessions of the same client that were opened by other entries: the last that is covered, and the first that is not.
    proposals.wait_for_request(12, of_session(CLIENT, 1, 20));
    proposals.wait_for_request(13, of_session(CLIENT, 1, 21));
    let expected = [
        covered,
        None,
        Some(Ok(Answer::new(&[3, 0, 0, 0]).unwrap())),
        covered,
        Some(Ok(answer("four"))),
        // Behind the snapshot it may still come.
        None,
        covered,
        None,
        Some(Err(Lost::SessionExpired)),
        None,
        None,
        None,
        Some(Err(Lost::SessionExpired)),
        None,
    ];
    let woken = proposals.restored(LogIndex(20), &sessions);
    for (slot, outcome) in expected.into_iter().enumerate() {
        assert_eq!(proposals.outcome(slot), outcome, "slot {slot}");
        assert_eq!(woken.0 >> slot & 1 == 1, outcome.is_some(), "slot {slot}");
    }
    assert_eq!((proposals.waiting, proposals.queued), (4, 1));
}
