#!/usr/bin/env bash
# Fetches Debian's CrowdSec into .cache/crowdsec, and the one library it needs that a small Debian lacks, for the tests
# that speak with a real one. It is unpacked, not installed: nothing is started, nothing registered anywhere.
set -euo pipefail
cd "$(dirname "$0")/.."
into=.cache/crowdsec
packages=(crowdsec libsqlite3-0)
[ -x "$into/usr/bin/crowdsec" ] && [ -d "$into/usr/lib" ] && exit 0
command -v apt-get >/dev/null && command -v dpkg >/dev/null || { echo "crowdsec: no apt-get here" >&2; exit 1; }
draft=$(mktemp -d)
trap 'rm -rf "$draft"' EXIT
(cd "$draft" && { apt-get download -q "${packages[@]}" 2>/dev/null || { apt-get update -qq && apt-get download -q "${packages[@]}"; }; })
for package in "$draft"/*.deb; do dpkg -x "$package" "$draft/root"; done
mkdir -p "$into/usr/bin" "$into/usr/lib"
mv "$draft"/root/usr/lib/*/libsqlite3.so.* "$into/usr/lib/"
mv "$draft/root/usr/bin/crowdsec" "$draft/root/usr/bin/cscli" "$into/usr/bin/"
