# Video face recognition. `make` prints what there is.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Python 3.11 or newer (numpy's pin asks for it); Lambda runs 3.12.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
PIP := $(BIN)/python -m pip install --no-deps --retries 1 --disable-pip-version-check --quiet
# CPU builds of torch for Linux; PyPI's own pull gigabytes of CUDA.
TORCH_INDEX := https://download.pytorch.org/whl/cpu

PREFIX ?= demo
MODEL ?=
PEOPLE ?=
VIDEOS ?=
OPTIONS = $(if $(MODEL),--model '$(MODEL)') $(if $(PEOPLE),--people '$(PEOPLE)')

.PHONY: help demo local image test check format bench clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED) build/ffmpeg.zip ## run the whole pipeline here (PEOPLE=dir VIDEOS=dir MODEL=name)
	@$(BIN)/python -m samples.demo --prefix '$(PREFIX)' $(OPTIONS) $(if $(VIDEOS),--videos '$(VIDEOS)')

local: $(INSTALLED) build/ffmpeg.zip ## leave the pipeline running here for any client (Ctrl-C ends it)
	@$(BIN)/python -m samples.local --prefix '$(PREFIX)' $(OPTIONS)

image: $(INSTALLED) ## build the Dockerfile, push it to the local AWS's ECR, pull it and run it
	$(BIN)/python -m samples.build_image $(if $(MODEL),--model '$(MODEL)')

test: $(INSTALLED) build/ffmpeg.zip ## run all tests, unit and end to end
	$(BIN)/python -m pytest --numprocesses 2 $(TESTS)

check: $(INSTALLED) ## lint and type-check everything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy createS3.py pipeline deploy workload
	$(BIN)/mypy local_aws samples
	cd video-splitting && ../$(BIN)/mypy --config-file ../pyproject.toml .
	cd face-recognition && ../$(BIN)/mypy --config-file ../pyproject.toml .
	MYPYPATH=face-recognition:video-splitting $(BIN)/mypy --explicit-package-bases tests bench
	$(BIN)/shellcheck install_ffmpeg.sh .ci/run
	$(BIN)/hadolint Dockerfile
	$(BIN)/vermin --quiet --no-tips --violations -t=3.9- createS3.py pipeline deploy workload

format: $(INSTALLED) ## format the code and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED) build/ffmpeg.zip ## measure the recognizer against the plain way, and 1,000 uploads
	$(BIN)/python bench/recognition.py
	$(BIN)/python bench/uploads.py

clean: ## remove what was built and installed here
	rm -rf build $(VENV)

build/ffmpeg.zip: install_ffmpeg.sh | $(INSTALLED)
	mkdir -p build
	PATH="$(CURDIR)/$(BIN):$$PATH" ./install_ffmpeg.sh --output $@
	touch $@

# The lists are complete (every dependency of a dependency is pinned), so --no-deps installs
# exactly them; facenet-pytorch's own, outdated pins would forbid current torch and numpy.
$(INSTALLED): requirements-dev.txt face-recognition/requirements.txt face-recognition/requirements-build.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned packages into $(VENV): torch first, about 200 MB ..."
	$(PIP) --timeout 60 --extra-index-url $(TORCH_INDEX) "$$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' face-recognition/requirements-build.txt)"
	$(PIP) -r face-recognition/requirements.txt -r face-recognition/requirements-build.txt
	$(PIP) -r requirements-dev.txt
	@touch $@
