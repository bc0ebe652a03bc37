#!/usr/bin/env bash
# Runs the tests and prints real counts.   scripts/test.sh [all|unit|integration]   TEST=substring picks
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-all}
target=${CARGO_TARGET_DIR:-target}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
summary=()

die() { echo "test: $*" >&2; exit 1; }
command -v cargo >/dev/null || die "no cargo: install Rust first (https://rustup.rs)"
command -v cc >/dev/null || die "no C compiler, which Rust needs to link: apt-get install gcc libc6-dev"

unit() {
    local log=$logs/unit
    if command -v cargo-nextest >/dev/null; then
        cargo nextest run --workspace --exclude integration-tests --locked --no-fail-fast ${TEST:+"$TEST"} 2>&1 | tee "$log"
        summary+=("units, ladders, simulator: $(sed -n 's/^ *Summary *\[[^]]*\] *//p' "$log" | tail -1)")
        log=$logs/doc
        cargo test --workspace --locked --doc ${TEST:+"$TEST"} 2>&1 | tee "$log"
        summary+=("documentation: $(counted "$log")")
    else
        cargo test --workspace --exclude integration-tests --locked --no-fail-fast ${TEST:+"$TEST"} 2>&1 | tee "$log"
        summary+=("units, ladders, simulator, documentation: $(counted "$log")")
    fi
}

# The sum of cargo test's result lines.
counted() {
    awk '/^test result:/ { for (i = 1; i < NF; i++) { if ($(i+1) == "passed;") p += $i; if ($(i+1) == "failed;") f += $i; if ($(i+1) == "ignored;") g += $i } }
         END { printf "%d passed, %d failed, %d ignored", p, f, g }' "$1"
}

integration() {
    local log=$logs/integration
    [ -x integration-tests/run ] || { summary+=("integration: none yet"); return; }
    cargo build --locked -p ringfence
    RINGFENCE="$target/debug/ringfence" integration-tests/run ${TEST:+"$TEST"} 2>&1 | tee "$log"
    summary+=("real Asterisk: $(tail -1 "$log")")
}

status=0
case $what in
    all) unit && integration || status=$? ;;
    unit) unit || status=$? ;;
    integration) integration || status=$? ;;
    *) die "all, unit or integration, not: $what" ;;
esac
printf '\n'
printf '%s\n' "${summary[@]}"
[ $status = 0 ] && echo "test: all green (${SECONDS} s)" || echo "test: FAILED (${SECONDS} s)"
exit $status
