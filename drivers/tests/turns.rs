//! Clients of other nodes beside a leader whose own clients never leave any room in its ring.

#[allow(dead_code, unused_imports)] // Other tests use the rest of it.
mod rig;

use std::cell::Cell;
use std::rc::Rc;

use quoring::{Answer, Lost, SessionError};
use rig::Cluster;

/// Own clients of the leader, each with one command in flight: more than its ring takes.
const OWN: usize = 24;
/// Commands of a session and of a stream.
const FORWARDED: usize = 20;
/// Own clients give up when they have had so many answers in all: then the others have starved.
const LIMIT: usize = 100 * FORWARDED;

/// covers: P10, C1, C11
#[test]
fn a_session_and_a_stream_of_other_nodes_go_on_beside_more_own_clients_than_there_is_room_for() {
    let cluster: Cluster<256, 16> = Cluster::new::<128, 32, 32>(|_| {});
    cluster.run(async {
        let (leader, followers) = cluster.roles().await;
        let (leader, [of_session, of_stream]) = (cluster.node(leader), followers.map(|node| cluster.node(node)));
        let mut session = of_session.session().await.unwrap();
        let mut stream = of_stream.stream().await.unwrap();
        let own = Rc::<Cell<usize>>::default();
        for _ in 0..OWN {
            let own = Rc::clone(&own);
            cluster.spawn(async move {
                while own.get() < LIMIT {
                    leader.propose(&[0; 32]).await.unwrap();
                    own.set(own.get() + 1);
                }
            });
        }
        let count = Rc::clone(&own);
        let in_session = cluster.client(async move {
            for _ in 0..FORWARDED {
                session.propose(b"session").await?;
            }
            Ok::<_, SessionError>(count.get())
        });
        let count = Rc::clone(&own);
        let in_stream = cluster.client(async move {
            let mut last = Err(Lost::Halted);
            for _ in 0..FORWARDED / 2 {
                for sent in stream.send_batch([b"stream"; 2]).await.unwrap() {
                    last = sent.await;
                }
            }
            last.map(|_: Answer| count.get())
        });
        cluster.idle().await;
        let beside = [in_session.outcome().unwrap(), in_stream.outcome().unwrap()];
        assert!(beside.iter().all(|own| (FORWARDED..LIMIT).contains(own)), "done beside {beside:?} own commands");
    });
}
