# The commands of this project; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONUNBUFFERED := 1

.PHONY: help demo test check format same coverage ui lock clean show-kill server worker deploy results test-cluster

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# From files whose digests are known; a package whose source is built uses the setuptools of the list. torch comes by itself: which of its
# builds fits depends on the machine, and other indexes than PyPI have them.
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
LOCKED := install --require-hashes --no-deps --no-build-isolation --use-pep517
.venv/done: pyproject.toml constraints.txt requirements.lock
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(PIP) $(LOCKED) -r <(sed -n '/^\(setuptools\|wheel\)==/,/[^\\]$$/p' requirements.lock)
	$(PIP) $(LOCKED) -r requirements.lock
	$(PIP) install -c constraints.txt torch
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/cluster: .venv/done infra/requirements.lock
	$(PIP) $(LOCKED) -r infra/requirements.lock
	@touch $@

demo: .venv/done ## train, prove, promote and use a winning ticket (about 5 minutes on two cores)
	dvc repro --quiet
	python -m flows.registry promote
	@mirl report
	@if grep -q '"ticket": null' report/decision.json; \
	 then ticket=tickets/dense/ticket.safetensors; echo "no ticket was promoted: the dense one restores"; \
	 else ticket=models:/mirl@champion; fi; \
	 mirl restore scores/dense/pictures/*--input.png -o restored --force --ticket $$ticket
	@echo "the restored photographs:     restored/"
	@echo "the tickets in MLflow:        make ui"

test: .venv/done ## run the tests
	python -m pytest -n 2 --dist loadfile

coverage: .venv/done ## run the tests, and say which lines of mirl and flows they run
	python -m pytest -n 2 --dist loadfile --cov --cov-report=term

test-cluster: .venv/cluster ## two worker hosts, PostgreSQL and sshd in network namespaces (root; Debian packages; a quarter of an hour)
	python -m pytest -m cluster tests/cluster tests/flows/orchestration/test_lost.py

check: .venv/done ## ruff, types, layering
	ruff check .
	ruff format --check .
	mypy
	python -m pytest tests/test_layering.py tests/test_style.py

format: .venv/done ## let ruff mend what it can
	ruff check --fix .
	ruff format .

same: .venv/done ## show that the working tree makes the same bytes as another commit: make same BASE=HEAD~1 (ten minutes a side)
	python -m benchmarks.same $(BASE)

ui: .venv/done ## the MLflow UI on the embedded store, at http://127.0.0.1:5000
	python -m flows.tracking ui

server worker deploy results: export PREFECT_API_URL ?= http://127.0.0.1:4200/api
worker deploy: export MLFLOW_TRACKING_URI ?= http://127.0.0.1:5000
server worker: export MIRL_HOME ?= $(CURDIR)/.mirl/lottery
server worker: export MIRL_CACHE ?= $(CURDIR)/.dvc/cache

HOST ?= 127.0.0.1
server: .venv/done ## Prefect, MLflow and the worker that runs lotteries: make server HOST=10.0.0.5 (default 127.0.0.1)
	python -m flows.orchestration.servers --host $(HOST)

worker: .venv/done ## a worker on this machine: make worker POOL=gpu (or cpu)
	python -m flows.orchestration.deployments worker $(POOL)

deploy: .venv/done ## tell Prefect's server what there is to run: make deploy REPOSITORY=... REVISION=... (default: origin, HEAD)
	python -m flows.orchestration.deployments register $(if $(REPOSITORY),--repository $(REPOSITORY)) $(if $(REVISION),--revision $(REVISION))

results: .venv/done ## bring what the last lottery on workers has made into this folder
	python -m flows.orchestration.results

show-kill: .venv/done ## kill a training three times at random, and compare its ticket with an undisturbed one
	python benchmarks/kill_and_resume.py

LOCK := uv pip compile --quiet --no-header --no-annotate --generate-hashes --universal --python-version 3.11 \
	--constraints constraints.txt --no-emit-package torch
lock: ## write constraints.txt anew from the installed environment, and both requirements.lock from it
	@(sed -n '/^#/p' constraints.txt; pip freeze --exclude-editable --exclude mirl | sed 's/+cpu$$//') > constraints.new
	@mv constraints.new constraints.txt
	@echo "torch; sys_platform == 'never'" > .venv/without.txt
	printf 'setuptools>=77\nwheel\nsympy\n' | $(LOCK) --overrides .venv/without.txt pyproject.toml - \
	 --extra pipeline --extra serve --extra dev --output-file requirements.lock > /dev/null
	printf 'setuptools>=77\nwheel\nsympy\n' | $(LOCK) --overrides .venv/without.txt pyproject.toml - \
	 --extra pipeline --extra cluster --extra gpu --output-file infra/requirements.lock > /dev/null

clean: ## remove what the pipeline made, keep the environment and DVC's cache
	rm -rf tickets scores report restored data/prepared .mirl
