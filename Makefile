# `make` lists the targets. STUDY=NAME picks a study of conf/study/, ARGS="..." is handed on to the command.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup data plan sweep settle tune watch ui demo serve server server-stop compare report test test-cluster chaos lint bench lock clean

PYTHON ?= python3
STUDY ?=
ARGS ?=
TUNER ?=
WORKERS ?=
HOURS ?=
RECORDED = experiments/article/runs.zip
PY := .venv/bin/python
LOCKED := .venv/.ready
READY := .venv/.installed
# The data set is needed unless the arguments name another.
DATA := $(if $(findstring data.dir=,$(ARGS))$(findstring data.source=csv,$(ARGS)),,.venv/.data)

# Make itself would take any variable and say nothing; what no target uses is refused, with the spelling that works.
USED_sweep = STUDY ARGS
USED_plan = STUDY ARGS
USED_compare = STUDY ARGS
USED_report = STUDY ARGS
USED_tune = TUNER WORKERS ARGS
USED_data = ARGS
USED_watch = ARGS
USED_ui = ARGS
USED_demo = ARGS
USED_serve = ARGS
USED_server = ARGS
USED_server-stop = ARGS
USED_test = ARGS
USED_chaos = ARGS
USED_test-cluster = ARGS
USED_bench = ARGS
USED_settle = STUDY HOURS ARGS
GOALS := $(or $(MAKECMDGOALS),help)
TARGETS := $(shell sed -n 's/^\([a-z-]*\):.*\#\# .*/\1/p' $(MAKEFILE_LIST))
MISSING := $(firstword $(filter-out $(TARGETS) .venv/%,$(GOALS)))
GIVEN := $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
USED := $(foreach goal,$(GOALS),$(USED_$(goal)))
UNUSED := $(filter-out $(USED) PYTHON SHELL MAKEFLAGS,$(GIVEN))
upper = $(patsubst study,STUDY,$(patsubst tuner,TUNER,$(patsubst workers,WORKERS,$1)))
CAPITALS := $(foreach name,$(UNUSED),$(if $(filter $(USED),$(call upper,$(name))),$(call upper,$(name))=$($(name))))
OPTIONS := $(strip $(foreach name,$(UNUSED),$(if $(filter $(USED) STUDY TUNER WORKERS ARGS,$(call upper,$(name))),,$(name)=$($(name)))))
ifneq ($(MISSING),)
$(error there is no target '$(MISSING)'; 'make' lists them, and options of a command go into ARGS="...")
endif
ifneq ($(UNUSED),)
$(error make $(GOALS) does not use $(foreach name,$(UNUSED),$(name)=$($(name))); it takes \
  $(or $(strip $(CAPITALS) $(if $(and $(OPTIONS),$(filter ARGS,$(USED))),ARGS="$(OPTIONS)")),$(USED),nothing))
endif

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## make .venv from requirements.lock (every other target does it when needed)

# The project itself, which `python -m fmnist.train` then finds from any folder; its files stay where they are.
$(READY): $(LOCKED) pyproject.toml
	@.venv/bin/uv pip install --quiet --python $(PY) --offline --no-deps --no-build-isolation --editable .
	@# A store, for what MLflow needs a second or two to make of the first is kept for all others; if it fails, so be it.
	@MLFLOW_TRACKING_URI= $(PY) -c 'import tempfile, fmnist.tracking as t; folder = tempfile.TemporaryDirectory(); \
	  t.Store(folder.name)' 2>/dev/null || true
	@touch $@

# A changed lock file makes a new environment. uv comes out of the lock itself, so its hash is checked too.
$(LOCKED): requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else \
	  f"Python 3.11, 3.12 or 3.13 is needed, but $(PYTHON) is {v[0]}.{v[1]}; name another: make setup PYTHON=python3.12")'
	@echo "setting up .venv (once) ..."
	@$(PYTHON) -m venv --clear .venv
	@awk '/^[^ ]/ {wanted = /^uv==/} wanted' requirements.lock > .venv/uv.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock
	@.venv/bin/uv pip install --quiet --python $(PY) --require-hashes --compile-bytecode -r requirements.lock
	@touch $@

.venv/.data: $(READY)
	@$(PY) -m fmnist.data
	@touch $@

data: $(READY)  ## find or fetch Fashion-MNIST, check it, say where it is
	@$(PY) -m fmnist.data $(ARGS)

sweep: $(READY) $(DATA)  ## run study article (STUDY=filters another, ARGS="study.seeds=[0,1]" its options)
	@$(PY) -m fmnist.train study=$(or $(STUDY),article) $(ARGS)

plan: $(READY) $(DATA)  ## say what sweep would do, and how long it would take
	@$(PY) -m fmnist.train study=$(or $(STUDY),article) study.dry_run=true $(ARGS)

settle: $(READY) $(DATA)  ## train for HOURS=8 what settles the questions of study article soonest (STUDY=filters another)
	@$(PY) -m fmnist.train study=$(or $(STUDY),article) study.settle=true \
	  $(if $(HOURS),study.minutes=$(shell awk 'BEGIN {h = "$(HOURS)"; print (h ~ /^[0-9.]+$$/) ? 60 * h : h}')) $(ARGS)

tune: $(READY) $(DATA)  ## search for the best configuration (TUNER=random|bayesian|hyperband|grid, WORKERS=2)
	@$(PY) -m fmnist.tune $(if $(TUNER),tuner=$(TUNER)) $(if $(WORKERS),tuner.workers=$(WORKERS)) $(ARGS)

watch: $(READY)  ## show the sweep that is going on, from another terminal
	@$(PY) -m fmnist.watch $(ARGS)

ui: $(READY)  ## open the runs in MLflow's charts
	@$(PY) -m fmnist.ui $(ARGS)

demo: $(RECORDED) $(READY)  ## open the recorded runs of study article in MLflow's charts; nothing is trained
	@MLFLOW_TRACKING_URI= $(PY) -m fmnist.runs import $(RECORDED) --store mlruns/demo
	@MLFLOW_TRACKING_URI= $(PY) -m fmnist.ui --store mlruns/demo $(ARGS)

serve: $(READY)  ## have MLflow's model server answer for the champion, on this machine alone
	@$(PY) -m fmnist.champion serve $(ARGS)

server: $(READY)  ## start MLflow's server with PostgreSQL on this machine, to try what a team has
	@$(PY) -m fmnist.server start $(ARGS)

server-stop: $(READY)  ## end them; what is recorded stays in mlruns/server
	@$(PY) -m fmnist.server stop $(ARGS)

$(RECORDED):
	@echo "there is no $@ in this checkout; 'make sweep' trains the runs" >&2; exit 2

compare: $(READY)  ## print the leaderboard of all runs (STUDY=filters: of a study, also written to experiments/filters)
	@$(PY) -m fmnist.compare $(if $(STUDY),--study $(STUDY) --out experiments/$(STUDY)) $(ARGS)

report: $(READY)  ## write the report of study article with its figures to experiments/article (STUDY=filters another)
	@$(PY) -m fmnist.compare --study $(or $(STUDY),article) --format html --out experiments/$(or $(STUDY),article) $(ARGS)

test: $(READY) $(DATA)  ## run the tests (ARGS=tests/unit: those that take about a minute in all)
	@# A hundred processes start fmnist: none but the first is to compile it.
	@PYTHONDONTWRITEBYTECODE= $(PY) -m pytest -n auto $(ARGS)

chaos: $(READY) $(DATA)  ## minutes of full disks, outages, rival sweeps and kills at random moments
	@$(PY) -m pytest -m slow
	@$(PY) tests/system/chaos.py $(ARGS)

test-cluster: $(READY)  ## the same sweeps on PostgreSQL, Ray and Slurm, on loopback (half an hour); root installs what is missing
	@$(PY) tests/cluster/prepare.py $(ARGS)

lint: $(READY)  ## check style and types
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

bench: $(READY) $(DATA)  ## measure against the plain way and this machine's limit (an hour)
	@$(PY) -m bench $(ARGS)

lock: $(READY)  ## renew requirements.lock from pyproject.toml
	@.venv/bin/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --extra dev \
	  --upgrade pyproject.toml -o requirements.lock

clean:  ## remove the environment and caches; results in mlruns/ stay
	@rm -rf .venv .cluster .mypy_cache .ruff_cache .pytest_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
