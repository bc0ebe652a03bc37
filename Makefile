# The one entrance. `make` alone explains itself.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test unit check fmt clippy doc purity tidy deny ladders sim sim-nightly fuzz mutate \
        integration bench bench-engine bench-gate bench-enforce build install docker config-check clean

CARGO ?= cargo
SEEDS ?= 300
RELEASE = $(or $(CARGO_TARGET_DIR),target)/release

help: ## this text
	@printf 'Ringfence: a SIP edge in front of Asterisk.\n\nNew here?  make run   then register a softphone; make test proves it all.\n\n'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{printf "  make %-13s %s\n", $$1, $$2}'
	@printf '\nVariables: OUTSIDE=addr:port PBX=addr:port (run)   TEST=substring (test, integration)\n'
	@printf '           SEEDS=n SIM_SEED=n (sim)   TARGET=name TIME=n MESSAGES=n SEED=n (fuzz)   BENCH_QUICK=1 BENCH_PROF=1 (bench)   DESTDIR=directory (install)\n'

run: ## build, start the edge and, unless PBX=addr:port is given, a real Asterisk with two phones' accounts
	@scripts/run-demo.sh

test: ## everything: units, ladders, simulator, documentation, real calls through a real Asterisk
	@scripts/test.sh

unit: ## the tests that need nothing but Rust; TEST=substring picks
	@scripts/test.sh unit

check: fmt clippy doc purity tidy deny ## all that is not a test: fmt, clippy, docs, purity, tidy, licences

fmt:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path bench/load/Cargo.toml --check
clippy:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

purity: ## floors 1-3 have no runtime, sockets, files, clock or OS randomness
	@scripts/purity.sh

tidy: ## small rules on the tree: file sizes, stubs, paths of somebody's machine
	@scripts/tidy.sh

deny: ## licences, bans and advisories of the dependencies (needs cargo-deny)
	@scripts/deny.sh

ladders: ## call flows against their transcripts, and other recorded texts; BLESS=1 rewrites them
	$(CARGO) test --locked -p sim --test ladders
	$(CARGO) test --locked -p config -p telemetry

sim: ## the simulator: random runs and whole days with attackers; SEEDS=n from SIM_FROM=n on, SIM_SEED=n repeats one exactly
	SIM_SEEDS=$(SEEDS) $(CARGO) test -p sim --locked --profile sim --test sweep --test day --test reference -- --nocapture
	SIM_SEEDS=$(SEEDS) $(CARGO) test -p sim --locked --profile sim --test admission

sim-nightly: ## the same over thousands of seeds
	$(MAKE) sim SEEDS=5000
	SIM_FORGED=1000000 $(CARGO) test -p sim --locked --profile sim --test admission fault_13

fuzz: ## one TARGET=name for TIME=n seconds by libFuzzer (cargo-fuzz, nightly); without TARGET lists them
	@scripts/fuzz.sh

mutate: ## ten million mutated messages through the parser, a million through each other fuzz target; MESSAGES=n
	@scripts/mutate.sh

integration: ## real Asterisk, real phones; TEST=substring picks
	@scripts/test.sh integration

bench: ## ringfence beside a null relay and, where installed, Kamailio; BENCH_QUICK=1 takes a minute
	@bench/run

bench-engine: ## the engine alone, without sockets: time, allocations and memory of whole cycles
	@$(CARGO) run --release --locked -q -p bench-engine

bench-gate: ## what the gate's decisions cost with a thousand to a million tracked sources
	@bench/gate

bench-enforce: ## what a ban in the kernel costs, and a restore of 100,000 (root, nftables)
	@$(CARGO) build --release --locked -q -p ringfence-enforcer -p bench-enforce
	@$${CARGO_TARGET_DIR:-target}/release/bench-enforce
	@chrt -r 1 $${CARGO_TARGET_DIR:-target}/release/bench-enforce way

build: ## the two programs, as they are installed
	$(CARGO) build --release --locked -p ringfence -p ringfence-enforcer

install: ## what `make build` made, units, users and manual pages; DESTDIR=directory (docs/install.md)
	install -D -m 755 -t "$(DESTDIR)/usr/bin" $(RELEASE)/ringfence $(RELEASE)/ringfence-enforcer
	install -D -m 644 -t "$(DESTDIR)/usr/lib/systemd/system" config/ringfence.service config/ringfence-enforcer.service
	install -D -m 644 config/ringfence.sysusers.conf "$(DESTDIR)/usr/lib/sysusers.d/ringfence.conf"
	install -D -m 644 -t "$(DESTDIR)/usr/share/doc/ringfence/examples" config/*.yaml
	install -d "$(DESTDIR)/etc/ringfence" "$(DESTDIR)/usr/share/man/man1" "$(DESTDIR)/usr/share/bash-completion/completions"
	$(RELEASE)/ringfence man --directory "$(DESTDIR)/usr/share/man/man1"
	$(RELEASE)/ringfence completions bash >"$(DESTDIR)/usr/share/bash-completion/completions/ringfence"

docker: ## the container image (docs/install.md)
	docker build -f docker/Dockerfile -t ringfence .

config-check: ## every sample configuration passes `ringfence check`
	@scripts/config-check.sh

clean: ## remove what was built (keeps the downloaded Asterisk)
	$(CARGO) clean
	rm -rf bench/load/target fuzz/target
