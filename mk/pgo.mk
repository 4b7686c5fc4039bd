# Profile-guided optimisation: the release binary is built twice, and compiled the second time by what the first one did in the benchmark's whole pipeline.
#
# The profile belongs to the very code it was made of, so that none is kept in the project.

.PHONY: pgo pgo-tools

PGO_DIR := $(CURDIR)/target/pgo
LLVM_PROFDATA = $(shell rustc --print sysroot)/lib/rustlib/$(shell rustc -vV | sed -n 's/^host: //p')/bin/llvm-profdata

pgo: build-tools engines pgo-tools ## build the release binary by a profile of itself: about a tenth less CPU for a quarter of an hour (target/pgo/dealpulse)
	rm -rf '$(PGO_DIR)/profiles'
	RUSTFLAGS='-Cprofile-generate=$(PGO_DIR)/profiles' $(CARGO) bench --locked --bench pipeline --target-dir '$(PGO_DIR)/measuring' -- --quick --only whole
	'$(LLVM_PROFDATA)' merge -o '$(PGO_DIR)/profile' '$(PGO_DIR)/profiles'
	RUSTFLAGS='-Cprofile-use=$(PGO_DIR)/profile' $(CARGO) build --release --locked --target-dir '$(PGO_DIR)/built'
	cp '$(PGO_DIR)/built/release/dealpulse' '$(PGO_DIR)/dealpulse'

# Of the same version as the compiler, whose profiles no other reads.
pgo-tools:
	@test -x '$(LLVM_PROFDATA)' || rustup component add llvm-tools || \
	  { echo 'make pgo needs llvm-profdata of the compiler: install it with `rustup component add llvm-tools`' >&2; exit 1; }
