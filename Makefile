# Everything starts from a fresh machine with python3 (3.11 or newer) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_COMPILE = uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header -q

.PHONY: demo test lint format soak bench lock clean

demo: $(VENV)/.demo ## a whole refresh against a simulated Azure
	$(BIN)/evergold demo $(ARGS)

# The types are checked while the tests of the running stack wait for it.
test: $(VENV)/.dev ## everything that CI runs
	@$(MAKE) --no-print-directory lint >$(VENV)/lint.log 2>&1 & linting=$$!; \
	$(BIN)/pytest -n 3; tested=$$?; \
	wait $$linting; linted=$$?; cat $(VENV)/lint.log; exit $$((tested + linted))

lint: $(VENV)/.dev ## ruff and strict types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

soak: $(VENV)/.dev ## what takes too long for every day: a death after each write, ten thousand storms, and new stories for the planner
	EVERGOLD_SOAK=1 $(BIN)/pytest -n 2 --timeout 7200 tests/simulated tests/unit/test_plan_properties.py tests/unit/test_plan_mutations.py tests/storm

bench: $(VENV)/.dev ## ratios, each measured in one run
	for each in plan_speed makespan azure_calls engine_load prefect_overhead; do $(BIN)/python -m bench.$$each || exit 1; done

lock: ## new lock files from pyproject.toml (needs uv)
	$(UV_COMPILE) --upgrade --extra simulator --group build -o requirements.txt
	$(UV_COMPILE) --extra simulator --group build --group dev -c requirements.txt -o requirements-dev.txt

clean:
	rm -rf $(VENV) .evergold .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info build

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Evergold needs Python 3.11 or newer, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

# An empty Prefect database, so that no server of ours has to make one when it starts: that takes ten seconds.
PREFECT_DATABASE = rm -f $(VENV)/prefect.db; PREFECT_HOME=$(CURDIR)/$(VENV)/prefect PREFECT_SERVER_ANALYTICS_ENABLED=false \
	PREFECT_API_DATABASE_CONNECTION_URL=sqlite+aiosqlite:///$(CURDIR)/$(VENV)/prefect.db $(BIN)/prefect server database upgrade -y

$(VENV)/.demo: requirements.txt pyproject.toml | $(VENV)/bin/python
	test -e $(VENV)/.dev || $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(PREFECT_DATABASE) >/dev/null
	touch $@

$(VENV)/.dev: requirements-dev.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(PREFECT_DATABASE) >/dev/null
	touch $@ $(VENV)/.demo
