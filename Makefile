# The verbs of this repository. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
PY := $(BIN)/python
# Calls in real time: a few at once share both cores; a crowd gets them to itself.
CALLS := tests/chaos tests/system/test_inbound_call.py tests/system/test_survival.py tests/system/test_transfers.py
CROWD := tests/system/test_twenty_calls.py

.PHONY: help setup fmt check test fuzz chaos soak bench recall figures demo up down schema migrate

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install everything into .venv (needs python3 and make, nothing else)
	@python3 deploy/setup/bootstrap.py

demo: setup ## Start everything, phone an agent, show the conversation and its record
	@$(BIN)/turncall demo

up: setup ## Start everything and keep it running; `make down` stops it
	@$(BIN)/turncall up

down: ## Stop what `make up` started
	@$(BIN)/turncall down

test: setup ## Run every test over real Postgres, NATS, Valkey and S3 (no Docker needed)
	@$(PY) -m pytest tests -n 3 --dist loadfile --no-loadscope-reorder $(CALLS:%=--ignore %) $(CROWD:%=--ignore %); rest=$$?; \
	$(PY) -m pytest $(CALLS) -n 2 --dist loadfile; calls=$$?; \
	$(PY) -m pytest $(CROWD) && exit $$((rest | calls))

fuzz: setup ## Make requests up from the API's reference for longer than `make test` does (FUZZ_SECONDS=600)
	@FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) $(PY) -m pytest tests/integration/control/test_fuzzing.py

chaos: setup ## Kill, freeze and take away every part under live calls; prints a table (CHAOS="slug … --calls 4 --seed 7")
	@$(PY) -m turncall_testkit.chaos $(CHAOS)

soak: setup ## An hour of calls with a fault a minute; memory and descriptors must stay flat (SOAK="--minutes 10")
	@$(PY) -m turncall_testkit.chaos.soak $(SOAK)

bench: setup ## Measure speed on real servers and processes; prints a table (BENCH="inbound --rounds 3")
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(PY) -m turncall_testkit.bench $(BENCH)

recall: setup ## Ask what callers ask: how often the right passage is found, with and without each part of the search
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(PY) tests/bench/recall.py

figures: ## Write the last reports of bench, chaos and soak into README.md
	@$(PY) -m turncall_testkit.bench.figures
	@$(PY) -m turncall_testkit.chaos.figures

check: setup ## Formatting, lint, types, who may import whom, schema drift, unit tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(PY) -m pytest -q tests/unit tests/contract -n 3 --dist loadfile

fmt: setup ## Format the code and sort its imports
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format .

schema: setup ## Write the generated schemas of the contract and the example environments
	@$(PY) -m turncall_proto
	@$(PY) -m turncall_media schema
	@$(PY) -m turncall_control schema
	@$(PY) -m turncall_control env-example > deploy/env/control.env.example
	@$(PY) -m turncall_media env-example > deploy/env/media.env.example

migrate: setup ## Bring the database named by TURNCALL_DATABASE_MIGRATE_URL to the newest schema
	@$(PY) -m turncall_control migrate
