.DEFAULT_GOAL := help
.PHONY: help install run test lint sweep glue-minilm clean

PYTHON ?= python3.11
BIN := .venv/bin
CORES ?= all
STUDY = $(shell sed -n 's/^study: *//p' config/config.yaml)
export PATH := $(CURDIR)/$(BIN):$(PATH)

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

install: $(BIN)/.installed  ## make .venv with pinned dependencies

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

run: install  ## run the study of config/config.yaml and write its report
	snakemake --cores $(CORES)
	@$(MAKE) --no-print-directory report

sweep: install  ## choose the learning rates of that study anew
	snakemake --cores $(CORES) sweep
	@echo "Read results/$(STUDY)/tables/selected_lr.tsv, then copy it to config/studies/$(STUDY).selected_lr.tsv"

GLUE_RATES := config/studies/glue-minilm.selected_lr.tsv

glue-minilm: install  ## run the study on real GLUE tasks (hours on two cores; downloads 100 MB)
ifeq ($(wildcard $(GLUE_RATES)),)
	snakemake --cores $(CORES) sweep --config study=glue-minilm
	@echo "Read results/glue-minilm/tables/selected_lr.tsv, copy it to $(GLUE_RATES),"
	@echo "then give the same command again."
else
	snakemake --cores $(CORES) --config study=glue-minilm
	@$(MAKE) --no-print-directory report STUDY=glue-minilm
endif

.PHONY: report
report:
	@snakemake --cores 1 --config study=$(STUDY) --report results/$(STUDY)/report.html > logs/report.log 2>&1 || { cat logs/report.log; exit 1; }
	@echo
	@echo "Done. Open:"
	@echo "  results/$(STUDY)/report.html            all tables and figures with captions"
	@echo "  results/$(STUDY)/tables/accuracy.md     scores by method, rank and task"
	@echo "  results/$(STUDY)/figures/               the figures as PDF and PNG"

test: install  ## run the whole test suite
	pytest

lint: install  ## formatting, lint, types
	ruff format --check lorasb analysis tests
	ruff check lorasb analysis tests
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

clean:  ## remove results, logs and the workflow's state; keeps .venv and results/published
	rm -rf .snakemake logs benchmarks
	find results -mindepth 1 -maxdepth 1 ! -name README.md ! -name published -exec rm -rf {} +
