# Everything a person or CI does with this project. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NODE := tests/clients/node
BACKENDS := .venv-backends

.PHONY: help install run test backends check bench chaos docs lock clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed ## set up .venv from hash-locked requirements; leaves .venv/bin/gateway

$(VENV)/.installed: requirements/test.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/test.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The Node clients of tests/clients; without npm their tests are skipped.
$(NODE)/node_modules/.installed: $(NODE)/package.json $(NODE)/package-lock.json
	@if command -v npm > /dev/null; then \
		npm ci --prefix $(NODE) --no-audit --no-fund --ignore-scripts --loglevel=error && touch $@; \
	else \
		echo "npm is not on the PATH: the tests with Node clients will be skipped"; \
	fi

# Phoenix and MLflow for tests/backends: 200 packages, which pip takes four minutes for and uv 15 seconds.
$(BACKENDS)/.installed: requirements/backends.txt
	test -x $(BACKENDS)/bin/python || $(PYTHON) -m venv $(BACKENDS)
	sed -n '/^uv==/,/# via/p' requirements/backends.txt > $(BACKENDS)/uv.txt
	$(BACKENDS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(BACKENDS)/uv.txt
	$(BACKENDS)/bin/uv pip install --quiet --python $(BACKENDS)/bin/python --require-hashes -r requirements/backends.txt
	@touch $@

run: install ## serve on 127.0.0.1:8080 with the starter policies
	@$(BIN)/gateway serve --quickstart

test: install $(NODE)/node_modules/.installed ## run all tests
	$(BIN)/python -m pytest -q

backends: install $(BACKENDS)/.installed ## run the tests with real tracing back ends (Phoenix, MLflow); installs them, 1 GB
	$(BIN)/python -m pytest -q tests/backends

check: install ## lint, types, layers, dead code, locks
	$(BIN)/ruff check gateway tests bench chaos
	$(BIN)/ruff format --check gateway tests bench chaos
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture
	@! grep -nE 'https?://' requirements/*.txt || (echo "lock files must not name a registry" && exit 1)

lock: ## write the hash-locked requirements anew (needs uv)
	uv pip compile --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -q pyproject.toml requirements/build.in -o requirements/run.txt
	uv pip compile --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -q pyproject.toml requirements/build.in requirements/test.in -o requirements/test.txt
	uv pip compile --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -q requirements/backends.in -o requirements/backends.txt

bench: install ## measure the gateway beside nginx and Envoy (needs wrk; the two where installed)
	@$(BIN)/python -m bench

chaos: install ## kill, freeze and starve the gateway, and check that nothing is lost or counted twice
	@$(BIN)/python -m chaos

docs: install ## write the pages of docs/ that are made from the code
	$(BIN)/python -m tests.support.docs
	$(BIN)/python -m tests.wire.coverage > docs/coverage.md
	$(BIN)/python -m tests.support.evasion
	$(BIN)/python -m tests.support.dashboards

clean: ## remove what install made
	rm -rf $(VENV) $(BACKENDS) $(NODE)/node_modules
