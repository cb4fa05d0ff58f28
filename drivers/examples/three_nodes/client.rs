//! A client: proposes line by line, wherever the leader is.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

/// A node that is silent for longer than an election takes is no leader.
const PATIENCE: Duration = Duration::from_secs(5);

/// Before the same line is proposed once more.
const PAUSE: Duration = Duration::from_millis(20);

/// Proposes the lines of standard input, and prints the answer of each. A line whose answer is lost is proposed again, and so may be
/// applied twice.
pub(crate) fn run(addresses: &[SocketAddr]) -> Result<(), Box<dyn Error>> {
    let mut client = Client { addresses, node: 0, link: None, answered: None };
    for line in io::stdin().lock().split(b'\n') {
        let answer = client.propose(&line?)?;
        writeln!(io::stdout(), "{answer}")?;
    }
    Ok(())
}

struct Client<'a> {
    addresses: &'a [SocketAddr],
    /// The node to ask.
    node: usize,
    link: Option<BufReader<TcpStream>>,
    /// The node that answered last.
    answered: Option<usize>,
}

impl Client<'_> {
    /// The application's answer.
    fn propose(&mut self, line: &[u8]) -> Result<String, String> {
        loop {
            let reply = self.ask(line).unwrap_or_default();
            match reply.trim_end().split_once(' ') {
                Some(("ok", answer)) => {
                    if self.answered.replace(self.node) != Some(self.node) {
                        eprintln!("node {} leads", self.node);
                    }
                    return Ok(answer.into());
                }
                Some(("refused", reason)) => return Err(reason.into()),
                Some(("leader", node)) => self.turn_to(node.parse().unwrap_or(0)),
                _ => self.turn_to(self.node + 1),
            }
            thread::sleep(PAUSE);
        }
    }

    fn turn_to(&mut self, node: usize) {
        self.node = node % self.addresses.len();
        self.link = None;
    }

    /// One line there, one line back.
    fn ask(&mut self, line: &[u8]) -> io::Result<String> {
        let link = match &mut self.link {
            Some(link) => link,
            None => self.link.insert(connect(self.addresses[self.node])?),
        };
        link.get_mut().write_all(&[line, b"\n"].concat())?;
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
