#!/usr/bin/env bash
# Starts the edge and, unless PBX=addr:port names yours, a real Asterisk behind it on localhost.
#   OUTSIDE=addr:port   where phones register (default 127.0.0.10:5060, so that whoever comes from 127.0.0.1 is a
#                       stranger); another port makes another demonstration beside it
#   PBX=addr:port       your PBX instead of the demonstration's
#   DEMO_CHECK=1        registers and calls once with sipp, then ends: exit 0 when that worked
# Ctrl-C ends everything. What is written lies under .cache/, or in DEMO_DIR.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
outside=${OUTSIDE:-127.0.0.10:5060}
asterisk=${RINGFENCE_ASTERISK:-$root/.cache/asterisk}
ringfence=${RINGFENCE:-${CARGO_TARGET_DIR:-target}/release/ringfence}
host=${outside%:*} port=${outside##*:}
# All else has its place by the outside port, so that several do not meet.
case $host in 127.*) local=$host ;; *) local=127.0.0.1 ;; esac
pbx=${PBX:-$local:$((port + 10))}
inside=$local:$((port + 20))
admin=$local:$((port + 4000))
run=${DEMO_DIR:-$root/.cache/demo-$port}
children=()

say() { printf '%s\n' "$*"; }
die() { say "run: $*" >&2; exit 1; }

# Ends only what was started here: the edge first, so that it can say goodbye, then the PBX.
finish() {
    local pid
    trap - EXIT INT TERM
    for pid in "${children[@]}"; do
        kill -TERM "$pid" 2>/dev/null || continue
        for _ in $(seq 30); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        kill -KILL "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# until_true WHAT SECONDS COMMAND…
until_true() {
    local what=$1 end=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || die "$what"
        sleep 0.1
    done
}

start_asterisk() {
    local templates=integration-tests/asterisk/conf file words media=$host
    [ -f "$asterisk/version" ] || say "Installing a real Asterisk into $asterisk (once, about 35 MB)…"
    integration-tests/asterisk/install-asterisk.sh "$asterisk" || die "Asterisk cannot be installed; PBX=addr:port uses yours"
    case $media in 0.0.0.0 | '[::]') media=$(hostname -I | awk '{print $1}') ;; esac
    rm -rf "$run/asterisk" && mkdir -p "$run"/asterisk/{etc,lib,spool,run,log}
    for file in asterisk.conf.in rtp.conf.in modules.conf logger.conf extensions.conf; do
        sed -e "s|@RUN@|$run/asterisk|; s|@MODDIR@|$(cat "$asterisk/moddir")|; s|@DATADIR@|$asterisk/root/usr/share/asterisk|" \
            -e "s|@NAME@|demo|; s|@RTPLO@|30000|; s|@RTPHI@|30099|" "$templates/$file" >"$run/asterisk/etc/${file%.in}"
    done
    while read -r file words; do
        case $file in '' | ';'*) continue ;; esac
        # shellcheck disable=SC2086
        printf '%s\n' $words >"$run/asterisk/etc/$file"
    done <"$templates/quiet.conf"
    sed "s|@PBX@|$pbx|; s|@MEDIA@|$media|" scripts/demo/pjsip.conf >"$run/asterisk/etc/pjsip.conf"
    "$asterisk/bin/asterisk" -C "$run/asterisk/etc/asterisk.conf" -f >"$run/asterisk/log/console" 2>&1 </dev/null 9>&- &
    children+=($!)
    until_true "Asterisk did not get ready: $run/asterisk/log/console" 30 grep -q 'Asterisk Ready' "$run/asterisk/log/console"
}

start_edge() {
    # the word by which the dashboard may change something
    [ -s "$run/token" ] || (umask 077 && head -c 15 /dev/urandom | base64 | tr +/ -_ >"$run/token")
    # yours to change; it is kept
    [ -s "$run/policy.yaml" ] || cat >"$run/policy.yaml" <<YAML
# Who is let in and who is not: docs/policy/README.md. Changes act as soon as this file is written.
profile: balanced
YAML
    cat >"$run/ringfence.yaml" <<YAML
version: 1
listen:
  - { transport: udp, address: "$outside" }
  - { transport: tcp, address: "$outside" }
inside:
  address: "$inside"          # shard n uses the port n higher
  pbx: ["$pbx"]
admin: { listen: "$admin", token_file: token }
policy: policy.yaml
state_dir: "$run/state"
YAML
    mkdir -p "$run/state"
    "$ringfence" run --config "$run/ringfence.yaml" > >(exec 9>&- && sed 's/^/edge: /') 2>&1 9>&- &
    children=($! "${children[@]}")
    until_true "the edge did not start" 30 bound "$outside"
}

# Whether something is bound to this UDP address, or to its port everywhere.
bound() {
    local a b c d any='(00000000|[0-9A-F]{32})'
    IFS=. read -r a b c d <<<"${1%:*}"
    [ -z "$d" ] || any="(00000000|$(printf '%02X%02X%02X%02X' "$d" "$c" "$b" "$a")|0{32})"
    grep -qE "^ *[0-9]+: $any:$(printf '%04X' "${1##*:}") " /proc/net/udp /proc/net/udp6
}

check() {
    local i
    command -v sipp >/dev/null || die "DEMO_CHECK needs sipp (apt-get install sip-tester)"
    printf 'SEQUENTIAL\n6001;[authentication username=6001 password=secret6001];%s\n' "$outside" >"$run/6001.csv"
    i=(-i 127.0.0.1 -inf "$run/6001.csv" -m 1 -nostdin -timeout 20 -timeout_error)
    # Asterisk takes over its realm a moment after it says that it is ready; a challenge before that is of no use
    for _ in 1 2 3; do
        (cd "$run" && sipp "$outside" -sf "$root/scripts/demo/register.xml" -p 25061 "${i[@]}" >register.out 2>&1) && break
        sleep 1
    done
    grep -q 'Successful call.*1 *$' "$run/register.out" || die "registration failed: $run/register.out"
    say "check: 6001 registered through the edge"
    (cd "$run" && sipp "$outside" -sf "$root/scripts/demo/call.xml" -p 25062 -s 100 "${i[@]}" >call.out 2>&1) || die "call failed: $run/call.out"
    say "check: 6001 called 100 through the edge and hung up"
}

# How to attack it. The edge's own addresses are trusted: who sends from there is not judged.
attackers() {
    case $host in
        127.0.0.1) say "  Attackers on 127.0.0.1 are trusted, as the edge's own address is: OUTSIDE=127.0.0.10:$port make run judges them." ;;
        127.*)
            say "  An attacker that is known:       svcrack -u 6001 -r 1-200 -p $port $host"
            say "  One that looks like a phone:     scripts/demo/guess.sh $outside"
            ;;
        *) say "  An attacker that is known, from another machine:   svcrack -u 6001 -r 1-200 -p $port ADDRESS" ;;
    esac
}

mkdir -p "$run"
exec 9>"$run/lock"
flock -n 9 || die "a demonstration runs here already; OUTSIDE=127.0.0.10:5160 make run starts another beside it"
for address in "$outside" "$inside" ${PBX:-"$pbx"}; do
    [ "$address" = "${PBX:-}" ] || ! bound "$address" ||
        die "something listens on $address already; OUTSIDE=127.0.0.10:5160 make run takes other ports"
done
if [ -z "${RINGFENCE:-}" ]; then
    say "Building (release; a few minutes the first time)…"
    cargo build --release --locked -q -p ringfence
fi
[ -n "${PBX:-}" ] || start_asterisk
start_edge
[ -z "${DEMO_CHECK:-}" ] || { check; exit 0; }

if [ -z "${PBX:-}" ]; then
    cat <<TEXT

  The edge is on $outside (UDP and TCP), Asterisk $(cat "$asterisk/version") behind it on $pbx.

  Register a softphone:   server $outside   user 6001 password secret6001   (or 6002, secret6002)
  Call:                   100 an echo   101 says hello   6001, 6002 each other

  baresip:   mkdir -p /tmp/phone && echo '<sip:6001@$outside>;auth_pass=secret6001' > /tmp/phone/accounts
             baresip -f /tmp/phone -e '/dial 100'
  sipp:      echo -e 'SEQUENTIAL\n6001;[authentication username=6001 password=secret6001];$outside' > /tmp/6001.csv
             sipp $outside -sf $root/scripts/demo/call.xml -inf /tmp/6001.csv -p 25060 -s 100 -m 1

  Dashboard: http://$admin/   to change something there: $(cat "$run/token")
  Policy:    $run/policy.yaml   what you change acts at once; the dashboard says what was wrong with it
  Terminal:  $ringfence top -c $run/ringfence.yaml   (also: status, bans list, explain 127.0.0.66)

$(attackers)

  Asterisk's side:   $asterisk/bin/asterisk -C $run/asterisk/etc/asterisk.conf -r
  Ctrl-C ends both.

TEXT
else
    cat <<TEXT

  The edge is on $outside (UDP and TCP), your PBX behind it on $pbx.
  The PBX should listen on an address only this host can reach; the edge speaks to it from $inside and the ports above.
  What to set in Asterisk: docs/asterisk.md
  Dashboard: http://$admin/   to change something there: $(cat "$run/token")
  Policy:    $run/policy.yaml   what you change acts at once
  Terminal:  $ringfence top -c $run/ringfence.yaml   (also: status, bans list, explain ADDRESS)

TEXT
fi
wait -n || die "something ended by itself; logs: $run"
