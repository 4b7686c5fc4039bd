# Profile-guided optimisation: the release binary is built twice, and compiled the second time by what the first one did in the benchmark's whole pipeline.
#
# The profile belongs to the very code it was made of, so that none is kept in the project, and to functions by the names they were compiled under. These
# depend on the features of dependencies, which the development dependencies change: both programs are built as the benchmark builds it.

.PHONY: pgo pgo-tools

PGO_DIR := $(CURDIR)/target/pgo
LLVM_PROFDATA = $(shell rustc --print sysroot)/lib/rustlib/$(shell rustc -vV | sed -n 's/^host: //p')/bin/llvm-profdata

pgo: build-tools engines pgo-tools ## build the release binary by a profile of itself: a few per cent less CPU for a quarter of an hour (target/pgo/dealpulse)
	rm -rf '$(PGO_DIR)/profiles'
	RUSTFLAGS='-Cprofile-generate=$(PGO_DIR)/profiles' $(CARGO) bench --locked --bench pipeline --target-dir '$(PGO_DIR)/measuring' -- --quick --only whole
	'$(LLVM_PROFDATA)' merge -o '$(PGO_DIR)/profile' '$(PGO_DIR)/profiles'
	RUSTFLAGS='-Cprofile-use=$(PGO_DIR)/profile' $(CARGO) bench --locked --bench pipeline --no-run --target-dir '$(PGO_DIR)/built'
	@# A profile of other names would be passed over without a word.
	@'$(LLVM_PROFDATA)' show --all-functions '$(PGO_DIR)/profile' | grep -o '_[RZ]N[^ :;]*9dealpulse[^ :;]*' | sort -u > '$(PGO_DIR)/names'
	@grep -aoFf '$(PGO_DIR)/names' '$(PGO_DIR)/built/release/dealpulse' | sort -u | awk 'END { if (NR < 100) { print "make pgo: the profile is of another program: it names " NR " functions of this one" > "/dev/stderr"; exit 1 } }'
	cp '$(PGO_DIR)/built/release/dealpulse' '$(PGO_DIR)/dealpulse'

# Of the same version as the compiler, whose profiles no other reads.
pgo-tools:
	@test -x '$(LLVM_PROFDATA)' || rustup component add llvm-tools || \
	  { echo 'make pgo needs llvm-profdata of the compiler: install it with `rustup component add llvm-tools`' >&2; exit 1; }
