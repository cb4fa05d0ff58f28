//! The example `three_nodes`, as its users start it: three processes and clients, through kills of one, two and all nodes.
#![cfg(feature = "std")]

mod processes;

use std::ops::Range;
use std::thread;
use std::time::Duration;

use processes::{Client, Cluster, Line, Load, command};

/// Three processes elect, lose their leader in the middle of a proposal, take it back, and lose power all at once: every node prints the
/// same lines in the same order, and all that were acknowledged are among them.
///
/// covers: P1, P5, P14, P15, T1, R7
#[test]
fn every_acknowledged_line_outlives_its_leader_and_a_loss_of_power() {
    let mut cluster = Cluster::start();
    let mut client = Client::start(&cluster);
    let mut acknowledged = propose(&mut client, 0..60);

    let leader = client.leader();
    client.send("in the middle");
    cluster.kill(leader);
    acknowledged.push(Line { place: client.place(), text: "in the middle".into() });
    acknowledged.extend(propose(&mut client, 60..100));

    cluster.boot(leader);
    acknowledged.extend(propose(&mut client, 100..130));
    let first = cluster.await_all(&acknowledged);

    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.boot(node));
    acknowledged.extend(propose(&mut client, 130..140));
    let second = cluster.await_all(&acknowledged);
    assert!(second.starts_with(&first), "what was applied stays");
    assert_eq!(client.end(), Some(0));
}

fn propose(client: &mut Client, numbers: Range<usize>) -> Vec<Line> {
    numbers.map(|number| client.propose(format!("number {number}"))).collect()
}

/// One, two or all of three processes are killed again and again while clients write. What was acknowledged stays, in its place, and every node comes
/// back: from its own log and snapshot, or from a leader's snapshot, when the others have purged what it misses.
///
/// covers: P5, P8, D2, D6, S1, S2, S3, S5, S7, T1
#[test]
fn a_hundred_kills_under_load_lose_nothing_that_was_acknowledged() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster);
    let mut random = random(2026);
    let mut returns = Returns::default();
    for round in 0..100 {
        load.await_more(20);
        cluster.assert_alive();
        let first = random(3) as usize;
        let killed = match round % 10 {
            9 => vec![0, 1, 2],
            3 | 6 => vec![first, (first + 1 + random(2) as usize) % 3],
            _ => vec![first],
        };
        for &node in &killed {
            cluster.kill(node);
            returns.note(&cluster, node);
        }
        match round % 10 {
            4 => load.await_more(LOGFUL),
            _ => thread::sleep(Duration::from_millis(random(150))),
        }
        for &node in &killed {
            cluster.boot(node);
            returns.begin(node, load.place());
        }
    }
    load.await_more(20);
    let acknowledged = load.stop();
    let book = cluster.await_all(&acknowledged);
    (0..3).for_each(|node| returns.note(&cluster, node));
    println!("{} lines, {} acknowledged; {returns:?}", book.len(), acknowledged.len());
    assert!(returns.from_log > 0 && returns.from_snapshot > 0, "{returns:?}");
}

/// So many lines are in no log any more: the example's has 64 KiB, and no entry less than 32 bytes.
const LOGFUL: usize = 2500;

/// How nodes that were killed came back.
#[derive(Default, Debug)]
struct Returns {
    /// The others had all that was missing in their logs.
    from_log: usize,
    /// A leader sent its snapshot.
    from_snapshot: usize,
    /// Killed again, before they had anything new.
    not_yet: usize,
    /// The last line that was acknowledged when each was started again.
    known: [Option<usize>; 3],
}

impl Returns {
    fn begin(&mut self, node: usize, known: usize) {
        self.known[node] = Some(known);
    }

    /// The end of a node that was started again, or of the test: what it had by then.
    fn note(&mut self, cluster: &Cluster, node: usize) {
        let Some(known) = self.known[node].take() else { return };
        let numbers = |message: &str| message.rsplit(' ').next().and_then(|word| word.parse::<u64>().ok());
        let entries: Vec<_> = cluster.messages(node).iter().filter_map(|message| numbers(message)).collect();
        // The first message tells how far its own log and snapshot reached, the others how far the snapshots it has restored.
        let new = entries.split_first().is_some_and(|(own, restored)| restored.iter().any(|entry| entry > own));
        let count = match (cluster.book(node).len() > known, new) {
            (_, true) => &mut self.from_snapshot,
            (true, false) => &mut self.from_log,
            (false, false) => &mut self.not_yet,
        };
        *count += 1;
    }
}

/// Random numbers below a bound.
fn random(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    }
}

/// covers: L10
#[test]
fn a_line_above_the_limit_and_bad_arguments_are_refused_with_a_reason() {
    let cluster = Cluster::start();
    let mut client = Client::start(&cluster);
    client.send(&"a".repeat(5000));
    assert!(client.message().starts_with("a command has at most "));
    assert_eq!(client.end(), Some(1));

    let peers = cluster.arguments(&[]);
    for (bad, reason) in [
        (vec!["--id", "3", "--dir", "x"], "node 3 is not one of 3 peers"),
        (vec!["--id", "32", "--dir", "x"], "32 is no node"),
        (vec!["--id"], "--id needs a value"),
        (vec!["--dir", "x"], "--id is missing"),
        (vec!["--id", "0"], "--dir is missing"),
        (vec!["--client", "--id", "0"], "a client has neither --id nor --dir"),
        (vec!["--peers", "7100", "--client"], "7100 is no address"),
        (vec!["--forever"], "unknown option --forever"),
    ] {
        let words: Vec<_> = peers.iter().cloned().chain(bad.into_iter().map(String::from)).collect();
        let ended = command(&words).output().unwrap();
        assert_eq!(ended.status.code(), Some(2), "{reason}");
        assert!(String::from_utf8_lossy(&ended.stderr).starts_with(reason), "{reason}: {ended:?}");
    }
}
