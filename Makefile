# Each line below also works by hand. `make` alone lists the targets.
# Arguments for the command behind a target: make demo ARGS="--lang zh", make test ARGS="-k ledger -x".
ARGS ?=
BIN := .venv/bin
# A plain user's PATH on Debian ends before the folder that mosquitto is in.
export PATH := $(PATH):/usr/sbin
# Where it is set, each of the hundreds of processes that the tests start would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-systemd vm soak check sim chaos bench deb clean setup-demo setup-test setup-device

help: ## List the targets
	@sed -nE 's/^([a-z-]+):[^#]*## /\1\t/p' Makefile | expand -t 8

demo: setup-demo ## Set up, then run a morning at the gate with simulated hardware
	$(BIN)/gate demo $(ARGS)

# What Hypothesis draws is not traced: it would take twice as long, and a line that only a lucky draw reaches is not tested.
test: check ## Set up, check, then run the tests (with a real Mosquitto and PostgreSQL)
	$(if $(ARGS),$(BIN)/pytest --numprocesses 2 --dist loadgroup $(ARGS),$(BIN)/pytest tests/core -m 'not hypothesis' --numprocesses 2 --cov)
	$(if $(ARGS),,$(BIN)/pytest tests/core -m hypothesis --numprocesses 2)
	$(if $(ARGS),,$(BIN)/pytest tests --ignore tests/core --numprocesses 5 --dist loadgroup)

test-systemd: setup-device deb ## Run the packages and units in a booted Debian 13 (root; some minutes)
	$(BIN)/pytest tests/packaging tests/systemd tests/deploy -m nspawn $(ARGS)

vm: setup-device deb ## Run the gate in a virtual machine with Debian's kernel and simulated devices
	$(BIN)/python -m tests.vm $(ARGS)

soak: setup-test ## Run the long tests: parts killed and frozen for minutes, every store on PostgreSQL as well
	$(BIN)/pytest tests -m soak --numprocesses 2 --dist loadgroup $(ARGS)

check: setup-test ## Lint, formatting, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

sim: setup-demo ## Run a simulated day with all faults; exit 1 on a violated promise
	$(BIN)/gate simulate --seed 1 --hours 24 --faults all $(ARGS)

chaos: setup-test ## Kill and freeze gates, broker and centre, and compare the books (CONTROL=puback must lose)
	$(BIN)/python -m tests.chaos $(if $(CONTROL),--control $(CONTROL)) $(ARGS)

bench: setup-test ## Run the benchmarks and update bench/RESULTS.md
	$(BIN)/python -m bench

deb: ## Build the Debian packages into build/deb, twice, and compare them to the byte
	deploy/deb/build --check $(ARGS)

clean: ## Remove .venv, caches and build products; a gate's records are not touched
	rm -rf .venv build *.egg-info .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup-demo:
	@deploy/setup demo

setup-test:
	@deploy/setup test

setup-device:
	@deploy/setup device
