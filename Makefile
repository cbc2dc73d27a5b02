# `make demo` and `make test` set everything up in .venv and need only Python 3.11, pip and make.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MHMODELS_HOME ?= $(CURDIR)/build/home
# Processes that run tests beside each other; each takes up to 3 GB, in the slow tests up to 7.
JOBS ?= 2
# One BLAS thread each: those of several processes would wait for each other.
PYTEST := OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
BENCH := $(BIN)/python -m pytest -o addopts="" -q --strict-markers tests/benchmarks --benchmark-only

.PHONY: demo test slow kernels lint types bench bench-short clean

demo: $(STAMP)
	MHMODELS_HOME="$(MHMODELS_HOME)" $(BIN)/python examples/demo.py

test: $(STAMP)
	$(PYTEST)

slow: $(STAMP)
	$(PYTEST) -m slow

# The numeric tests with other kernels: TensorFlow's own instead of oneDNN's, and those of a CPU without AVX-512.
NUMERIC := $(PYTEST) -m "numeric and not slow"
AVX2 := ONEDNN_MAX_CPU_ISA=AVX2 XLA_FLAGS=--xla_cpu_max_isa=AVX2 OPENBLAS_CORETYPE=Haswell \
  NPY_DISABLE_CPU_FEATURES="AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL"

kernels: $(STAMP)
	TF_ENABLE_ONEDNN_OPTS=0 $(NUMERIC)
	$(AVX2) $(NUMERIC)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

# Needs a quiet machine. Asserts what holds on any machine, and reports the rest.
bench: $(STAMP)
	$(BENCH)

# Every benchmark once, small and without assertions about time: shows which one is broken.
bench-short: $(STAMP)
	MHMODELS_SHORT_BENCHMARKS=1 $(BENCH)

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
