//! Three nodes.

use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::{Line, PATIENCE, command};

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
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("three-nodes-{}", ports[0]));
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
        let [output, messages] =
            ["output", "messages"].map(|name| File::create(self.file(name, node, self.boots[node])).unwrap());
        self.nodes[node] = Some(command(&arguments).stdout(output).stderr(messages).spawn().unwrap());
        self.boots[node] += 1;
    }

    /// As a loss of power would, but for what the file cache keeps.
    pub(crate) fn kill(&mut self, node: usize) {
        if let Some(mut process) = self.nodes[node].take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
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

    /// What the node has printed in whole lines since that boot.
    pub(crate) fn printed(&self, node: usize, boot: usize) -> Vec<String> {
        whole_lines(&self.file("output", node, boot))
    }

    /// What the node has printed since its last boot.
    pub(crate) fn book(&self, node: usize) -> Vec<String> {
        self.printed(node, self.boots[node] - 1)
    }

    /// What the node has said of itself since its last boot.
    pub(crate) fn messages(&self, node: usize) -> Vec<String> {
        whole_lines(&self.file("messages", node, self.boots[node] - 1))
    }

    /// Waits until all nodes have printed the same, with each of these lines in its place; and whatever was printed before a node was killed is how
    /// that begins.
    pub(crate) fn await_all(&self, acknowledged: &[Line]) -> Vec<String> {
        let last = acknowledged.iter().map(|line| line.place).max().unwrap_or(0);
        let deadline = Instant::now() + PATIENCE;
        let book = loop {
            let [a, b, c] = [0, 1, 2].map(|node| self.book(node));
            if a == b && b == c && a.len() >= last {
                break a;
            }
            let messages = [0, 1, 2].map(|node| self.messages(node));
            assert!(Instant::now() < deadline, "{last} of {}, {}, {}\n{messages:#?}", a.len(), b.len(), c.len());
            thread::sleep(Duration::from_millis(20));
        };
        for line in acknowledged {
            assert_eq!(book[line.place - 1], line.text, "line {}", line.place);
        }
        for node in 0..3 {
            for boot in 0..self.boots[node] {
                assert!(book.starts_with(&self.printed(node, boot)), "node {node}, boot {boot}");
            }
        }
        book
    }

    fn file(&self, name: &str, node: usize, boot: usize) -> PathBuf {
        self.folder.join(format!("{name}-{node}-{boot}"))
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

fn whole_lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(String::from).collect()
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
