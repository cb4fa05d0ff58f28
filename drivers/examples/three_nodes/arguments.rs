//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use quoring::NodeId;

pub(crate) const USAGE: &str = "usage: three_nodes --id ID --peers ADDRESS,ADDRESS,ADDRESS --dir FOLDER
       three_nodes --client --peers ADDRESS,ADDRESS,ADDRESS

  --id ID         the node to be: the place of its address in the list, from 0
  --peers LIST    the addresses of all nodes, each an IP address and a port, as 127.0.0.1:7100
  --dir FOLDER    where the node keeps its log
  --client        propose the lines of standard input and print the answers";

/// What to do.
pub(crate) enum Arguments {
    Node { id: NodeId, addresses: Vec<SocketAddr>, folder: PathBuf },
    Client { addresses: Vec<SocketAddr> },
}

impl Arguments {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut id, mut addresses, mut folder, mut client) = (None, None, None, false);
        while let Some(option) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{option} needs a value"));
            match option.as_str() {
                "--id" => id = Some(parse_id(&value()?)?),
                "--peers" => addresses = Some(parse_addresses(&value()?)?),
                "--dir" => folder = Some(PathBuf::from(value()?)),
                "--client" => client = true,
                _ => return Err(format!("unknown option {option}")),
            }
        }
        let addresses = addresses.ok_or("--peers is missing")?;
        match (client, id, folder) {
            (true, None, None) => Ok(Self::Client { addresses }),
            (true, ..) => Err("a client has neither --id nor --dir".into()),
            (false, None, _) => Err("--id is missing".into()),
            (false, _, None) => Err("--dir is missing".into()),
            (false, Some(id), Some(folder)) if usize::from(id.get()) < addresses.len() => {
                Ok(Self::Node { id, addresses, folder })
            }
            (false, Some(id), _) => Err(format!("node {id} is not one of {} peers", addresses.len())),
        }
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
