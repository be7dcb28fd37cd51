# Two commands on a fresh machine: `make bench` measures, `make test` checks. Python 3.11 or newer is all they need.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: bench test lint clean
bench: $(VENV)/.base
	$(BIN)/python -m stt.run translator=echo tts=tone
	$(BIN)/python -m stt.run +experiment=bench

test: $(VENV)/.dev lint
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "stt needs Python 3.11 or newer; say which with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable .
	@touch $@

# Heavy test-only packages are installed once; constraints.txt pins every version. gTTS: see pyproject.toml.
$(VENV)/.dev: $(VENV)/.base
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps gTTS==2.5.4
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
