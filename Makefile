# One entry point. `make` prints the list of targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup test test-slow adversarial drills fuzz fuzz-http differential simulate vectors helm-lint compat lint types proto demo
.PHONY: chaos chaos-short demo-chains images-try
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
PROTOS = $(wildcard signer_nodes/api/*.proto custody/api/*.proto)
ARGS ?=
SECONDS ?= 60
CHAOS_SECONDS ?= 3600
SEED ?= 1
RUNS ?= 1000
COUNT ?= 100000
EXAMPLES ?= 1000
TARGETS ?=

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-11s %s\n", $$1, $$2}'

setup: ## install what is missing: Debian packages, .venv, node_modules (quick when nothing is)
	@deploy/setup.sh

test: lint types ## everything a change must pass: lint, types, layers, all tests that are not slow, a minute of chaos
	# three at a time, one more than the cores: real processes wait more than they work
	# by files: the tests of one may build on each other
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not slow" -o cache_dir=build/pytest --cache-clear \
		|| { [ $$? -eq 1 ] && $(BIN)/python -m tests.alone; }  # by 1 it says that it ran to its end
	$(BIN)/python -m tests.chaos --brief --or-skip --rate 3

test-slow: setup ## the tests marked slow
	$(BIN)/pytest -n 2 --dist loadfile -m slow

adversarial: setup ## the larger sweeps of attacks on the protocols
	$(BIN)/pytest -n 2 -m slow tests/protocols

chaos: setup ## break a deployment under load, for CHAOS_SECONDS=3600, in the order of SEED=1 (as root)
	$(BIN)/python -m tests.chaos --seconds $(CHAOS_SECONDS) --seed "$(SEED)" --logs build/chaos

chaos-short: setup ## the same for two minutes, as a test that checks the report (as root)
	$(BIN)/pytest -m slow tests/chaos

drills: setup ## play every drill on a deployment of its own, and hold it against its runbook
	$(BIN)/pytest -n 2 -m slow tests/e2e/test_drills.py

fuzz: setup ## fuzz every decoder; SECONDS=60 each, some by TARGETS="evm note"
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/pip install -q -c constraints.txt -e '.[fuzz]'
	@$(BIN)/python -m tests.fuzz.run --seconds $(SECONDS) $(TARGETS)

fuzz-http: setup ## send the HTTP door what its OpenAPI document allows, and what not; EXAMPLES=1000 of each
	@$(BIN)/python -m tests.fuzz.http_door --examples $(EXAMPLES)

simulate: setup ## random interleavings of all that a hostile coordinator can do; SEED=1 RUNS=1000
	@$(BIN)/python -m tests.simulation.interleavings --seed "$(SEED)" --runs $(RUNS)

differential: setup ## read COUNT=100000 generated transactions by two decoders each; SEED=1 chooses them
	@$(BIN)/python -m tests.differential.run --count $(COUNT) --seed $(SEED)

vectors: setup ## regenerate the transcripts in tests/vectors
	$(BIN)/python -m tests.vectors.make_transcripts

helm-lint: setup ## the chart: helm's own lint, Kubernetes' schemas, and what its pods are denied
	PATH="$(CURDIR)/$(BIN):$$PATH" helm lint --strict deploy/helm/quorumkeep -f deploy/helm/examples/one-cluster.yaml
	$(BIN)/pytest -q tests/unit/test_helm_chart.py

compat: setup ## before a release: write what it writes into tests/compat, to be read for ever
	@$(BIN)/python -m tests.compat.make $(ARGS)

images-try: setup ## build all images, try both compose files on the engine that docker reaches, take all down (as root)
	tests/e2e/containers/images_try.sh $(ARGS)

lint: setup ## ruff (rules and format) and the layers (import-linter)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup ## mypy --strict
	$(BIN)/mypy

proto: setup ## regenerate the gRPC stubs from signer_nodes/api/*.proto and custody/api/*.proto
	@test -n "$(PROTOS)" || { echo "no .proto files yet" >&2; exit 1; }
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I . --python_out=. --grpc_python_out=. \
	    --mypy_out=quiet:. --mypy_grpc_out=quiet:. $(PROTOS)

demo: setup ## run the whole system on this machine and show a payment; options by ARGS="--json"
	@$(BIN)/quorumkeep demo $(ARGS)

demo-chains: setup ## the same on every family of chains: deposits, withdrawals, sweeps and tier moves on each
	@$(BIN)/quorumkeep demo --chains evm,bitcoin,solana $(ARGS)
