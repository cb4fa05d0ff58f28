//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use quoring::NodeId;

pub(crate) const USAGE: &str = "usage: key_value --peers LIST --id ID --dir FOLDER
       key_value --peers LIST --client [--at ID] [--session SESSION:NUMBER] [COMMAND]

  --peers LIST    the addresses of all nodes, each an IP address and a port, as 127.0.0.1:7100,127.0.0.1:7101,127.0.0.1:7102
  --id ID         the node to be: the place of its address in the list, from 0. The line stop on its standard input ends it
  --dir FOLDER    where the node keeps its log
  --client        do COMMAND, or each line of standard input, and print the answers
  --at ID         the node to ask first
  --session S:N   go on with a session, at its command number N, which may be one that was sent before

commands: put KEY VALUE, get KEY, delete KEY, cas KEY OLD NEW (- as OLD: there is none), add KEY NUMBER, status";

/// What to do.
pub(crate) enum Arguments {
    Node { id: NodeId, addresses: Vec<SocketAddr>, folder: PathBuf },
    Client(Wishes),
}

/// What a client is to do.
pub(crate) struct Wishes {
    pub(crate) addresses: Vec<SocketAddr>,
    /// The node to ask first.
    pub(crate) first: usize,
    /// The session to go on with, and the number of its next command.
    pub(crate) session: Option<(String, u32)>,
    /// The only command.
    pub(crate) command: Option<String>,
}

impl Arguments {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut id, mut addresses, mut folder, mut client) = (None, None, None, false);
        let (mut first, mut session, mut command) = (None, None, Vec::new());
        while let Some(option) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{option} needs a value"));
            match option.as_str() {
                "--id" => id = Some(parse_id(&value()?)?),
                "--peers" => addresses = Some(parse_addresses(&value()?)?),
                "--dir" => folder = Some(PathBuf::from(value()?)),
                "--client" => client = true,
                "--at" => first = Some(parse_id(&value()?)?),
                "--session" => session = Some(parse_session(&value()?)?),
                _ if option.starts_with("--") => return Err(format!("unknown option {option}")),
                _ => command.extend(option.split_whitespace().map(String::from)),
            }
        }
        let addresses = addresses.ok_or("--peers is missing")?;
        if let Some(id) = id.or(first).filter(|id| usize::from(id.get()) >= addresses.len()) {
            return Err(format!("node {id} is not one of {} peers", addresses.len()));
        }
        if client {
            if id.is_some() || folder.is_some() {
                return Err("a client has neither --id nor --dir".into());
            }
            let first = first.map_or(0, |node| usize::from(node.get()));
            let command = (!command.is_empty()).then(|| command.join(" "));
            return Ok(Self::Client(Wishes { addresses, first, session, command }));
        }
        if first.is_some() || session.is_some() || !command.is_empty() {
            return Err("--at, --session and a command are a client's: --client is missing".into());
        }
        let id = id.ok_or("--id is missing")?;
        let folder = folder.ok_or("--dir is missing")?;
        Ok(Self::Node { id, addresses, folder })
    }
}

fn parse_id(word: &str) -> Result<NodeId, String> {
    word.parse().ok().and_then(NodeId::new).ok_or_else(|| format!("{word} is no node: 0 to 31"))
}

fn parse_addresses(list: &str) -> Result<Vec<SocketAddr>, String> {
    list.split(',')
        .map(|word| word.parse().map_err(|_| format!("{word} is no address: 127.0.0.1:7100 is one")))
        .collect()
}

fn parse_session(word: &str) -> Result<(String, u32), String> {
    let parsed = word.split_once(':').and_then(|(name, number)| Some((name.into(), number.parse().ok()?)));
    parsed.ok_or_else(|| format!("{word} is no session: its name, a colon, and the number of its next command"))
}
