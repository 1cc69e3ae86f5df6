# Video face recognition. Run `make` to list the targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Python 3.11 or newer, because the pinned numpy needs it. Lambda runs 3.12.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
PIP := $(BIN)/python -m pip install --no-deps --retries 1 --disable-pip-version-check --quiet
# CPU builds of torch for Linux. The default builds on PyPI pull gigabytes of CUDA.
TORCH_INDEX := https://download.pytorch.org/whl/cpu

PREFIX ?= demo
MODEL ?=
PEOPLE ?=
CPU_SHARE ?=
VIDEOS ?=
FRAMES ?=
LIMIT ?=
REPORT ?=
TESTS ?=
MINUTES ?= 6
UPLOADS ?= 2000
OPTIONS = $(if $(MODEL),--model '$(MODEL)') $(if $(PEOPLE),--people '$(PEOPLE)')
DEMO = $(if $(VIDEOS),--videos '$(VIDEOS)') $(if $(FRAMES),--frames '$(FRAMES)') \
	$(if $(LIMIT),--limit '$(LIMIT)') $(if $(REPORT),--report '$(REPORT)')
# Two processes more than two cores: some tests wait. The bytecode that the first program of many
# compiles serves the others.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 4

.PHONY: help demo local image test test-slow soak check format bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-9s  %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED) build/ffmpeg.zip ## run the whole pipeline here (PEOPLE=dir VIDEOS=dir MODEL=name FRAMES=5 LIMIT=s REPORT=file)
	@$(BIN)/python -m samples.demo --prefix '$(PREFIX)' $(OPTIONS) $(DEMO)

local: $(INSTALLED) build/ffmpeg.zip ## keep the pipeline running here for any client (Ctrl-C stops it; CPU_SHARE=yes)
	@$(BIN)/python -m samples.local --prefix '$(PREFIX)' $(OPTIONS) $(if $(CPU_SHARE),--cpu-share)

image: $(INSTALLED) ## build the Dockerfile, push it to the local AWS, pull it and run it
	$(BIN)/python -m samples.build_image $(if $(MODEL),--model '$(MODEL)')

test: $(INSTALLED) build/ffmpeg.zip ## run the unit and end-to-end tests (TESTS=path)
	$(PYTEST) -m 'not slow and not soak' $(TESTS)

test-slow: $(INSTALLED) build/ffmpeg.zip ## run the tests that `make test` leaves out (TESTS=path)
	$(PYTEST) -m slow $(TESTS) || [ $$? -eq 5 ] # 5: no test in TESTS is slow

soak: $(INSTALLED) build/ffmpeg.zip ## random faults for minutes, 2,000 uploads at once (MINUTES=6 UPLOADS=2000)
	SOAK_MINUTES='$(MINUTES)' SOAK_UPLOADS='$(UPLOADS)' $(BIN)/python -m pytest -m soak -s tests/soak

check: $(INSTALLED) ## lint, spell-check and type-check everything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy createS3.py pipeline deploy workload
	$(BIN)/mypy local_aws samples
	cd video-splitting && ../$(BIN)/mypy --config-file ../pyproject.toml .
	cd face-recognition && ../$(BIN)/mypy --config-file ../pyproject.toml .
	MYPYPATH=face-recognition:video-splitting $(BIN)/mypy --explicit-package-bases tests bench
	$(BIN)/shellcheck install_ffmpeg.sh .ci/run
	$(BIN)/hadolint Dockerfile
	$(BIN)/vermin --quiet --no-tips --violations -t=3.9- createS3.py pipeline deploy workload face-recognition/gallery_format.py

format: $(INSTALLED) ## format the code and fix what can be fixed automatically
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED) build/ffmpeg.zip ## measure speed, starts, memory and price against the targets
	$(BIN)/python bench/recognition.py
	$(BIN)/python bench/start.py
	$(BIN)/python bench/splitter.py
	$(BIN)/python bench/price.py
	$(BIN)/python bench/uploads.py
	$(BIN)/python bench/run_cpu.py
	$(BIN)/python bench/small_account.py

clean: ## remove everything that was built or installed here
	rm -rf build $(VENV)

build/ffmpeg.zip: install_ffmpeg.sh | $(INSTALLED)
	PATH="$(CURDIR)/$(BIN):$$PATH" ./install_ffmpeg.sh
	touch $@

# The requirements files pin every dependency of every dependency, so --no-deps installs exactly
# those. It also overrides facenet-pytorch's outdated pins, which rule out current torch and numpy.
$(INSTALLED): requirements-dev.txt face-recognition/requirements.txt face-recognition/requirements-build.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned packages into $(VENV), starting with torch (about 200 MB) ..."
	$(PIP) --timeout 60 --extra-index-url $(TORCH_INDEX) "$$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' face-recognition/requirements-build.txt)"
	$(PIP) -r face-recognition/requirements.txt -r face-recognition/requirements-build.txt
	$(PIP) -r requirements-dev.txt
	@touch $@
