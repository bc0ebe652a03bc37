#!/usr/bin/env bash
# The house stands as ARCHITECTURE.md draws it: an arrow only goes down, and floors 1-3 (and the
# simulator) know no runtime, socket, file, clock or OS randomness. Reads `cargo tree`; builds nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
fail() { echo "purity: $*" >&2; failed=1; }

# What each crate may know of the house. Floor 1: wire, then policy on it.
declare -A below=(
    [wire]=""
    [policy]="wire"
    [transaction]="wire policy"
    [admission]="wire policy"
    [proxy]="wire policy transaction admission"
    [sim]="wire policy transaction admission proxy"
    [transport]="wire policy transaction admission proxy"
    [resolver]="wire policy transaction admission proxy"
    [asterisk]=""
    [capture]="wire policy"
    [config]="wire policy transaction admission proxy"
    [audit]="wire policy transaction admission proxy"
    [hep]="wire policy transaction admission proxy"
    [alerts]="wire policy transaction admission proxy"
    [telemetry]="wire policy transaction admission proxy"
    [feeds]="wire policy transaction admission proxy"
    [state]="wire policy transaction admission proxy"
    [enforce]="wire policy transaction admission proxy"
    [server]="*"
    [enforcer]="*"
)
pure="wire policy transaction admission proxy sim"
# Crates that bring a runtime, a socket, a file, a clock or the OS's randomness. (`web-time`, which
# governor names, is `std::time` itself here, and without its `std` governor reads no clock of it.)
impure='tokio|mio|async-std|smol|socket2|libc|rustix|nix|windows-sys|getrandom|rand|rand_os|fastrand|chrono|time|quanta|notify|rustls|quinn|hickory-resolver|reqwest|axum|hyper'
# The standard library's own ways to the same.
calls='std::net::(UdpSocket|TcpStream|TcpListener)|std::fs|std::os::|std::process|std::thread::(spawn|sleep|scope|park|Builder|yield_now)|Instant::now|SystemTime|thread_rng|OsRng|from_os_rng|RandomState|tokio::'

house=" ${!below[*]} "
for manifest in crates/*/Cargo.toml; do
    crate=$(basename "$(dirname "$manifest")")
    [[ $house == *" $crate "* ]] || { fail "crate $crate has no floor: add it to scripts/purity.sh and ARCHITECTURE.md"; continue; }
    package=$(sed -n 's/^name = "\(.*\)"/\1/p' "$manifest" | head -1)
    tree=$(cargo tree --locked -p "$package" -e normal,build --prefix depth --format '|{p}' | sed 's/ (\*)$//')
    while IFS='|' read -r depth at; do
        name=${at%% *}
        if [[ $depth = 1 && $house == *" $name "* && ${below[$crate]} != "*" && " ${below[$crate]} " != *" $name "* ]]; then
            fail "$crate must not know $name (floors: ARCHITECTURE.md)"
        fi
        if [[ " $pure " == *" $crate "* && $depth != 0 && $name =~ ^($impure)$ ]]; then
            fail "$crate is pure but depends on $name: cargo tree -p $crate -e normal,build -i $name"
        fi
    done <<<"$tree"
done

# Test modules may read files: a file ends for this search where its test module begins.
for crate in $pure; do
    while IFS= read -r -d '' file; do
        hits=$(awk -v calls="$calls" '
            /^#\[cfg\(test\)\]/ { armed = 1; next }
            armed && /^mod [a-z_]+ *\{/ { exit }
            { armed = 0 }
            /^[[:space:]]*\/\// { next }
            $0 ~ calls { print FILENAME ":" FNR ": " $0 }' "$file")
        [ -z "$hits" ] || fail "not pure: $hits"
    done < <(find "crates/$crate/src" -name '*.rs' ! -name tests.rs ! -path '*/tests/*' -print0)
done

[ $failed = 0 ] && echo "purity: floors 1-3 are pure, every arrow goes down ($(ls -d crates/*/ | wc -l) crates)"
exit $failed
