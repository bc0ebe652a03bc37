#!/usr/bin/env bash
# Mutated messages through every fuzz target, on stable Rust, the same each time: ten million through the parser, a
# million through each of the others. TARGET=name picks one, MESSAGES=n and SEED=n change the run.
set -euo pipefail
cd "$(dirname "$0")/.."
for target in ${TARGET:-$(ls fuzz/fuzz_targets | sed "s/\.rs$//") voyage}; do
    messages=1000000
    [ "$target" != parse ] || messages=10000000
    TARGET=$target MESSAGES=${MESSAGES:-$messages} scripts/fuzz.sh
done
