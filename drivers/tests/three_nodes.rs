//! The example `three_nodes`, as its users start it: three processes and a client, through the loss of the leader and of the whole cluster.
#![cfg(feature = "std")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// Three processes elect, lose their leader in the middle of a proposal, take it back, and lose power all at once: every node prints the
/// same lines in the same order, and all that were acknowledged are among them.
///
/// covers: P1, P5, P14, P15, T1, R7
#[test]
fn every_acknowledged_line_outlives_its_leader_and_a_loss_of_power() {
    let mut cluster = Cluster::start();
    let mut client = Client::start(&cluster);
    let mut acknowledged = client.propose(0..60);

    let leader = client.leader();
    client.send(60);
    cluster.kill(leader);
    client.answer();
    acknowledged.push(line(60));
    acknowledged.extend(client.propose(61..100));

    cluster.boot(leader);
    acknowledged.extend(client.propose(100..130));
    let first = cluster.await_all(&acknowledged);
    assert!(first.starts_with(&cluster.printed(leader, 0)), "a restart repeats what was printed before it");

    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.boot(node));
    acknowledged.extend(client.propose(130..140));
    let second = cluster.await_all(&acknowledged);
    assert!(second.starts_with(&first), "what was applied stays");
    client.end();
}

/// covers: L10
#[test]
fn a_line_above_the_limit_and_bad_arguments_are_refused_with_a_reason() {
    let cluster = Cluster::start();
    let mut client = Client::start(&cluster);
    writeln!(client.process.stdin.as_mut().unwrap(), "{}", "a".repeat(5000)).unwrap();
    assert!(client.message().starts_with("a command has at most "));
    assert_eq!(client.process.wait().unwrap().code(), Some(1));

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

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

fn line(number: usize) -> String {
    format!("line number {number}")
}

/// The example, which `cargo test` has built next to this test.
fn command(arguments: &[String]) -> Command {
    let test = std::env::current_exe().unwrap();
    let example = test.ancestors().nth(2).unwrap().join("examples").join("three_nodes");
    let example = example.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(example.exists(), "cargo build -p quoring --features std --example three_nodes");
    let mut command = Command::new(example);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Three nodes. Dropping it kills them and removes their logs.
struct Cluster {
    folder: PathBuf,
    peers: String,
    nodes: [Option<Child>; 3],
    boots: [usize; 3],
}

impl Cluster {
    fn start() -> Self {
        let ports = free_ports();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("three-nodes-{}", ports[0]));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let peers = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
        let mut cluster = Self { folder, peers, nodes: [const { None }; 3], boots: [0; 3] };
        (0..3).for_each(|node| cluster.boot(node));
        cluster
    }

    fn arguments(&self, first: &[&str]) -> Vec<String> {
        first.iter().copied().chain(["--peers", &self.peers]).map(String::from).collect()
    }

    fn boot(&mut self, node: usize) {
        let folder = self.folder.join(format!("node-{node}"));
        let arguments = self.arguments(&["--id", &node.to_string(), "--dir", folder.to_str().unwrap()]);
        let output = File::create(self.output(node, self.boots[node])).unwrap();
        self.nodes[node] = Some(command(&arguments).stdout(output).spawn().unwrap());
        self.boots[node] += 1;
    }

    /// As a loss of power would, but for what the file cache keeps.
    fn kill(&mut self, node: usize) {
        if let Some(mut process) = self.nodes[node].take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn output(&self, node: usize, boot: usize) -> PathBuf {
        self.folder.join(format!("output-{node}-{boot}"))
    }

    /// What the node has printed in whole lines since that boot.
    fn printed(&self, node: usize, boot: usize) -> Vec<String> {
        let text = fs::read_to_string(self.output(node, boot)).unwrap();
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(String::from).collect()
    }

    /// Waits until all nodes have printed the same, with all these lines in their order.
    fn await_all(&self, acknowledged: &[String]) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let [a, b, c] = [0, 1, 2].map(|node| self.printed(node, self.boots[node] - 1));
            let mut rest = a.iter();
            if a == b && b == c && acknowledged.iter().all(|line| rest.any(|printed| printed == line)) {
                return a;
            }
            assert!(Instant::now() < deadline, "acknowledged {acknowledged:?}\nprinted {a:?}\n{b:?}\n{c:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (0..3).for_each(|node| self.kill(node));
        if !thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Three ports that are free now, and below those that systems give to outgoing connections, so that they stay free while a node is down.
fn free_ports() -> [u16; 3] {
    static NEXT: Mutex<Option<u16>> = Mutex::new(None);
    let mut next = NEXT.lock().unwrap();
    let start = next.unwrap_or(10_000 + (std::process::id() % 20_000) as u16);
    let mut free = (start..)
        .filter(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok());
    let ports = [0; 3].map(|_| free.next().unwrap());
    *next = Some(ports[2] + 1);
    ports
}

/// The example in its other mode. Dropping it kills it.
struct Client {
    process: Child,
    answers: Receiver<String>,
    messages: Receiver<String>,
}

impl Client {
    fn start(cluster: &Cluster) -> Self {
        let mut command = command(&cluster.arguments(&["--client"]));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let answers = lines_of(process.stdout.take().unwrap());
        let messages = lines_of(process.stderr.take().unwrap());
        Self { process, answers, messages }
    }

    fn send(&mut self, number: usize) {
        writeln!(self.process.stdin.as_mut().unwrap(), "{}", line(number)).unwrap();
    }

    fn answer(&mut self) {
        let answer = self.answers.recv_timeout(PATIENCE).expect("an answer in time");
        assert!(answer.starts_with("line "), "{answer:?}");
    }

    /// Proposes these lines one by one; they are all acknowledged.
    fn propose(&mut self, numbers: Range<usize>) -> Vec<String> {
        let propose = |number| {
            self.send(number);
            self.answer();
            line(number)
        };
        numbers.map(propose).collect()
    }

    /// The next node that the client reports as the leader.
    fn leader(&self) -> usize {
        let message = self.message();
        let node = message.strip_prefix("node ").and_then(|rest| rest.strip_suffix(" leads"));
        node.expect(&message).parse().unwrap()
    }

    fn message(&self) -> String {
        self.messages.recv_timeout(PATIENCE).expect("a message in time")
    }

    /// The end of its input.
    fn end(mut self) {
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn lines_of(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    receiver
}
