#!/usr/bin/env bash
# Where the instructions of the commit path go: an account of every one, by what it is for.
# usage: benches/account.sh [NODES] [BYTES]
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --quiet --release -p quoring-benches --bin instructions --bin account
"${CARGO_TARGET_DIR:-target}/release/account" "$@"
