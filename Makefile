# Everything runs in a virtual environment, created on first use.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 6
DEPENDENCY_GROUPS ?= test lint data telemetry integrations
PARALLEL = -m pytest -n $(WORKERS) --dist worksteal -q
PYTEST = $(VENV)/bin/python -X dev $(PARALLEL)
FAST = -X dev $(PARALLEL) -m "not scale and not slow" \
  $(addprefix --ignore tests/,faults docs browser examples_web integrations leases notebooks openapi workers)

.PHONY: test test-fast test-lowest test-faults-pure test-scale test-byhand fault-matrix stubs openapi lint layout demo bench bench-create clean

# The complete suite on one interpreter, without the scale tests.
test: $(VENV)/ready
	$(PYTEST) -m "not scale" $(ARGS)

# For the other interpreters in CI: everything except the fault matrix, the docs, the slow tests, and those that need
# the group `integrations`.
test-fast: $(VENV)/ready
	$(VENV)/bin/python $(FAST) $(ARGS)

# The fast part again, with the lowest versions of the dependencies that pyproject.toml allows, and without the tests of
# the groups `data` and `telemetry`.
test-lowest: .venv-lowest/ready
	.venv-lowest/bin/python $(FAST) \
	  --ignore tests/frames --ignore tests/telemetry $(ARGS)

# The scale tests: 10,000 rooms, 300 MB bodies, jobs that are killed repeatedly.
test-scale: $(VENV)/ready
	$(VENV)/bin/python $(PARALLEL) -m "scale and not byhand" --timeout 600 $(ARGS)

# The longest runs: 10,000 rooms on workers that are killed and stopped all the time. About half an hour each.
test-byhand: $(VENV)/ready
	$(VENV)/bin/python -m pytest -q -m byhand --timeout 5400 $(ARGS)

# The fault matrix with aiohttp's pure Python parsers.
test-faults-pure: $(VENV)/ready
	AIOHTTP_NO_EXTENSIONS=1 $(PYTEST) -m "not scale" tests/faults $(ARGS)

# Run the fault matrix and write its page in the docs.
fault-matrix: $(VENV)/ready
	cd tests && ../$(VENV)/bin/python -m faults.matrix $(ARGS)

# The types of the blocking client, from the source of the async one.
stubs: $(VENV)/ready
	PYTHONPATH=$(CURDIR) $(VENV)/bin/python tests/support/stubs.py $(ARGS)

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python
	$(VENV)/bin/lint-imports

# Each package with its purpose, size and imports; ROOT is another checkout to look at.
layout: $(VENV)/ready
	$(VENV)/bin/python tests/support/layout.py $(ROOT)

# The JSON form of docs/openapi.yaml, which the sandbox serves at /openapi.json.
openapi: $(VENV)/ready
	$(VENV)/bin/python tests/support/openapi_json.py

# A thousand rooms, their tokens, a month of call records, and recordings, against the sandbox.
demo: .demo/ready
	.demo/bin/python -m videoapi.cli demo $(ARGS)

# The client, compared with a handwritten loop and other vendors' clients. Writes benchmarks/speed/results.
bench: .bench/ready
	.bench/bin/python -m benchmarks.speed $(ARGS)

# Create policies under the same faults, then one create per other vendor's client. Writes benchmarks/create/results.
bench-create: $(VENV)/ready .bench-create/ready
	PYTHONPATH=tests $(VENV)/bin/python -m benchmarks.create --peers-python .bench-create/bin/python $(ARGS)

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q --upgrade pip
	$(VENV)/bin/python -m pip install -q $(addprefix --group ,$(DEPENDENCY_GROUPS)) -e '.[cli,testing]'
	touch $@

.venv-lowest/ready: pyproject.toml tests/lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install -q --upgrade pip
	.venv-lowest/bin/python -m pip install -q -c tests/lowest.txt --group test -e '.[cli,testing]'
	touch $@

.demo/ready: pyproject.toml
	$(PYTHON) -m venv .demo
	.demo/bin/python -m pip install -q -e '.[cli,testing]'
	touch $@

# Other vendors' clients are installed one by one: packages that fail to install are reported and skipped. There are
# two environments, because some clients of `bench-create` pin older versions of aiohttp's dependencies.
.bench/ready: pyproject.toml benchmarks/speed/packages.txt
	$(PYTHON) -m venv .bench
	.bench/bin/python -m pip install -q -e .
	while read -r package; do .bench/bin/python -m pip install -q "$$package" || echo "not installed: $$package"; done \
	  < benchmarks/speed/packages.txt
	touch $@

.bench-create/ready: benchmarks/create/peers.txt
	$(PYTHON) -m venv .bench-create
	while read -r peer; do .bench-create/bin/python -m pip install -q "$$peer" || echo "not installed: $$peer"; done < $<
	touch $@

clean:
	rm -rf .venv .venv-* .demo .bench .bench-create dist build
