# Commands of the project; `make` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo lint test test-slow test-faults soak test-all clean

# EXTRA=cpu or EXTRA=gpu: faiss-cpu and faiss-gpu share files, so one environment has exactly one of them.
EXTRA ?= cpu
OTHER := $(if $(filter gpu,$(EXTRA)),cpu,gpu)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(EXTRA)
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check

# The first of the usual names that starts a Python of the right version, with the given modules.
first_python = $(shell for name in python3.11 python3.12 python3 python; do $$name -c 'import sys, $(1); sys.exit(not (3, 11) <= sys.version_info < (3, 13))' >/dev/null 2>&1 && { command -v $$name; break; }; done)

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: $(STAMP)  ## Make .venv with everything in it (EXTRA=gpu: with faiss-gpu); PYTHON=... chooses the interpreter

$(STAMP): pyproject.toml constraints.txt
	@test "$(EXTRA)" = cpu -o "$(EXTRA)" = gpu || { echo "setup: EXTRA=$(EXTRA) is unknown: say cpu or gpu" >&2; exit 2; }
	@test -x $(BIN)/pip || { $(MAKE) --no-print-directory .python-with-venv; }
	@echo "setup 1/2: torch (about 200 MB; with CUDA several GB)"
	@rm -f $(VENV)/.installed-*
	@$(PIP) install -c constraints.txt torch
	@echo "setup 2/2: everything else, as constraints.txt says (some minutes)"
	@$(PIP) uninstall --yes faiss-$(OTHER) 2>/dev/null
	@$(PIP) install -c constraints.txt -e ".[$(EXTRA),cluster,pose,dev]"
	@$(MAKE) --no-print-directory .picture-libraries
	@touch $@
	@echo "setup: done; try  $(BIN)/signatlas --help"

# OpenCV, which MediaPipe brings, loads two libraries that a server may lack.
.PHONY: .picture-libraries
.picture-libraries:
	@loads() { $(BIN)/python -c 'import cv2, mediapipe' 2>&1; }; \
	loads >/dev/null || { \
		packages="libgl1 libglib2.0-0"; \
		if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; \
		then echo "setup: installing the Debian packages $$packages"; apt-get -qq update && apt-get -qq install --yes $$packages >/dev/null; fi; \
		reason=$$(loads) || { echo "setup: OpenCV does not load ($${reason##*$$'\n'}): install what it lacks first (Debian, Ubuntu: sudo apt-get install $$packages)" >&2; exit 2; }; }

# Debian packs venv apart from Python. Otherwise only .picture-libraries may be missing: no compiler is needed.
.PHONY: .python-with-venv
.python-with-venv: PYTHON ?= $(or $(call first_python,venv, ensurepip),$(call first_python,os))
.python-with-venv:
	@python="$(PYTHON)"; \
	test -n "$$python" || { echo "setup: no Python 3.11 or 3.12 on PATH: install one, or say make setup PYTHON=/path/to/python3.11" >&2; exit 2; }; \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null \
		|| { echo "setup: $$python is not a working Python 3.11 or 3.12: give another with PYTHON=" >&2; exit 2; }; \
	"$$python" -c 'import venv, ensurepip' 2>/dev/null || { \
		package=$$("$$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
		if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; \
		then echo "setup: installing the Debian package $$package"; apt-get -qq update && apt-get -qq install --yes $$package >/dev/null; \
		else echo "setup: $$python lacks its venv module: install it first (Debian, Ubuntu: sudo apt-get install $$package)" >&2; exit 2; fi; }; \
	echo "setup: $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv $(VENV)

demo: setup  ## The whole way: data, training, index, service, search (KEEP=1 leaves the service running)
	@$(BIN)/signatlas demo $(if $(KEEP),--keep)

lint: setup  ## Style, types and layering
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two processes: most of a test's time is the start of Ray or of a command. Tests of one file stay together.
test: setup  ## The test suite, in two processes (ARGS=tests/pose runs a part)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# pytest ends with 5 when nothing was selected, which is no failure here.
test-slow: setup  ## Kills, load, browser, several nodes
	$(BIN)/python -m pytest -m "slow and not fault and not alone" -n 2 --dist loadfile $(ARGS) || test $$? -eq 5
	$(BIN)/python -m pytest -m "slow and not fault and alone" $(ARGS) || test $$? -eq 5

test-faults: setup  ## Long fault and soak runs, by hand; not part of CI
	$(BIN)/python -m pytest -m fault $(ARGS) || test $$? -eq 5

soak: setup  ## Ten minutes of mixed load with a fault a minute, and memory over 5,000 requests; by hand
	$(BIN)/python -m pytest -m fault -s tests/serve/test_soak.py $(ARGS)

test-all: test test-slow  ## test and test-slow

clean:  ## Remove the environment and every cache; data/, runs/ and indexes/ stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
