//! A leader hands over its office, in a cluster in one process, in virtual time.

#[allow(dead_code, unused_imports)] // Other tests use the rest of it.
mod rig;

use quoring::{Answer, Duration, Lost, NodeId, ProposalError, ProposeError, TransferError};
use rig::{Client, Fault, Usual, answer, commands, node_id, usual};

type Proposal = Client<Result<Answer, ProposalError>>;

/// An election timeout, and the grain of the leader's looks.
const TIMEOUT: Duration = Duration::from_millis(1000);
const LATEST: Duration = Duration::from_millis(1200);

fn propose(cluster: &Usual, node: usize, command: &'static [u8]) -> Proposal {
    let node = cluster.node(node);
    cluster.client(async move { node.propose(command).await })
}

fn transfer(cluster: &Usual, from: usize, to: Option<NodeId>) -> Client<Result<NodeId, TransferError>> {
    let node = cluster.node(from);
    cluster.client(async move { node.transfer(to).await })
}

/// covers: E10
#[test]
fn a_leader_hands_over_to_the_node_it_is_told_and_loses_nothing() {
    let cluster = usual();
    cluster.run(async {
        let (leader, followers) = cluster.roles().await;
        cluster.node(leader).propose(b"one").await.unwrap();
        let before = cluster.now();
        assert_eq!(cluster.node(leader).transfer(Some(node_id(followers[1]))).await, Ok(node_id(followers[1])));
        assert_eq!(cluster.leader().await, followers[1]);
        assert!(cluster.now() - before < Duration::from_millis(100));
        let refused = TransferError::NotLeader(Some(node_id(followers[1])));
        assert_eq!(cluster.node(leader).transfer(None).await, Err(refused));
        assert_eq!(cluster.node(followers[1]).propose(b"two").await, Ok(answer(2)));
        cluster.idle().await;
        (0..3).for_each(|node| assert_eq!(cluster.applied(node), commands(&["one", "two"])));
    });
}

/// covers: E10
#[test]
fn a_leader_that_is_told_nobody_hands_over_to_who_is_nearest() {
    let cluster = usual();
    cluster.run(async {
        let (leader, [behind, near]) = cluster.roles().await;
        // It still answers, but its store takes nothing more.
        cluster.store(behind).set(Fault::Hangs);
        cluster.node(leader).propose(b"one").await.unwrap();
        assert_eq!(cluster.node(leader).transfer(None).await, Ok(node_id(near)));
        cluster.store(behind).set(Fault::None);
        assert_eq!(cluster.leader().await, near);
    });
}

/// covers: E10
#[test]
fn who_lags_is_told_to_campaign_only_when_it_has_everything() {
    let cluster = usual();
    cluster.run(async {
        let (leader, [behind, other]) = cluster.roles().await;
        cluster.store(behind).set(Fault::Hangs);
        for _ in 0..20 {
            cluster.node(leader).propose(b"more").await.unwrap();
        }
        let told = cluster.links().count(is_leave);
        let handing_over = transfer(&cluster, leader, Some(node_id(behind)));
        cluster.sleep(Duration::from_millis(300)).await;
        assert!(!handing_over.is_done() && told.get() == 0);
        // Without the successor's leave to vote for itself, nobody is elected.
        assert_eq!(cluster.node(other).status().leader, Some(node_id(leader)));
        cluster.store(behind).set(Fault::None);
        cluster.sleep(Duration::from_millis(300)).await;
        assert_eq!(handing_over.outcome(), Ok(node_id(behind)));
        assert!(told.get() > 0);
        assert_eq!(cluster.leader().await, behind);
        cluster.agree(20).await;
    });
}

/// Also one that is elected again before the client looks has not handed over.
///
/// covers: E10, R7
#[test]
fn who_does_not_come_up_is_given_up_after_an_election_timeout_and_the_leader_leads_on() {
    let cluster = usual();
    cluster.run(async {
        let (leader, [target, _]) = cluster.roles().await;
        let term = cluster.node(leader).status().term;
        cluster.links().filter(move |_, to, message| to != target || !is_leave(message));
        let before = cluster.now();
        let outcome = cluster.node(leader).transfer(Some(node_id(target))).await;
        assert_eq!(outcome, Err(TransferError::TimedOut));
        let took = cluster.now() - before;
        assert!((TIMEOUT..=LATEST).contains(&took), "{took:?}");
        assert_eq!((cluster.leader().await, cluster.node(leader).status().term), (leader, term));
        assert_eq!(cluster.node(leader).propose(b"on").await, Ok(answer(1)));
    });
}

/// covers: E10
#[test]
fn nobody_hands_over_to_who_is_not_there() {
    let cluster = usual();
    cluster.run(async {
        assert_eq!(cluster.node(0).transfer(None).await, Err(TransferError::NotLeader(None)));
        let (leader, [gone, _]) = cluster.roles().await;
        cluster.kill(gone);
        cluster.sleep(Duration::from_millis(1500)).await;
        for to in [gone, leader] {
            assert_eq!(cluster.node(leader).transfer(Some(node_id(to))).await, Err(TransferError::NoPeer));
        }
        assert_eq!(cluster.node(leader).propose(b"on").await, Ok(answer(1)));
        cluster.store(leader).set(Fault::Fails);
        _ = propose(&cluster, leader, b"last");
        cluster.idle().await;
        assert_eq!(cluster.node(leader).transfer(None).await, Err(TransferError::Halted));
    });
}

/// A second transfer takes the place of the first.
///
/// covers: E10, R7
#[test]
fn a_leader_may_be_told_another_successor() {
    let cluster = usual();
    cluster.run(async {
        let (leader, [first, second]) = cluster.roles().await;
        cluster.links().filter(move |_, to, message| to != first || !is_leave(message));
        let to_first = transfer(&cluster, leader, Some(node_id(first)));
        cluster.sleep(Duration::from_millis(300)).await;
        assert_eq!(cluster.node(leader).transfer(Some(node_id(second))).await, Ok(node_id(second)));
        assert_eq!(cluster.leader().await, second);
        cluster.idle().await;
        assert!(to_first.is_done());
    });
}

/// covers: E10, P10, R7
#[test]
fn proposals_that_wait_for_a_transfer_learn_where_the_leader_is() {
    let cluster = usual();
    cluster.run(async {
        let (leader, [target, _]) = cluster.roles().await;
        cluster.store(target).set(Fault::Hangs);
        assert_eq!(cluster.node(leader).propose(b"one").await, Ok(answer(1)));
        let handing_over = transfer(&cluster, leader, Some(node_id(target)));
        cluster.idle().await;
        assert_eq!(cluster.node(leader).try_propose(b"now").unwrap_err(), ProposeError::Busy);
        let waiting = propose(&cluster, leader, b"wait");
        cluster.sleep(Duration::from_millis(200)).await;
        assert!(!waiting.is_done() && !handing_over.is_done());
        cluster.store(target).set(Fault::None);
        cluster.idle().await;
        assert_eq!(handing_over.outcome(), Ok(node_id(target)));
        let refused = waiting.outcome();
        assert!(matches!(refused, Err(ProposalError::Refused(ProposeError::NotLeader { .. }))), "{refused:?}");
        cluster.idle().await;
        assert_eq!(cluster.applied(target), commands(&["one"]));
    });
}

/// One at a time: nothing else happens at an idle leader that could wake it.
///
/// covers: E10, P10, R7, R9
#[test]
fn who_waits_for_a_transfer_goes_on_when_it_is_given_up() {
    for kind in 0..5 {
        let cluster = usual();
        cluster.run(async {
            let (leader, [target, other]) = cluster.roles().await;
            let mut session = cluster.node(leader).session().await.unwrap();
            let mut far_session = cluster.node(other).session().await.unwrap();
            let mut stream = cluster.node(leader).stream().await.unwrap();
            let mut far_stream = cluster.node(other).stream().await.unwrap();
            cluster.idle().await;
            cluster.links().filter(move |_, to, message| to != target || !is_leave(message));
            let handing_over = transfer(&cluster, leader, Some(node_id(target)));
            cluster.idle().await;
            let node = cluster.node(leader);
            let waiting = cluster.client(async move {
                match kind {
                    0 => node.propose(b"plain").await.is_ok(),
                    1 => session.propose(b"session").await.is_ok(),
                    2 => far_session.propose(b"far session").await.is_ok(),
                    3 => stream.send(b"stream").await.unwrap().await.is_ok(),
                    _ => far_stream.send(b"far stream").await.unwrap().await.is_ok(),
                }
            });
            cluster.sleep(Duration::from_millis(500)).await;
            assert!(!waiting.is_done());
            while !handing_over.is_done() {
                cluster.sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(handing_over.outcome(), Err(TransferError::TimedOut));
            cluster.sleep(Duration::from_millis(500)).await;
            assert!(waiting.is_done() && waiting.outcome(), "kind {kind}");
            assert_eq!(cluster.leader().await, leader);
        });
    }
}

/// Where it led, its clients' entries are in the successor's log; but what the node is told of them it does not know.
///
/// covers: E10, P15, R7
#[test]
fn a_proposal_under_way_while_its_leader_hands_over_is_answered_or_told() {
    let cluster = usual();
    cluster.run(async {
        let (leader, [target, _]) = cluster.roles().await;
        cluster.application(leader).stop();
        let early = propose(&cluster, leader, b"early");
        cluster.idle().await;
        assert_eq!(cluster.node(leader).transfer(Some(node_id(target))).await, Ok(node_id(target)));
        cluster.idle().await;
        assert_eq!(early.outcome(), Err(ProposalError::Lost(Lost::LeadershipLost)));
        cluster.application(leader).go_on();
        cluster.agree(1).await;
    });
}

fn is_leave(message: &quoring_core::wire::Message<'_>) -> bool {
    matches!(message, quoring_core::wire::Message::CampaignNow(_))
}
