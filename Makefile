# `make demo` and `make test` set everything up in .venv and need only Python 3.11, pip and make.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MHMODELS_HOME ?= $(CURDIR)/build/home
# Processes that run tests beside each other; each takes up to 3 GB, in the slow tests up to 7.
JOBS ?= 2
PYTEST := $(BIN)/python -P -m pytest -n $(JOBS) --dist worksteal

.PHONY: demo test slow lint types bench clean

demo: $(STAMP)
	MHMODELS_HOME="$(MHMODELS_HOME)" $(BIN)/python -P examples/demo.py

test: $(STAMP)
	$(PYTEST)

slow: $(STAMP)
	$(PYTEST) -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -P -m pytest -o addopts="" -q --strict-markers tests/benchmarks --benchmark-only

# Debian's Python comes without ensurepip; virtualenv, installed beside, does the same without root.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV) 2>/dev/null || { \
	  rm -rf $(VENV) && \
	  $(PYTHON) -m pip install --quiet --target build/bootstrap virtualenv && \
	  PYTHONPATH=build/bootstrap $(PYTHON) -m virtualenv --quiet $(VENV); }

$(STAMP): $(VENV)/bin/python setup.py pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
