# Prometheus and Alertmanager, which the tests of the rules and the dashboards start on loopback: Debian's, 2.42 and 0.25, or newer ones on the PATH.

.PHONY: prometheus-tools

# Upstream names the second `alertmanager`, Debian `prometheus-alertmanager`; either will do.
prometheus-tools:
	$(call install,running Prometheus and Alertmanager in the tests,\
	  command -v prometheus > /dev/null && command -v promtool > /dev/null || missing="$$missing prometheus"; \
	  command -v amtool > /dev/null && { command -v prometheus-alertmanager || command -v alertmanager; } > /dev/null \
	    || missing="$$missing prometheus-alertmanager";)
