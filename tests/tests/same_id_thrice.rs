//! Scenario P4 of the requirements with its completions at all times and in all orders, and with a crash of node 1 between any two.
//!
//! The commands are those of `scenarios/same-id-thrice.txt`; where the script completes writes in one order, this tries the others.

use quoring_core::NodeId;
use quoring_tests::script::{Player, log_line};

const SCRIPT: &str = include_str!("../scenarios/same-id-thrice.txt");

/// Node 1's log after any prefix of its records, and what it has voted for then: never, because it voted in no term but its own first.
const LEGAL: [&str; 5] = ["nothing", "1-1", "1-1..2", "3-1", "4-1"];

const WRITES: usize = 4;

fn n1() -> NodeId {
    NodeId::new(1).expect("0..=31")
}

/// After which write each write is completed, and whether the newer of several goes first.
#[derive(Clone, Copy, Debug)]
struct Plan {
    after: [usize; WRITES],
    newest_first: bool,
}

fn plans() -> impl Iterator<Item = Plan> {
    let after =
        (0..WRITES).flat_map(|a| (1..WRITES).flat_map(move |b| (2..WRITES).map(move |c| [a, b, c, WRITES - 1])));
    after.flat_map(|after| [false, true].map(|newest_first| Plan { after, newest_first }))
}

/// Plays the commands up to the last write, completing as planned; `look` is called after every write and every completion, with how many of
/// these there were, and says whether to go on.
fn play(plan: Plan, mut look: impl FnMut(&mut Player, usize) -> bool) -> Player {
    let (mut player, mut written, mut steps) = (Player::default(), 0, 0);
    let commands = SCRIPT.lines().take_while(|line| *line != "# The other completions come in the wrong order. Nothing regresses, and only the last one acknowledges 4-1.");
    for line in
        commands.filter(|line| !line.is_empty() && !line.starts_with(['#', ' ']) && !line.starts_with("complete"))
    {
        player.play(line);
        if line != "write 1" {
            continue;
        }
        let mut due: Vec<usize> = (0..=written).filter(|&write| plan.after[write] == written).collect();
        if plan.newest_first {
            due.reverse();
        }
        written += 1;
        for write in [None].into_iter().chain(due.into_iter().map(Some)) {
            if let Some(write) = write {
                player.play(&format!("complete 1 w{}", write + 1));
            }
            steps += 1;
            if !look(&mut player, steps) {
                return player;
            }
        }
    }
    player
}

/// covers: P4, R1, R2, R10
#[test]
fn completions_in_any_order_neither_regress_nor_over_advance() {
    for plan in plans() {
        // The oracles look at every step: pointers move forward, what is acknowledged is durable and the leader's.
        let mut player = play(plan, |_, _| true);
        let node = &player.cluster().nodes[&n1()];
        assert_eq!(log_line(node.disk.log(), node.disk.log().last()), "4-1", "{plan:?}: all writes are done");
        assert_eq!(node.running.as_ref().map(|running| running.pending()), Some(0), "{plan:?}");
    }
}

/// covers: P4, E2
#[test]
fn a_crash_between_any_two_completions_leaves_a_legal_log_and_vote() {
    let mut crashes = 0;
    for plan in plans() {
        for (crash_after, kept) in (1..=2 * WRITES).flat_map(|after| (0..=7).map(move |kept| (after, kept))) {
            let torn = if kept % 2 == 0 { "" } else { " torn" };
            let mut player = play(plan, |_, steps| steps < crash_after);
            player.play(&format!("crash 1 keeping {kept}{torn}"));
            let disk = &player.cluster().nodes[&n1()].disk;
            let (log, (term, vote)) = (log_line(disk.log(), disk.log().last()), disk.vote());
            assert!(LEGAL.contains(&log.as_str()), "{plan:?}: {log} is no log that node 1 ever had");
            assert_eq!(vote, (term.0 == 1).then(n1), "{plan:?}: node 1 voted for itself in term 1, and in no other");
            if kept % 4 == 0 {
                // It comes back, and the cluster goes on.
                for line in ["release disk 1", "release replicator 1>3", "start 1", "run 8000"] {
                    player.play(line);
                }
                let cluster = player.cluster();
                assert!(cluster.oracle.committed().0 >= 2, "{plan:?}: a leader's no-op is committed in the end");
                let all = cluster.nodes.values().filter_map(|node| node.status()).map(|status| status.applied);
                assert!(all.min() == Some(cluster.oracle.committed()), "{plan:?}: all nodes apply it");
            }
            crashes += 1;
        }
    }
    assert!(crashes > 1000);
}

/// covers: P4, P7, R3
#[test]
fn a_reader_started_in_an_earlier_term_gets_intact_bytes_and_learns_that_they_are_stale() {
    let plan = Plan { after: [WRITES - 1; WRITES], newest_first: false };
    let (mut copies, mut buffer) = (Vec::new(), [0; 64]);
    play(plan, |player, _| {
        let reader = player.cluster().nodes[&n1()].running.as_ref().expect("it runs").reader;
        copies.push((reader.copy(1, &mut buffer).expect("nothing has left the ring"), reader.leading()));
        true
    });
    let terms: Vec<_> = copies.iter().map(|(copied, _)| copied.header.term).collect();
    assert_eq!(terms, [1, 3, 1, 4, 4, 4, 4, 4], "entry 1 after each write and completion");
    // The copies of terms 1 and 6 are of the same log id, and yet of different records.
    assert_ne!(copies[0].0.position, copies[2].0.position);
    assert_eq!(
        (copies[0].1, copies[2].1),
        (1, 0),
        "node 1 leads term 1 only: what is read for it may be sent in term 1 only"
    );
}
