#!/usr/bin/env bash
# Small rules on the tracked files that no compiler checks.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
fail() { echo "tidy: $1" >&2; shift; [ $# = 0 ] || printf '%s\n' "$@" >&2; failed=1; }
limit=700

long=$(git ls-files 'crates/*/src/*.rs' 'crates/*/src/**/*.rs' | sort -u | xargs -r wc -l | awk -v n=$limit '$2 != "total" && $1 > n')
[ -z "$long" ] || fail "more than $limit lines (do two ideas live in one file?):" "$long"

stubs=$(git grep -nE '\b(todo|unimplemented|dbg)!\(' -- 'crates/*.rs' 'bench/*.rs' 'fuzz/*.rs' || true)
[ -z "$stubs" ] || fail "stubs and debug prints:" "$stubs"

ignored=$(git grep -nE '#\[ignore\]' -- '*.rs' || true)
[ -z "$ignored" ] || fail "an ignored test says why: #[ignore = \"...\"]:" "$ignored"

# Home directories and the directory this clone lies in are somebody's machine.
here=$(dirname "$PWD")
paths=$(git grep -nIE "(^|[ =:(])(/home/[a-z]+|/root)/|/Users/[A-Za-z]+/" -- . ':!*.lock' ':!scripts/tidy.sh' || true)
if [ "${#here}" -gt 4 ]; then
    # where a path begins: of $tree/root/usr only /root/usr would be somebody's
    paths+=$(git grep -nIP "(?<![\\w}])\\Q$here/\\E" -- . ':!*.lock' ':!scripts/tidy.sh' || true)
fi
[ -z "$paths" ] || fail "paths of somebody's machine:" "$paths"

# Links in documents lead somewhere.
while IFS=: read -r file link; do
    target=${link%%#*}
    [ -z "$target" ] || [ -e "$(dirname "$file")/$target" ] || fail "$file: dead link: $link"
done < <(git ls-files '*.md' | xargs -r grep -oHE '\]\([A-Za-z0-9._/-]+(#[^)]*)?\)' | sed -E 's/\]\((.*)\)$/\1/')

# Tests that documents name exist: `crates/…/file.rs::name`.
while IFS=: read -r document file _ name; do
    grep -qsE "\\bfn $name\\(|^ *$name: " "$file" || fail "$document: no such test: $file::$name"
done < <(git ls-files '*.md' | xargs -r grep -oHE '`[A-Za-z0-9_./-]+\.rs::[a-z0-9_]+`' | tr -d '`')

# What stands outside the workspace has a lock file of its own, which must follow the workspace's crates.
for own in fuzz bench/load; do
    "${CARGO:-cargo}" metadata --locked --format-version 1 --manifest-path "$own/Cargo.toml" >/dev/null ||
        fail "$own/Cargo.lock is behind: cargo update --workspace --manifest-path $own/Cargo.toml"
done

[ $failed = 0 ] && echo "tidy: $(git ls-files | wc -l) files looked at"
exit $failed
