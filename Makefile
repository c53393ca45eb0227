# From a bare clone: `make demo`. Needs Python 3.11 or 3.12 with venv, and make; everything else comes from requirements.lock.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || echo python3)
UV ?= uv
ARGS ?=
LOCK = $(UV) pip compile $(UPGRADE) --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
LOCK_IMAGE = $(LOCK) --constraint requirements.lock --python-version 3.11 --python-platform x86_64-manylinux_2_31
# Options for the installation of PyTorch, for example the index of its CPU build.
TORCH_ARGS ?=

VENV := .venv
BENCH_VENV := .venv-bench
JOBS_VENV := .venv-jobs
BIN := $(VENV)/bin
PIP_INSTALL := -m pip install -qq --disable-pip-version-check --no-input --progress-bar off
# Content, not time: a checkout of another commit gives every file a new time.
LOCK_ID := $(shell cksum < requirements.lock | cut -d ' ' -f 1)
PROJECT_ID := $(shell cksum < pyproject.toml | cut -d ' ' -f 1)
LOCKED := $(VENV)/.locked-$(LOCK_ID)
INSTALLED := $(VENV)/.installed-$(LOCK_ID)-$(PROJECT_ID)
TORCH := $(BENCH_VENV)/.torch-$(LOCK_ID)
JOBS := $(JOBS_VENV)/.jobs-$(LOCK_ID)-$(shell cksum < docker/locks/runtime.lock | cut -d ' ' -f 1)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test docs chaos lint format bench lock install clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1  \2/p' Makefile

demo: install  ## run the decay-time sweep on digit pairs and draw its figure (at most 4 minutes on two cores)
	$(BIN)/abel run fig-s6a-digits
	$(BIN)/abel report fig-s6a-digits

# Three at a time, file by file: many tests wait for a process to start, to end or to be missed.
test: install  ## run the tests; ARGS="-k norms -x" goes to pytest
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

docs: install  ## build the documentation into site/, warnings are errors; open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs --quiet build --strict

# Then what else can break: the tracking store, checkpoints and disks, nodes and their network, the ledger's server.
chaos: install $(JOBS)  ## kill 100 workers, 25 commands, 30 drivers and parts of Ray, compare every record, then break all else; ARGS="--seed 7"
	$(BIN)/python tests/chaos/run.py $(ARGS)
	CHAOS_SEEDS=3 CHAOS_MOMENTS=5 CHAOS_OUTAGE_SECONDS=60 CHAOS_HARMS=200 CHAOS_FLIPS=300 CHAOS_EDITS=1000 CHAOS_SPECS=10000 CHAOS_CASES=100 \
		$(BIN)/python -m pytest $(addprefix tests/,services/test_kills.py services/test_outages.py services/test_integrity.py \
		services/test_space.py services/server/test_service.py services/api/test_hostile.py services/test_two_nodes.py \
		services/test_ledger_away.py services/test_whole_cluster.py workers/test_damage.py workers/test_durability.py)

lint: install  ## ruff, ruff format --check, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(TORCH)  ## time the training step against PyTorch, and what a sweep adds to it
	@set -e; for script in $(sort $(wildcard bench/*.py)); do echo "== $$script"; $(BENCH_VENV)/bin/python $$script $(ARGS); done

lock:  ## choose versions again (needs uv); UPGRADE=--upgrade takes the newest
	$(LOCK) pyproject.toml --extra dev --extra games --extra traces --universal --python-version 3.11 --output-file requirements.lock
	@# The images: what builds and what runs, and what an accelerator adds, in the same versions.
	$(LOCK_IMAGE) docker/locks/build.in --output-file docker/locks/build.lock
	$(LOCK_IMAGE) pyproject.toml --extra traces docker/locks/cluster.in --output-file docker/locks/runtime.lock
	$(LOCK_IMAGE) docker/locks/cuda.in --output-file docker/locks/cuda.lock
	$(LOCK_IMAGE) docker/locks/tpu.in --output-file docker/locks/tpu.lock

install: $(INSTALLED)  ## install into .venv without running anything

clean:  ## remove the virtual environments and caches; .abel/, the results of your runs, stays
	rm -rf $(VENV) $(BENCH_VENV) $(JOBS_VENV) build dist site abel_sweeps.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(LOCKED):
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v in {(3, 11), (3, 12)} or sys.exit(f"Python 3.11 or 3.12 is needed, $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing $$(grep -c '==' requirements.lock) pinned packages into $(VENV): once, 2 to 3 minutes, 2 GB."
	@# One package comes as source only; it is built with the locked setuptools, so that one goes first.
	@sed -n '/^setuptools==/,/[^\\]$$/p' requirements.lock > $(VENV)/setuptools.lock
	@$(BIN)/python $(PIP_INSTALL) --require-hashes -r $(VENV)/setuptools.lock
	@$(BIN)/python $(PIP_INSTALL) --require-hashes --no-build-isolation -r requirements.lock
	@rm -f $(VENV)/.locked-*
	@touch $@

$(INSTALLED): $(LOCKED)
	@$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.installed-*
	@touch $@

# A Ray head takes jobs with ray[default], with which every local run would start and open more: a second environment, which also
# sees the first, with what the images' lock has beyond this one's.
$(JOBS): $(INSTALLED)
	@test -x $(JOBS_VENV)/bin/python || $(BIN)/python -m venv --without-pip $(JOBS_VENV)
	@awk '/^[a-z0-9].*==/ {split($$1, pin, "=="); of_jobs = FNR < NR && !(pin[1] in here); here[pin[1]]} FNR < NR && of_jobs' \
		requirements.lock docker/locks/runtime.lock > $(JOBS_VENV)/jobs.lock
	@PIP_PYTHON=$(JOBS_VENV)/bin/python $(BIN)/python $(PIP_INSTALL) --no-deps --require-hashes -r $(JOBS_VENV)/jobs.lock
	@packages='import sysconfig; print(sysconfig.get_path("purelib"))'; \
		echo "import site; site.addsitedir('$$($(BIN)/python -c "$$packages")')" > "$$($(JOBS_VENV)/bin/python -c "$$packages")/abel_sweeps_venv.pth"
	@rm -f $(JOBS_VENV)/.jobs-*
	@touch $@

# PyTorch is no dependency and its CPU build is not in the default index: a second environment, which also sees the first.
$(TORCH): $(INSTALLED)
	@echo "Installing PyTorch 2.13.0 into $(BENCH_VENV): once."
	@test -x $(BENCH_VENV)/bin/python || $(BIN)/python -m venv $(BENCH_VENV)
	@packages='import sysconfig; print(sysconfig.get_path("purelib"))'; \
		echo "import site; site.addsitedir('$$($(BIN)/python -c "$$packages")')" > "$$($(BENCH_VENV)/bin/python -c "$$packages")/abel_sweeps_venv.pth"
	@$(BENCH_VENV)/bin/python $(PIP_INSTALL) torch==2.13.0 $(TORCH_ARGS)
	@rm -f $(BENCH_VENV)/.torch-*
	@touch $@
