//! Three nodes as three processes: logs in folders, peers over UDP, clients over TCP at the same addresses.
//!
//! ```text
//! P=127.0.0.1:7100,127.0.0.1:7101,127.0.0.1:7102
//! cargo run --release -p quoring --features std --example three_nodes -- --id 0 --peers $P --dir /var/tmp/node-0
//! cargo run --release -p quoring --features std --example three_nodes -- --id 1 --peers $P --dir /var/tmp/node-1
//! cargo run --release -p quoring --features std --example three_nodes -- --id 2 --peers $P --dir /var/tmp/node-2
//! cargo run --release -p quoring --features std --example three_nodes -- --client --peers $P < lines
//! ```
//!
//! A node prints each line once it is committed, from the first one on after a restart, and takes lines from its own standard input too.
//! The client finds the leader and prints the answer to each line, which is its number. What there is to copy is in `node.rs` and `book.rs`.

mod arguments;
mod book;
mod client;
mod node;

fn main() -> std::process::ExitCode {
    use arguments::Arguments;
    let ended = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Arguments::Node { id, addresses, folder }) => node::run(id, &addresses, &folder),
        Ok(Arguments::Client { addresses }) => client::run(&addresses),
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
