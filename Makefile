# SPDX-License-Identifier: Apache-2.0
VENV ?= .venv
BIN := $(VENV)/bin
# verl's wheel carries a top-level package `tests`, and `python -m` puts the working directory first: ours come by path.
PYTEST := $(BIN)/python -m pytest

.PHONY: help setup demo check unit integration test long clean
help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'
setup: ## make the virtual environment (once)
	@.ci/setup $(VENV)
demo: setup ## train end to end on the CPU; the report is outputs/demo/report.md
	$(BIN)/medix-verl demo
check: setup ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy medix_verl
unit: setup ## first ring: seconds, no torch, no verl
	$(PYTEST) tests/unit
integration: setup ## second ring: real training on the CPU; third ring (gpu) where there is one
	$(PYTEST) tests/integration tests/gpu
test: check ## all rings, in under 25 minutes on 2 cores
	$(PYTEST) -m "not long" tests/unit tests/integration tests/gpu
	$(BIN)/medix-verl doctor
long: setup ## further training runs: failure policies, a judge killed in the middle
	$(PYTEST) -m long tests/integration
clean: ## remove what was generated, but not the virtual environment
	rm -rf outputs build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
