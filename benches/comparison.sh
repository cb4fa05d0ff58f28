#!/usr/bin/env bash
# Quoring beside other crates: other Rafts and other rings, counted under valgrind, and another log on flash. Prints Markdown.
# usage: benches/comparison.sh rafts|rings|flash
set -euo pipefail
cd "$(dirname "$0")/comparison"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../../target/comparison}
cargo run --quiet --release -- "${@:-rafts}"
