SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
PYTHON ?= python3
SITE := .venv/site/bin
TEST := .venv/test/bin
SOURCES := _config.yml _toc.yml $(shell find book -type f -not -name '*.pyc' -not -name '*.mo') \
  $(shell find lnlib -name '*.py')
CPU_TORCH := https://download.pytorch.org/whl/cpu
export TQDM_DISABLE = 1

.PHONY: help install book pdf slides site.zip test units nbval test-newest test-site lint notebooks replicate inventories serve address pins clean

help: ## show this list
	@sed -nE 's/^([a-z.-]+):.*## (.*)/make \1|\2/p' Makefile | column -t -s '|'

install: .venv/site/.installed .venv/test/.installed node_modules/.installed ## install what the others need

book: _build/site/index.html ## build both editions (no torch needed)
	@echo "Open _build/site/index.html in a browser."

_build/site/index.html: .venv/site/.installed node_modules/.installed $(SOURCES)
	$(SITE)/python -m book.tools.build

pdf: _build/site/index.html ## print both editions to _build/pdf (chromium)
	$(SITE)/python -m book.tools.pdf

slides: _build/site/index.html ## write all figures as slides to _build/slides (chromium)
	$(SITE)/python -m book.tools.slides

site.zip: pdf ## pack the site and its PDFs, to read without a network, into _build/layer-normalization.zip
	cd _build && $(CURDIR)/$(SITE)/python -m zipfile --create layer-normalization.zip site/ pdf/*.pdf

test: lint units nbval ## check everything: style, types, units, every notebook, links

units: .venv/test/.installed _build/site/index.html ## test the library, the pages and the links
	$(TEST)/pytest -n 2 --dist loadfile

nbval: .venv/test/.installed ## run every notebook, both editions, and compare what it prints (not under LNLIB_SEED)
	$(TEST)/pytest --nbval$(if $(LNLIB_SEED),-lax) --nbval-sanitize-with tests/nbval.cfg --nbval-cell-timeout 600 \
	  --nbval-kernel-startup-timeout 600 -n 2 --dist loadfile book/*/*.ipynb

test-newest: _build/site/index.html ## run each notebook alone with the newest versions that the ranges allow; EDITION=de for German
	rm -rf .venv/newest
	$(PYTHON) -m venv .venv/newest
	.venv/newest/bin/python -m pip install --quiet --upgrade pip || $(call failed,pip)
	$(call torch-without-gpu,newest)
	.venv/newest/bin/python -m pip install --quiet '.[book]' ipykernel nbclient pyyaml || $(call failed,pip)
	.venv/newest/bin/python -m book.tools.newest _build/site/$(or $(EDITION),en)/_sources _build/newest.md

test-site: pdf ## check the built site in a browser (chromium)
	PATH="$(CURDIR)/$(SITE):$$PATH" npm run --silent test-site

lint: .venv/test/.installed ## check style and types
	$(TEST)/ruff check
	$(TEST)/ruff format --check
	$(TEST)/mypy

notebooks: .venv/test/.installed ## execute and rewrite every notebook, both editions
	env -u TQDM_DISABLE $(TEST)/python -m book.tools.execute

replicate: .venv/test/.installed ## run pages under other seeds and instruction sets: PAGE=..., SWEEP=..., SCHEDULER=...; default: what is stale
	env -u TQDM_DISABLE $(TEST)/python -m book.tools.replicate $(PAGE:%=--page %) $(SWEEP:%=--sweep %) \
	  $(SCHEDULER:%=--scheduler %)

inventories: _build/site/index.html ## store where NumPy and torch document what the pages use (network)
	$(SITE)/python -m book.tools.take_inventory

serve: .venv/test/.installed node_modules/.installed ## rebuild while you write; EDITION=en for English
	$(TEST)/python -m book.tools.build --serve 8000 $(or $(EDITION),de)

address: .venv/site/.installed ## write the published address: URL=...; REVISION=v1.0 pins it
	$(SITE)/python -m book.tools.address "$(URL)" --revision "$(or $(REVISION),main)"

node_modules/.installed: package.json package-lock.json .venv/site/.installed
	$(SITE)/npm ci --ignore-scripts --no-audit --no-fund --loglevel=error || $(call failed,npm)
	touch $@

pins: .venv/test/.installed ## write requirements.txt anew from pyproject.toml; UPGRADE=--upgrade for newer versions
	$(TEST)/uv --no-config pip compile pyproject.toml --universal --all-extras --group test --no-build \
	  --no-annotate --custom-compile-command "make pins" --quiet --output-file requirements.txt $(UPGRADE)

clean: ## remove what was built, keep the environments
	rm -rf _build .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/site/.installed: EXTRA :=
.venv/test/.installed: EXTRA := --editable '.[book,cluster,parity]'
.venv/%/.installed: pyproject.toml requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(NEEDS), but there is no $(PYTHON)$(NAME_ANOTHER)"; exit 1; }
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 15) or sys.exit( \
	  "$(NEEDS), but $(PYTHON) is %d.%d$(NAME_ANOTHER)" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv/$*
	.venv/$*/bin/python -m pip install --quiet --upgrade 'pip>=25.1' || $(call failed,pip)
	$(if $(EXTRA),$(call torch-without-gpu,$*,--constraint requirements.txt))
	.venv/$*/bin/python -m pip install --progress-bar on --no-compile --constraint requirements.txt --group $* $(EXTRA) \
	  || $(call failed,pip)
	touch $@

NEEDS := make needs Python 3.11 to 3.14
NAME_ANOTHER := : name another, as in make PYTHON=python3.13
failed = { echo "$(1) failed. If the network is missing: the first run needs it, or a mirror in the configuration of $(1)."; \
  exit 1; }

define torch-without-gpu
if [[ $$(uname) == Linux && ! -e /proc/driver/nvidia ]]; then \
  .venv/$(1)/bin/python -m pip install --no-deps --no-compile $(2) --index-url $(CPU_TORCH) \
    --timeout 5 --retries 1 torch || echo "No torch for CPUs there: going on with the one for GPUs, 2.5 GB."; fi
endef
