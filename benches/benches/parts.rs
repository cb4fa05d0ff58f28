//! How many instructions each part takes, counted by callgrind: `benches/parts.sh` prints them as a table.
#![expect(missing_docs, reason = "the macros make public items without any")]

use gungraun::{library_benchmark, library_benchmark_group, main};
use quoring_benches::parts::wire::Kind;
use quoring_benches::parts::{Part, flash, ring, wire};

/// What is counted. Parts are made before and checked afterwards.
fn run<P: Part>(mut part: P) -> P {
    part.run();
    part
}

fn check<P: Part>(mut part: P) {
    part.check();
}

#[library_benchmark(setup = ring::Append::new, teardown = check)]
#[benches::bytes(8, 32, 256, 1024)]
fn append(part: ring::Append) -> ring::Append {
    run(part)
}

#[library_benchmark(setup = ring::Receive::new, teardown = check)]
#[benches::bytes(8, 32, 256, 1024)]
fn receive(part: ring::Receive) -> ring::Receive {
    run(part)
}

#[library_benchmark(setup = ring::Copy::new, teardown = check)]
#[benches::bytes(8, 32, 256, 1024)]
fn copy(part: ring::Copy) -> ring::Copy {
    run(part)
}

#[library_benchmark(setup = ring::Gather::new, teardown = check)]
#[benches::bytes(8, 32, 256, 1024)]
fn gather(part: ring::Gather) -> ring::Gather {
    run(part)
}

#[library_benchmark(setup = ring::Publish::new, teardown = check)]
#[bench::three_pointers()]
fn publish(part: ring::Publish) -> ring::Publish {
    run(part)
}

#[library_benchmark(setup = ring::Watched::new, teardown = check)]
#[bench::one_task()]
fn watched(part: ring::Watched) -> ring::Watched {
    run(part)
}

#[library_benchmark(setup = ring::Unwatched::new, teardown = check)]
#[bench::no_task()]
fn unwatched(part: ring::Unwatched) -> ring::Unwatched {
    run(part)
}

library_benchmark_group!(name = of_ring, benchmarks = [append, receive, copy, gather, publish, watched, unwatched]);

#[library_benchmark(setup = flash::Append::new, teardown = check)]
#[benches::batch_and_word((1, 4), (8, 4), (1, 8), (8, 8))]
fn append_durably(part: flash::Append) -> flash::Append {
    run(part)
}

#[library_benchmark(setup = flash::Recover::new, teardown = check)]
#[benches::word(4, 8)]
fn recover(part: flash::Recover) -> flash::Recover {
    run(part)
}

#[library_benchmark(teardown = check)]
#[benches::forwards(args = [4, 8], setup = flash::Read::forwards)]
#[benches::backwards(args = [4, 8], setup = flash::Read::backwards)]
fn read(part: flash::Read) -> flash::Read {
    run(part)
}

library_benchmark_group!(name = of_flash, benchmarks = [append_durably, recover, read]);

#[library_benchmark(setup = wire::Encode::new, teardown = check)]
#[benches::frame(Kind::Append, Kind::Answer, Kind::Vote)]
fn encode(part: wire::Encode) -> wire::Encode {
    run(part)
}

#[library_benchmark(setup = wire::Decode::new, teardown = check)]
#[benches::frame(Kind::Append, Kind::Answer, Kind::Vote)]
fn decode(part: wire::Decode) -> wire::Decode {
    run(part)
}

#[library_benchmark(teardown = check)]
#[benches::of_host(args = [28, 64, 256, 1024], setup = wire::Checksum::of_host)]
#[benches::by_table(args = [28, 64, 256, 1024], setup = wire::Checksum::by_table)]
fn checksum(part: wire::Checksum) -> wire::Checksum {
    run(part)
}

library_benchmark_group!(name = of_wire, benchmarks = [encode, decode, checksum]);

main!(library_benchmark_groups = of_ring, of_flash, of_wire);
