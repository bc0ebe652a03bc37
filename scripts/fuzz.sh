#!/usr/bin/env bash
# Fuzzes one target. With cargo-fuzz and a nightly Rust by libFuzzer for TIME seconds; else, on stable, with MESSAGES
# mutated messages from SEED, the same each time.   TARGET=name [TIME=60] [MESSAGES=1000000] [SEED=1] scripts/fuzz.sh
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
if [ -z "${TARGET:-}" ]; then
    echo "fuzz: name one, TARGET=…:"
    ls fuzz_targets | sed 's/\.rs$//; s/^/  /'
    exit 1
fi
if [ -z "${MESSAGES:-}" ] && command -v cargo-fuzz >/dev/null && rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
    exec cargo +nightly fuzz run --features libfuzzer "$TARGET" -- -max_total_time="${TIME:-60}"
fi
exec cargo run --release --locked -q --bin mutate -- --messages "${MESSAGES:-1000000}" --seed "${SEED:-1}" "$TARGET"
