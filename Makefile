# Two commands do all the set-up: `make demo` and `make test`. Both install what they need into .venv first, once.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2

.PHONY: demo test faults docs cluster lint bench site install tools clean

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

install: .venv/installed

tools: .venv/tools

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("archscout needs Python 3.11 or later, but this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv
	$(PIP) torch
	$(PIP) --editable '.[export]'
	@touch $@

# What the tests, the linters and the site need besides.
.venv/tools: .venv/installed
	$(PIP) --editable '.[export,dev]'
	@touch $@

demo: install
	$(BIN)/archscout search --data bundled --budget 2m30s --seed 0 --out runs/demo --overwrite

test: tools
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal --ignore tests/docs --ignore tests/faults

# What is promised of kills, full disks and damaged files.
faults: tools
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal tests/faults

# Every example of README.md and docs/, their links, and the site.
docs: tools
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal tests/docs

cluster: tools
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m cluster tests/cluster

lint: tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

site: tools
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: install
	$(BIN)/python benchmarks/workers.py
	$(BIN)/python benchmarks/proxies.py

clean:
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache
