//! `loopback`: three processes that replicate over UDP on 127.0.0.1, with logs in folders, beside what the machine itself takes for a round trip and for a sync.
//!
//! A node's clients are tasks of the leader's process. Limits and loads take turns, so that whatever else the machine does meanwhile, it does to both.

mod arguments;
mod cluster;
mod disk;
mod helper;
mod lanes;
mod limits;
mod load;
mod node;
mod report;
mod samples;

use std::process::ExitCode;

use arguments::{Arguments, USAGE};

fn main() -> ExitCode {
    let ended = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Arguments::Help) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(Arguments::Measure { folder, seconds, layout }) => report::print(&folder, seconds, layout),
        Ok(Arguments::Node { id, layout, folder }) => node::run(id, layout, &folder),
        Ok(Arguments::Limits { folder }) => limits::serve(&folder),
        Err(error) => {
            eprintln!("loopback: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loopback: {error:#}");
            ExitCode::FAILURE
        }
    }
}
