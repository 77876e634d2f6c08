# Two commands do everything on a fresh machine: `make train` and `make test`. Both set up what they need, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH ?= operators training_step
JOBS ?= 2
REV ?= HEAD
NATIVE := src/shiftaddaug/kernels/native

# torch and lightning are many thousand files: compile those that are imported once, not at every start
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup train test test-full lint format type check bench compare sanitize clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## make .venv with the pinned dependencies (once)

$(READY): pyproject.toml constraints.txt build_hook.py $(NATIVE)/build.py $(wildcard $(NATIVE)/c/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python >= 3.10 is needed, this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --reinstall-package shiftaddaug \
		--constraint constraints.txt --editable '.[dev]'
	@touch $@

train: $(READY) ## train the default experiment; ARGS="op=add seed=1" overrides
	$(BIN)/python src/train.py $(ARGS)

test: $(READY) ## run the tests but slow ones; ARGS="-k operators" selects, JOBS=0 keeps them in one process
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadscope -m "not slow" $(ARGS)

test-full: $(READY) ## run all tests, slow ones too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadscope $(ARGS)

lint: $(READY) ## check style
	$(BIN)/ruff check .

format: $(READY) ## rewrite files in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

type: $(READY) ## check types
	$(BIN)/mypy

check: lint type ## everything but the tests, changing nothing
	$(BIN)/ruff format --check .

bench: $(READY) ## measure operators and training steps as ratios; BENCH=operators ARGS="--shapes a1,c2" selects
	@set -e; for name in $(BENCH); do $(BIN)/python benchmarks/$$name.py $(ARGS); done

compare: $(READY) ## compare with what REV computes, bit by bit; REV=HEAD~1 ARGS="--quick" or ARGS="--only add/full"
	$(BIN)/python benchmarks/compare.py $(REV) $(ARGS)

sanitize: $(READY) ## run the native core under address, undefined-behaviour and thread sanitizers
	$(BIN)/python tests/kernels/sanitize.py $(ARGS)

clean: ## remove caches and build products; keeps .venv and logs
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
