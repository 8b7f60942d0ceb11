# Everything a person needs, from a fresh clone with CPython 3.11+, pip and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ENVS   ?= torch tensorflow openvino litert jax
PIP    := $(BIN)/pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help setup demo test heavy quick check bench format clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/demo.ok: pyproject.toml constraints.txt
	@echo "setting up $(VENV) (once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install -c constraints.txt -e '.[sklearn]'
	@touch $@

$(VENV)/dev.ok: pyproject.toml constraints.txt
	@echo "setting up $(VENV) with the development tools (once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/demo.ok

setup: $(VENV)/dev.ok ## A development environment in .venv

demo: $(VENV)/demo.ok ## Train the iris forest, serve it, print a URL and a curl line
	@$(BIN)/python examples/iris.py --serve

test: $(VENV)/dev.ok ## Every test, with every gate; each framework in an environment of its own
	@$(MAKE) --no-print-directory check
	@$(BIN)/python tools/test.py

heavy: $(VENV)/dev.ok ## The tests of the frameworks only
	@$(BIN)/python tools/test.py $(ENVS)

quick: $(VENV)/dev.ok ## The tests that take seconds
	@$(BIN)/python -m pytest -m "not slow"

check: $(VENV)/dev.ok ## Format, lint, types, layers, sizes, docs
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tools/gates.py

bench: $(VENV)/dev.ok ## Modelyard against its peers, on this machine
	@$(BIN)/python -m benchmarks

format: $(VENV)/dev.ok ## Rewrite the code in the house format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## Remove what the targets above made
	@rm -rf $(VENV) .envs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
