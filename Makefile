# Everything a developer runs. On a fresh machine only make and Python >= 3.11 are needed:
# `make test` and `make demo` make their own environment in .venv first.
#
#   make demo     three nodes on this machine, writes, a killed leader, nothing lost
#   make test     what every change must pass: quick, and the same on a busy machine
#                 (make test ARGS="-k quorum -x" WORKERS=4)
#   make test-all every test there is, also long ones and those with real processes and faults
#   make lowest   the demo and unit tests with the oldest versions of all dependencies
#   make check    lint, types, imports, docs and `make test`
#   make bench    compare with PySyncObj and etcd (make bench ARGS="--quick")
#   make faults   real faults on real nodes, needs root (make faults MINUTES=5 ARGS="--nodes 5")
#   make sim      clusters in a simulator, many seeds (make sim SEEDS=0:2000 JOBS=2 ARGS="--minimize")
#   make mutants  plant faults, one after the other, and see that simulator and tests find each
#                 (make mutants ARGS="--only writer")
#   make wheels   build every distribution into dist/
#   make proto    regenerate the protobuf modules
#   make clean    remove what was built, .venv included

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet
ARGS ?=

# Tests start hundreds of processes: each would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))
PROJECTS := pyproject.toml $(PLUGINS:%=%/pyproject.toml)

.PHONY: help demo test test-all lowest check lint types imports docs bench faults sim mutants wheels proto clean

help:
	@sed -n 's/^#   //p' Makefile

# ---------------------------------------------------------------------------- environment

$(PY):
	@python=$$(./.ci/find-python) && echo "creating $(VENV) with $$python" && "$$python" -m venv $(VENV)

# One stamp per dependency group; a changed pyproject.toml installs again.
$(VENV)/.stamp-base: $(PROJECTS) | $(PY)
	@echo "installing braft, its plugins and what the tests need (once; a minute or so)"
	@$(PIP) --upgrade "pip>=25.1"
	@$(PIP) --group test --editable . $(PLUGINS:%=--editable ./%)
	@touch $@

$(VENV)/.stamp-%: $(VENV)/.stamp-base
	@echo "installing what '$*' needs"
	@$(PIP) --group $*
	@touch $@

# ---------------------------------------------------------------------------- what people run

demo: $(VENV)/.stamp-base
	@$(BIN)/braft demo $(ARGS)

# Tests that share what is dear to make run in one worker: `xdist_group`.
CORES := $(shell getconf _NPROCESSORS_ONLN)
PYTEST = $(PY) -m pytest --numprocesses $(WORKERS) --dist loadgroup

# Quick tests wait for a third of their time: one worker more than cores.
test: WORKERS ?= $(shell expr $(CORES) + 1)
test: $(VENV)/.stamp-base
	@$(PYTEST) $(ARGS)

test-all: WORKERS ?= $(CORES)
test-all: $(VENV)/.stamp-base
	@$(PYTEST) --all $(ARGS)

$(BIN)/uv: | $(PY)
	@$(PIP) uv

lowest: $(BIN)/uv
	@$(PY) .ci/lowest.py $(ARGS)

check: lint types imports docs test

lint: $(VENV)/.stamp-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/codespell

types: $(VENV)/.stamp-dev
	@$(BIN)/mypy

imports: $(VENV)/.stamp-dev
	@$(BIN)/lint-imports

docs: $(VENV)/.stamp-base
	@$(PY) -m pytest -q tests/packaging/test_docs.py

bench: $(VENV)/.stamp-bench
	@$(PY) -m benchmarks $(ARGS)

MINUTES ?= 1
faults: $(VENV)/.stamp-base
	@$(PY) -m braft_testing.faults --minutes $(MINUTES) $(ARGS)

SEEDS ?= 0:2000
JOBS ?= $(CORES)

sim: $(VENV)/.stamp-base
	@$(PY) -m braft_testing.simulation --seeds $(SEEDS) --jobs $(JOBS) --keep-going $(ARGS)

mutants: $(VENV)/.stamp-base
	@$(PY) -m tests.mutants.every --jobs $(JOBS) $(ARGS)

wheels: $(VENV)/.stamp-base
	@$(PY) -m pip --disable-pip-version-check wheel --quiet --no-deps --wheel-dir dist . $(PLUGINS:%=./%)
	@ls -l dist/*.whl

proto: $(VENV)/.stamp-dev
	@$(PY) -m braft_core.proto.generate

clean:
	rm -rf $(VENV) .venv-lowest .tox build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache \
		.hypothesis .coverage htmlcov benchmarks/results braft-data
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
