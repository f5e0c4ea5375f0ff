# The commands of this project; `make` alone lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOVEREIGN := build/sovereign/.installed
PROCESSES ?= 3
# The services are started hundreds of times by the tests, which takes a quarter longer when nothing compiled is kept.
unexport PYTHONDONTWRITEBYTECODE
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.DEFAULT_GOAL := help
.PHONY: help setup demo test screenshots matrix bench soak fuzz lint format protos lock clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv with the locked dependencies and this project, editable

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@echo "installing the locked dependencies into $(VENV), about half a minute"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(SOVEREIGN): tests/planes/sovereign.lock
	@echo "installing Sovereign, a control plane of the tests, into build/sovereign"
	$(PYTHON) -m venv --clear build/sovereign
	build/sovereign/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

demo: $(STAMP) ## Envoy with all three services, and what each does (ONCE=1, DEMO_PORT=8000)
	@$(BIN)/python -m envoy_demo $(if $(filter-out 0,$(ONCE)),--once)

test: $(STAMP) $(SOVEREIGN) ## run the whole test suite (TESTS=path for a part, PROCESSES=0 for one after another)
	@command -v redis-server >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq redis-server; } || \
		echo "No redis-server: the tests on Debian's Redis are skipped"
	@command -v chromium >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq chromium; } || \
		echo "No chromium: the tests of the tap console are skipped"
	@# By itself xdist begins with the files of many tests, and these are short ones.
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder $(TESTS)

screenshots: $(STAMP) ## renew the pictures of the tap console in docs/images
	CONSOLE_SCREENSHOTS=docs/images $(BIN)/python -m pytest -q tests/tap/console/test_story.py tests/tap/console/test_hostile.py

matrix: $(STAMP) $(SOVEREIGN) ## the end-to-end tests on other versions of Envoy (ENVOY=1.36 for one, TESTS=path)
	$(BIN)/python -m tests.matrix $(if $(ENVOY),--only $(ENVOY)) $(TESTS)

build/helm/helm: ## build Helm from its Go module, with which the chart is tested; takes three minutes
	@command -v go >/dev/null || { echo "No go: Helm is built from its Go module (https://go.dev/doc/install)"; exit 1; }
	GOBIN=$(CURDIR)/build/helm go install -ldflags='-s -w' helm.sh/helm/v3/cmd/helm@v3.22.0

bench: $(STAMP) ## measure services and transports with h2load (ROUNDS=3 ONLY=authz); writes build/bench
	@command -v h2load >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq nghttp2-client; }
	$(BIN)/python -m tests.bench $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only "$(ONLY)")

soak: $(STAMP) ## hold ratelimit under load, reloads and restarts of Redis (MINUTES=10)
	@command -v h2load >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq nghttp2-client; }
	$(BIN)/python -m tests.soak.ratelimit $(if $(MINUTES),--minutes $(MINUTES))

fuzz: $(STAMP) ## fuzz the authz handler, guided by coverage (SECONDS=60); what it finds is kept in build/fuzz
	@mkdir -p build/fuzz/corpus
	$(BIN)/python -m tests.fuzz.authz_check build/fuzz/corpus -max_total_time=$(or $(SECONDS),60) -artifact_prefix=build/fuzz/

lint: $(STAMP) ## ruff, mypy --strict, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

format: $(STAMP) ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

protos: $(STAMP) ## generate the wire classes from protos/
	$(BIN)/python protos/generate.py

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-header --no-annotate

lock: $(STAMP) ## renew the locked dependencies from pyproject.toml (UPGRADE=1 for newer versions)
	$(BIN)/pip install --quiet uv
	$(COMPILE) $(if $(UPGRADE),--upgrade) --all-extras --output-file requirements.lock pyproject.toml
	$(COMPILE) --extra authz --extra ratelimit --extra tap --extra otlp --constraint requirements.lock \
		--output-file requirements-services.lock pyproject.toml
	$(COMPILE) $(if $(UPGRADE),--upgrade) --output-file tests/planes/sovereign.lock tests/planes/sovereign.in

clean: ## remove .venv and all caches
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
