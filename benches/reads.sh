#!/usr/bin/env bash
# Instructions of a linearizable read on a whole cluster of three in one process, and rounds to a quorum per read, under so many readers that wait at a
# time: callgrind's difference of two run lengths.
# usage: benches/reads.sh [READERS...]
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --quiet --release -p quoring-benches --bin reads
reads=${CARGO_TARGET_DIR:-target}/release/reads
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$reads" "$@" 2>&1 | sed -n 's/.*Collected : //p'
}
echo "  readers  node      instructions a read  rounds a read"
for readers in "${@:-1 64 1000}"; do
    for readers in $readers; do
        for node in leader follower; do
            short=10 long=20
            instructions=$((($(count $node "$readers" $long) - $(count $node "$readers" $short)) / (readers * (long - short))))
            rounds=$("$reads" $node "$readers" $long | sed 's/ rounds//')
            printf '%9d  %-8s %20d  %13s\n' "$readers" $node $instructions "$rounds/$((readers * long))"
        done
    done
done
