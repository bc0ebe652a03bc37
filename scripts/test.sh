#!/usr/bin/env bash
# Runs the tests and prints real counts.   scripts/test.sh [all|unit|integration]   TEST=substring picks
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-all}
logs=$(mktemp -d)
summary=()

die() { echo "test: $*" >&2; exit 1; }
command -v cargo >/dev/null || die "no cargo: install Rust first (https://rustup.rs)"
# kept over `make clean`; installed by the first who needs it
export RINGFENCE_ASTERISK=${RINGFENCE_ASTERISK:-$PWD/.cache/asterisk}
command -v cc >/dev/null || die "no C compiler, which Rust needs to link: apt-get install gcc libc6-dev"

# run NAME CARGO-ARGUMENTS…: the tests of a selection, and a line for the summary.
run() {
    local name=$1 log=$logs/$RANDOM failed=0
    shift
    if command -v cargo-nextest >/dev/null; then
        cargo nextest run --locked --no-fail-fast --no-tests=pass "$@" ${TEST:+"$TEST"} 2>&1 | tee "$log" || failed=1
        summary+=("$name: $(sed -n 's/^ *Summary *\[[^]]*\] *//p' "$log" | tail -1)")
    else
        cargo test --locked --no-fail-fast --lib --bins --tests "$@" ${TEST:+"$TEST"} 2>&1 | tee "$log" || failed=1
        summary+=("$name: $(counted "$log")")
    fi
    return $failed
}

unit() {
    # without it the tests that speak with a real CrowdSec say so
    scripts/crowdsec.sh || true
    run "units, ladders, simulator" --workspace --exclude integration-tests
    cargo test --workspace --locked --doc ${TEST:+"$TEST"} 2>&1 | tee "$logs/doc"
    summary+=("documentation: $(counted "$logs/doc")")
}

# The sum of cargo test's result lines.
counted() {
    awk '/^test result:/ { for (i = 1; i < NF; i++) { if ($(i+1) == "passed;") p += $i; if ($(i+1) == "failed;") f += $i; if ($(i+1) == "ignored;") g += $i } }
         END { printf "%d passed, %d failed, %d ignored", p, f, g }' "$1"
}

integration() {
    local log=$logs/integration failed=0
    cargo build --locked -p ringfence -p ringfence-enforcer
    RINGFENCE=${CARGO_TARGET_DIR:-target}/debug/ringfence scripts/config-check.sh
    integration-tests/run ${TEST:+"$TEST"} 2>&1 | tee "$log" || failed=1
    summary+=("real Asterisk: $(tail -1 "$log")")
    return $failed
}

finish() {
    local status=$?
    rm -rf "$logs"
    printf '\n'
    [ ${#summary[@]} = 0 ] || printf '%s\n' "${summary[@]}"
    if [ $status = 0 ]; then echo "test: all green ($SECONDS s)"; else echo "test: FAILED ($SECONDS s)"; fi
    exit $status
}
trap finish EXIT

case $what in
    all) unit; integration ;;
    unit) unit ;;
    integration) integration ;;
    *) die "all, unit or integration, not: $what" ;;
esac
