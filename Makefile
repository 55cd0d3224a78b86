# Everything here makes what it needs. `make demo` and `make test` are the two to know.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3

.PHONY: install packages check test demo bench proto prices coverage-table dashboards collector collector-validate clean

$(VENV)/.installed: pyproject.toml constraints.txt
	tools/install_packages.sh python3-venv="$(PYTHON) -c 'import ensurepip'"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[demo,dashboards]" --group dev
	touch $@

install: $(VENV)/.installed  ## the virtual environment, with everything pinned

packages:  ## Prometheus from Debian, where it is missing and we may install it
	@tools/install_packages.sh

check: install  ## format, lint, types, the import rule, tidiness
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	tools/generate_proto.sh --check
	$(BIN)/pytest tests/test_tidy.py

test: install packages collector  ## every test; nothing is skipped for a missing service
	$(BIN)/pytest

demo: install  ## the whole system at work in about a minute, checked to the nano-USD
	$(BIN)/llm-cost demo $(DEMO_ARGS)

bench: install  ## measures and prints; passes or fails on nothing
	$(BIN)/python -m benchmarks

proto:  ## the stubs from policy.proto
	tools/generate_proto.sh

prices: install  ## the price table from the installed genai-prices
	$(BIN)/python tools/generate_prices.py

coverage-table: install  ## docs/coverage.md from the run of the client tests
	$(BIN)/pytest tests/instrumentation/providers --write-coverage-table

dashboards: install  ## grafana/dashboards/*.json from code
	$(BIN)/python -m llm_cost_dashboards

collector:  ## an OpenTelemetry Collector, built once and cached outside the checkout
	@tools/build_collector.sh >/dev/null

collector-validate: collector  ## otel-collector.yaml through the real Collector
	"$$(tools/build_collector.sh)" validate --config otel-collector.yaml

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
