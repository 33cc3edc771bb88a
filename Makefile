# `make quickstart` and `make test` do all the set-up on a machine that has Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help install quickstart test test-all attacks forgeries findings beyond studies leaderboard serve bench soak gpu gpu-check gpu-table6 docs notebooks lint format lock clean

help: ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# Done once; done again only when the pinned set or the package's own metadata changes.
$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "ipr needs Python 3.11 or newer: make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --quiet --requirement requirements.lock
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

install: $(VENV)/installed ## the environment in .venv

quickstart: install ## train, judge and compare baseline, V1, V2 and V3 on handwritten digits
	$(BIN)/ipr reproduce study=quickstart

test: install ## the tests that need neither other processes nor many seconds
	$(BIN)/pytest -n 2 -m "not system and not fuzz and not slow"

test-all: test ## the others, too: processes, hostile files, long lists; those of Slurm where it is installed (.ci/slurm does that)
	$(BIN)/pytest -n 2 -m "system or fuzz or slow"

attacks: install ## every attack on every scheme, and their tables in docs/; IMAGES=FOLDER holds cifar10/train, cifar10/test
	$(BIN)/ipr reproduce study=cifar10_part_attacks images=$(IMAGES)
	$(BIN)/python docs/generate.py runs/report/cifar10_part_attacks/attacks.md
	$(BIN)/ipr reproduce study=photographs_attacks images=$(IMAGES)
	$(BIN)/python docs/generate.py runs/report/photographs_attacks/attacks.md

forgeries: install ## passports forged from public weights, on the digits, and their table in docs/results/attacks.md
	$(BIN)/ipr reproduce study=forged_passports
	$(BIN)/python docs/generate.py runs/report/forged_passports/attacks.md

findings: install ## what the weights give away for nothing, on the digits, and docs/results/findings.md
	$(BIN)/ipr reproduce study=findings
	$(BIN)/python docs/generate.py runs/report/findings/report.md

beyond: install ## every scheme under every attack at scale=cpu, hours, resumable, and docs/results/beyond; IMAGES=FOLDER as above
	$(BIN)/ipr reproduce study=beyond images=$(IMAGES)
	$(BIN)/ipr report study=beyond out=docs/results/beyond

studies: install ## the paper's tables and figures at scale=cpu, and docs/results/cpu; IMAGES=FOLDER holds cifar10, cifar100, caltech101
	$(BIN)/ipr reproduce study=all scale=cpu images=$(IMAGES)
	$(BIN)/ipr report study=all scale=cpu out=docs/results/cpu
	$(BIN)/python docs/generate.py docs/results/cpu/summary.md

leaderboard: install ## docs/results/leaderboard from its entries, each checked and measured anew (docs/results/leaderboard/adding.md)
	$(BIN)/python docs/leaderboard.py build

# mlserver has an environment of its own: it pins what ipr does not.
SERVE_VENV ?= .venv-serve
NAME ?= model
PORT ?= 8080
GRPC_PORT ?= 8081

$(SERVE_VENV)/installed: docs/serve/requirements.txt
	$(PYTHON) -m venv $(SERVE_VENV)
	$(SERVE_VENV)/bin/pip install --disable-pip-version-check --quiet --requirement docs/serve/requirements.txt
	@touch $@

serve: $(SERVE_VENV)/installed ## MODEL=model.onnx NAME=model on 127.0.0.1:8080, over the Open Inference Protocol v2
	MLSERVER_MODEL_NAME=$(NAME) MLSERVER_MODEL_URI=$(abspath $(MODEL)) MLSERVER_HTTP_PORT=$(PORT) \
	MLSERVER_GRPC_PORT=$(GRPC_PORT) $(SERVE_VENV)/bin/mlserver start docs/serve

bench: install ## how fast it is beside the plain network, and that table in docs/performance.md; 15 minutes on two cores
	$(BIN)/python benchmarks/table.py runs/bench/performance.md
	$(BIN)/python docs/generate.py runs/bench/performance.md

soak: install ## 200 kills of small runs, compared with undisturbed ones, and that table in docs/cluster.md; 15 minutes
	$(BIN)/python benchmarks/soak.py
	$(BIN)/python docs/generate.py runs/soak/soak.md

gpu: install ## epoch seconds of every scheme, then Table IV in full, 200 epochs; IMAGES=FOLDER as above; for a GPU
	$(BIN)/python benchmarks/epochs.py dataset.root=$(IMAGES)
	$(BIN)/ipr reproduce study=published images=$(IMAGES)

gpu-check: install ## ten minutes on a GPU, no data set needed: what must be right there, how fast it is, and docs/results/gpu
	$(BIN)/python benchmarks/gpu_check.py --out runs/gpu; $(BIN)/python benchmarks/gpu_tables.py runs/gpu/gpu.json

SECONDS ?= 2700
OUT ?= runs/report/gpu-table6

gpu-table6: install ## as much of Table VI, 200 epochs, as fits into SECONDS=2700, and OUT=FOLDER; IMAGES=FOLDER as above; for a GPU
	$(BIN)/python benchmarks/gpu_table6.py --images $(IMAGES) --seconds $(SECONDS) --out $(OUT)

docs: install ## the generated tables of docs/, then its pages as a site: open site/index.html
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

notebooks: install ## remove outputs from the notebooks; the tests run them
	$(BIN)/python docs/strip.py notebooks/*.ipynb

lint: install ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## let ruff rewrite the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## pin anew what pyproject.toml asks for
	rm -rf .lock-venv && $(PYTHON) -m venv .lock-venv
	.lock-venv/bin/pip install --disable-pip-version-check --quiet 'torch==2.14.1' 'torchvision==0.29.1' hatchling==1.33.0 '.[dev,docs]'
	.lock-venv/bin/pip freeze --exclude ipr-passports | sed -E '/^(nvidia-|cuda-|triton)/ s/$$/ ; sys_platform == "linux"/' > requirements.lock
	rm -rf .lock-venv

clean: ## remove the environment and caches; runs are kept
	rm -rf $(VENV) $(SERVE_VENV) site .mypy_cache .ruff_cache .pytest_cache dist
