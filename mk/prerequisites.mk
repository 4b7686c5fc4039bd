# What has to be on the machine. On Debian as root it is installed, elsewhere it is named and nothing is touched.
#
# librdkafka is built from its source, so its build needs a C and a C++ compiler, make, pkg-config and the headers of OpenSSL and
# zlib; zstd and lz4 come with it. ClickHouse's engine is fetched by npm, Kafka's jars by Maven. Rust is not installed:
# how (rustup, a package, an image) is the user's choice.

.PHONY: prerequisites build-tools rust engine-tools kafka-tools

prerequisites: build-tools engine-tools kafka-tools connect-tools postgresql-tools prometheus-tools node-tools pip ## check everything that has to be on the machine; on Debian as root, install it

# $(call install,WHAT FOR,SHELL THAT LISTS DEBIAN PACKAGES IN $$missing): one apt-get for all of them. `a|b` is a where there is one.
# policy-rc.d keeps Debian from starting as a service what is installed as a program.
define install
@missing=''; $(2) \
[ -n "$$missing" ] || exit 0; \
if [ -f /etc/debian_version ] && [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
  set -e; apt-get update -q; \
  for package in $$missing; do \
    case "$$package" in *'|'*) \
      first=$${package%%|*}; \
      if apt-cache show "$$first" > /dev/null 2>&1; then package=$$first; else package=$${package##*|}; fi;; \
    esac; \
    set -- "$$@" "$$package"; \
  done; \
  policy=/usr/sbin/policy-rc.d; \
  [ -e "$$policy" ] || { trap 'rm -f /usr/sbin/policy-rc.d' EXIT; printf '#!/bin/sh\nexit 101\n' > "$$policy"; chmod +x "$$policy"; }; \
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$$@"; \
else \
  echo "$(1) needs more than is here; install (Debian's names):$$missing" | sed 's/|/ or /g' >&2; exit 1; \
fi
endef

build-tools: rust
	$(call install,building,\
	  command -v cc > /dev/null || missing="$$missing gcc libc6-dev"; \
	  command -v c++ > /dev/null || missing="$$missing g++"; \
	  command -v make > /dev/null || missing="$$missing make"; \
	  if ! command -v pkg-config > /dev/null; then missing="$$missing pkg-config libssl-dev zlib1g-dev"; else \
	    pkg-config --exists openssl || missing="$$missing libssl-dev"; \
	    pkg-config --exists zlib || missing="$$missing zlib1g-dev"; \
	  fi;)

# The oldest supported Rust is in Cargo.toml, and only there.
rust:
	@wanted=$$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml); \
	command -v $(CARGO) > /dev/null || { \
	  echo "Rust is missing: install $$wanted or newer with cargo, rustfmt and clippy (https://rustup.rs)" >&2; exit 1; }; \
	found=$$(rustc --version | cut -d' ' -f2); \
	[ "$$(printf '%s\n%s\n' "$$wanted" "$$found" | sort -V | head -n 1)" = "$$wanted" ] || { \
	  echo "Rust $$found is too old: $$wanted or newer is needed (rustup update)" >&2; exit 1; }

engine-tools:
	$(call install,fetching the ClickHouse engine,\
	  [ -f '$(LIBCHDB_DIR)/libchdb.so' ] || command -v npm > /dev/null || missing="$$missing npm";)

kafka-tools:
	$(call install,running Kafka in the tests,\
	  java_major=$$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p'); \
	  [ "$${java_major:-0}" -ge 17 ] || missing="$$missing openjdk-17-jre-headless|default-jre-headless"; \
	  [ -d '$(KAFKA_DIR)' ] || command -v mvn > /dev/null || missing="$$missing maven";)
