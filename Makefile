# Every target does its own set-up in .venv; all that is needed is Python >= 3.11 with venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test test-slow lint bench clean

quickstart: .venv/runtime
	bash launch/quickstart.sh

test: .venv/development lint
	$(BIN)/python -m pytest -m "not slow"

test-slow: .venv/development
	$(BIN)/python -m pytest -m slow

lint: .venv/development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: .venv/runtime
	$(BIN)/python -m surgrec_jax.bench builder
	$(BIN)/python -m surgrec_jax.bench loader
	$(BIN)/python -m surgrec_jax.bench sampler --records=10000,1000000
	$(BIN)/python -m surgrec_jax.bench step --config=configs/mae.py:tiny --data
	$(BIN)/python -m surgrec_jax.bench convert --size=Ti --clips=2

clean:
	rm -rf .venv data runs

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "surgrec_jax needs Python >= 3.11")'
	$(PYTHON) -m venv .venv

.venv/runtime: .venv/bin/python requirements.txt
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

.venv/development: .venv/bin/python requirements.txt requirements-dev.txt
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@ .venv/runtime
