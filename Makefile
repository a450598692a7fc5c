# Everything from nothing: `make book` and `make test` need Python 3.11 or newer, make and a network.
# `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help book test unit nbval pages check notebooks colab lint links lock gpu serve clean

# One number of threads, one hash seed and no progress bars, as when the notebooks were stored.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export PYTHONHASHSEED := 0
export TQDM_DISABLE := 1
export PYTHONNOUSERSITE := 1

# Python 3.12 where it is there, which has the newest shap and NumPy and is Colab's; else the first that is new enough.
# The stored outputs are the same with 3.11 and 3.12.
# Another one: make PYTHON=/path/to/python book
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python3.13 python3.14 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
# A machine without a GPU saves gigabytes with PyTorch's CPU build:
# make TORCH_INDEX=https://download.pytorch.org/whl/cpu book
TORCH_INDEX ?=

VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
TOOLS := $(VENV)/.installed-tools
WORKERS := 2
# The release that made the stored outputs; the next one is taken on purpose, and then `make notebooks ALL=1`.
LOCKED := torch==2.13.0
# Whose environments constraints.txt holds, the older one first: make lock PYTHONS="/path/to/python3.11 /path/to/python3.12"
PYTHONS := python3.11 python3.12

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# --- environment ----------------------------------------------------------------------------------

# The stamp is written last, so an interrupted installation is taken up again.
$(STAMP): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then
		echo "shapnotes needs Python 3.11 or newer, and found none on the PATH." >&2
		echo "Install one and run make again, or name it: make PYTHON=/path/to/python3.12 book" >&2
		exit 1
	fi
	"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		f"shapnotes needs Python 3.11 or newer; $(PYTHON) is {sys.version.split()[0]}. Name another: make PYTHON=...")'
	$(RUN) -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	if [ -n "$(TORCH_INDEX)" ]; then
		$(RUN) -m pip install --quiet -c constraints.txt --index-url "$(TORCH_INDEX)" torch
	fi
	$(RUN) -m pip install --quiet -c constraints.txt -e ".[fast,data,reproduce,notebooks,book,sweeps,compare,test]"
	touch $@

$(TOOLS): $(STAMP)
	@$(RUN) -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

# --- the book -------------------------------------------------------------------------------------

BOOK := _build/.book
SOURCES := _config.yml _toc.yml $(wildcard book/*.* book/_ext/* book/_npm/*.json book/_static/*.* book/_tools/* \
	book/api/* book/figures/* book/results/* shapnotes/*.py shapnotes/*/*.py shapnotes/*/*/*.py)

book: $(BOOK)  ## build the book into _build/html; every warning is an error

# From scratch whenever a source changed, seconds for the whole book: an incremental build keeps
# pages that are gone and misses changes of the style sheet.
$(BOOK): $(STAMP) $(SOURCES)
	@$(RUN) book/_tools/notebooks.py check
	$(RUN) book/_tools/vendor.py
	rm -rf _build/html _build/.doctrees _build/jupyter_execute
	$(VENV)/bin/jupyter-book build . -W --keep-going -n --quiet
	echo "the book: _build/html/index.html"
	touch $@

notebooks: $(STAMP)  ## execute the notebooks whose text changed (ALL=1: all) and store their outputs
	@$(RUN) book/_tools/notebooks.py build $(if $(ALL),--all) $(NAMES)

serve: $(BOOK)  ## build the book and show it at http://localhost:8000
	@$(RUN) -m http.server --directory _build/html --bind 127.0.0.1 8000

# --- tests ----------------------------------------------------------------------------------------

test: $(STAMP)  ## all tests; one failing part does not hide the others
	@$(MAKE) --keep-going --no-print-directory check unit nbval pages

check: $(STAMP)  ## are the notebooks in step with their text and within the rules? (a second)
	@$(RUN) book/_tools/notebooks.py check

unit: $(STAMP)  ## the package, its docstrings and the tools
	@$(RUN) -m pytest -q -n $(WORKERS) -m "not pages"

nbval: export SHAPNOTES_NO_READER := 1
nbval: $(STAMP)  ## execute every notebook and compare every output with the stored one
	@$(RUN) -m pytest -q -n $(WORKERS) --dist loadfile --nbval --nbval-current-env \
		--nbval-sanitize-with book/_tools/nbval.cfg book/*.ipynb

pages: $(BOOK)  ## open every built page in a browser
	@$(RUN) -m pytest -q -m pages tests/pages

colab:  ## execute the notebooks beside the versions that Colab has (a second environment, in _build/colab)
	@[ -x _build/colab/bin/python ] || "$(PYTHON)" -m venv _build/colab
	_build/colab/bin/python -m pip install --quiet -r book/_tools/colab.txt $(LOCKED) ".[notebooks]" pytest nbval
	cd book && ../_build/colab/bin/python -m pytest -q -c /dev/null --rootdir . -p no:cacheprovider -W default \
		--nbval-lax --nbval-current-env *.ipynb

lint: $(TOOLS)  ## style, types, imports and spelling, as the pre-commit hooks check them
	@$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m codespell_lib
	$(VENV)/bin/lint-imports --no-cache
	$(RUN) -m mypy

links: $(STAMP)  ## ask every external address of the book whether it still answers
	@$(VENV)/bin/jupyter-book build . --builder linkcheck

# --- a GPU ----------------------------------------------------------------------------------------

# make gpu BUDGET=7200 RECORDS=/mnt/records; the same command goes on from where it stopped.
DEVICE ?= cuda
BUDGET ?= 3600
RECORDS ?= book/results

# Records of runs are added to those that are there. Times of this machine go to a folder of their own: chapters read
# those of a CPU.
gpu: $(STAMP)  ## on a GPU: public calls, benchmarks, and BUDGET seconds of the papers' runs, most important first
	@$(RUN) -m pytest -q tests/test_devices.py --device "$(DEVICE)"
	$(RUN) -m shapnotes.cli bench all --device "$(DEVICE)" --out "$(RECORDS)/$(DEVICE)"
	$(RUN) -m shapnotes.cli reproduce paper-scale --device "$(DEVICE)" --budget $(BUDGET) --out "$(RECORDS)"

# --- upkeep ---------------------------------------------------------------------------------------

lock:  ## write constraints.txt anew: the newest versions that pyproject.toml allows, for both Pythons
	@rm -rf _build/lock && mkdir -p _build/lock
	for python in $(PYTHONS); do
		made=_build/lock/$$("$$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
		"$$python" -m venv "$$made"
		"$$made/bin/python" -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
			print("$(LOCKED)", *p["dependencies"], *sum(p["optional-dependencies"].values(), []), sep="\n")' > "$$made.in"
		"$$made/bin/python" -m pip install --quiet -r "$$made.in"
		"$$made/bin/python" -m pip freeze > "$$made.txt"
	done
	$(RUN) book/_tools/lock.py _build/lock/*.txt > _build/lock/constraints
	mv _build/lock/constraints constraints.txt && rm -rf _build/lock

clean:  ## remove what was built; .venv stays
	rm -rf _build .pytest_cache .ruff_cache .mypy_cache .hypothesis book/_*/vendor book/_*/vendor.part
