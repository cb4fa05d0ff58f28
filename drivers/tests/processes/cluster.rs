//! Three nodes.

use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::{Link, PATIENCE, command};

/// Three nodes. Dropping it kills them and removes their logs.
pub(crate) struct Cluster {
    folder: PathBuf,
    peers: String,
    nodes: [Option<Child>; 3],
    boots: [usize; 3],
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let ports = free_ports();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("key-value-{}", ports[0]));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let peers = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
        let mut cluster = Self { folder, peers, nodes: [const { None }; 3], boots: [0; 3] };
        (0..3).for_each(|node| cluster.boot(node));
        cluster
    }

    pub(crate) fn arguments(&self, first: &[&str]) -> Vec<String> {
        first.iter().copied().chain(["--peers", &self.peers]).map(String::from).collect()
    }

    pub(crate) fn boot(&mut self, node: usize) {
        let folder = self.folder.join(format!("node-{node}"));
        let arguments = self.arguments(&["--id", &node.to_string(), "--dir", folder.to_str().unwrap()]);
        self.boots[node] += 1;
        let messages = File::create(self.file(node)).unwrap();
        self.nodes[node] = Some(command(&arguments).stdin(Stdio::piped()).stderr(messages).spawn().unwrap());
    }

    /// As a loss of power would, but for what the file cache keeps.
    pub(crate) fn kill(&mut self, node: usize) {
        if let Some(mut process) = self.nodes[node].take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Stops the node in peace; its exit code.
    pub(crate) fn stop(&mut self, node: usize) -> Option<i32> {
        let mut process = self.nodes[node].take().unwrap();
        writeln!(process.stdin.as_mut().unwrap(), "stop").unwrap();
        process.wait().unwrap().code()
    }

    /// All nodes that should run do.
    pub(crate) fn assert_alive(&mut self) {
        for node in 0..3 {
            if let Some(process) = &mut self.nodes[node] {
                let ended = process.try_wait().unwrap();
                assert_eq!(ended, None, "node {node} ended by itself: {:?}", self.messages(node));
            }
        }
    }

    /// What the node has said of itself since its last boot, in whole lines.
    pub(crate) fn messages(&self, node: usize) -> Vec<String> {
        let text = fs::read_to_string(self.file(node)).unwrap();
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(String::from).collect()
    }

    pub(crate) fn links(&self) -> [Link; 3] {
        let addresses: Vec<_> = self.peers.split(',').collect();
        [0, 1, 2].map(|node| Link::new(addresses[node].into()))
    }

    /// What a node answers to this line, sooner or later.
    pub(crate) fn ask(&self, node: usize, line: &str) -> String {
        let link = &mut self.links()[node];
        await_some(line, || link.ask(line).filter(|reply| !reply.starts_with("retry ")))
    }

    /// The node that leads, sooner or later.
    pub(crate) fn leader(&self) -> usize {
        await_some("a leader", || (0..3).find(|&node| self.status(node).is_some_and(|status| status.contains("leads"))))
    }

    /// How many entries the node has applied, if it runs and can be asked.
    pub(crate) fn applied(&self, node: usize) -> Option<u64> {
        let status = self.status(node)?;
        let (_, rest) = status.split_once("has applied ")?;
        rest.split(' ').next()?.parse().ok()
    }

    fn status(&self, node: usize) -> Option<String> {
        self.nodes[node].as_ref().and_then(|_| self.links()[node].ask("status"))
    }

    fn file(&self, node: usize) -> PathBuf {
        self.folder.join(format!("messages-{node}-{}", self.boots[node]))
    }
}

/// Asks again and again, until there is something.
fn await_some<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} in time");
        thread::sleep(Duration::from_millis(10));
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
