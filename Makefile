# Everything works from a bare checkout: the first target that needs .venv makes it.
# Another Python: make PYTHON=/path/to/python3.12 run

.DEFAULT_GOAL := help
.PHONY: help run dev test watch coverage check fix bench scale screenshots prose lock venv venv-dev
export PYTHON
PY := .venv/bin/python

help:  ## show this
	@sed -n 's/^\([a-z]*\):.*  ## /  make \1\t/p' Makefile | expand -t 16

run: venv  ## start everything on the embedded default; Ctrl-C stops it
	@exec $(PY) manage.py up

dev: venv  ## the same, and restart the processes whose files change
	@exec $(PY) manage.py up --reload

test: venv-dev  ## run all tests and print the ten slowest; PART=unit runs tests/unit alone
	@node=$$(scripts/node.sh) && PATH="$$node:$$PATH" exec $(PY) -m pytest -n 4 --dist loadfile --no-loadscope-reorder --durations=10 $(addprefix tests/,$(PART))

watch: venv-dev  ## run the tests of PART=unit (the default) again after each change of a file; Ctrl-C ends
	@exec $(PY) scripts/watch_tests.py $(or $(PART),unit)

coverage: venv-dev  ## run all tests and print the lines without one; PART=unit runs tests/unit alone
	@node=$$(scripts/node.sh) && PATH="$$node:$$PATH" exec $(PY) -m pytest -n 4 --dist loadfile --no-loadscope-reorder --cov --cov-report=term-missing:skip-covered $(addprefix tests/,$(PART))

check: venv-dev  ## ruff, mypy, import rules; no servers needed
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports
	$(PY) scripts/check_imports.py
	$(PY) scripts/structure.py

fix: venv-dev  ## let ruff correct the code: rules with a safe correction, then the format
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: venv-dev  ## measure beside peers; PART=fanout, ingest, analytics, hardening, access, observability, books, web or operations alone, BENCH=--quick for an impression
	@node=$$(scripts/node.sh) && export PATH="$$node:$$PATH" && \
	for part in $(or $(PART),fanout ingest analytics hardening access observability books web operations); do $(PY) -m tests.bench $$part $(BENCH) || exit; done

scale: venv-dev  ## measure hubs and Redis on hosts of their own, as root; SCALE=--quick for an impression, SCALE="--parts relay" for parts
	@exec $(PY) -m tests.scale $(SCALE)

screenshots: venv-dev  ## write docs/images/dashboard-*.png; NAMES="market alerts" for these alone
	@exec $(PY) -m tests.web.screens $(NAMES)

prose:  ## count words and sentence lengths of comments and documents; FILES="db docs/jobs.md" for these alone
	@$(or $(PYTHON),python3) scripts/prose.py $(FILES)

lock: venv-dev  ## pin every version again, with hashes, from the .in files
	$(PY) -m piptools compile $(PIP_COMPILE) -o requirements.txt requirements.in
	$(PY) -m piptools compile $(PIP_COMPILE) -o requirements-dev.txt requirements-dev.in
	$(PY) -m piptools compile $(PIP_COMPILE) -o requirements-oracles.txt requirements-oracles.in

PIP_COMPILE := -q --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras --no-header \
	--annotation-style=line

venv:
	@scripts/venv.sh requirements.txt

venv-dev:
	@scripts/venv.sh requirements.txt requirements-dev.txt
