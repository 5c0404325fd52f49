# Two commands: `make demo` shows keyboards learning together, `make test` runs every check.
# `make help` lists the rest.
.DEFAULT_GOAL := help
PYTHON ?= python3
RUN := .venv/bin/python
PACKAGES := keyboard_app suggestion_model coordinator data_logging federated_protocol benchmarks tests

# Settings of the demo, e.g. `make demo REPLAY=path CATALOG=path DEVICES=60 ROUNDS=15 EXIT=1`
demo_options = $(if $(REPLAY),--replay "$(REPLAY)") $(if $(CATALOG),--catalog "$(CATALOG)") \
	$(if $(DEVICES),--devices $(DEVICES)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED)) \
	$(if $(DROPOUT),--dropout $(DROPOUT)) $(if $(PORT),--port $(PORT)) $(if $(filter 1 yes true,$(EXIT)),--exit)

.PHONY: help demo test lint types unit build-v0 lock clean

help: ## what can be made
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: ## a coordinator, a fleet of typing devices and the keyboard window, learning together
	@PYTHON="$(PYTHON)" scripts/setup.sh demo
	@$(RUN) -m keyboard_app.cli demo $(demo_options)

test: ## every check: lint, types, import contracts, all tests (sets itself up first)
	@PYTHON="$(PYTHON)" scripts/setup.sh dev
	@$(MAKE) --no-print-directory lint types unit

lint: ## ruff and the import contracts
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	.venv/bin/lint-imports

types: ## mypy, strict
	$(RUN) -m mypy

# Windows are tested in processes of their own: TensorFlow and the software GL driver each bring an LLVM, and they clash.
unit: ## the tests alone, e.g. `make unit ARGS="-k shamir"`
	$(RUN) -m pytest -n 2 --dist loadgroup --ignore tests/keyboard_app/window $(ARGS)
	$(RUN) -m pytest -n 2 --dist loadgroup tests/keyboard_app/window $(ARGS)

build-v0: ## author the release bundle v0 anew, e.g. `make build-v0 DATA=path/to/data`
	@PYTHON="$(PYTHON)" scripts/setup.sh dev
	$(RUN) -m suggestion_model.cli build --data "$(DATA)" --out suggestion_model/releases/v0

lock: ## write locks/*.txt anew from pyproject.toml (needs uv)
	scripts/lock.sh

clean: ## remove caches and the runs of demos, not the environment
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo-run build dist
