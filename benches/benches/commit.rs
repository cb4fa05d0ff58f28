//! How many instructions the commit path of a whole cluster takes, counted by callgrind: `benches/parts.sh` prints them as a table.
//!
//! Apart from the other parts, since a function that has no other callers is inlined where it is called, as in a program with one node.
#![expect(missing_docs, reason = "the macros make public items without any")]

use gungraun::{library_benchmark, library_benchmark_group, main};
use quoring_benches::cluster::Load::{Batch, Closed, Pipe};
use quoring_benches::parts::Part;
use quoring_benches::parts::commit::Commit;

fn check(mut part: Commit) {
    part.check();
}

#[library_benchmark(setup = Commit::new, teardown = check)]
#[benches::closed_of_3((3, Closed, 8), (3, Closed, 32), (3, Closed, 256), (3, Closed, 1024))]
#[benches::pipe_of_3((3, Pipe, 8), (3, Pipe, 32), (3, Pipe, 256), (3, Pipe, 1024))]
#[benches::batch_of_3((3, Batch, 8), (3, Batch, 32), (3, Batch, 256), (3, Batch, 1024))]
#[benches::closed_of_5((5, Closed, 8), (5, Closed, 32), (5, Closed, 256), (5, Closed, 1024))]
#[benches::pipe_of_5((5, Pipe, 8), (5, Pipe, 32), (5, Pipe, 256), (5, Pipe, 1024))]
#[benches::batch_of_5((5, Batch, 8), (5, Batch, 32), (5, Batch, 256), (5, Batch, 1024))]
fn replicate(mut part: Commit) -> Commit {
    part.run();
    part
}

library_benchmark_group!(name = of_commit, benchmarks = [replicate]);

main!(library_benchmark_groups = of_commit);
