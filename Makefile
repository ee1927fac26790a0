# StudySmart: run `make` for the list of targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PORT ?= 4008
STATE_DIR ?= .local
FILE ?=
ARCHITECTURE ?= x86_64
PYTHON ?=
export PYTHON
# A stack and the tests start many processes. Without bytecode each of them compiles every package again.
unexport PYTHONDONTWRITEBYTECODE

py := .venv/bin/python
installed := .venv/.installed
identity = $(shell $(1) -c 'import sys; print(sys.version, sys.base_prefix)' 2>/dev/null)
# The virtual environment names its place. In a moved checkout, or for another PYTHON, it is made again.
ifneq ($(shell test -x $(py) && cat $(installed) 2>/dev/null),$(shell pwd -P))
moved := moved
else ifneq ($(if $(PYTHON),$(call identity,$(PYTHON))),$(if $(PYTHON),$(call identity,$(py))))
moved := moved
endif

.PHONY: help run services test check demo screenshots package deploy clients infra-check audit lock clean chromium docs venv moved

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Some shells and build tools export a HOST of their own, so it counts only if it is given to make.
host := $(if $(findstring command,$(origin HOST)),--host "$(HOST)")

run: $(installed) ## Start everything on this machine (PORT=4008 STATE_DIR=.local HOST=127.0.0.1); Ctrl-C stops it
	@exec $(py) -m infra.local --port $(PORT) --state-dir "$(STATE_DIR)" $(host)

services: $(installed) ## Start everything except the API, for `chalice local` (STATE_DIR=.local)
	@exec $(py) -m infra.local --services --state-dir "$(STATE_DIR)"

test: .venv/.dev .venv/.node chromium ## Run the whole test suite and print the coverage of each area
	@$(py) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report= $(ARGS)
	@$(py) -m tests.support.coverage_by_area

check: .venv/.dev ## Format, lint, spelling, types and the fast tests, the layer rule among them
	@$(py) -m ruff format --check .
	@$(py) -m ruff check .
	@.venv/bin/codespell
	@# NumPy ended its support of Python 3.11 with 2.4, whose types are less exact.
	@if $(py) -c 'import sys; sys.exit(sys.version_info < (3, 12))'; then $(py) -m mypy; \
		else echo "Types are checked on Python 3.12 and later only"; fi
	@infra/lock.sh --check
	@$(py) -m pytest -q -m "not slow" $(ARGS)

demo: $(installed) ## Show the main job from import to retrained prediction (FILE=answers.csv)
	@exec $(py) -m lab.demo --state-dir "$(STATE_DIR)" $(if $(FILE),--file "$(FILE)")

screenshots: .venv/.dev chromium ## Take pictures of every page in many states into build/screenshots, and check them with axe-core (FILE=answers.csv)
	@$(py) -m lab.screenshots $(if $(FILE),--file "$(FILE)")

package: $(installed) ## Build and check the Lambda's zip, build/studysmart-lambda.zip (ARCHITECTURE=arm64)
	@$(py) -m infra.package --architecture $(ARCHITECTURE)

clients: .venv/.dev .venv/.node ## Generate and build the clients for Python and TypeScript into dist/
	@$(py) -m infra.clients

deploy: $(installed) ## Deploy a stage to AWS (STAGE=staging, ARGS=--dry-run)
	@exec $(py) -m infra.deploy $(if $(STAGE),"$(STAGE)",$(error STAGE is not set: make deploy STAGE=staging)) $(ARGS)

infra-check: .venv/.lint .venv/.node ## Lint templates, image, workflows and OpenAPI document, and check order, network and alarms
	@$(py) -m infra.lint
	@$(py) -m infra.checks --json

audit: .venv/.dev .venv/.lint .venv/.docs .venv/.clients .venv/.audit ## Check advisories, licences, secrets and pins; write the bills of materials (ARGS=--strict)
	@$(py) -m infra.audit $(ARGS)

venv: .venv/.dev ## Make .venv with the locked packages, those of tests and checks too

$(installed): uv.lock pyproject.toml infra/uv.txt infra/venv.sh $(moved)
	@infra/venv.sh --no-default-groups --group local
	@pwd -P >$@

# A group of packages that is not needed to run: dev, lint, docs or audit.
.venv/.%: $(installed)
	@echo "Installing the packages of the group $* ..."
	@infra/venv.sh --inexact --group $*
	@touch $@

# Node.js packages: the linter of the OpenAPI document and generators of clients.
.venv/.node: .venv/.clients infra/node/package-lock.json
	@infra/node.sh

chromium: $(installed) ## Install Chromium and PgBouncer for their tests where that is possible (as root, by apt)
	@infra/test_programs.sh

docs: .venv/.docs ## Build the documentation site into site/
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet
	@echo "The site is in site/: $(py) -m http.server --bind 127.0.0.1 --directory site 8000 serves it."

lock: $(installed) ## Resolve uv.lock from pyproject.toml and export it (needs the network; UPGRADE=--upgrade for newer versions)
	@infra/lock.sh $(UPGRADE)

clean: ## Remove the virtual environment, caches and build results (STATE_DIR stays)
	rm -rf .venv .uv build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage* htmlcov
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
