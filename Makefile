# What a newcomer types. Needs Python 3.11 to 3.13 and make; everything else goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL_INPUTS := pyproject.toml constraints.txt scripts/install.py
# Where it is set every start compiles all modules anew, and tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help quickstart test install lint types layers unit format docs wheel clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

quickstart: $(VENV)/.installed-cpu ## environment + the main job: ladder -> Ray -> vLLM -> samples -> verdict -> report
	$(BIN)/python -m scaling_exp run +experiment=quickstart

test: lint types layers unit ## environment + all checks and tests

install: $(VENV)/.installed-dev ## the environment with the development tools

lint: $(VENV)/.installed-dev ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.installed-dev ## pyright
	$(BIN)/pyright

layers: $(VENV)/.installed-dev ## import-linter: who may import whom
	$(BIN)/lint-imports

unit: $(VENV)/.installed-dev ## pytest, all of it: what is quick side by side, then what starts engines, Ray and browsers
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' -n auto --maxprocesses 8 --dist loadfile
	$(BIN)/python -m pytest -m slow

format: $(VENV)/.installed-dev ## rewrite the sources as ruff wants them
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.installed-dev ## the documentation as a site, in site/; every link in it is checked
	$(BIN)/mkdocs build --strict

wheel: $(VENV)/.installed-dev ## dist/*.whl, with conf/ and the ladder inside
	$(BIN)/python -m build --wheel

clean: ## caches and build output; keeps runs/ and .venv
	rm -rf build dist site .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -path ./$(VENV) -prune -o -path ./runs -prune -o -name __pycache__ -type d -exec rm -rf {} +

# pip rather than python: a venv whose pip could not be set up is not one.
$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "There is no '$(PYTHON)'. Install Python 3.11, 3.12 or 3.13, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { \
	  echo "Python 3.11, 3.12 or 3.13 is needed, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { \
	  echo "No virtual environment could be made. On Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/.installed-cpu: $(INSTALL_INPUTS) | $(BIN)/pip
	$(BIN)/python scripts/install.py cpu
	@touch $@

# With `cpu` in the same call unless that is up to date: pip then weighs all requirements against each other once.
$(VENV)/.installed-dev: $(INSTALL_INPUTS) | $(BIN)/pip
	$(BIN)/python scripts/install.py $(if $(shell find $(VENV)/.installed-cpu $(INSTALL_INPUTS:%=-newer %) 2>/dev/null),,cpu) dev docs
	@touch $(VENV)/.installed-cpu $@
