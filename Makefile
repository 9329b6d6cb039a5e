# make demo and make test need nothing but Python 3.11 and a package index.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo demo-digits up test test-all lint types docs bench drill bench-tracking bench-inference bench-scheduler lock migration conformance-mlflow clean

help:            ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ —/'

setup:           ## make .venv with sill in it
	@$(PYTHON) scripts/setup.py core

demo:            ## install, then tell the whole loop on real data
	@$(PYTHON) scripts/setup.py train
	@$(BIN)/sill demo

demo-digits:     ## the same loop with images and PyTorch
	@$(PYTHON) scripts/setup.py train --torch
	@$(BIN)/sill demo digits

up: setup        ## start the platform
	@$(BIN)/sill up

dev:
	@$(PYTHON) scripts/setup.py dev --torch

test: dev        ## install, then lint, check types and run the tests
	@$(BIN)/ruff check src tests bench drill scripts && $(BIN)/ruff format --check -q src tests bench drill scripts
	@$(BIN)/mypy
	@$(BIN)/pytest -m "not slow" --numprocesses 2 --dist loadfile

test-all: dev    ## the same with the long fault and scale suites
	@$(BIN)/ruff check src tests bench drill scripts && $(BIN)/mypy
	@$(BIN)/pytest

lint: dev        ## ruff
	@$(BIN)/ruff check src tests bench drill scripts && $(BIN)/ruff format --check -q src tests bench drill scripts

types: dev       ## mypy, strict
	@$(BIN)/mypy

docs: dev        ## run the code in the docs and check that everything is documented
	@$(BIN)/pytest tests/docs

bench: dev       ## measure start-up, idle memory, tracking and serving
	@$(BIN)/python -m bench

conformance-mlflow: dev  ## run MLflow's own tests against Sill: make conformance-mlflow DIR=checkout-of-mlflow
	@$(BIN)/python conformance/mlflow.py $(DIR)

drill: dev      ## break one thing after another under load, flood it, and print goals beside figures; SECONDS=5 for a short one
	@$(BIN)/python -m drill $(SECONDS)

bench-scheduler: dev ## replay the public traces (folder TRACES) and print them beside the published numbers
	@$(BIN)/python -m bench.scheduler

bench-inference: dev ## ten other model servers and Sill side by side: how many times faster
	@$(BIN)/python -m bench.inference

bench-tracking: dev ## a real MLflow server and Sill side by side: how many times faster
	@$(BIN)/python -m bench tracking

lock:            ## write the hashed locks again (needs uv)
	@sh requirements/lock.sh

migration: dev   ## write a database migration: make migration NAME=what_changed
	@$(BIN)/python -m sill.stores.migrate revision $(NAME)

clean:           ## remove what the others made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
