# Two commands for a new machine: `make demo` shows the result, `make test` checks the code.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
TESTS  := $(VENV)/.ready-for-tests
OLDEST := .venv-oldest
NEWEST := .venv-newest
PINNED := -m pip install --quiet --constraint constraints.txt
WORDS  := src tests benchmarks examples/execute.py docs/docstrings.py docs/hero.py docs/report_pictures.py
PYTEST := -m pytest -n 2 --dist loadfile
TOOLS  := build coverage pre-commit

.PHONY: demo examples test test-slow test-oldest test-newest coverage chaos lint format hooks api lock ratios bench docs \
	dist try-dist check-release clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PINNED) --upgrade pip
	$(BIN)/python $(PINNED) torch
	$(BIN)/python $(PINNED) --build-constraint constraints.txt --editable .
	touch $(READY)

$(TESTS): $(READY)
	$(BIN)/python $(PINNED) --build-constraint constraints.txt --editable ".[test]"
	touch $(TESTS)

$(OLDEST)/.ready: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --upgrade pip
	$(OLDEST)/bin/python -m pip install --quiet --constraint constraints-oldest.txt \
		--editable ".[excel,h5,onnx,tensorboard,umap]" pytest pytest-xdist hypothesis
	touch $(OLDEST)/.ready

$(NEWEST)/.ready: pyproject.toml
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --upgrade pip
	$(NEWEST)/bin/python -m pip install --quiet --editable ".[test]" $(TOOLS)
	touch $(NEWEST)/.ready

demo: $(READY)
	$(BIN)/commlearn compare trifeature-quick-best --methods clip,crossself,comm-crossself --seeds 1 \
		--training.epochs 10 --out runs/demo

# Run the notebooks of examples/ and store their outputs; the watch demo needs the data of seglearn.
examples: $(TESTS)
	$(BIN)/python -m pip install --quiet --no-deps seglearn
	OMP_NUM_THREADS=1 $(BIN)/python examples/execute.py

test: $(TESTS) lint
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST)

test-slow: $(TESTS)
	$(BIN)/python -m pip install --quiet --no-deps seglearn
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST) -m slow

# The same tests with the oldest versions that pyproject.toml allows, in a separate environment; needs Python 3.11.
test-oldest: $(OLDEST)/.ready
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python $(PYTEST)

# The same tests with the newest available versions, in a separate environment.
test-newest: $(NEWEST)/.ready
	OMP_NUM_THREADS=1 $(NEWEST)/bin/python $(PYTEST)

# Run the tests of `make test` and report which lines they cover; pyproject.toml sets the lowest share that passes.
coverage: $(TESTS)
	$(BIN)/python $(PINNED) coverage
	OMP_NUM_THREADS=1 $(BIN)/coverage run $(PYTEST)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# The long form of the tests with kills, full disks and hostile input: hours on a slow machine.
chaos: $(TESTS)
	OMP_NUM_THREADS=1 COMMLEARN_KILLS=50 COMMLEARN_HOSTILE=20000 $(BIN)/python -m pytest -v -s tests/reliability

lint: $(TESTS)
	$(BIN)/ruff check $(WORDS)
	$(BIN)/ruff format --check $(WORDS)
	$(BIN)/mypy

format: $(TESTS)
	$(BIN)/ruff check --fix $(WORDS)
	$(BIN)/ruff format $(WORDS)

# Install the hooks that check changes before they are committed: .pre-commit-config.yaml.
hooks: $(TESTS)
	$(BIN)/python $(PINNED) pre-commit
	$(BIN)/pre-commit install

# Record the current public names, signatures, options and settings: docs/api-policy.md.
api: $(TESTS)
	$(BIN)/python tests/public_api.py

# Pin the newest versions; `make test-newest` checks whether they work.
lock: $(NEWEST)/.ready
	(sed -n '1,/^[^#]/{/^#/p}' constraints.txt; $(NEWEST)/bin/python -m pip freeze --all --exclude-editable \
		| sed 's/+.*//') > $(NEWEST)/lock.txt
	mv $(NEWEST)/lock.txt constraints.txt

# Check in one run whether pieces of the work take longer than at the commit in benchmarks/baseline.txt.
ratios: $(TESTS)
	$(BIN)/python benchmarks/against.py

bench: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/everything.py

docs: $(READY)
	$(BIN)/python $(PINNED) --build-constraint constraints.txt --editable ".[docs]"
	$(BIN)/mkdocs build --strict --quiet

# Check whether TAG can be released: RELEASING.md.
check-release: $(READY)
	$(BIN)/python tests/check_release.py $(TAG)

# Build the files of a release in dist/.
dist: $(READY)
	$(BIN)/python $(PINNED) build
	rm -rf build dist src/commlearn.egg-info
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m build
	cd dist && sha256sum * > SHA256SUMS

# Install the package from dist/ only, and use it.
try-dist: dist
	cd dist && sha256sum --check --quiet SHA256SUMS
	$(BIN)/python -m pip install --quiet --no-index --find-links dist --no-deps --no-compile --target build/try commlearn
	cd build/try && export PYTHONPATH=$$PWD && $(abspath $(BIN))/python bin/commlearn --help > help.txt && \
		$(abspath $(BIN))/python bin/commlearn synth tables --out table --rows 60 --size 16 && \
		$(abspath $(BIN))/python -c "import commlearn as cl; print(cl.__version__, cl.Embedder, 'from', cl.__file__)" \
		| grep $$PWD

clean:
	rm -rf $(VENV) $(OLDEST) $(NEWEST) build dist src/*.egg-info
