#!/usr/bin/env bash
# Fetches Debian's CrowdSec into .cache/crowdsec, for the tests that speak with a real one. It is unpacked, not
# installed: nothing is started, nothing registered anywhere.
set -euo pipefail
cd "$(dirname "$0")/.."
into=.cache/crowdsec
[ -x "$into/usr/bin/crowdsec" ] && exit 0
command -v apt-get >/dev/null && command -v dpkg >/dev/null || { echo "crowdsec: no apt-get here" >&2; exit 1; }
draft=$(mktemp -d)
trap 'rm -rf "$draft"' EXIT
(cd "$draft" && { apt-get download -q crowdsec 2>/dev/null || { apt-get update -qq && apt-get download -q crowdsec; }; })
dpkg -x "$draft"/crowdsec_*.deb "$draft/root"
mkdir -p "$into/usr/bin"
mv "$draft/root/usr/bin/crowdsec" "$draft/root/usr/bin/cscli" "$into/usr/bin/"
