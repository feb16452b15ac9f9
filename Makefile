# Needs GNU make, git and Python 3.11 or newer; everything else goes into .venv.
DATASET ?= digits
KEEP ?=
PIP_ARGS ?=
PYTEST_ARGS ?=
JOBS ?= 2
BIN := .venv/bin
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name) 2>/dev/null)))

.DEFAULT_GOAL := help
.PHONY: help install lint format test chaos chaos-nightly demo bench wheel clean

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{printf "  make %-14s %s\n", $$1, $$2}'

install: .venv/installed ## the environment in .venv (PYTHON=python3.12, PIP_ARGS=... for pip)

.venv/installed: pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "make: Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip' 2>/dev/null \
		|| { echo "make: this Python lacks venv; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	"$(PYTHON)" -m venv .venv
	$(BIN)/pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@

lint: install ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## what ruff can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint ## lint, then all tests (PYTEST_ARGS="-k plan" for some, JOBS=1 for one after the other)
	$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

chaos: install ## what kills processes and damages connections, in minutes (part of make test)
	$(BIN)/pytest -m chaos $(PYTEST_ARGS)

chaos-nightly: install ## the same for hours, case by case; goes on where it was interrupted (CASE=R5 for one)
	$(BIN)/python -m tests.chaos.nightly $(CASE)

demo: install ## the whole job on real images (DATASET=cifar10, KEEP=1 leaves it serving)
	$(BIN)/stagetune demo --dataset $(DATASET) $(if $(KEEP),--keep)

bench: install ## measurements: claim, command, hardware, figures
	$(BIN)/python -m bench

wheel: install ## dist/*.whl
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## what can be made again; experiments in STAGETUNE_HOME stay
	rm -rf .venv .cache build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
