//! How long each part takes: `cargo bench -p quoring-benches --bench time [FILTER]`.

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use quoring_benches::cluster::Load;
use quoring_benches::parts::wire::Kind;
use quoring_benches::parts::{OPERATIONS, Part, commit, file, flash, ring, wire};

const BYTES: [usize; 4] = [8, 32, 256, 1024];

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// A group of parts. What criterion calls an iteration is one operation.
fn group<'a>(criterion: &'a mut Criterion, name: &str) -> Group<'a> {
    let mut group = criterion.benchmark_group(name);
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1)).sample_size(20);
    group
}

/// Whole runs, of which their checks are not timed; as many operations as were asked for.
fn measure<P: Part>(group: &mut Group<'_>, name: impl Into<String>, make: impl Fn() -> P) {
    let mut part = None;
    group.bench_function(name, |bencher| {
        let part = part.get_or_insert_with(&make);
        bencher.iter_custom(|operations| {
            let runs = operations.div_ceil(OPERATIONS);
            let elapsed: Duration = (0..runs).map(|_| time(part)).sum();
            elapsed.mul_f64(operations as f64 / (runs * OPERATIONS) as f64)
        });
    });
}

fn time(part: &mut impl Part) -> Duration {
    let start = Instant::now();
    part.run();
    let elapsed = start.elapsed();
    part.check();
    elapsed
}

fn of_ring(criterion: &mut Criterion) {
    let mut group = group(criterion, "ring");
    for bytes in BYTES {
        measure(&mut group, format!("append/{bytes}"), || ring::Append::new(bytes));
        measure(&mut group, format!("receive/{bytes}"), || ring::Receive::new(bytes));
        measure(&mut group, format!("copy/{bytes}"), || ring::Copy::new(bytes));
        measure(&mut group, format!("gather/{bytes}"), || ring::Gather::new(bytes));
    }
    measure(&mut group, "publish", ring::Publish::new);
    measure(&mut group, "watched", ring::Watched::new);
    measure(&mut group, "unwatched", ring::Unwatched::new);
}

fn of_commit(criterion: &mut Criterion) {
    let mut group = group(criterion, "commit");
    for nodes in [3, 5] {
        for load in Load::ALL {
            for bytes in BYTES {
                let name = format!("{nodes}/{}/{bytes}", load.name());
                measure(&mut group, name, || commit::Commit::new(nodes, load, bytes));
            }
        }
    }
}

fn of_flash(criterion: &mut Criterion) {
    let mut group = group(criterion, "flash");
    for word in [4, 8] {
        for batch in [1, 8] {
            measure(&mut group, format!("append/{batch}/{word}"), || flash::Append::new(batch, word));
        }
        measure(&mut group, format!("recover/{word}"), || flash::Recover::new(word));
        measure(&mut group, format!("read_forwards/{word}"), || flash::Read::forwards(word));
        measure(&mut group, format!("read_backwards/{word}"), || flash::Read::backwards(word));
    }
}

/// In cargo's directory for what benches write: on the disk that is built on.
fn of_file(criterion: &mut Criterion) {
    let mut group = group(criterion, "file");
    group.sample_size(10);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("file_append");
    for batch in [1, 8] {
        measure(&mut group, format!("append/{batch}"), || file::Append::new(batch, &folder));
    }
}

fn of_wire(criterion: &mut Criterion) {
    let mut group = group(criterion, "wire");
    for kind in [Kind::Append, Kind::Answer, Kind::Vote] {
        measure(&mut group, format!("encode/{kind:?}"), || wire::Encode::new(kind));
        measure(&mut group, format!("decode/{kind:?}"), || wire::Decode::new(kind));
    }
    for bytes in [28, 64, 256, 1024] {
        measure(&mut group, format!("checksum/{bytes}"), || wire::Checksum::of_host(bytes));
        measure(&mut group, format!("checksum_by_table/{bytes}"), || wire::Checksum::by_table(bytes));
    }
}

criterion_group!(benches, of_ring, of_commit, of_flash, of_file, of_wire);
criterion_main!(benches);
