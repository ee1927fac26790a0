# StudySmart: run `make` for the list of targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PORT ?= 4008
STATE_DIR ?= .local
FILE ?=
PYTHON ?=
export PYTHON

py := .venv/bin/python
installed := .venv/.installed
locks := requirements-dev.txt requirements.txt training_job/requirements.txt
# The virtual environment names its place: in a copied or moved checkout it is installed again.
ifneq ($(shell cat $(installed) 2>/dev/null),$(shell pwd))
moved := moved
endif
uv_version := 0.13.9
compile := .lock/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	--no-emit-index-url --custom-compile-command "make lock"

.PHONY: help run services test check demo screenshots package infra-check lock clean chromium venv moved

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(installed) ## Start everything on this machine (PORT=4008 STATE_DIR=.local); Ctrl-C stops it
	@exec $(py) -m infra.local --port $(PORT) --state-dir "$(STATE_DIR)"

services: $(installed) ## Start everything but the API, for `chalice local` (STATE_DIR=.local)
	@exec $(py) -m infra.local --services --state-dir "$(STATE_DIR)"

test: $(installed) chromium ## Run the whole test suite and print the coverage of each area
	@$(py) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report= $(ARGS)
	@$(py) -m tests.support.coverage_by_area

check: $(installed) ## Format, lint, types and the fast tests, the layer rule among them
	@$(py) -m ruff format --check .
	@$(py) -m ruff check .
	@$(py) -m mypy
	@$(py) -m pytest -q -m "not slow" $(ARGS)

demo: $(installed) ## Show the main job from import to retrained prediction (FILE=answers.csv)
	@exec $(py) -m lab.demo --state-dir "$(STATE_DIR)" $(if $(FILE),--file "$(FILE)")

screenshots: $(installed) chromium ## Take pictures of every page, empty and after 679 answers, into build/screenshots (FILE=answers.csv)
	@$(py) -m lab.screenshots $(if $(FILE),--file "$(FILE)")

package: $(installed) ## Build and check the Lambda's zip, build/studysmart-lambda.zip
	@$(py) -m infra.package

infra-check: $(installed) .lint/.installed ## Render the template, lint everything, compare policies with recorded calls
	@TF_CPP_MIN_LOG_LEVEL=2 $(py) -m infra.check $(ARGS)

.lint/.installed: infra/check/requirements.txt $(moved)
	@echo "Installing the linters in .lint ..."
	@$(py) -m venv --clear .lint
	@.lint/bin/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes --only-binary :all: -r $<
	@touch $@

venv: $(installed) ## Make .venv and install the locked packages

$(installed): $(locks) pyproject.toml infra/venv.sh $(moved)
	@infra/venv.sh

chromium: $(installed) ## Install Chromium for the browser tests where that is possible (as root, by apt)
	@infra/chromium.sh

lock: ## Compile the locks again from the requirements*.in files (needs the network; UPGRADE=--upgrade for newer versions)
	@test -x .lock/bin/uv || { python3 -m venv .lock && .lock/bin/python -m pip install --quiet uv==$(uv_version); }
	@$(compile) $(UPGRADE) -o requirements-dev.txt requirements-dev.in
	@$(compile) -c requirements-dev.txt -o requirements.txt requirements.in
	@$(compile) -c requirements-dev.txt -o training_job/requirements.txt training_job/requirements.in
	@$(compile) $(UPGRADE) -o infra/check/requirements.txt infra/check/requirements.in

clean: ## Remove the virtual environment, caches and build results (STATE_DIR stays)
	rm -rf .venv .lock .lint build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage* htmlcov
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
