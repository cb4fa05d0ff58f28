//! One client.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::{Cluster, PATIENCE, command};

/// The example in its other mode. Dropping it kills it.
pub(crate) struct Client {
    process: Child,
    answers: Receiver<String>,
    messages: Receiver<String>,
}

impl Client {
    /// A client that asks this node first.
    pub(crate) fn start(cluster: &Cluster, node: usize) -> Self {
        let mut command = command(&cluster.arguments(&["--client", "--at", &node.to_string()]));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let answers = lines_of(process.stdout.take().unwrap());
        let messages = lines_of(process.stderr.take().unwrap());
        Self { process, answers, messages }
    }

    pub(crate) fn send(&mut self, line: &str) {
        writeln!(self.process.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The answer to the oldest line that has none yet.
    pub(crate) fn answer(&self) -> String {
        self.answers.recv_timeout(PATIENCE).expect("an answer in time")
    }

    pub(crate) fn execute(&mut self, command: &str) -> String {
        self.send(command);
        self.answer()
    }

    /// What it says beside its answers.
    pub(crate) fn message(&self) -> String {
        self.messages.recv_timeout(PATIENCE).expect("a message in time")
    }

    /// The end of its input; its exit code.
    pub(crate) fn end(mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
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
