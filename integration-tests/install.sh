#!/bin/bash
# install.sh - what the integration tests need besides Rust: an Asterisk of their own in the
# target directory (about 20 s, no root), PJSUA for Python where pip can get it, and from the machine's
# packages sipp, baresip, linphone, Chromium, NSD, HAProxy, Prometheus, the scanners that the edge
# must recognise, and fail2ban, sngrep and tshark, which read what it tells.
# Idempotent. Environment: RINGFENCE_ASTERISK=DIR  where Asterisk is or goes to
#                          RINGFENCE_PJSUA=DIR     where PJSUA is or goes to
#                          RINGFENCE_NSD=DIR       where NSD is or goes to
#                          RINGFENCE_HAPROXY=DIR   where HAProxy is or goes to
#                          PROMETHEUS=DIR          where prometheus and promtool are or go to
#                          RINGFENCE_NO_PACKAGES=1  Asterisk only
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
target=${CARGO_TARGET_DIR:-$here/../target}
mkdir -p "$target"
bash "$here/asterisk/install-asterisk.sh" "${RINGFENCE_ASTERISK:-$target/asterisk}"
[ -z "${RINGFENCE_NO_PACKAGES:-}" ] || exit 0
# A name server and a load balancer, with the libraries that the machine does not have: unpacked,
# because their packages would start one for the whole machine.
unpack() { # PACKAGE PROGRAM DIRECTORY
    [ ! -x "$3/$2" ] || return 0
    local packages
    packages=$(apt-get install --simulate --no-install-recommends "$1" 2>/dev/null | awk '/^Inst / { print $2 }' || true)
    rm -rf "$3.new"
    mkdir -p "$3.new"
    # shellcheck disable=SC2086
    (cd "$3.new" && { apt-get download -qq ${packages:-$1} || { apt-get update -qq && apt-get download -qq ${packages:-$1}; }; } &&
        for package in *.deb; do dpkg-deb -x "$package" . && rm "$package"; done) >"$target/$1.log" 2>&1 ||
        { cat "$target/$1.log" >&2; exit 1; }
    mv "$3.new" "$3"
}
unpack nsd usr/sbin/nsd "${RINGFENCE_NSD:-$target/nsd}"
unpack haproxy usr/sbin/haproxy "${RINGFENCE_HAPROXY:-$target/haproxy}"
# Prometheus, for the same reason; its libraries are for its pages, which nobody looks at here.
prometheus=${PROMETHEUS:-$target/prometheus}
if [ ! -x "$prometheus/promtool" ]; then
    rm -rf "$prometheus.new"
    mkdir -p "$prometheus.new"
    (cd "$prometheus.new" && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } &&
        dpkg-deb -x ./*.deb . && mv usr/bin/* . && rm -r ./*.deb etc lib usr var) >"$target/prometheus.log" 2>&1 ||
        { cat "$target/prometheus.log" >&2; exit 1; }
    rm -rf "$prometheus"
    mv "$prometheus.new" "$prometheus"
fi
# What Debian has whole, by the program that tells whether it is there.
packages() {
    local missing="" log
    command -v sipp >/dev/null || missing+=" sip-tester"
    command -v baresip >/dev/null || missing+=" baresip"
    command -v linphonec >/dev/null || missing+=" linphone-cli"
    command -v svcrack >/dev/null || missing+=" sipvicious"
    command -v ip >/dev/null || missing+=" iproute2"
    command -v nft >/dev/null || missing+=" nftables"
    command -v conntrack >/dev/null || missing+=" conntrack"
    command -v chromedriver >/dev/null || missing+=" chromium chromium-driver"
    command -v fail2ban-regex >/dev/null || missing+=" fail2ban"
    python3 -m pip --version >/dev/null 2>&1 || missing+=" python3-pip"
    for tool in nmap hydra sipsak sngrep tshark; do
        command -v $tool >/dev/null || missing+=" $tool"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        echo "install.sh: the tests also need: apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    log=$(mktemp)
    # shellcheck disable=SC2086
    if { apt-get install -y -qq --no-install-recommends $missing ||
         { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; }; } >"$log" 2>&1; then
        rm -f "$log"
    else
        cat "$log" >&2; rm -f "$log"; exit 1
    fi
}
export DEBIAN_FRONTEND=noninteractive
packages
pjsua=${RINGFENCE_PJSUA:-$target/pjsua}
if [ ! -e "$pjsua" ]; then
    if python3 -m pip install -q --disable-pip-version-check --target "$pjsua.new" "pjsua2-python==2.15.1.post1" >"$target/pjsua.log" 2>&1; then
        mv "$pjsua.new" "$pjsua"
        rm -f "$pjsua.none"
    else
        echo "install.sh: no PJSUA for Python (its tests are skipped): see $target/pjsua.log" >&2
        rm -rf "$pjsua.new"
        touch "$pjsua.none"
    fi
fi
