#!/usr/bin/env bash
# Instructions per entry committed and applied on a whole cluster in one process: callgrind's difference of two run lengths.
# usage: benches/instructions.sh [NODES] [BYTES]
set -euo pipefail
cd "$(dirname "$0")/.."

nodes=${1:-3} bytes=${2:-32} short=2000 long=4000

cargo build --quiet --release -p quoring-benches --bin instructions
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "${CARGO_TARGET_DIR:-target}/release/instructions" "$@" 2>&1 |
        sed -n 's/.*Collected : //p'
}
echo "instructions per entry, $nodes nodes, $bytes-byte commands, checksums and codec on"
for load in closed pipe batch; do
    printf '%-7s %6d\n' "$load" $((($(count $load $long "$nodes" "$bytes") - $(count $load $short "$nodes" "$bytes")) / (long - short)))
done
