# `make demo` runs the main job, `make test` the tests; each sets up .venv first and reuses it while it is current.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A strict editable install links every file, so it is made again when a file appears or goes.
SOURCES := $(shell find secateur pipeline kernels export benchmarks recipes -name "*.py" -o -name "*.cu" -o -name "*.cuh" -o -path "*/templates/*" -o -path "recipes/*.yaml" | sort)

# `make docs` builds the documentation into build/docs, `make test-docs` takes its tutorials and the shipped recipes: minutes.

.PHONY: demo test fuzz docs test-docs test-nightly test-wheel test-lowest audit-lowest bare lint types check setup clean

demo: setup
	$(BIN)/secateur demo --out runs/demo

test: setup
	PYTHONSAFEPATH=1 $(BIN)/pytest --numprocesses logical --dist worksteal

# damaged files through every reader; minutes
fuzz: setup
	$(BIN)/python -P -m secateur_studies.reader_fuzz --count 10000 --out build/reader_fuzz.json

docs: setup
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

test-docs: setup
	PYTHONSAFEPATH=1 $(BIN)/pytest -m nightly tests/docs tests/pipeline/runs/test_shipped.py

# what takes long, the pages of test-docs among it
test-nightly: setup
	PYTHONSAFEPATH=1 $(BIN)/pytest -m nightly --numprocesses logical --dist worksteal

# the wheel, installed with nothing else into an environment of its own, runs the demo: downloads PyTorch, takes minutes
test-wheel: setup
	rm -rf build/wheel
	$(BIN)/python -m build --wheel --outdir build/wheel
	$(PYTHON) -m venv build/wheel/bare
	build/wheel/bare/bin/python -m pip install --quiet "$$(ls build/wheel/*.whl)[cpu]"
	cd build/wheel && bare/bin/python -P -m secateur demo --out demo

# the tests with the lowest versions that pyproject.toml allows, in an environment of their own: downloads PyTorch
test-lowest:
	test -x .bare/lowest/bin/python || $(PYTHON) -m venv .bare/lowest
	.bare/lowest/bin/python -m pip install --quiet --upgrade pip 'setuptools>=77,<82' wheel
	.bare/lowest/bin/python -m pip install --quiet --constraint .ci/lowest.txt --no-build-isolation \
		--editable '.[cpu,dev]' --config-settings editable_mode=strict
	PYTHONSAFEPATH=1 .bare/lowest/bin/pytest --numprocesses logical --dist worksteal

# what is known against these versions
audit-lowest:
	test -x .bare/audit/bin/python || $(PYTHON) -m venv .bare/audit
	.bare/audit/bin/python -m pip install --quiet pip-audit
	.bare/audit/bin/pip-audit --requirement .ci/lowest.txt --no-deps --disable-pip

# the runner of bundles, by every Python of these that is installed, with numpy and ONNX Runtime alone
bare: setup
	@for version in 3.8 3.9 3.10 3.11 3.12 3.13; do \
		python$$version --version >/dev/null 2>&1 || { echo "python$$version is not installed"; continue; }; \
		test -x .bare/$$version/bin/python || python$$version -m venv .bare/$$version || exit 1; \
		.bare/$$version/bin/python -m pip install --quiet numpy onnxruntime || exit 1; \
	done
	PYTHONSAFEPATH=1 $(BIN)/pytest -rs tests/export/runner/test_bare.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(VENV) && bin/lint-imports --no-logo ../pyproject.toml

# from another folder, so that the checkout's own `secateur` folder does not hide the installed package
types: setup
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml

check: test lint types

setup: $(VENV)/.installed

$(VENV)/.files: FORCE
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo '$(SOURCES)' | cmp -s - $@ || echo '$(SOURCES)' > $@

$(VENV)/.installed: pyproject.toml $(VENV)/.files
	$(BIN)/python -m pip install --quiet --upgrade pip 'setuptools>=77' wheel
	rm -rf build
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable '.[cpu,rtx,dev,docs]' --config-settings editable_mode=strict
	touch $@

clean:
	rm -rf $(VENV) .bare build runs *.egg-info

.PHONY: FORCE
FORCE:
