# Every target installs what it needs into .venv. `make` alone lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 1
SECONDS ?= 60
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test check bench storm format clean

help:  ## List the targets
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "Neutrino needs Python 3.11 to 3.13; name one with: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[all]'
	@touch $@

$(VENV)/.development: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.runtime

$(VENV)/.demonstration: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[demo]'
	$(BIN)/python -m orchestrator.embedded.demo.azurite
	@touch $@ $(VENV)/.runtime

demo: $(VENV)/.demonstration  ## Train a classifier, kill its worker, move it through three clouds; KEEP=1 leaves it up
	@$(BIN)/neutrino demo $(if $(KEEP),--keep)

test: $(VENV)/.development  ## Run the tests; TESTS="-m slow" runs the minutes-long ones
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(TESTS)

check: $(VENV)/.development  ## Lint, types, and the architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.development  ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.development  ## Measure, as ratios against a peer or a limit of the same run
	@$(BIN)/python -m bench

storm: $(VENV)/.development  ## Random faults over thousands of jobs, then an oracle: SEED=1 SECONDS=60
	@$(BIN)/python -m tests.storm --seed $(SEED) --seconds $(SECONDS)

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
