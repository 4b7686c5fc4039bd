# The tasks of the project. `make` alone lists them.
#
# Tools that are missing are installed on a Debian machine when run as root; elsewhere each target names what to install.

SHELL := /bin/sh
.DEFAULT_GOAL := help

include mk/prerequisites.mk
include mk/engines.mk
include mk/kafka.mk
include mk/connect.mk
include mk/prometheus.mk
include mk/grafana.mk
include mk/deploy.mk
include mk/fuzz.mk
include mk/pgo.mk

# Cargo names its own target directory; CARGO_TARGET_DIR is not changed, and cargo runs the binary so that its path need not be known.
CARGO ?= cargo

# Two installations at once would wait for each other's lock; cargo is parallel by itself.
.NOTPARALLEL:

.PHONY: demo test soak bench lint build clean-cache help

demo: build-tools clickhouse-engine ## show a sales organisation live in the browser, with nothing to set up
	$(CARGO) build --release --locked
	$(CARGO) run --quiet --release --locked -- demo

test: build-tools engines connect-engine postgresql-tools prometheus-tools grafana-packages deploy-tools ## run every test, including those against real Kafka, Debezium, ClickHouse and Prometheus
	$(CARGO) test --locked

soak: build-tools engines connect-engine redmine-tools ## run the long tests: dozens of kills, outages of a minute, an hour of events, a real Redmine, 100,000 simulated histories, alerts over thousands of years, fuzzing
	$(CARGO) test --release --locked --features soak --test tests soak:: -- --nocapture --test-threads=1
	$(CARGO) test --release --locked --features soak --test tests redmine:: -- --nocapture
	DEALPULSE_SEEDS=100000 $(CARGO) test --release --locked --features soak --test tests simulation:: -- --nocapture
	$(MAKE) fuzz

# All rows take some minutes; `make bench ARGS='--only path --quick'` takes seconds.
bench: build-tools engines ## measure time, memory and CPU against their goals (docs/benchmarks.md)
	$(CARGO) bench --locked --bench pipeline -- $(ARGS)

lint: build-tools ## check the format and run clippy
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --all-targets --all-features --locked -- -D warnings

build: build-tools ## build the release binary
	$(CARGO) build --release --locked

clean-cache: ## remove the engines that were installed
	rm -rf '$(LIBCHDB_DIR)' '$(KAFKA_DIR)' '$(KAFKA_DIR).part' '$(CONNECT_DIR)' '$(REGISTRY_DIR)' '$(DEPLOY_TOOLS_DIR)'

help: ## list the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | sort -u | while IFS='|' read -r target words; do \
	  printf '  make %-18s %s\n' "$$target" "$$words"; \
	done
