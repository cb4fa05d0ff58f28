//! A client: sends each command until it has an answer, to one node after the other.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::arguments::Wishes;
use crate::command::Command;

/// A node answers or says why not in less than this, or it is dead.
const PATIENCE: Duration = Duration::from_secs(5);

/// Before the same line is sent once more.
const PAUSE: Duration = Duration::from_millis(20);

/// Does the one command, or all lines of standard input, and prints the answers. A command that is refused does not hold up the next, but makes this fail at
/// the end.
pub(crate) fn run(wishes: Wishes) -> Result<(), Box<dyn Error>> {
    let Wishes { addresses, first, session, command } = wishes;
    let mut client = Client { nodes: Nodes { addresses, node: first, link: None }, session };
    let commands: Box<dyn Iterator<Item = io::Result<String>>> = match command {
        Some(command) => Box::new([Ok(command)].into_iter()),
        None => Box::new(io::stdin().lock().lines()),
    };
    let mut refused = 0;
    for command in commands {
        match client.execute(&command?)? {
            Ok(answer) => writeln!(io::stdout(), "{answer}")?,
            Err(reason) => {
                eprintln!("refused: {reason}");
                refused += 1;
            }
        }
    }
    if refused == 0 { Ok(()) } else { Err(format!("commands that were refused: {refused}").into()) }
}

struct Client {
    nodes: Nodes,
    /// Its name, and the number of the next command in it. Whoever knows both can go on with it.
    session: Option<(String, u32)>,
}

/// The cluster, of which one node is asked at a time.
struct Nodes {
    addresses: Vec<SocketAddr>,
    node: usize,
    link: Option<BufReader<TcpStream>>,
}

/// The answer, or why the command was refused.
type Outcome = Result<String, String>;

impl Client {
    fn execute(&mut self, command: &str) -> Result<Outcome, Box<dyn Error>> {
        match command.split_whitespace().next() {
            Some("status") => Ok(Ok(self.nodes.status())),
            Some("get") => self.nodes.ask(command),
            _ => self.write(command),
        }
    }

    /// The session makes it safe to send the same command again without knowing what became of it before.
    fn write(&mut self, command: &str) -> Result<Outcome, Box<dyn Error>> {
        if let Err(reason) = Command::parse(command) {
            return Ok(Err(reason)); // It would not be worth a session.
        }
        let (session, number) = match &mut self.session {
            Some(session) => session,
            None => {
                let name = self.nodes.ask("open")??;
                eprintln!("session {name}");
                self.session.insert((name, 1))
            }
        };
        let outcome = self.nodes.ask(&format!("in {session} {number} {command}"))?;
        // What was refused has used no number.
        *number += u32::from(outcome.is_ok());
        Ok(outcome)
    }
}

impl Nodes {
    /// Asks one node after the other until one has done it, or says that it never can be done.
    fn ask(&mut self, line: &str) -> Result<Outcome, Box<dyn Error>> {
        loop {
            let reply = self.try_ask(line).unwrap_or_default();
            match reply.trim_end().split_once(' ') {
                Some(("ok", answer)) => return Ok(Ok(answer.into())),
                Some(("refused", reason)) => return Ok(Err(reason.into())),
                Some(("lost", reason)) => return Err(reason.into()),
                _ => self.turn_to(self.node + 1),
            }
            thread::sleep(PAUSE);
        }
    }

    /// What each node says of itself.
    fn status(&mut self) -> String {
        let nodes = 0..self.addresses.len();
        let states = nodes.map(|node| {
            self.turn_to(node);
            let reply = self.try_ask("status").unwrap_or_default();
            reply.trim_end().strip_prefix("ok ").map_or(format!("node {node} does not answer"), String::from)
        });
        states.collect::<Vec<_>>().join("\n")
    }

    fn turn_to(&mut self, node: usize) {
        self.node = node % self.addresses.len();
        self.link = None;
    }

    /// One line there, one line back.
    fn try_ask(&mut self, line: &str) -> io::Result<String> {
        let link = match &mut self.link {
            Some(link) => link,
            None => self.link.insert(connect(self.addresses[self.node])?),
        };
        link.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut reply = String::new();
        link.read_line(&mut reply)?;
        Ok(reply)
    }
}

fn connect(address: SocketAddr) -> io::Result<BufReader<TcpStream>> {
    let link = TcpStream::connect_timeout(&address, PATIENCE)?;
    link.set_read_timeout(Some(PATIENCE))?;
    link.set_nodelay(true)?;
    Ok(BufReader::new(link))
}
