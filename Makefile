SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
PYTHON ?= python3
SITE := .venv/site/bin
TEST := .venv/test/bin
SOURCES := _config.yml _toc.yml $(shell find book -type f -not -name '*.pyc' -not -name '*.mo')
CPU_TORCH := https://download.pytorch.org/whl/cpu
export TQDM_DISABLE = 1

.PHONY: help install book pdf test units nbval test-site lint notebooks replicate serve address pins clean

help: ## show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1|\2/p' Makefile | column -t -s '|'

install: .venv/site/.installed .venv/test/.installed node_modules/.installed ## install what the others need

book: _build/site/index.html ## build both editions (no torch needed)
	@echo "Open _build/site/index.html in a browser."

_build/site/index.html: .venv/site/.installed node_modules/.installed $(SOURCES)
	$(SITE)/python -m book.tools.build

pdf: _build/site/index.html ## print both editions to _build/pdf (chromium)
	$(SITE)/python -m book.tools.pdf

test: lint units nbval ## check everything: style, types, units, every notebook, links

units: .venv/test/.installed _build/site/index.html ## test the library, the pages and the links
	$(TEST)/pytest -n 2 --dist loadfile

nbval: .venv/test/.installed ## run every notebook, both editions, and compare what it prints (not under LNLIB_SEED)
	$(TEST)/pytest --nbval$(if $(LNLIB_SEED),-lax) --nbval-sanitize-with tests/nbval.cfg --nbval-cell-timeout 600 \
	  -n 2 --dist loadfile book/*/*.ipynb

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
	$(if $(EXTRA),$(torch-without-gpu))
	.venv/$*/bin/python -m pip install --progress-bar on --constraint requirements.txt --group $* $(EXTRA) \
	  || $(call failed,pip)
	touch $@

NEEDS := make needs Python 3.11 to 3.14
NAME_ANOTHER := : name another, as in make PYTHON=python3.13
failed = { echo "$(1) failed. If the network is missing: the first run needs it, or a mirror in the configuration of $(1)."; \
  exit 1; }

define torch-without-gpu
if [[ $$(uname) == Linux && ! -e /proc/driver/nvidia ]]; then \
  .venv/$*/bin/python -m pip install --no-deps --constraint requirements.txt --index-url $(CPU_TORCH) \
    --timeout 5 --retries 1 torch || echo "No torch for CPUs there: going on with the one for GPUs, 2.5 GB."; fi
endef
