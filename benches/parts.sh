#!/usr/bin/env bash
# Instructions that each part takes, per operation, as a table: what callgrind counts now, and what it counted in the last run.
# usage: benches/parts.sh [FILTER]     FILTER as gungraun takes it: '*of_ring*', '*replicate*'
set -euo pipefail
cd "$(dirname "$0")/.."

# Of each run of each part: `OPERATIONS`.
operations=64

version=$(sed -n '/^name = "gungraun"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
command -v valgrind >/dev/null || { echo "parts: valgrind is not installed" >&2; exit 2; }
[[ $(gungraun-runner --version 2>/dev/null) == *" $version" ]] ||
    { echo "parts: it needs 'cargo install --locked gungraun-runner --version $version'" >&2; exit 2; }

benches=(--quiet -p quoring-benches --bench parts --bench commit)
cargo bench "${benches[@]}" --no-run
echo "| | | of | instructions | last run |"
echo "|---|---|---|--:|--:|"
# "parts::of_ring::append bytes_0:(ring :: Append :: new(8))", and in the next line "Instructions:  21193|N/A  (...)"
GUNGRAUN_CALLGRIND_METRICS=ir cargo bench "${benches[@]}" -- "$@" |
    awk -v operations=$operations '
        function each(count) { return count ~ /^[0-9]/ ? sprintf("%.0f", count / operations) : "" }
        /^[a-z]+::of_/ {
            split($1, path, "::")
            of = substr($0, index($0, ":(") + 2)
            gsub(/ /, "", of); sub(/\)$/, "", of); gsub(/[A-Za-z]+::/, "", of); sub(/^new/, "", of)
            gsub(/[()]/, " ", of); gsub(/,/, ", ", of); gsub(/^ +| +$/, "", of)
        }
        /^ *Instructions:/ {
            split($2, counts, "|")
            printf "| %s | %s | %s | %s | %s |\n", substr(path[2], 4), path[3], of, each(counts[1]), each(counts[2])
            shown = 1
        }
        /^Gungraun result: Ok/ { ok++ }
        END { if (ok != 2 || !shown) { print "parts: nothing was counted, or a check failed" > "/dev/stderr"; exit 1 } }'
