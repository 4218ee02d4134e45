# Everything runs in a virtual environment of its own, made at first use.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
PYTEST = $(VENV)/bin/python -X dev -m pytest -n $(WORKERS) --dist worksteal -q

.PHONY: test test-fast test-faults-pure test-scale fault-matrix lint demo bench bench-create clean

# The whole suite on one interpreter, without the big runs.
test: $(VENV)/ready
	$(PYTEST) -m "not scale" $(ARGS)

# What the other interpreters run in CI: all but the fault matrix, the docs and what is slow.
test-fast: $(VENV)/ready
	$(PYTEST) -m "not scale and not slow" --ignore tests/faults --ignore tests/docs $(ARGS)

# The big runs: 10,000 rooms, 300 MB bodies, jobs that are killed again and again.
test-scale: $(VENV)/ready
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal -q -m scale --timeout 600 $(ARGS)

# The fault matrix once more, with aiohttp's parsers written in Python.
test-faults-pure: $(VENV)/ready
	AIOHTTP_NO_EXTENSIONS=1 $(PYTEST) -m "not scale" tests/faults $(ARGS)

# Runs the fault matrix, and writes its page in the docs.
fault-matrix: $(VENV)/ready
	cd tests && ../$(VENV)/bin/python -m faults.matrix $(ARGS)

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python
	$(VENV)/bin/lint-imports

# A thousand rooms, their tokens, a month of call records and recordings, against the sandbox.
demo: .demo/ready
	.demo/bin/python -m videoapi.cli demo $(ARGS)

# The client against a loop written by hand and the clients of others. Writes benchmarks/speed/results.
bench: .bench/ready
	.bench/bin/python -m benchmarks.speed $(ARGS)

# Policies of creating under the same trouble, then one create of each client of others. Writes benchmarks/create/results.
bench-create: $(VENV)/ready .bench-create/ready
	PYTHONPATH=tests $(VENV)/bin/python -m benchmarks.create --peers-python .bench-create/bin/python $(ARGS)

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q --upgrade pip
	$(VENV)/bin/python -m pip install -q --group test --group lint -e '.[cli,testing]'
	touch $@

.demo/ready: pyproject.toml
	$(PYTHON) -m venv .demo
	.demo/bin/python -m pip install -q -e '.[cli,testing]'
	touch $@

# The clients of others, each by itself: what cannot be installed is told as such. Two environments, as some of those
# that `bench-create` asks hold back what aiohttp stands on.
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
