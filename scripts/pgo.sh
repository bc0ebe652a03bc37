#!/usr/bin/env bash
# A release build whose code is laid out by what the edge really does (profile-guided optimisation):
# an instrumented build, some seconds of the bench's traffic through it, and a build with what that
# has counted. Three times a release build's time. The result: target/pgo/ringfence.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
tools=$(rustc --print sysroot)/lib/rustlib/$host/bin
if [[ ! -x $tools/llvm-profdata ]]; then
  echo "pgo: installing llvm-profdata (rustup component add llvm-tools)"
  rustup component add llvm-tools
fi
out=${CARGO_TARGET_DIR:-$PWD/target}/pgo
raw=$out/raw
rm -rf "$raw" && mkdir -p "$raw"

# --target keeps the flags away from build scripts and macros, which run here and now
build() {
  RUSTFLAGS="$1" cargo build --release --locked -p ringfence --target "$host" --target-dir "$out/$2"
}

echo "pgo: the instrumented build"
build "-Cprofile-generate=$raw" counting
cargo build --release --locked -q --manifest-path bench/load/Cargo.toml --target-dir bench/load/target

echo "pgo: traffic"
for transport in udp tcp tls; do
  # calls and registrations: over streams the generator's OPTIONS come from few addresses, and meet the rates
  BENCH_QUICK=1 bench/run --no-build --no-ramp --targets ringfence --seconds 4 --transport "$transport" \
    --scenarios "$([[ $transport == udp ]] && echo register,invite,options || echo register,invite)" \
    --ringfence "$out/counting/$host/release/ringfence" > "$out/$transport.txt"
done
"$tools/llvm-profdata" merge -o "$out/profile" "$raw"

echo "pgo: the build that knows"
build "-Cprofile-use=$out/profile" knowing
cp "$out/knowing/$host/release/ringfence" "$out/ringfence"
echo "pgo: $out/ringfence"
