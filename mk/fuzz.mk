# Fuzzing: every decoder against input that nobody would send, guided by what the code does with it. The samples of the tests are where it starts.
#
# The targets are built with the compiler that builds everything else, without a sanitizer: there is no unsafe code of ours in a decoder. What fuzzing finds is kept in
# fuzz/artifacts and belongs into a test; what it learnt is kept in fuzz/corpus.

.PHONY: fuzz fuzz-tools fuzz-corpus

FUZZ_SECONDS ?= 60
CARGO_FUZZ_VERSION := 0.13.2
FUZZ_TARGETS ?= debezium salesforce_cdc hubspot_webhook pipedrive_webhook segment json avro protobuf cloudevents rows mapping log_message record
# More memory than this for an input of some kilobytes is a finding, and so are ten seconds.
FUZZ_OPTIONS := -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -timeout=10 -max_len=16384 -print_final_stats=1

fuzz: fuzz-tools fuzz-corpus ## fuzz every decoder for a minute each (FUZZ_SECONDS, FUZZ_TARGETS)
	@set -e; for target in $(FUZZ_TARGETS); do \
	  echo "== $$target, $(FUZZ_SECONDS) s"; \
	  $(CARGO) fuzz run --sanitizer none $$target -- $(FUZZ_OPTIONS); \
	done

fuzz-tools: build-tools
	@$(CARGO) fuzz --version 2> /dev/null | grep -q $(CARGO_FUZZ_VERSION) || $(CARGO) install --locked --version $(CARGO_FUZZ_VERSION) cargo-fuzz

# A line of a sample is an input.
fuzz-corpus:
	@set -e; feeds=tests/fixtures/feeds; \
	seed() { mkdir -p fuzz/corpus/$$1; for file in $$2; do split -l 1 -a 4 $$file fuzz/corpus/$$1/$$(basename $$file)-; done; }; \
	seed debezium "$$feeds/odoo.ndjson $$feeds/suitecrm.ndjson $$feeds/espocrm.ndjson $$feeds/redmine.ndjson"; \
	seed salesforce_cdc $$feeds/salesforce.ndjson; seed hubspot_webhook $$feeds/hubspot.ndjson; \
	seed pipedrive_webhook $$feeds/pipedrive.ndjson; seed segment $$feeds/segment.ndjson; \
	seed json "$$feeds/web-form.ndjson $$feeds/woocommerce.ndjson $$feeds/shopify.ndjson"; \
	for target in cloudevents log_message record; do seed $$target tests/fixtures/worked_example.ndjson; done; \
	mkdir -p fuzz/corpus/rows fuzz/corpus/mapping fuzz/corpus/avro fuzz/corpus/protobuf; \
	cp fuzz/seeds/rows/* fuzz/corpus/rows; cp fuzz/seeds/avro/* fuzz/corpus/avro; cp fuzz/seeds/protobuf/* fuzz/corpus/protobuf; cp schemas/presets/*.toml fuzz/seeds/mapping.toml fuzz/corpus/mapping
