# A Python from 3.11 to 3.14 is all it takes; uv, where there is one, makes the installation quicker.
# Another one: make install PYTHON=/path/to/python

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Of some images an environment variable has every process compile what it imports, and the tests start many:
# `import xclaim` takes three times the CPU, Airflow as well. Compiled once, it is kept.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
VENV_20 := .venv-sqlalchemy20
VENV_BENCH := .venv-bench
VENV_RELEASE := .venv-release
VENV_TASKS := .venv-tasks
SQLALCHEMY_20 := 2.0.58
PYTHON ?=
FUZZ_SECONDS ?= 60
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14 python)

# Prints the first Python that will do: PYTHON if given, else the active one, else a later one.
find_python = \
	for python in $(PYTHONS); do \
		if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' \
			>/dev/null 2>&1; then command -v $$python; exit; fi; \
	done; \
	echo "xclaim needs Python 3.11 to 3.14; none of these is one: $(PYTHONS)." \
		"Install one, or name it: make install PYTHON=/path/to/python" >&2; \
	exit 1

# $(call new_environment,folder): one that runs. A pip of before 25.1 knows no dependency groups, and a new Python has
# an older one.
PIP := pip==26.3
new_environment = \
	python=$$($(find_python)); \
	if uv --version >/dev/null 2>&1; then \
		[ -x $(1)/bin/python ] && $(1)/bin/python -c '' || uv venv --quiet --clear --python "$$python" $(1); \
		install="uv pip install --quiet --python $(1)/bin/python"; \
	else \
		$(1)/bin/python -m pip --version >/dev/null 2>&1 || "$$python" -m venv --clear $(1); \
		install="$(1)/bin/python -m pip install --quiet --disable-pip-version-check"; \
		$$install $(PIP); \
	fi

# $(call install,folder,constraints,extras,group): an environment with the checkout itself, editable, and with a
# group of pyproject.toml.
install = \
	$(call new_environment,$(1)); \
	$$install --constraint $(2) --group $(4) --editable '.[$(3)]'

# $(call install_hashed,folder,requirements): an environment with the packages of others, taken only if their digests
# are those in the file. Of the checkout, install_checkout adds what `make` has no digest of: Hatchling builds it.
install_hashed = \
	$(call new_environment,$(1)); \
	$$install --require-hashes --requirement $(2)
install_checkout = $$install --no-deps --editable .

# The extras that the groups `test` and `fuzz` need.
CORE_EXTRAS := arrow,embedded,encryption,metrics,otel,pydantic,storage,web
DEV_EXTRAS := $(CORE_EXTRAS),azure,gcs,messaging,s3

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: $(VENV)/.installed ## Make .venv with everything, at the versions and digests in requirements-dev.txt

$(VENV)/.installed: pyproject.toml requirements-dev.txt
	@echo "installing into $(VENV)"
	@$(call install_hashed,$(VENV),requirements-dev.txt); $(install_checkout)
	@$(VENV)/bin/python -m tests.payloads.emulators || echo "no Azurite: the tests of Azure storage will fail" >&2
	@touch $@

$(VENV_20)/.installed: pyproject.toml $(VENV_20).txt
	@echo "installing into $(VENV_20), with SQLAlchemy $(SQLALCHEMY_20)"
	@$(call install,$(VENV_20),$(VENV_20).txt,$(CORE_EXTRAS),test)
	@touch $@

$(VENV_BENCH)/.installed: pyproject.toml constraints.txt benchmarks/node/package-lock.json
	@echo "installing into $(VENV_BENCH), with the peers"
	@$(call install,$(VENV_BENCH),constraints.txt,embedded,bench)
	@$(VENV_BENCH)/bin/python -m benchmarks.contenders.node_queue || echo "no peers for Node: their rows will say so" >&2
	@touch $@

$(VENV_RELEASE)/.installed: pyproject.toml requirements-release.txt
	@echo "installing into $(VENV_RELEASE)"
	@$(call install_hashed,$(VENV_RELEASE),requirements-release.txt)
	@touch $@

# Heavy ones, which a task pays for whose asset factories are loaded. What they need does not go with
# constraints.txt in all.
PROVIDERS := $(addprefix apache-airflow-providers-,amazon google microsoft-azure)

$(VENV_TASKS)/.installed: pyproject.toml constraints.txt
	@echo "installing into $(VENV_TASKS), with $(PROVIDERS)"
	@$(call new_environment,$(VENV_TASKS)); $$install --constraint constraints.txt --editable '.[airflow,embedded]'; $$install $(PROVIDERS)
	@touch $@

# Of the matrix, which names the Python: make .matrix/3.12/.installed PYTHON=python3.12
.matrix/%/.installed: pyproject.toml constraints.txt
	@echo "installing into .matrix/$*"
	@$(call install,.matrix/$*,constraints.txt,$(CORE_EXTRAS),test)
	@touch $@

# The same with one version of Airflow: make .matrix/airflow-3.1.8/.installed
.matrix/airflow-%/.installed: pyproject.toml constraints/airflow-%.txt
	@echo "installing into .matrix/airflow-$*"
	@$(call install,.matrix/airflow-$*,constraints/airflow-$*.txt,$(DEV_EXTRAS),dev)
	@.matrix/airflow-$*/bin/python -m tests.payloads.emulators || echo "no Azurite: the tests of Azure storage will fail" >&2
	@touch $@

$(VENV_20).txt: constraints.txt Makefile
	@sed 's/^sqlalchemy==.*/sqlalchemy==$(SQLALCHEMY_20)/' constraints.txt >$@

.PHONY: lint
lint: $(VENV)/.installed ## Check style, types, the floors of the house and the names of news fragments
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/towncrier build --draft >/dev/null

.PHONY: format
format: $(VENV)/.installed ## Format the code and repair what ruff can
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

# Two processes, whatever the machine has: some tests start an Airflow, others kill servers.
IN_PARALLEL := --numprocesses 2 --dist loadscope --no-loadscope-reorder
# What asks the database more than Python is not repeated on other versions of both.
CORE := -m "not airflow and not wheel" \
	$(addprefix --ignore tests/,browser cli languages stack torture model ordering payloads typing web cancelling test_failover.py test_benchmarks.py test_benchmark_sides.py test_moving.py test_pages.py test_reference.py test_site.py)
# What can differ between SQLAlchemy 2.0 and 2.1: engines, pools and dialects, sessions, asyncio, how a statement is
# compiled, what it is given and what becomes of its rows and errors, and what Alembic makes of them. So each verb, each
# look and each operation runs once more. What the database refuses, plans or keeps apart, what becomes of a payload
# before it is a text, and what is drawn of a model or raced for goes through the same statements.
OF_SQLALCHEMY := -m "not airflow and not wheel" $(addprefix tests/, contract \
	$(addprefix hostile/test_,ids.py observing.py surfaces.py verbs.py::test_who_looks_sees_every_message) \
	$(addprefix observing/test_,asking.py flows.py lives.py measures.py queues.py remembering.py searching.py) \
	ordering/test_differing.py ordering/test_enabling.py telemetry/test_instruments.py telemetry/test_traces.py \
	$(patsubst %,test_%.py,async_reading audit backlog bad_input busy_files capability_statements chosen_levels closing \
	connections doctor engine engines_of_others errors events filled_messages first_claims forks functions grant_statements \
	hostile_input injection keep_alive limits migrations migrations_at_once migrations_of_applications missing_files \
	narrow_door orphans package pgbouncer pools races reconnecting rotation schema_names search_path secrets server_settings \
	sessions split_queues sql_functions sqlite_statements statements views waiting)) \
	$(patsubst %,--ignore tests/contract/test_%.py,encryption names payloads size_limits)
# Unmarked tests are quick. To look at the folders that import Airflow takes ten seconds alone.
QUICK := -m "not airflow and not emulator and not slow and not wheel" $(addprefix --ignore tests/,hook stack)

.PHONY: test-fast
test-fast: $(VENV)/.installed ## Run what is quick, two minutes at most: after each change (`make lint` besides)
	$(VENV)/bin/python -m pytest $(IN_PARALLEL) $(QUICK)

.PHONY: test
test: lint $(VENV_20)/.installed ## Lint, then run every test, then again on SQLAlchemy 2.0 what it has a part in
	$(VENV)/bin/python -m pytest $(IN_PARALLEL)
	$(VENV_20)/bin/python -m pytest $(IN_PARALLEL) $(OF_SQLALCHEMY)

# For some of it: make test-matrix MATRIX="--python 3.12 --postgresql 15 16"
MATRIX :=

.PHONY: test-matrix
test-matrix: $(VENV)/.installed ## Run the core's tests on each PostgreSQL and each Python that can be had
	$(VENV)/bin/python -m tests.matrix $(MATRIX) -- $(IN_PARALLEL) $(CORE)

AIRFLOW_TESTS := tests/hook tests/stack
# Those that constraints/ knows; by default all of them, one after the other.
AIRFLOWS := $(patsubst constraints/airflow-%.in,%,$(sort $(wildcard constraints/airflow-*.in)))
VERSION := $(AIRFLOWS)

.PHONY: test-airflow
test-airflow: ## Run the tests of Airflow on each version, or one: make test-airflow VERSION=3.1.8
	$(if $(filter-out $(AIRFLOWS),$(VERSION)),$(error There is no constraints/airflow-$(firstword \
		$(filter-out $(AIRFLOWS),$(VERSION))).in; those there are: $(AIRFLOWS)))
	@for version in $(VERSION); do \
		$(MAKE) --no-print-directory .matrix/airflow-$$version/.installed; \
		echo "Airflow $$version"; \
		.matrix/airflow-$$version/bin/python -m pytest $(IN_PARALLEL) $(AIRFLOW_TESTS); \
	done

.PHONY: screenshots
screenshots: $(VENV)/.installed ## Take the pictures of the dashboard anew (needs Chromium)
	$(VENV)/bin/python -m tests.browser.screenshots

.PHONY: interleavings
interleavings: $(VENV)/.installed ## Run every order of the steps of two and three sessions
	$(VENV)/bin/python -m tests.model

# For hours: make torture MINUTES=180
MINUTES := 2

.PHONY: torture
torture: $(VENV)/.installed ## Kill workers and servers for MINUTES (2), and count what is lost or doubled: nothing
	$(VENV)/bin/python -m tests.torture --minutes $(MINUTES)
	$(VENV)/bin/python -m tests.ordering --minutes $(MINUTES)

.PHONY: bench
bench: $(VENV_BENCH)/.installed ## Measure against the peers, over an hour, and write docs/benchmarks.md
	$(VENV_BENCH)/bin/python -m benchmarks

.PHONY: bench-quick
bench-quick: $(VENV_BENCH)/.installed ## The same in three minutes, written to benchmarks/output
	$(VENV_BENCH)/bin/python -m benchmarks --quick --output benchmarks/output/quick

.PHONY: bench-steady
bench-steady: $(VENV_BENCH)/.installed ## Measure waiting and many workers and lapsed claims, an hour, for docs/benchmarks.md
	$(VENV_BENCH)/bin/python -m benchmarks.steady --page
	$(VENV_BENCH)/bin/python -m benchmarks.concurrency --page
	$(VENV_BENCH)/bin/python -m benchmarks --report

# A commit without ordering keys, to compare plain queues with: make bench-ordering BEFORE=8d3f7a1
BEFORE :=

.PHONY: bench-ordering
bench-ordering: $(VENV_BENCH)/.installed ## Measure what ordering keys cost, also beside the peers that have them, for docs/benchmarks.md
	$(VENV_BENCH)/bin/python -m benchmarks.ordering --page $(addprefix --before ,$(BEFORE))
	$(VENV_BENCH)/bin/python -m benchmarks --report

# What single parts cost; some fill a database with ten million messages first. Some of them:
# make bench-parts PARTS="page_cost scrape_cost"
PARTS := audit_cost check_cost failing_cost import_cost observing_cost ordering_at_scale page_cost priority_cost \
	scrape_cost sql_functions telemetry_cost tracing_cost

.PHONY: bench-parts
bench-parts: $(VENV)/.installed ## Measure single parts, hours in all, into benchmarks/output: one with PARTS=page_cost
	missed=; for part in $(PARTS); do $(VENV)/bin/python -m benchmarks.$$part || missed="$$missed $$part"; done; \
	[ -z "$$missed" ] || { echo "not as they should be:$$missed" >&2; exit 1; }

.PHONY: bench-payloads
bench-payloads: $(VENV)/.installed ## Measure what payloads and XComs cost, half an hour, into docs/artefacts
	$(VENV)/bin/python -m benchmarks.payload_memory --places file
	$(VENV)/bin/python -m benchmarks.payload_memory --places s3 --size 512  # moto chokes on more
	$(VENV)/bin/python -m benchmarks.payload_cost
	$(VENV)/bin/python -m benchmarks.xcom_cost

.PHONY: bench-tasks
bench-tasks: $(VENV_TASKS)/.installed ## Measure when a task starts that claims, beside one that does nothing, ten minutes
	$(VENV_TASKS)/bin/python -m benchmarks.task_start

.PHONY: demo
demo: $(VENV)/.installed ## Run the example DAG in a real Airflow on an embedded PostgreSQL
	$(VENV)/bin/python -m examples.run_demo

.PHONY: docs
docs: $(VENV)/.installed ## Build the site into docs/_build/html; a warning is an error, and so is a link that leads nowhere
	$(VENV)/bin/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet -d docs/_build/doctrees docs docs/_build/html
	@echo "docs/_build/html/index.html"

.PHONY: fuzz
fuzz: $(VENV)/.installed ## Fuzz the decoders for a minute with atheris: make fuzz FUZZ_SECONDS=3600
	@$(call install,$(VENV),constraints.txt,$(CORE_EXTRAS),fuzz)
	$(VENV)/bin/python -m tests.fuzz $(FUZZ_SECONDS)

.PHONY: build
build: $(VENV)/.installed ## Build the sdist, and the wheel from it, into dist
	rm -rf dist
	$(VENV)/bin/python -m build

# To see what it would say of work that is not finished: make release RELEASE=--try
# And less of it: make release RELEASE="--try --python 3.12 --no-airflow"
RELEASE :=

.PHONY: release
release: $(VENV_RELEASE)/.installed ## Build what is published into dist, check it, and use it on each Python that can be had
	$(VENV_RELEASE)/bin/python -m releasing $(RELEASE)

# Constraints keep no markers: a package that is not wanted somewhere is not installed there anyway.
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header
GROUPS := bench dev fuzz release
LOCK := $(COMPILE) --constraint constraints.txt --generate-hashes

.PHONY: constraints
constraints: ## Refresh constraints.txt and both requirements files to the newest versions (needs uv)
	$(COMPILE) --fork-strategy fewest --upgrade --all-extras $(addprefix --group ,$(GROUPS)) \
		pyproject.toml | sed 's/ ;.*//' >constraints.new
	mv constraints.new constraints.txt
	$(LOCK) --all-extras --group dev pyproject.toml --output-file requirements-dev.txt
	$(LOCK) --group release --output-file requirements-release.txt
	for version in $(AIRFLOWS); do \
		$(COMPILE) --fork-strategy fewest --upgrade --all-extras --group dev \
			--constraint constraints/airflow-$$version.in pyproject.toml | sed 's/ ;.*//' >constraints.new; \
		mv constraints.new constraints/airflow-$$version.txt; \
	done

.PHONY: clean
clean: ## Remove the environments and everything built
	rm -rf .matrix $(VENV) $(VENV_20) $(VENV_20).txt $(VENV_BENCH) $(VENV_RELEASE) $(VENV_TASKS) benchmarks/node/node_modules benchmarks/output tests/torture/output dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	rm -rf docs/_build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
