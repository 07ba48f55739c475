# The two commands of the README: `make demo` and `make test`. Each sets up what it needs on a machine with Python alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_OUT ?= runs/demo
.DEFAULT_GOAL := help
.PHONY: help setup demo tiny test check bench bench-ingest bench-generators bench-evaluate bench-study test-study test-kill test-pacs test-bundle clean

help:           ## what can be made
	@grep -hE '^[a-z-]+: .*##|^[a-z-]+:  .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.ready   ## make .venv with everything in it (under 5 minutes)

$(VENV)/.ready: pyproject.toml constraints.txt scripts/setup.sh
	PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/setup.sh
	@touch $@

demo: setup     ## the whole pipeline on a procedural hospital (about 6 minutes); report in runs/demo/report.html
	$(BIN)/synthcohort demo --out $(DEMO_OUT)

tiny: setup     ## the same in about a minute, cruder
	$(BIN)/synthcohort demo --tiny

test: setup     ## all tests (under 9 minutes on 2 cores)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m "not slow and not gpu and not shared_data and not pacs"

check: setup    ## lint, types, layers
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup    ## measure speed; results are printed, dated ones belong in benchmarks/
	$(BIN)/python benchmarks/speed.py

bench-ingest: setup  ## speed of ingest against a plain loop and against decoding alone (about 10 minutes)
	mkdir -p runs
	$(BIN)/python benchmarks/ingest.py

bench-generators:  ## ours against diffusers and MONAI at equal wall-clock, in an environment with both (about 5 hours; resumes)
	$(MAKE) setup VENV=runs/peers-venv
	runs/peers-venv/bin/pip install -q -c constraints.txt diffusers==0.42.1 monai==1.6.1
	runs/peers-venv/bin/python benchmarks/generators.py

bench-evaluate: setup  ## time and memory of a whole evaluation of 5,000 images against 6,600 (about an hour)
	$(BIN)/python benchmarks/evaluate.py

test-pacs: setup  ## fetch and receive against a real Orthanc on loopback (needs Debian's orthanc and orthanc-dicomweb)
	$(BIN)/python scripts/pacs.py --check
	$(BIN)/pytest tests/pacs -m pacs

test-study: setup  ## studies in a real browser, attacked, and under load (needs Debian's chromium and postgresql)
	$(BIN)/pip install -q -c constraints.txt -e '.[postgres]' playwright schemathesis
	$(BIN)/python benchmarks/study_browser.py --out runs/study-browser
	$(BIN)/python benchmarks/study_attacks.py --out runs/study-attacks
	$(BIN)/python benchmarks/study_postgres.py
	$(BIN)/python benchmarks/study_load.py --out runs/study-load
	$(BIN)/python benchmarks/study_load.py --out runs/study-load --postgres

test-bundle: setup  ## every page of a bundle in a real browser: links, keyboard, width (needs Debian's chromium; AXE=axe.min.js checks contrast too)
	$(BIN)/pip install -q -c constraints.txt playwright
	$(BIN)/python benchmarks/bundle_browser.py --out runs/bundle-browser $(if $(AXE),--axe $(AXE))

bench-study: setup  ## coverage of a study's intervals, and what its pages leak
	$(BIN)/python benchmarks/study_coverage.py
	$(BIN)/python benchmarks/study_leak.py --out runs/study-leak

test-kill: setup  ## demo --tiny killed at 20 random moments, each finishing bit for bit (about half an hour)
	$(BIN)/python benchmarks/kill_loop.py --kills 20

clean:          ## remove the virtual environment and caches (runs/ stays)
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
