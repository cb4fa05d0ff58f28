//! The commit path of a whole cluster in one process, to be counted by callgrind.
//!
//! `instructions LOAD ENTRIES [NODES] [BYTES]` with LOAD one of `closed` (one command in flight), `pipe` (64 in flight), `batch` (64 a call). The script
//! `benches/instructions.sh` counts the difference of two run lengths.

use std::env::args;
use std::process::ExitCode;

use quoring_benches::cluster::{Cluster, Load, Memory};

fn main() -> ExitCode {
    let arguments: Vec<String> = args().skip(1).collect();
    let number = |at: usize, default: u64| arguments.get(at).map_or(Some(default), |text| text.parse().ok());
    let load = arguments.first().and_then(|name| Load::from_name(name));
    let (Some(load), Some(entries), Some(nodes), Some(bytes)) = (load, number(1, 10_000), number(2, 3), number(3, 32))
    else {
        eprintln!("usage: instructions closed|pipe|batch ENTRIES [NODES] [BYTES]");
        return ExitCode::from(2);
    };
    let mut memory = Memory::new(nodes as usize);
    Cluster::new(&mut memory).replicate(entries, load, &vec![0x5A; bytes as usize]);
    println!("{}: {entries} entries committed and applied on {nodes} nodes", load.name());
    ExitCode::SUCCESS
}
