# The ClickHouse engine as a library, for local mode and the tests: pinned, verified, outside the repository.

DEALPULSE_CACHE := $(or $(DEALPULSE_CACHE),$(HOME)/.cache/dealpulse)

LIBCHDB_PACKAGE := @chdb/lib-linux-x64-gnu@26.7.3-stable.1
LIBCHDB_TGZ := chdb-lib-linux-x64-gnu-26.7.3-stable.1.tgz
LIBCHDB_TGZ_SHA256 := c0d32b129e988f2b9a9a31c9141aecf5e1e2453f9a079efc4d36ab8e3f92b2ad
LIBCHDB_SHA256 := 36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5
LIBCHDB_DIR := $(DEALPULSE_CACHE)/libchdb-26.7.3

.PHONY: engines clickhouse-engine

engines: clickhouse-engine kafka-engine ## install both engines

# The library is at its path only once it is complete and verified: it is unpacked beside it and moved there last.
clickhouse-engine: engine-tools ## install the embedded ClickHouse engine (178 MB download, 566 MB on disk)
	@set -eu; \
	dir='$(LIBCHDB_DIR)'; \
	if [ -f "$$dir/libchdb.so" ] && echo '$(LIBCHDB_SHA256)  '"$$dir/libchdb.so" | sha256sum --check --status; then \
		echo "libchdb.so is installed in $$dir"; exit 0; \
	fi; \
	case "$$(uname -sm)" in 'Linux x86_64') ;; \
		*) echo 'the embedded engine is for Linux on x86_64: use a ClickHouse server instead' >&2; exit 1;; \
	esac; \
	mkdir -p "$$dir"; \
	work="$$(mktemp -d "$$dir/install.XXXXXX")"; \
	trap 'rm -rf "$$work"' EXIT; trap 'exit 1' INT TERM; \
	npm pack --silent --ignore-scripts --pack-destination "$$work" '$(LIBCHDB_PACKAGE)'; \
	echo '$(LIBCHDB_TGZ_SHA256)  '"$$work/$(LIBCHDB_TGZ)" | sha256sum --check --quiet; \
	tar -xzf "$$work/$(LIBCHDB_TGZ)" -C "$$work" package/libchdb.so; \
	echo '$(LIBCHDB_SHA256)  '"$$work/package/libchdb.so" | sha256sum --check --quiet; \
	mv "$$work/package/libchdb.so" "$$dir/libchdb.so"; \
	echo "libchdb.so is installed in $$dir"
