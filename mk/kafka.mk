# `make kafka-engine`: Apache Kafka itself for the integration tests, which start and stop it on their own.
#
# The jars are pinned twice: tests/kafka/pom.xml has the versions, tests/kafka/jars.sha256 the bytes. A jar more, fewer
# or different is refused, because a test that ran against another broker than it names proves nothing.
# To renew the list after changing a version: (cd DIR && LC_ALL=C sha256sum *) > tests/kafka/jars.sha256

KAFKA_DIR := $(DEALPULSE_CACHE)/kafka-4.4.0
KAFKA_POM := $(CURDIR)/tests/kafka/pom.xml
KAFKA_SUMS := $(CURDIR)/tests/kafka/jars.sha256

# Java 17 or newer runs the broker, Maven fetches it: mk/prerequisites.mk installs both.

# Shell text: the names and sums of the files in $(1), in the order of the committed list.
kafka_sums = (cd '$(1)' 2>/dev/null && sha256sum * 2>/dev/null)

.PHONY: kafka-engine

kafka-engine: export LC_ALL := C
kafka-engine: kafka-tools ## install Apache Kafka for the tests (43 MB)
	@if $(call kafka_sums,$(KAFKA_DIR)) | cmp -s - '$(KAFKA_SUMS)'; then \
	  echo "kafka-engine: $(KAFKA_DIR) is complete"; exit 0; \
	fi; \
	set -e; \
	part='$(KAFKA_DIR).part'; rm -rf "$$part"; mkdir -p "$$part"; \
	trap 'rm -rf "$$part"' EXIT; \
	echo "kafka-engine: fetching Apache Kafka into $(KAFKA_DIR)"; \
	mvn -q -B -Dstyle.color=never -f '$(KAFKA_POM)' dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$$part"; \
	if ! $(call kafka_sums,$(KAFKA_DIR).part) | diff '$(KAFKA_SUMS)' -; then \
	  echo "kafka-engine: these jars are not the ones in $(KAFKA_SUMS); nothing was installed" >&2; exit 1; \
	fi; \
	rm -rf '$(KAFKA_DIR)'; mv "$$part" '$(KAFKA_DIR)'; \
	echo "kafka-engine: installed and verified"
