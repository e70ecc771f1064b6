# One environment, .venv/, made on the first call from requirements/cpu.lock; every target below uses it.
PYTHON ?= python3
# Only what is given becomes an option: the rest is left to the THUMBWHEEL_ variables and their defaults.
UP     := $(if $(HOST),--host "$(HOST)") $(if $(PORT),--port "$(PORT)") $(if $(DATA),--data "$(DATA)") \
          $(if $(MODEL),--model "$(MODEL)")

BIN   := .venv/bin
SETUP := @$(PYTHON) deploy/setup_venv.py

# Tests that start an engine, a broker or several processes have the machine to themselves; the others share it.
ALONE := tests/e2e tests/integration/learner tests/integration/sdk tests/integration/service \
         $(wildcard tests/integration/test_*.py)

.DEFAULT_GOAL := help
.PHONY: help setup demo up test experiments lint format lock clean

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv/ (every other target does this first)
	$(SETUP)

demo: ## the whole loop on simulated people; report in build/demo/ (ARGS="--seed 2 …")
	$(SETUP)
	@$(BIN)/thumbwheel demo $(ARGS)

up: ## service and learner; HOST= PORT= DATA= MODEL=<local path or hub id>; Ctrl-C stops all of it
	$(SETUP)
	@$(BIN)/thumbwheel up $(UP) $(ARGS)

test: ## linters, strict types, import contracts, then the tests (ARGS="tests/unit -k …": only those)
	$(SETUP)
	@$(MAKE) --no-print-directory lint-only
ifdef ARGS
	$(BIN)/python -m pytest $(ARGS)
else
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests $(ALONE:%=--ignore=%)
	$(BIN)/python -m pytest $(ALONE)
endif

experiments: ## every learning claim, measured (a day); ARGS=--list, ARGS=gate, ARGS="gate -- --seeds 1"
	$(SETUP)
	@$(BIN)/python -m thumbwheel_demo.experiments $(ARGS)

lint: ## ruff, pyright (strict) and import-linter
	$(SETUP)
	@$(MAKE) --no-print-directory lint-only

.PHONY: lint-only
lint-only:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: ## ruff's formatter and its safe fixes
	$(SETUP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## resolve requirements/cpu.lock anew (see docs/development.md)
	$(PYTHON) deploy/lock.py $(ARGS)

clean: ## remove build output and caches (never .venv/ or your data)
	rm -rf build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
