#!/usr/bin/env bash
# Licences, bans and sources of the dependencies; advisories where their database is at hand.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v cargo-deny >/dev/null; then
    echo "deny: cargo-deny is not installed, skipped (cargo install cargo-deny --locked)"
    exit 0
fi
quiet=(-A license-not-encountered -A no-license-field -A unused-wrapper)
cargo deny --offline --locked check "${quiet[@]}" bans licenses sources
if [ -n "${DENY_ADVISORIES:-}" ]; then
    cargo deny --locked check advisories # fetches the database
elif compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/*/.git" >/dev/null; then
    cargo deny --offline --locked check advisories
else
    echo "deny: no local advisory database, advisories skipped (DENY_ADVISORIES=1 fetches it)"
fi
