#!/usr/bin/env bash
# Fuzzes one target for a while.   TARGET=name TIME=seconds scripts/fuzz.sh
set -euo pipefail
cd "$(dirname "$0")/../fuzz" 2>/dev/null || { echo "fuzz: there are no fuzz targets yet" >&2; exit 1; }
targets=$(ls fuzz_targets 2>/dev/null | sed 's/\.rs$//')
if [ -z "${TARGET:-}" ]; then
    echo "fuzz: name one, TARGET=…:" && printf '  %s\n' $targets
    exit 1
fi
command -v cargo-fuzz >/dev/null || { echo "fuzz: needs cargo-fuzz (cargo install cargo-fuzz --locked) and a nightly Rust" >&2; exit 1; }
exec cargo +nightly fuzz run "$TARGET" -- -max_total_time="${TIME:-60}"
