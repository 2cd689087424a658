# What a developer types.  Needs Python 3.11 or later (with venv), git and make; nothing else:
# `make setup` installs the rest, locked by hash, into .venv.
#   PYTHON=python3.12   another interpreter for .venv
#   LILLIPUT_SHARED=dir models and data for the tests that want them

.DEFAULT_GOAL := help
.PHONY: help setup setup-torch demo check test test-all test-rest test-models fuzz bench accuracy fit lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
DEMO_STAMP := $(VENV)/.ready-demo
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED := --require-hashes --only-binary :all: -r
C_SOURCES := $(wildcard src/lilliput/*/csrc/*.[ch] src/lilliput/*/csrc/*/*.[ch])
LOCKS := requirements/dev.lock requirements/oracle.lock

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with the locked versions and lilliput itself
	@echo "ready: $(BIN)/lilliput"

$(STAMP): pyproject.toml $(LOCKS)
	@$(PYTHON) tools/check_python.py
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) $(LOCKED) requirements/dev.lock
	@$(INSTALL) $(LOCKED) requirements/oracle.lock \
	  || echo "note: TFLite Micro is not installed, for the reason above (it has wheels for Linux" \
	          "x86-64 and macOS only); the tests that compare with it will be skipped"
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $(DEMO_STAMP) $@

# Not a part of `setup`: on Linux the package index has it with gigabytes of CUDA.  TORCH_FROM is
# where the CPU build comes from; empty for pip's own index.
TORCH ?= torch==2.13.0
TORCH_FROM ?= --index-url https://download.pytorch.org/whl/cpu

setup-torch: $(STAMP) ## add PyTorch (CPU) to .venv, for the tests that need it
	$(INSTALL) "$(TORCH)" $(TORCH_FROM)

# The demo needs a third of what development needs; `make setup` satisfies it too.
$(DEMO_STAMP): pyproject.toml requirements/demo.lock
	@$(PYTHON) tools/check_python.py
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) $(LOCKED) requirements/demo.lock
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(DEMO_STAMP) ## the main job end to end on real digits
	$(BIN)/lilliput demo

check: $(STAMP) ## format, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	@if [ -z "$(C_SOURCES)" ]; then :; \
	elif command -v clang-format >/dev/null; then \
	  echo "clang-format --dry-run ($(words $(C_SOURCES)) files)"; \
	  clang-format --dry-run -Werror $(C_SOURCES); \
	else echo "note: clang-format is not installed; the C sources' layout is not checked"; fi

test: $(STAMP) ## the ordinary tests: pip-installed compiler and emulator only, no network
	env -u LILLIPUT_SHARED $(BIN)/pytest -n 2 -m "not slow and not models" $(ARGS)

test-all: $(STAMP) ## every test but the full run of published networks: slow ones, every compiler, LILLIPUT_SHARED
	HYPOTHESIS_PROFILE=thorough $(BIN)/pytest -n 2 -m "not models" $(ARGS)

# Hypothesis marks the tests that it runs; under `thorough` they look at more examples.
test-rest: $(STAMP) ## of test-all what `make test` leaves out, or does with fewer examples
	HYPOTHESIS_PROFILE=thorough $(BIN)/pytest -n 2 -m "(slow or shared or hypothesis) and not models" $(ARGS)

test-models: $(STAMP) ## the published networks, bit for bit
	$(BIN)/pytest -n 2 -m models $(ARGS)

fuzz: $(STAMP) ## change files until something breaks, guided by coverage; ARGS="--seconds 3600"
	@$(BIN)/python -c "import atheris" 2>/dev/null || $(INSTALL) "atheris>=3.0,<4"
	$(BIN)/python -m tests.fuzz $(ARGS)

bench: $(STAMP) ## measure the published networks in every mode, write results.json and docs/benchmarks.md
	$(BIN)/python -m benchmarks $(ARGS)
	$(BIN)/python -m benchmarks.steps

accuracy: $(STAMP) ## train on four tasks for docs/training-results.md, hours; goes on where it was interrupted
	$(BIN)/python -m benchmarks.training --page $(ARGS)

fit: $(STAMP) ## measure every kernel again and fit the planner's cost model
	$(BIN)/python -m benchmarks.fit $(ARGS)

# Compiled with uv in an environment of its own; every platform's versions end up in one file.
lock: ## choose and lock the newest versions that pyproject.toml allows
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet uv
	$(VENV)-lock/bin/python tools/lock.py

clean: ## remove everything that the other commands made
	rm -rf $(VENV) $(VENV)-lock build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
