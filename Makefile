# Every target does its own set-up: `scripts/bootstrap` makes .venv, and returns at once when nothing has changed.
.DEFAULT_GOAL := help
.PHONY: up demo test check bench generate baseline images clean help
# A line that fails ends its target; targets share .venv and do not run side by side.
.NOTPARALLEL:

PYTHON = .venv/bin/python
TOOL = .venv/bin
export PYTHONPATH = tests

up: ## start the whole system in the foreground; Ctrl-C ends it
	@scripts/bootstrap
	@exec $(PYTHON) -m support.up

demo: ## start it, use every part of it, compare what came out, stop it
	@scripts/bootstrap
	@exec $(PYTHON) -m support.demo

test: ## run every test
	@scripts/bootstrap
	@exec $(PYTHON) -m pytest

check: ## lint, types, layers, contract, generated code, chart
	@scripts/bootstrap
	$(TOOL)/ruff check
	$(TOOL)/ruff format --check
	$(TOOL)/basedpyright
	cd services/command-api && ../../$(TOOL)/mypy src tests
	$(TOOL)/lint-imports
	$(TOOL)/buf lint
	$(TOOL)/buf format --diff --exit-code
	$(TOOL)/buf breaking --against protos/baseline.binpb
	$(TOOL)/helm lint --strict charts/crypto-streaming
	$(PYTHON) scripts/check_generated.py

bench: ## measure beside floors; takes minutes
	@scripts/bootstrap
	@exec $(PYTHON) -m bench

generate: ## write everything that is generated: protobuf code, the SDK's blocking half, documents, the chart's schema
	@scripts/bootstrap
	$(PYTHON) scripts/generate.py

baseline: ## accept the contract as it is now as what `buf breaking` compares with
	@scripts/bootstrap
	$(TOOL)/buf build --output protos/baseline.binpb

images: ## build the images of the services with docker, podman or buildah
	@exec scripts/images

clean: ## remove the data of `make up`, the environment and all caches
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m support.clean; fi
	rm -rf .venv .tools .run .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## show this
	@sed -n 's/^\([a-z]*\): ## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18
