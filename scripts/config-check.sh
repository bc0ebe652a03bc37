#!/usr/bin/env bash
# Every sample configuration passes `ringfence check`, so that a sample can't name a key that is not there.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --locked -q -p ringfence
ringfence=${CARGO_TARGET_DIR:-target}/debug/ringfence
shopt -s nullglob
failed=0 seen=0
for file in config/*.yaml docker/*.yaml; do
    case $file in docker/compose.yaml | docker/docker-compose.yaml) continue ;; esac
    seen=$((seen + 1))
    "$ringfence" check --config "$file" || { echo "config-check: $file" >&2; failed=1; }
done
echo "config-check: $seen files"
exit $failed
