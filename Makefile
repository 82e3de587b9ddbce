SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
PYTHON ?= python3
SITE := .venv/site/bin
TEST := .venv/test/bin
SOURCES := _config.yml _toc.yml $(shell find book -type f -not -name '*.pyc')
export TQDM_DISABLE = 1

.PHONY: help book pdf test test-site lint notebooks serve address clean

help: ## show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1|\2/p' Makefile | column -t -s '|'

book: _build/site/index.html ## build both editions (no torch needed)
	@echo "Open _build/site/index.html in a browser."

_build/site/index.html: .venv/site/.installed node_modules/.installed $(SOURCES)
	$(SITE)/python book/build.py

pdf: _build/site/index.html ## print both editions to _build/pdf (chromium)
	$(SITE)/python book/pdf.py

test: lint node_modules/.installed ## check everything: style, types, units, every notebook, links
	$(TEST)/pytest -n 2 --dist loadfile
	$(TEST)/pytest --nbval --nbval-sanitize-with tests/nbval.cfg book -n 2 --dist loadfile

test-site: pdf ## check the built site in a browser (chromium)
	PATH="$(CURDIR)/$(SITE):$$PATH" npm run --silent test-site

lint: .venv/test/.installed ## check style and types
	$(TEST)/ruff check
	$(TEST)/ruff format --check
	$(TEST)/mypy

notebooks: .venv/test/.installed ## execute and rewrite every notebook, both editions
	env -u TQDM_DISABLE $(TEST)/python book/notebooks.py

serve: .venv/test/.installed node_modules/.installed ## rebuild while you write; EDITION=en for English
	$(TEST)/python book/build.py --serve 8000 $(or $(EDITION),de)

address: .venv/site/.installed ## write the published address: URL=...; REVISION=v1.0 pins it
	$(SITE)/python book/notebooks.py --address "$(URL)" --revision "$(or $(REVISION),main)"

node_modules/.installed: package.json package-lock.json .venv/site/.installed
	$(SITE)/npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

clean: ## remove what was built, keep the environments
	rm -rf _build .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/site/.installed: EXTRA :=
.venv/test/.installed: EXTRA := --editable '.[book,parity]'
.venv/%/.installed: pyproject.toml requirements.txt
	$(PYTHON) -m venv .venv/$*
	.venv/$*/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	.venv/$*/bin/python -m pip install --progress-bar on --constraint requirements.txt --group $* $(EXTRA)
	touch $@
