# Everything a person types. `make` alone lists it.
.DEFAULT_GOAL := help
.PHONY: help nightly report bench bench-peers bench-scale bench-writers bench-gpu bench-ingest bench-backfill bench-overhead bench-long-horizon quality test test-jax test-s3 test-system fuzz lint types contract check environment environment-dev environment-jax lock clean

STORE ?= ./store
BIN := .venv/bin
# A file's tests share fixtures, so a file stays with one process. Each holds up to 1.5 GiB.
PARALLEL ?= --numprocesses auto --maxprocesses 4 --dist loadfile
PREPARE = python="$$(PYTHON='$(PYTHON)' sh deploy/setup/find-python.sh)" && \
	"$$python" deploy/setup/prepare_environment.py

help: ## List what make can do here
	@echo "fleetcast: nightly forecasts for a whole universe of instruments"
	@echo
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/  make \1#\2/p' $(MAKEFILE_LIST) | \
		while IFS='#' read -r name text; do printf '%-26s%s\n' "$$name" "$$text"; done
	@echo
	@echo "  STORE=./store           where nightly and report keep the data"
	@echo "  ARGS='...'              more arguments for nightly, report, bench*, test* or lock"
	@echo "  PYTHON=python3.13       the Python to set up with; else a fitting one is looked for"

nightly: environment ## Set up, run the nightly job, keep the result in ./store
	$(BIN)/fleetcast nightly --store "$(STORE)" $(ARGS)

report: environment ## Write the report page again from ./store
	$(BIN)/fleetcast report --store "$(STORE)" $(ARGS)

bench: environment ## Measure the time loop of the fleet and the nightly run
	$(BIN)/python -m benchmarks.recurrence
	$(BIN)/python -m benchmarks.nightly $(ARGS)

bench-peers: .venv-peers/installed ## Measure the fleet beside Keras, neuralforecast and darts
	.venv-peers/bin/python -m benchmarks.peers $(ARGS)

bench-scale: environment ## Measure 20 to 5,000 networks: time, memory, checkpoints
	$(BIN)/python -m benchmarks.scale $(ARGS)

bench-writers: environment-dev ## Measure 8 writers of 250 commits each on one store
	$(BIN)/python -m benchmarks.writers $(ARGS)

bench-ingest: environment ## Measure ingest and reads of 5,000 instruments over 20 years
	$(BIN)/python -m benchmarks.ingest $(ARGS)

bench-backfill: environment ## Measure a backfill of 60 sessions, killed three times and not
	$(BIN)/python -m benchmarks.backfill $(ARGS)

bench-overhead: environment ## Measure a night of 500 instruments with a Prefect server
	$(BIN)/python -m benchmarks.orchestration $(ARGS)

bench-gpu: environment ## Measure a CUDA GPU beside one core of the CPU
	$(BIN)/python -m benchmarks.gpu $(ARGS)

bench-long-horizon: environment ## Reproduce a published table (ARGS=PATH/exchange_rate.txt)
	$(BIN)/python -m benchmarks.long_horizon $(ARGS)

quality: .venv-quality/installed ## Measure how good the forecasts are: benchmarks/QUALITY.md
	.venv-quality/bin/python -m benchmarks.quality --write benchmarks/QUALITY.md $(ARGS)

test: environment-dev ## Set up, run all tests
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-jax: environment-jax ## Run the model tests on JAX, in .venv-jax
	KERAS_BACKEND=jax .venv-jax/bin/python -m pytest tests/lstm_models $(ARGS)

fuzz: environment-dev ## Try 10,000 mutations of files and answers on every reader
	$(BIN)/python -m pytest tests/fuzz --hypothesis-profile fuzz $(PARALLEL) $(ARGS)

test-s3: environment-dev ## Run the store and ingest tests on a real S3 API (moto's server)
	FLEETCAST_TEST_S3=1 $(BIN)/python -m pytest tests/tasks/test_ingest*.py \
		tests/tasks/test_store_replay.py tests/tasks/storage/test_s3.py $(ARGS)

test-system: environment-dev ## Run the tests that need servers for minutes: Prefect, PostgreSQL
	$(BIN)/python -m pytest tests/system -m system $(ARGS)

lint: environment-dev ## Check style and formatting (ruff)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: environment-dev ## Check types (mypy --strict)
	$(BIN)/mypy

contract: environment-dev ## Check that imports run one way: flows, tasks, lstm_models
	$(BIN)/lint-imports

check: lint types contract ## lint, types and contract together

environment: ## Make .venv from requirements.lock
	@$(PREPARE)

environment-dev: ## Make .venv with the test tools, too
	@$(PREPARE) --dev

environment-jax: ## Make .venv-jax from requirements-jax.lock
	@$(PREPARE) --jax

.venv-peers/installed: pyproject.toml
	python="$$(PYTHON='$(PYTHON)' sh deploy/setup/find-python.sh)" && "$$python" -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet '.[peers]'
	touch $@

# skfolio for its data alone: what it depends on is never imported, so it is not installed.
.venv-quality/installed: pyproject.toml
	python="$$(PYTHON='$(PYTHON)' sh deploy/setup/find-python.sh)" && "$$python" -m venv .venv-quality
	.venv-quality/bin/python -m pip install --quiet '.[quality]'
	.venv-quality/bin/python -m pip install --quiet --no-deps skfolio==1.12.2
	touch $@

lock: environment-dev ## Write the locks from pyproject.toml (ARGS=--upgrade for newest)
	$(BIN)/python deploy/setup/lock_requirements.py --uv $(BIN)/uv $(ARGS)

clean: ## Remove .venv, .venv-jax, .venv-peers, .venv-quality and caches; data in ./store stays
	rm -rf .venv .venv-jax .venv-peers .venv-quality .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	rm -rf build fleetcast.egg-info

.DEFAULT:
	@echo "make: there is no target '$@' here. What there is:" >&2
	@$(MAKE) --no-print-directory help >&2
	@exit 2
