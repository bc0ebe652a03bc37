#!/usr/bin/env bash
# Guesses at 6001's password from 127.0.0.66 and looks like a phone meanwhile: what a ban is for.
#   scripts/demo/guess.sh ADDR:PORT
# Needs sipp (apt-get install sip-tester). Only towards this machine.
set -euo pipefail
target=${1:-127.0.0.10:5060}
case $target in 127.*) ;; *) echo "guess: only towards 127.0.0.0/8: $target" >&2; exit 1 ;; esac
scenario=$(dirname "$(readlink -f "$0")")/guess.xml
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
cd "$here"
{
    echo SEQUENTIAL
    for n in $(seq 1 8); do echo "6001;[authentication username=6001 password=guess$n];$target"; done
} >words.csv
# whoever is banned gets no answer any more, and gives up
sipp "$target" -sf "$scenario" -inf words.csv -i 127.0.0.66 -m 8 -l 1 -r 10 -nostdin -timeout 30 >out 2>&1 || true
answered=$(awk '/Successful call/ { n = $NF } END { print n + 0 }' out)
echo "guess: $answered of 8 guesses were answered; who is banned now, and why: the dashboard, or ringfence bans list"
