# `make prometheus-tools`: Prometheus and Alertmanager for the tests, which start and stop them on their own.
#
# Debian's packages are installed on Debian as root; elsewhere they are named. Debian calls the Alertmanager
# prometheus-alertmanager, its own releases alertmanager.

.PHONY: prometheus-tools

prometheus-tools:
	$(call install,checking dashboards and alerts,\
	  { command -v prometheus && command -v promtool; } > /dev/null || missing="$$missing prometheus"; \
	  { command -v prometheus-alertmanager || command -v alertmanager; } > /dev/null && command -v amtool > /dev/null || missing="$$missing prometheus-alertmanager";)
