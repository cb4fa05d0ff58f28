//! A replicated key-value store: three processes, logs in folders, peers over UDP, clients over TCP at the same addresses.
//!
//! ```text
//! cargo build --release -p quoring --features std --example key_value
//! alias kv="target/release/examples/key_value --peers 127.0.0.1:7100,127.0.0.1:7101,127.0.0.1:7102"
//! kv --id 0 --dir /var/tmp/node-0         in a terminal of its own; so are nodes 1 and 2
//! kv --client put color green
//! kv --client get color
//! kv --client < commands                  one a line, all in one session
//! ```
//!
//! Any node serves any client. A write takes effect once, whichever nodes die meanwhile; a read is never stale, on followers neither. The line
//! `stop` on a node's standard input ends it, and first hands leadership over if it leads.
//!
//! | file | what there is to copy |
//! |---|---|
//! | `node.rs` | a node: its memory, its tasks, what it does for the application |
//! | `service.rs` | writes in sessions and linearizable reads, on any node, and the protocol of the client port |
//! | `map.rs` | the application, and its snapshots |
//! | `client.rs` | a client that repeats a command until it has its answer |

mod arguments;
mod client;
mod command;
mod map;
mod node;
mod service;

fn main() -> std::process::ExitCode {
    use arguments::Arguments;
    let ended = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Arguments::Node { id, addresses, folder }) => node::run(id, &addresses, &folder),
        Ok(Arguments::Client(wishes)) => client::run(wishes),
        Err(error) => {
            eprintln!("{error}\n\n{}", arguments::USAGE);
            return 2.into();
        }
    };
    match ended {
        Ok(()) => 0.into(),
        Err(error) => {
            eprintln!("{error}");
            1.into()
        }
    }
}
