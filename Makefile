# The two commands of the README:
#   make demo            set up, make a synthetic CT, segment it, show the numbers and where the files are
#   make demo CT=path    the same with a real scan: NIfTI, NRRD, MHA or a DICOM folder
#   make test            set up, check style and types, run the tests
# Others: make lint, make format, make clean, make force (kills and spoilt inputs for an hour). PYTHON=python3.12 chooses the Python of the set-up.

SHELL := /bin/bash
RUN := .venv/bin/
DEMO := build/demo
CT ?= $(DEMO)/phantom_0000.nii.gz

.PHONY: help demo test force lint format setup clean
.DEFAULT_GOAL := help

help:
	@sed -n '2,5s/^# *//p' Makefile

setup: .venv/ready

# Runs again when what is to be installed changes, or the folder was moved or copied: the programs in
# .venv name their Python by its full path.
ifneq ($(shell cat .venv/ready 2>/dev/null),$(CURDIR))
.PHONY: .venv/ready
endif
.venv/ready: pyproject.toml constraints.txt .ci/setup
	@PYTHON="$(PYTHON)" TORCH="$(TORCH)" bash .ci/setup

demo: .venv/ready
	@mkdir -p $(DEMO)
ifeq ($(origin CT),file)
	@echo "A synthetic CT, and beside it its true labels:"
	@$(RUN)flare phantom $(DEMO)/phantom.nii.gz
endif
	@$(RUN)flare segment "$(CT)" -o $(DEMO)/segmentation --overwrite

# Two at once, a file to a process; one thread each, or they wait for one another at every step.
test: lint .venv/scene
	OMP_NUM_THREADS=1 $(RUN)python -m pytest -n 2 --dist loadfile

# The real MRML scene for the tests of the Slicer modules; `make demo` does without this gigabyte.
.venv/scene: .venv/ready
	@bash .ci/setup-scene

# An hour of kills, spoilt inputs, hostile files and traps; MINUTES=5 for less.
MINUTES ?= 60
force: .venv/ready
	cd Testing && PYTHONPATH=.. ../$(RUN)python -m force --long --minutes $(MINUTES)

lint: .venv/ready
	$(RUN)ruff check .
	$(RUN)ruff format --check .
	$(RUN)mypy

format: .venv/ready
	$(RUN)ruff check --fix .
	$(RUN)ruff format .

clean:
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
