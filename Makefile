.DEFAULT_GOAL := help
.PHONY: help install check test lint run report report-workflow sweep docs clean

PYTHON ?= python3.11
BIN := .venv/bin
CORES ?= all
STUDY = $(shell sed -n 's/^study: *//p' config/config.yaml)
# what is left to one worker is taken over by the others: a few tests take minutes
PYTEST := pytest -n auto --dist worksteal
export PATH := $(CURDIR)/$(BIN):$(PATH)

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

install: $(BIN)/.installed  ## make .venv with pinned dependencies

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

check: lint  ## lint and the quick tests, in a few minutes
	$(PYTEST) -m "not slow"

test: install  ## all tests
	$(PYTEST)

lint: install  ## formatting, lint, types
	ruff format --check lorasb analysis workflow tests docs
	ruff check lorasb analysis workflow tests docs
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

run: install  ## run the study of config/config.yaml, or STUDY=name, to its page
	snakemake --cores $(CORES) --config study=$(STUDY)

report: install  ## write the page of that study, with what is missing for it
	snakemake --cores $(CORES) results/$(STUDY)/report.html --config study=$(STUDY)

report-workflow: install  ## write Snakemake's own report of that study: which rule wrote what, when
	@mkdir -p logs
	@snakemake --cores 1 --config study=$(STUDY) --report results/$(STUDY)/workflow.html > logs/report.log 2>&1 || { cat logs/report.log; exit 1; }

sweep: install  ## choose the learning rates of that study that are not committed
	snakemake --cores $(CORES) sweep --config study=$(STUDY)

docs: install  ## write the documentation site to build/site
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

clean:  ## remove results, logs and the workflow's state; keeps .venv and results/published
	rm -rf .snakemake logs build
	find results -mindepth 1 -maxdepth 1 ! -name README.md ! -name published -exec rm -rf {} +
