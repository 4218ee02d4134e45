# Everything runs in a virtual environment, created on first use.
PYTHON ?= python3
VENV ?= .venv
DOCS_VENV ?= .venv-docs
WORKERS ?= 6
DEPENDENCY_GROUPS ?= test lint data telemetry integrations docs release
PARALLEL = -m pytest -n $(WORKERS) --dist worksteal -q
PYTEST = $(VENV)/bin/python -X dev $(PARALLEL)
FAST = -X dev $(PARALLEL) -m "not scale and not slow" \
  $(addprefix --ignore tests/,faults docs browser report examples_web integrations leases notebooks openapi dask_records gate release site workers)

.PHONY: test test-fast test-lowest test-faults-pure test-scale test-byhand shared-rate fault-matrix stubs openapi lint layout docs pictures dist sbom demo bench bench-create clean

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
	  --ignore tests/arrow --ignore tests/frames --ignore tests/telemetry $(ARGS)

# The scale tests: 10,000 rooms, 300 MB bodies, jobs that are killed repeatedly.
test-scale: $(VENV)/ready
	$(VENV)/bin/python $(PARALLEL) -m "scale and not byhand" --timeout 600 $(ARGS)

# The longest runs: 10,000 rooms on workers that are killed and stopped all the time. About half an hour each.
test-byhand: $(VENV)/ready
	$(VENV)/bin/python -m pytest -q -m byhand --timeout 5400 $(ARGS)

# Four processes with one account for a minute, with a storm of HTTP 429, and without Redis for ten seconds.
shared-rate: $(VENV)/ready
	PYTHONPATH=$(CURDIR):tests $(VENV)/bin/python -m gate.judge $(ARGS)

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
	PATH="$(abspath $(VENV))/bin:$$PATH" PYTHONPATH=$(CURDIR) $(VENV)/bin/pyright --verifytypes videoapi --ignoreexternal > .pyright.txt \
	  || { tail -n 60 .pyright.txt; exit 1; }
	tail -n 4 .pyright.txt && rm .pyright.txt

# Each package with its purpose, size and imports; ROOT is another checkout to look at.
layout: $(VENV)/ready
	$(VENV)/bin/python tests/support/layout.py $(ROOT)

# The site, in docs/_build/html. A warning is an error, as is a reference to a name that does not exist. All pages are
# read anew, as one that is not read again would not warn again.
docs: $(DOCS_VENV)/ready
	$(DOCS_VENV)/bin/python -m sphinx -E -b html -n -W -q docs docs/_build/html $(ARGS)

# The wheel and the sdist. The same commit gives the same bytes.
dist: $(VENV)/ready
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(VENV)/bin/python -m build -q --no-isolation --outdir dist .
	$(VENV)/bin/python -m twine check --strict dist/*.whl dist/*.tar.gz
	cd dist && sha256sum *.whl *.tar.gz

# The dependencies of an installed wheel, as a CycloneDX document.
sbom: $(VENV)/ready dist
	rm -rf .venv-sbom && $(PYTHON) -m venv --without-pip .venv-sbom
	$(VENV)/bin/python -m pip --python .venv-sbom/bin/python install -q dist/*.whl
	$(VENV)/bin/python -m cyclonedx_py environment --output-reproducible --pyproject pyproject.toml \
	  --output-file dist/videoapi.cdx.json .venv-sbom/bin/python

# The JSON form of docs/openapi.yaml, which the sandbox serves at /openapi.json.
openapi: $(VENV)/ready
	$(VENV)/bin/python tests/support/openapi_json.py

# A thousand rooms, their tokens, a month of call records, and recordings, against the sandbox.
demo: .demo/ready
	.demo/bin/python -m videoapi.cli demo $(ARGS)

# The pictures of the README, taken with the system's Chromium.
pictures: $(VENV)/ready
	PYTHONPATH=$(CURDIR) $(VENV)/bin/python tests/support/console_picture.py
	PYTHONPATH=$(CURDIR) $(VENV)/bin/python tests/support/report_picture.py

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

.venv-docs/ready: pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install -q --upgrade pip
	.venv-docs/bin/python -m pip install -q --group docs -e '.[cli,dask,data,redis,taskiq,testing]'
	touch $@

.demo/ready: pyproject.toml
	$(PYTHON) -m venv .demo
	.demo/bin/python -m pip install -q -e '.[cli,report,testing]'
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
	rm -rf .venv .venv-* .demo .bench .bench-create dist build docs/_build docs/reference/api
