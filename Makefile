# Every target does its own set-up in .venv; all that is needed is Python >= 3.11 with venv.
PYTHON ?= python3
BIN := .venv/bin
# Two test files at a time: most of a test is compilation, on one core. A worker that crashes ends
# the run: with its successor, pytest-xdist would wait for ever.
# Their order is tests/conftest.py's: the files of the longest tests begin.
PYTEST := $(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder --max-worker-restart=0

.PHONY: quickstart test test-slow test-beam lint docs bench faults clean

quickstart: .venv/runtime
	bash launch/quickstart.sh

test: .venv/development lint
	$(PYTEST) -m "not slow"

test-slow: .venv/development
	$(PYTEST) -m slow

test-beam: .venv-beam/ready
	.venv-beam/bin/python -m pytest tests/data_builders/build/test_beam.py

lint: .venv/development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The pages as a site, in site/; a link or an anchor that leads nowhere ends it.
docs: .venv/development
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: .venv/development
	$(BIN)/python -m surgrec_jax.bench builder
	$(BIN)/python -m surgrec_jax.bench loader
	$(BIN)/python -m surgrec_jax.bench sampler --records=10000,1000000
	$(BIN)/python -m surgrec_jax.bench step --config=configs/mae.py:tiny --data
	$(BIN)/python -m surgrec_jax.bench step --config=configs/jepa.py:tiny
	$(BIN)/python -m surgrec_jax.bench convert --size=B,L --clips=2

# Kills, damaged checkpoints, full disks, lost processes: docs/reliability.md.
faults: .venv/development
	$(BIN)/python -m tests.faults
	$(BIN)/python -m tests.faults.fuzz --kind=records --count=1000
	$(BIN)/python -m tests.faults.fuzz --kind=videos --count=1000
	$(BIN)/python -m tests.faults.fuzz --kind=annotations --count=1000
	$(BIN)/python -m tests.faults.fuzz --kind=configs --count=500
	$(BIN)/python -m tests.faults.fuzz --kind=saved --count=500

clean:
	rm -rf .venv .venv-beam data runs site

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "surgrec_jax needs Python >= 3.11")'
	$(PYTHON) -m venv .venv

.venv/runtime: .venv/bin/python requirements.txt
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

.venv/development: .venv/bin/python requirements.txt requirements-dev.txt
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@ .venv/runtime

# Apache Beam holds protobuf and pyarrow back, hence an environment of its own.
.venv-beam/ready: pyproject.toml requirements.txt
	$(PYTHON) -m venv .venv-beam
	.venv-beam/bin/python -m pip install --quiet -e '.[beam]' 'pytest>=8' 'hypothesis>=6.100'
	.venv-beam/bin/python -c 'import apache_beam'
	touch $@
