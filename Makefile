# Two commands for a fresh machine with Python and make: `make demo`, `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check
OUT ?= demo-out

.PHONY: demo test check lint types contract nojit bounds oldest readme bench figures clean

$(VENV)/made: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade 'pip>=25.1'
	$(PIP) install --quiet -e '.[plot]'
	touch $@

$(VENV)/made-test: $(VENV)/made
	$(PIP) install --quiet -e '.[test]' --group oracle --group lint
	touch $@

demo: $(VENV)/made  ## A whole brain, from the command line, with a picture
	$(BIN)/fastsl phantom $(OUT)/data
	$(BIN)/fastsl run --imgs $(OUT)/data/bold.nii --mask $(OUT)/data/mask.nii.gz \
	    --labels $(OUT)/data/labels.tsv --target condition --groups run --standardize \
	    --radius 8 --out $(OUT)/results --picture --overwrite
	$(BIN)/python bench/demo.py $(OUT)

test: $(VENV)/made-test  ## The whole suite, with a compile cache of its own
	NUMBA_CACHE_DIR=$(VENV)/cache-test $(BIN)/python -m pytest

lint: $(VENV)/made-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/made-test
	$(BIN)/mypy

contract: $(VENV)/made-test  ## Imports go downwards only
	$(BIN)/lint-imports

# A warm cache would hold kernels that were compiled without the switch, so each pass has a fresh one.
nojit: $(VENV)/made-test  ## Kernels as plain Python, for coverage
	rm -rf $(VENV)/cache-nojit
	NUMBA_CACHE_DIR=$(VENV)/cache-nojit NUMBA_DISABLE_JIT=1 $(BIN)/python -m coverage run -m pytest $(BESIDE) $(KERNEL_TESTS)
	$(BIN)/python -m coverage report --include='src/fastsl/_kernels/*' --fail-under=90

bounds: $(VENV)/made-test  ## Kernels with every index checked
	rm -rf $(VENV)/cache-bounds
	NUMBA_CACHE_DIR=$(VENV)/cache-bounds NUMBA_BOUNDSCHECK=1 $(BIN)/python -m pytest $(BESIDE) $(KERNEL_TESTS)

# Of runs side by side, which would write one cache.
BESIDE = -q -p no:cacheprovider
KERNEL_TESTS = $(wildcard tests/test_kernels*.py) tests/test_neighbours.py tests/test_parts.py

readme: $(VENV)/made-test  ## Run what README.md and the docs tell people to run
	$(BIN)/python docs/run_examples.py README.md docs/*.md

# The oldest Python and the oldest dependencies that pyproject.toml admits, read from it.
PYTHON_OLDEST ?= python3.10
oldest:
	rm -rf $(VENV)-oldest
	$(PYTHON_OLDEST) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-oldest/bin/python .ci/oldest.py pyproject.toml > $(VENV)-oldest/constraints.txt
	$(VENV)-oldest/bin/python -m pip install --quiet -e '.[test]' -c $(VENV)-oldest/constraints.txt
	NUMBA_CACHE_DIR=$(VENV)-oldest/cache $(VENV)-oldest/bin/python -m pytest $(BESIDE) -m 'not slow'

bench: $(VENV)/made-test  ## The comparison with nilearn; writes bench/results.md
	$(BIN)/python bench/compare.py

figures: $(VENV)/made  ## The pictures of README.md
	$(BIN)/python docs/figures.py

check: lint types contract nojit bounds readme

clean:
	rm -rf $(VENV) $(VENV)-oldest $(OUT)
