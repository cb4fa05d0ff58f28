//! What a node answers to a line, without the example's client between.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;

use super::PATIENCE;

/// A connection to one node, made when it is needed.
pub(crate) struct Link {
    address: String,
    stream: Option<BufReader<TcpStream>>,
}

impl Link {
    pub(crate) const fn new(address: String) -> Self {
        Self { address, stream: None }
    }

    /// The reply to a line; `None` if the node is gone before it comes.
    pub(crate) fn ask(&mut self, line: impl AsRef<[u8]>) -> Option<String> {
        let reply = self.try_ask(line.as_ref()).ok().filter(|reply| reply.ends_with('\n'));
        if reply.is_none() {
            self.stream = None;
        }
        reply.map(|reply| reply.trim_end().into())
    }

    fn try_ask(&mut self, line: &[u8]) -> io::Result<String> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&self.address)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                self.stream.insert(BufReader::new(stream))
            }
        };
        stream.get_mut().write_all(&[line, b"\n"].concat())?;
        let mut reply = String::new();
        stream.read_line(&mut reply)?;
        Ok(reply)
    }
}
