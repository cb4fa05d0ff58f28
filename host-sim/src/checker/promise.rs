//! Promises: a frame may say only what its sender's medium holds at that moment. So no crash takes back what others have heard
//! (E2, E3, L4), no replicator sends a mixture of two logs, and none a commit index that is not true.

use quoring_core::wire::{Append, Envelope, Frame, Message};
use quoring_core::{NodeId, Term};
use quoring_ring::DEFAULT_CRC32C;

use super::Verdict;
use super::commit::Commit;
use super::matching::{Log, Logs};
use crate::world::CLUSTER;

/// How a vote record's flags say for whom it is.
const fn vote_for(candidate: NodeId) -> u8 {
    0x80 | candidate.get()
}

/// What the frame says is durable on its sender, and committed.
pub(crate) fn sends(node: usize, bytes: &[u8], logs: &Logs, commit: &Commit) -> Verdict {
    let frame = open(bytes).ok_or("sent a frame that no receiver could read")?;
    if usize::from(frame.from.get()) != node {
        return Err(format!("sent a frame in the name of node {}", frame.from));
    }
    says(&frame, logs.of(node), commit)
}

/// The records of an append are those of one log.
pub(crate) fn carries(bytes: &[u8], logs: &mut Logs) -> Verdict {
    match open(bytes).map(|frame| frame.message) {
        Some(Message::Append(Append { prev, prev_term, records, .. })) => logs.send(prev.0, prev_term.0, records),
        _ => Ok(()),
    }
}

fn says(frame: &Frame<'_>, log: &Log, commit: &Commit) -> Verdict {
    let recorded = |term: Term, what: &str| match log.term() {
        durable if term.0 <= durable => Ok(()),
        durable => Err(format!("{what} in term {term}; durable is term {durable}")),
    };
    let voted = |term: Term, candidate: NodeId, what: &str| {
        // A later term may be durable already; then the vote was before it, and election safety looks after it.
        if term.0 < log.term() || (term.0 == log.term() && log.vote() == vote_for(candidate)) {
            return Ok(());
        }
        Err(format!("{what} for node {candidate} in term {term}, and that vote is not durable"))
    };
    match frame.message {
        Message::PreVote(_) | Message::PreVoteAnswer(_) => Ok(()),
        Message::Vote(_) | Message::VoteByLeave(_) => voted(frame.term, frame.from, "asked for votes"),
        Message::VoteAnswer(answer) if answer.granted => voted(answer.term, frame.to, "granted its vote"),
        Message::VoteAnswer(_) => recorded(frame.term, "answered"),
        Message::Append(append) => {
            recorded(frame.term, "sent entries")?;
            if append.commit.0 > commit.last() {
                return Err(format!("sent commit index {}; only {} are committed", append.commit, commit.last()));
            }
            Ok(())
        }
        Message::AppendAnswer(answer) => {
            recorded(frame.term, "acknowledged")?;
            if answer.matched.0 > log.end() {
                return Err(format!("acknowledged entry {}; its medium holds {}", answer.matched, log.end()));
            }
            Ok(())
        }
        Message::AppendRefusal(_) => recorded(frame.term, "refused"),
        Message::InstallSnapshot(chunk) => {
            recorded(frame.term, "sent a snapshot")?;
            let (last, covered) = (chunk.snapshot.last.index, log.covered().index);
            if last > covered {
                return Err(format!("sent a snapshot up to {last}; the newest that is durable is up to {covered}"));
            }
            Ok(())
        }
        Message::SnapshotAnswer(_) => recorded(frame.term, "acknowledged a chunk"),
        Message::Confirm(_) | Message::ConfirmAnswer(_) => recorded(frame.term, "confirmed who leads"),
        Message::Read(_) | Message::ReadAnswer(_) => recorded(frame.term, "spoke of reads"),
        Message::CampaignNow(_) => recorded(frame.term, "gave leave"),
        Message::Forward(_) | Message::ForwardAnswer(_) => recorded(frame.term, "spoke of forwarded commands"),
    }
}

fn open(bytes: &[u8]) -> Option<Frame<'_>> {
    let node = NodeId::new(*bytes.get(7)?)?;
    Envelope { cluster: CLUSTER, node, crc: DEFAULT_CRC32C }.open(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::super::matching::tests::logs;
    use super::super::pointer::tests::status;
    use super::*;
    use quoring_core::LogIndex;
    use quoring_core::wire::{AppendAnswer, VoteAnswer, VoteRequest};

    fn frame(from: u8, to: u8, term: u32, message: &Message<'_>) -> Vec<u8> {
        let [from, to] = [from, to].map(|id| NodeId::new(id).unwrap());
        let mut bytes = [0; 256];
        let envelope = Envelope { cluster: CLUSTER, node: from, crc: DEFAULT_CRC32C };
        let len = envelope.seal(to, Term(term), message, &mut bytes).unwrap();
        bytes[..len].to_vec()
    }

    /// Node 0 has voted for node 1 in term 3, with two entries of term 1 durable, of which one is committed.
    fn judge(from: u8, to: u8, term: u32, message: &Message<'_>) -> Verdict {
        let mut logs = logs(&[&[1, 1], &[1, 1]]);
        logs.vote(0, 3, 0x81, 0);
        let mut commit = Commit::new(2);
        commit.advance(1, &status(1, [2, 1, 0, 2]), &logs).unwrap();
        sends(0, &frame(from, to, term, message), &logs, &commit)
    }

    fn append(commit: u64) -> Message<'static> {
        let (prev, prev_term, commit) = (LogIndex(0), Term(0), LogIndex(commit));
        Message::Append(Append { prev, prev_term, commit, session: 1, respond: false, bytes: 0, records: &[] })
    }

    #[test]
    fn a_vote_leaves_only_when_it_is_durable() {
        let grant = |term| Message::VoteAnswer(VoteAnswer { term: Term(term), granted: true });
        assert_eq!(judge(0, 1, 3, &grant(3)), Ok(()));
        assert!(judge(0, 0, 3, &grant(3)).is_err(), "an answer to itself");
        assert!(judge(0, 1, 4, &grant(4)).is_err());
        let ask = |term| Message::Vote(VoteRequest { term: Term(term), last: LogIndex(2), last_term: Term(1) });
        assert!(judge(0, 1, 3, &ask(3)).is_err(), "it voted for node 1");
        assert!(judge(0, 1, 4, &ask(4)).is_err());
        let pre_vote = Message::PreVote(VoteRequest { term: Term(9), last: LogIndex(2), last_term: Term(1) });
        assert_eq!(judge(0, 1, 3, &pre_vote), Ok(()));
    }

    #[test]
    fn an_acknowledgement_covers_no_more_than_the_medium_holds() {
        let answer = |matched| {
            Message::AppendAnswer(AppendAnswer {
                session: 1,
                room: 0,
                matched: LogIndex(matched),
                received: LogIndex(9),
            })
        };
        assert_eq!(judge(0, 1, 3, &answer(2)), Ok(()));
        assert!(judge(0, 1, 3, &answer(3)).is_err());
        assert!(judge(0, 1, 4, &answer(2)).is_err(), "the term is not durable");
    }

    #[test]
    fn a_commit_index_on_the_wire_is_true() {
        assert_eq!(judge(0, 1, 3, &append(1)), Ok(()));
        assert!(judge(0, 1, 3, &append(2)).is_err());
    }

    #[test]
    fn a_frame_is_readable_and_in_the_senders_name() {
        assert!(judge(1, 0, 1, &append(0)).is_err());
        let (logs, commit) = (logs(&[&[]]), Commit::new(1));
        assert!(sends(0, b"nonsense", &logs, &commit).is_err());
    }
}
