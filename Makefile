# `make up` runs the gateway, `make test` the tests; both set everything up first, in .venv, and need nothing but
# Python >= 3.11 with its venv module. A second run installs nothing and needs no network.

PYTHON ?= python3
ARGS ?=
SEEDS ?= 1
BIN = .venv/bin
# What was installed last: copies of the lock files. Their content decides, not their age, which a checkout changes.
DONE = .venv/installed
PIP = $(BIN)/python -m pip --disable-pip-version-check --no-input

# Tests start hundreds of processes: each would compile the gateway anew where the environment keeps no bytecode.
test chaos quota: export PYTHONDONTWRITEBYTECODE =

.PHONY: up test chaos quota check format lock docs clean help venv run-env dev-env

up: run-env ## Run everything on this machine: make up ARGS="--port 9000"
	@$(BIN)/llm-one-api up $(ARGS)

test: dev-env ## Run the tests: make test ARGS="-k journal"
	@# Three files at a time, for those that wait for processes, then those that need the machine to themselves, of which
	@# only their files are read. 5: ARGS has chosen none of these.
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not alone" $(ARGS); most=$$?; \
	$(BIN)/python -m pytest -m alone -o "testpaths=$$(grep -rl --include='test_*.py' 'mark\.alone' tests | tr '\n' ' ')" \
		$(ARGS); alone=$$?; \
	case "$$most $$alone" in "0 0"|"0 5"|"5 0") ;; *) exit 1 ;; esac

chaos: dev-env ## Kill, stall and empty things under load: make chaos SEEDS=20 ARGS="--seed 7"
	@$(BIN)/python -m tests.chaos --seeds $(SEEDS) $(ARGS)

quota: dev-env ## Kill gateway processes while 64 callers spend a quota: make quota SEEDS=50
	@QUOTA_SEEDS=$(SEEDS) $(BIN)/python -m pytest -q tests/functional/test_quota_kills.py $(ARGS)

check: dev-env ## Check format, lint, types and who imports whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: dev-env ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: dev-env ## Write docs/configuration.md anew from the settings
	$(BIN)/python -m llm_one_api.settings.document docs/configuration.md

lock: venv ## Pin what pyproject.toml asks for, with hashes; ARGS=--upgrade takes the newest
	@rm -rf .venv/locking && $(BIN)/python -m venv .venv/locking
	.venv/locking/bin/python -m pip install --disable-pip-version-check --quiet uv
	.venv/locking/bin/uv pip compile --universal --generate-hashes $(ARGS) --python-version 3.11 \
		--custom-compile-command "make lock" pyproject.toml --group build -o requirements.lock
	.venv/locking/bin/uv pip compile --universal --generate-hashes $(ARGS) --python-version 3.11 \
		--custom-compile-command "make lock" pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
	@rm -rf .venv/locking

clean: ## Remove what was installed and cached; data/ and logs/ stay
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## Show this
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

venv:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
		echo "There is no $(PYTHON) here. Install Python 3.11 or newer, or name one: make up PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is $$($(PYTHON) -V 2>&1), but 3.11 or newer is needed. Name one: make up PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(BIN)/python -c 'import pip' 2>/dev/null || { \
		$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
			echo "$(PYTHON) has no venv module. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
		echo "Making .venv ..." && $(PYTHON) -m venv --clear .venv; }
	@mkdir -p $(DONE)
	@# An environment that was moved has its old place in its programs.
	@test "$$(cat $(DONE)/place 2>/dev/null)" = "$(CURDIR)" || { rm -f $(DONE)/* && echo "$(CURDIR)" > $(DONE)/place; }

run-env: venv
	@cmp -s requirements.lock $(DONE)/requirements.lock || { \
		echo "Installing what the gateway needs (once, a minute or so) ..." && \
		$(PIP) install --require-hashes -r requirements.lock && cp requirements.lock $(DONE)/; }
	@$(project)

dev-env: venv
	@# The dev lock holds all of requirements.lock, in the same versions.
	@cmp -s requirements-dev.lock $(DONE)/requirements-dev.lock && cmp -s requirements.lock $(DONE)/requirements.lock || { \
		echo "Installing what the gateway and its tests need (once, a few minutes) ..." && \
		$(PIP) install --require-hashes -r requirements-dev.lock && cp requirements.lock requirements-dev.lock $(DONE)/; }
	@$(project)

project = cmp -s pyproject.toml $(DONE)/pyproject.toml || { \
	echo "Installing the gateway itself ..." && \
	$(PIP) install --quiet --no-deps --no-build-isolation -e . && cp pyproject.toml $(DONE)/; }
