# Two commands for a fresh machine: `make demo` shows the result, `make test` checks the code.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
TESTS  := $(VENV)/.ready-for-tests
OLDEST := .venv-oldest

.PHONY: demo test test-slow test-oldest chaos lint bench docs clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $(READY)

$(TESTS): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $(TESTS)

$(OLDEST)/.ready: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --upgrade pip
	$(OLDEST)/bin/python -m pip install --quiet --constraint constraints-oldest.txt \
		--editable ".[h5,onnx,tensorboard,umap]" pytest pytest-xdist hypothesis
	touch $(OLDEST)/.ready

demo: $(READY)
	$(BIN)/commlearn compare trifeature-quick --methods clip,crossself,comm --seeds 1 --out runs/demo

test: $(TESTS) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(TESTS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2 --dist loadfile

# The same with the oldest versions that pyproject.toml allows, in an environment of its own; needs Python 3.11.
test-oldest: $(OLDEST)/.ready
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest -n 2 --dist loadfile

# Kills, full disks and hostile input in their long form: hours on a slow machine.
chaos: $(TESTS)
	OMP_NUM_THREADS=1 COMMLEARN_KILLS=50 COMMLEARN_HOSTILE=20000 $(BIN)/python -m pytest -v -s tests/reliability

lint: $(TESTS)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

bench: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/everything.py

docs: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	$(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) $(OLDEST) build dist src/*.egg-info
