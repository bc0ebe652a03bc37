#!/usr/bin/env bash
# Every configuration that the tree shows, samples and the YAML in documents, passes `ringfence check`: none can name a
# key that is not there. Uses the built binary of RINGFENCE, or builds one.
set -euo pipefail
cd "$(dirname "$0")/.."
ringfence=${RINGFENCE:-}
if [ -z "$ringfence" ]; then
    cargo build --locked -q -p ringfence
    ringfence=${CARGO_TARGET_DIR:-target}/debug/ringfence
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Whole configurations in documents are fenced blocks that begin with `version:`.
for document in README.md $(git ls-files 'docs/*.md' 'docs/**/*.md'); do
    awk -v out="$scratch/$(echo "${document%.md}" | tr / -)" '
        /^```yaml/ { inside = 1; text = ""; next }
        /^```/ { if (inside && text ~ /^version:/) printf "%s", text > (out "-" ++n ".yaml"); inside = 0; next }
        inside { text = text $0 "\n" }' "$document"
done

shopt -s nullglob
failed=0 seen=0
for file in config/*.yaml "$scratch"/*.yaml; do
    grep -q '^version:' "$file" || continue  # a part: signatures
    seen=$((seen + 1))
    "$ringfence" check --config "$file" >"$scratch/said" 2>&1 || { cat "$scratch/said" >&2; failed=1; }
done
echo "config-check: $seen configurations"
exit $failed
