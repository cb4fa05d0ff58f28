//! The example `key_value`, as its users start it: three processes and clients, through kills of one, two and all nodes.
#![cfg(feature = "std")]

mod processes;

use std::thread;
use std::time::{Duration, Instant};

use processes::{Client, Cluster, Load, command};

/// Three processes elect, lose their leader in the middle of a command, take it back, and lose power all at once: each command has taken effect
/// once, and every node shows it.
///
/// covers: P1, P5, P14, P15, T1, R7, C2, C11, C12
#[test]
fn every_acknowledged_write_outlives_its_leader_and_a_loss_of_power() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader();
    // Of a node that does not lead, and lives on.
    let mut client = Client::start(&cluster, (leader + 1) % 3);
    let mut count = 0;
    let mut add = |client: &mut Client, times: u64| {
        for _ in 0..times {
            count += 1;
            assert_eq!(client.execute("add count 1"), count.to_string());
        }
        format!("ok value {count}")
    };
    add(&mut client, 60);
    assert_eq!(client.execute("put color green"), "created");

    client.send("cas color green red");
    cluster.kill(leader);
    assert_eq!(client.answer(), "swapped");
    add(&mut client, 40);

    cluster.boot(leader);
    let first = add(&mut client, 30);
    (0..3).for_each(|node| assert_eq!(cluster.ask(node, "get count"), first));

    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.boot(node));
    (0..3).for_each(|node| assert_eq!(cluster.ask(node, "get count"), first));
    let second = add(&mut client, 10);
    for node in 0..3 {
        assert_eq!(cluster.ask(node, "get count"), second);
        assert_eq!(cluster.ask(node, "get color"), "ok value red");
    }
    assert_eq!(client.execute("delete color"), "deleted");
    assert_eq!(client.execute("get color"), "none");
    assert_eq!(client.end(), Some(0));
}

/// One, two or all of three processes are killed again and again while clients of all nodes write. What was acknowledged stays and has taken effect
/// once, what is read is never older, and every node comes back: from its own log and snapshot, or from a leader's snapshot, when the others have
/// purged what it misses.
///
/// covers: P5, P8, D2, D6, S1, S2, S3, S5, S6, S7, T1, C2, C11, C12
#[test]
fn a_hundred_kills_under_load_lose_nothing_that_was_acknowledged() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster);
    let mut random = random(2026);
    let mut returns = Returns::default();
    for round in 0..100 {
        load.await_more(10);
        cluster.assert_alive();
        let first = random(3) as usize;
        let killed = match round % 10 {
            9 => vec![0, 1, 2],
            3 | 6 => vec![first, (first + 1 + random(2) as usize) % 3],
            _ => vec![first],
        };
        for &node in &killed {
            returns.note(&cluster, node);
            cluster.kill(node);
        }
        match round % 10 {
            4 => load.await_more(LOGFUL / Load::ROUND),
            _ => thread::sleep(Duration::from_millis(random(150))),
        }
        for &node in &killed {
            returns.begin(&cluster, node);
            cluster.boot(node);
        }
    }
    load.await_more(10);
    let acknowledged = load.stop();
    for (key, value) in &acknowledged.values {
        let read = [0, 1, 2].map(|node| cluster.ask(node, &format!("get {key}")));
        assert!(read.iter().all(|read| *read == format!("ok value {value}")), "{key}: {value}, {read:?}");
    }
    (0..3).for_each(|node| returns.note(&cluster, node));
    println!("{:?}; reads {:?}; {returns:?}", acknowledged.values.last(), acknowledged.reads);
    assert!(returns.from_log > 0 && returns.from_snapshot > 0, "{returns:?}");
    assert!(acknowledged.reads.iter().all(|&reads| reads > 100), "{:?}", acknowledged.reads);
}

/// So many entries are in no log any more: the example's has 64 KiB, and none that names its client has less than 48 bytes.
const LOGFUL: u64 = 1500;

/// How nodes that were killed came back.
#[derive(Default, Debug)]
struct Returns {
    /// The others had all that was missing in their logs.
    from_log: usize,
    /// A leader sent its snapshot.
    from_snapshot: usize,
    /// Killed again, before they had anything new.
    not_yet: usize,
    /// The highest entry that any node was seen to have applied.
    highest: u64,
    /// That when each was started again.
    known: [Option<u64>; 3],
}

impl Returns {
    fn begin(&mut self, cluster: &Cluster, node: usize) {
        let applied = (0..3).filter_map(|node| cluster.applied(node)).max();
        self.highest = self.highest.max(applied.unwrap_or(0));
        self.known[node] = Some(self.highest);
    }

    /// The end of a node that was started again, or of the test: what it had by then.
    fn note(&mut self, cluster: &Cluster, node: usize) {
        let applied = cluster.applied(node).unwrap_or(0);
        self.highest = self.highest.max(applied);
        let Some(known) = self.known[node].take() else { return };
        let number = |message: &str| message.rsplit(' ').next().and_then(|word| word.parse::<u64>().ok());
        let entries: Vec<_> = cluster.messages(node).iter().filter_map(|message| number(message)).collect();
        // The first message tells how far its own log and snapshot reached, the others how far the snapshots it has restored.
        let new = entries.split_first().is_some_and(|(own, restored)| restored.iter().any(|entry| entry > own));
        let count = match (applied > known, new) {
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

/// Written on one node, then at once read on the others, which have no reason to have heard of it.
///
/// covers: C2, C12
#[test]
fn a_read_on_any_node_after_a_write_on_any_other_is_never_stale() {
    let cluster = Cluster::start();
    let session = open(&cluster, 0);
    for number in 1..=200 {
        let writer = number % 3;
        let put = cluster.ask(writer, &format!("in {session} {number} put number {number}"));
        assert_eq!(put, if number == 1 { "ok created" } else { "ok replaced" });
        for reader in [(writer + 1) % 3, (writer + 2) % 3] {
            let read = cluster.ask(reader, "get number");
            assert_eq!(read, format!("ok value {number}"), "written on {writer}, read on {reader}");
        }
    }
}

fn open(cluster: &Cluster, node: usize) -> String {
    cluster.ask(node, "open").strip_prefix("ok ").unwrap().into()
}

/// A client that knows its session and how far it was repeats its last command, on whichever node, whatever became of it, of that node or of all;
/// also when a snapshot has taken the place of the entry.
///
/// covers: C11, S6, R7
#[test]
fn a_repeated_command_gets_its_first_answer_on_any_node_and_after_a_loss_of_power() {
    let mut cluster = Cluster::start();
    let session = open(&cluster, 0);
    let first = format!("in {session} 1 add count 1");
    let all_say = |cluster: &Cluster, line: &str, reply: &str| {
        (0..3).for_each(|node| assert_eq!(cluster.ask(node, line), reply, "node {node}"));
    };
    all_say(&cluster, &first, "ok 1");
    let mut other = Client::start(&cluster, 1);
    assert_eq!(other.execute("put color green"), "created");
    let mut sum = 1;
    for number in 1..=450 {
        sum += number;
        assert_eq!(other.execute(&format!("add count {number}")), sum.to_string());
    }
    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.boot(node));
    all_say(&cluster, &first, "ok 1");
    all_say(&cluster, "get color", "ok value green");
    all_say(&cluster, "get count", &format!("ok value {sum}"));
    assert!((0..3).all(|node| cluster.messages(node).iter().any(|message| message.starts_with("restored"))));

    all_say(&cluster, &format!("in {session} 2 put count 7"), "ok replaced");
    all_say(
        &cluster,
        &first,
        "lost a later command of the session has taken effect; whether this one did before is not known",
    );
    all_say(&cluster, "get count", "ok value 7");
    let go_on = ["--client", "--session", &format!("{session}:3"), "add", "count", "1"];
    for _ in 0..2 {
        let ended = command(&cluster.arguments(&go_on)).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ended.stdout), "8\n", "{ended:?}");
    }
}

/// covers: C11, R7
#[test]
fn the_client_of_a_session_that_made_place_for_others_learns_so() {
    let cluster = Cluster::start();
    let session = open(&cluster, 0);
    assert_eq!(cluster.ask(0, &format!("in {session} 1 put color green")), "ok created");
    (0..64).for_each(|number| drop(open(&cluster, number % 3)));
    let gone = cluster.ask(1, &format!("in {session} 2 put color red"));
    assert_eq!(gone, "lost the session has expired");
    assert_eq!(cluster.ask(2, "get color"), "ok value green");
    let go_on = ["--client", "--session", &format!("{session}:2"), "put", "color", "red"];
    let ended = command(&cluster.arguments(&go_on)).output().unwrap();
    assert_eq!((ended.status.code(), &ended.stderr[..]), (Some(1), &b"the session has expired\n"[..]));
}

/// Without it, nobody would take a command before an election timeout is over: a second at least.
///
/// covers: E10, R7
#[test]
fn a_leader_that_is_stopped_hands_over_in_less_time_than_an_election_takes_to_begin() {
    let mut cluster = Cluster::start();
    let session = open(&cluster, 0);
    let mut pauses = Vec::new();
    for number in 1..=5 {
        let leader = cluster.leader();
        let stopped = Instant::now();
        assert_eq!(cluster.stop(leader), Some(0));
        assert_eq!(
            cluster.ask((leader + 1) % 3, &format!("in {session} {number} add count 1")),
            format!("ok {number}")
        );
        pauses.push(stopped.elapsed());
        let last = cluster.messages(leader).pop().unwrap();
        assert!(last.starts_with("handed over to node "), "{last}");
        cluster.boot(leader);
        assert_eq!(cluster.ask(leader, "get count"), format!("ok value {number}"));
        // One that does not lead has nothing to hand over.
        assert_eq!(cluster.stop(leader), Some(0));
        assert_eq!(cluster.messages(leader).len(), 1);
        cluster.boot(leader);
        assert_eq!(cluster.ask(leader, "get count"), format!("ok value {number}"));
    }
    println!("{pauses:?}");
    pauses.sort_unstable();
    assert!(pauses[2] < Duration::from_millis(500), "{pauses:?}");
}

/// The largest map fits into a snapshot, together with all sessions there can be: the log goes on below it for as long as commands come.
///
/// covers: S1, S6
#[test]
fn a_full_map_says_so_and_is_saved_and_restored() {
    const WRITERS: usize = 4;
    let mut cluster = Cluster::start();
    (0..64).for_each(|number| drop(open(&cluster, number % 3)));
    let fill = |client: &mut Client, writer: usize| {
        let mut answers = (0..).map(|number| client.execute(&format!("put {writer}.{number} {}", "v".repeat(512))));
        answers.position(|answer| answer == "full").unwrap()
    };
    let mut clients: Vec<_> = (0..WRITERS).map(|writer| Client::start(&cluster, writer % 3)).collect();
    let filled: Vec<_> = thread::scope(|scope| {
        let writers = clients.iter_mut().enumerate().map(|(writer, client)| scope.spawn(move || fill(client, writer)));
        writers.collect::<Vec<_>>().into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let client = &mut clients[0];
    assert_eq!(client.execute("delete 0.0"), "deleted");
    assert_eq!(client.execute("add 0.0 1"), "1");
    (2..=1000).for_each(|number| assert_eq!(client.execute("add 0.0 1"), number.to_string()));
    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.boot(node));
    for node in 0..3 {
        assert_eq!(cluster.ask(node, "get 0.0"), "ok value 1000");
        for (writer, count) in filled.iter().enumerate() {
            let read = [1, count - 1, *count].map(|number| cluster.ask(node, &format!("get {writer}.{number}")));
            assert!(read[0].len() > 512 && read[0] == read[1] && read[2] == "ok none", "{read:?}");
        }
        let restored = cluster.messages(node).pop().unwrap();
        assert!(restored.starts_with(&format!("restored {} keys ", filled.iter().sum::<usize>())), "{restored}");
    }
}

/// covers: L10
#[test]
fn what_no_command_is_is_refused_with_a_reason() {
    let cluster = Cluster::start();
    let session = open(&cluster, 0);
    let link = &mut cluster.links()[0];
    for (line, reason) in [
        ("", "a command is missing"),
        ("fly", "unknown command fly"),
        ("put color green", "put needs a session"),
        ("in nowhere 1 put color green", "usage: in SESSION NUMBER COMMAND"),
        ("in 1-1 0 put color green", "the commands of a session have the numbers 1, 2, 3"),
        ("in 1-1 1", "a command is missing"),
        ("in 1-1 1 fly", "unknown command fly"),
        ("in 1-1 1 put color", "usage: put KEY VALUE"),
        ("in 1-1 1 delete", "usage: delete KEY"),
        ("in 1-1 1 cas color red", "usage: cas KEY OLD NEW"),
        ("in 1-1 1 add count one", "one is no whole number"),
        ("get", "usage: get KEY"),
        ("status now", "usage: status"),
        (&format!("in 1-1 1 put {} red", "k".repeat(65)), "a key has at most 64 bytes"),
        (&format!("get {}", "k".repeat(65)), "a key has at most 64 bytes"),
        (&format!("in 1-1 1 put color {}", "v".repeat(513)), "a value has at most 512 bytes"),
        (&"v".repeat(5000), "a line has at most 2048 bytes"),
    ] {
        let reply = link.ask(line).unwrap();
        assert!(reply.starts_with(&format!("refused {reason}")), "{line}: {reply}");
    }
    assert!(link.ask(b"\xff").unwrap().starts_with("refused a line is text"));
    let (key, value) = ("k".repeat(64), "v".repeat(512));
    assert_eq!(link.ask(format!("in {session} 1 put {key} {value}")).unwrap(), "ok created");
    assert_eq!(link.ask(format!("in {session} 2 cas {key} {value} {value}")).unwrap(), "ok swapped");

    let mut client = Client::start(&cluster, 0);
    client.send("put color");
    assert!(client.message().starts_with("refused: usage: put KEY VALUE"));
    assert_eq!(client.execute("put color green"), "created");
    assert_eq!(client.end(), Some(1));
}

/// covers: L10
#[test]
fn bad_arguments_are_refused_with_a_reason() {
    let peers = ["--peers", "127.0.0.1:7100,127.0.0.1:7101,127.0.0.1:7102"];
    for (bad, reason) in [
        (vec!["--id", "3", "--dir", "x"], "node 3 is not one of 3 peers"),
        (vec!["--id", "32", "--dir", "x"], "32 is no node"),
        (vec!["--id"], "--id needs a value"),
        (vec!["--dir", "x"], "--id is missing"),
        (vec!["--id", "0"], "--dir is missing"),
        (vec!["--id", "0", "--dir", "x", "put"], "--at, --session and a command are a client's"),
        (vec!["--client", "--id", "0"], "a client has neither --id nor --dir"),
        (vec!["--client", "--at", "3"], "node 3 is not one of 3 peers"),
        (vec!["--client", "--session", "3"], "3 is no session"),
        (vec!["--peers", "7100", "--client"], "7100 is no address"),
        (vec!["--forever"], "unknown option --forever"),
    ] {
        let words: Vec<_> = peers.into_iter().chain(bad).map(String::from).collect();
        let ended = command(&words).output().unwrap();
        assert_eq!(ended.status.code(), Some(2), "{reason}");
        assert!(String::from_utf8_lossy(&ended.stderr).starts_with(reason), "{reason}: {ended:?}");
    }
}
