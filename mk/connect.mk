# `make connect-engine`: Kafka Connect with Debezium and an Avro converter, and a schema registry, for tests/debezium.rs, which starts and stops them on its own.
#
# As mk/kafka.mk has it for the broker: tests/connect/pom.xml has the versions of the jars, tests/connect/jars.sha256 the bytes. To renew the list after
# changing a version: (cd DIR && LC_ALL=C sha256sum *) > tests/connect/jars.sha256. The registry is one archive, pinned here.

CONNECT_DIR := $(DEALPULSE_CACHE)/connect-4.3.1-debezium-3.6.0
CONNECT_POM := $(CURDIR)/tests/connect/pom.xml
CONNECT_SUMS := $(CURDIR)/tests/connect/jars.sha256

REGISTRY_DIR := $(DEALPULSE_CACHE)/apicurio-registry-2.6.13
REGISTRY_ARTIFACT := io.apicurio:apicurio-registry-app:2.6.13.Final:tar.gz:all
REGISTRY_TGZ := apicurio-registry-app-2.6.13.Final-all.tar.gz
REGISTRY_TGZ_SHA256 := 3cda1b34aa020fb4ac4dd6a66018d757e81e437f97e20a1f92d366b70091c6ba
REGISTRY_JAR := apicurio-registry-app-2.6.13.Final-runner.jar
MAVEN_COPY := org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy

.PHONY: connect-engine connect-tools postgresql-tools redmine-tools

# Each directory is at its path only once it is complete and verified.
connect-engine: export LC_ALL := C
connect-engine: connect-tools ## install Kafka Connect with Debezium and a schema registry for the tests (190 MB)
	@set -eu; \
	if $(call kafka_sums,$(CONNECT_DIR)) | cmp -s - '$(CONNECT_SUMS)'; then echo "connect-engine: $(CONNECT_DIR) is complete"; else \
	  part='$(CONNECT_DIR).part'; rm -rf "$$part"; mkdir -p "$$part"; \
	  trap 'rm -rf "$$part"' EXIT; trap 'exit 1' INT TERM; \
	  echo "connect-engine: fetching Kafka Connect into $(CONNECT_DIR)"; \
	  mvn -q -B -Dstyle.color=never -f '$(CONNECT_POM)' dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$$part"; \
	  if ! $(call kafka_sums,$(CONNECT_DIR).part) | diff '$(CONNECT_SUMS)' -; then \
	    echo "connect-engine: these jars are not the ones in $(CONNECT_SUMS); nothing was installed" >&2; exit 1; \
	  fi; \
	  rm -rf '$(CONNECT_DIR)'; mv "$$part" '$(CONNECT_DIR)'; \
	  echo "connect-engine: installed and verified"; \
	fi
	@set -eu; \
	if [ -f '$(REGISTRY_DIR)/$(REGISTRY_JAR)' ]; then echo "connect-engine: $(REGISTRY_DIR) is complete"; exit 0; fi; \
	part='$(REGISTRY_DIR).part'; rm -rf "$$part"; mkdir -p "$$part/registry"; \
	trap 'rm -rf "$$part"' EXIT; trap 'exit 1' INT TERM; \
	echo "connect-engine: fetching the schema registry into $(REGISTRY_DIR)"; \
	mvn -q -B -Dstyle.color=never $(MAVEN_COPY) -Dartifact='$(REGISTRY_ARTIFACT)' -DoutputDirectory="$$part"; \
	echo '$(REGISTRY_TGZ_SHA256)  '"$$part/$(REGISTRY_TGZ)" | sha256sum --check --quiet; \
	tar -xzf "$$part/$(REGISTRY_TGZ)" -C "$$part/registry"; \
	rm -rf '$(REGISTRY_DIR)'; mv "$$part/registry" '$(REGISTRY_DIR)'; \
	echo "connect-engine: installed and verified"

connect-tools:
	$(call install,running Kafka Connect in the tests,\
	  java_major=$$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p'); \
	  [ "$${java_major:-0}" -ge 17 ] || missing="$$missing openjdk-17-jre-headless|default-jre-headless"; \
	  [ -d '$(CONNECT_DIR)' ] && [ -d '$(REGISTRY_DIR)' ] || command -v mvn > /dev/null || missing="$$missing maven";)

# The tests start it on a directory of their own, by its own user where they run as root; no service is needed. Debian has its programs outside the PATH.
postgresql-tools:
	$(call install,running PostgreSQL in the tests,\
	  command -v psql > /dev/null && { ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || command -v initdb > /dev/null; } \
	    || missing="$$missing postgresql";)

# Debian's own, with no database set up for it and no web server: the test gives it a database of its own.
redmine-tools: postgresql-tools
	@[ -d /usr/share/redmine ] || [ "$$(id -u)" != 0 ] || ! command -v debconf-set-selections > /dev/null \
	  || echo 'redmine redmine/instances/default/dbconfig-install boolean false' | debconf-set-selections
	$(call install,running a real Redmine in make soak,\
	  [ -d /usr/share/redmine ] && [ -d /usr/share/doc/redmine-pgsql ] || missing="$$missing redmine redmine-pgsql";)
