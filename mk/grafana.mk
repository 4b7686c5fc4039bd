# Grafana's dashboards and alert rules: written by the package in grafana/generator/, committed, and checked in the tests.

GENERATOR := grafana/generator

.PHONY: dashboards grafana-packages node-tools

dashboards: grafana-packages ## write the dashboards and rules of grafana/ from their sources in grafana/generator/
	npm run --silent --prefix $(GENERATOR) write

# Pinned by the lock file's hashes. npm writes node_modules/.package-lock.json last, so an interrupted installation is done again.
grafana-packages: node-tools
	@[ $(GENERATOR)/node_modules/.package-lock.json -nt $(GENERATOR)/package-lock.json ] || \
	  (cd $(GENERATOR) && npm ci --silent && touch node_modules/.package-lock.json)

node-tools:
	$(call install,Grafana's dashboards,\
	  command -v npm > /dev/null || missing="$$missing npm";)
