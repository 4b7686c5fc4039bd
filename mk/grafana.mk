# Grafana's dashboards and alert rules: written by the package in grafana/generator/, committed, and checked in the tests.

GENERATOR := grafana/generator
PICTURES := grafana/pictures

.PHONY: dashboards grafana-packages pictures pictures-packages pictures-tools node-tools

dashboards: grafana-packages ## write the dashboards and rules of grafana/ from their sources in grafana/generator/
	npm run --silent --prefix $(GENERATOR) write

# A tool of development: it takes 500 MB of packages and some minutes, and nothing else needs it.
pictures: build-tools clickhouse-engine prometheus-tools dashboards pictures-packages pictures-tools ## photograph the dashboards of a demonstration into docs/pictures/
	$(CARGO) build --release --locked
	cd $(PICTURES) && npx vite build --logLevel warn
	node $(PICTURES)/main.mjs $(CARGO) run --quiet --release --locked --

# Pinned by the lock file's hashes. npm writes node_modules/.package-lock.json last, so an interrupted installation is done again.
grafana-packages: node-tools
	@[ $(GENERATOR)/node_modules/.package-lock.json -nt $(GENERATOR)/package-lock.json ] || \
	  (cd $(GENERATOR) && npm ci --silent && touch node_modules/.package-lock.json)

pictures-packages: node-tools
	@[ $(PICTURES)/node_modules/.package-lock.json -nt $(PICTURES)/package-lock.json ] || \
	  (cd $(PICTURES) && npm ci --silent && touch node_modules/.package-lock.json)

pictures-tools:
	$(call install,photographing the dashboards,\
	  command -v chromium > /dev/null || missing="$$missing chromium"; \
	  command -v pngquant > /dev/null || missing="$$missing pngquant";)

node-tools:
	$(call install,Grafana's dashboards,\
	  command -v npm > /dev/null || missing="$$missing npm";)
