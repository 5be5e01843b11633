# SPDX-License-Identifier: Apache-2.0
VENV ?= .venv
BIN := $(VENV)/bin
# verl's wheel carries a top-level package `tests`, and `python -m` puts the working directory first: ours come by path.
PYTEST := $(BIN)/python -m pytest
TESTS ?= tests/unit
# Tests that train use all cores themselves and have time limits: they run alone, the others in two processes.
WORKERS ?= 2
TRAINING := tests/integration/training tests/gpu
BESIDE_EACH_OTHER := $(PYTEST) -n $(WORKERS) --dist loadfile --durations=20

.PHONY: help setup demo check unit integration test long coverage upstream clean
help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'
setup: ## make the virtual environment (once)
	@.ci/setup $(VENV)
demo: setup ## train end to end on the CPU; the report is outputs/demo/report.md
	$(BIN)/medix-verl demo
check: setup ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
unit: setup ## unit tests: no torch, no verl
	$(BESIDE_EACH_OTHER) -m "not long" tests/unit
integration: setup ## real training on the CPU; tests of a GPU where there is one
	$(BESIDE_EACH_OTHER) tests/integration --ignore tests/integration/training
	$(PYTEST) $(TRAINING)
test: check ## all groups of tests
	$(BESIDE_EACH_OTHER) -m "not long" tests/unit tests/integration --ignore tests/integration/training
	$(PYTEST) -m "not long" $(TRAINING)
	$(BIN)/medix-verl doctor
long: setup ## further training runs: failure policies, a judge killed in the middle
	$(PYTEST) -m long tests/unit tests/integration
coverage: setup ## lines and branches that the tests reach; TESTS="tests/unit tests/integration" for more
	$(BIN)/python -m coverage run -m pytest -m "not long" $(TESTS)
	$(BIN)/python -m coverage report --skip-covered --sort=cover
upstream: setup ## what moved in a clone of verl: make upstream CLONE=path
	@VENV=$(VENV) .ci/upstream "$(CLONE)"
clean: ## remove what was generated, but not the virtual environment
	rm -rf outputs build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
