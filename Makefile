# SPDX-License-Identifier: Apache-2.0
# `make help` says what there is. Needs python3 (3.10 or newer), python3-venv and make; each target
# makes .venv first when it is missing, or when setup.py, setup.cfg or constraints.txt changed.

ARENA ?= two_room
MODE ?= commands
ARGS ?=
RUN := .venv/ready-to-run
DEV := .venv/ready-to-develop

# All ROS 2 parts come from the wheels in .venv; a ROS installation sourced in this shell would mix
# its own Python modules and libraries in.
unexport PYTHONPATH AMENT_PREFIX_PATH LD_LIBRARY_PATH RMW_IMPLEMENTATION ROS_DISTRO ROS_VERSION

.DEFAULT_GOAL := help
.PHONY: help venv demo test explore check bench docs clean
.NOTPARALLEL:

help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  ARGS="..." is passed on: make test ARGS="-k planner", make demo ARGS="--fresh"'

venv: $(DEV) ## install everything into .venv, and do nothing else

demo: $(RUN) ## record a rosbag, convert, train, plan over ROS 2, report (ARENA=two_room, MODE=commands|video)
	@.venv/bin/smwm demo --arena $(ARENA) --mode $(MODE) $(ARGS)

test: $(DEV) ## run the whole test suite, ROS 2 nodes included
ifeq ($(strip $(ARGS)),)
	@# Tests of nodes keep real time: they run two at once, and after those that compute.
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --maxprocesses 8 --dist loadfile \
		--ignore test/ros test; \
	shared=$$?; .venv/bin/python -m pytest -n 2 --dist loadfile test/ros && exit $$shared
else
	@.venv/bin/python -m pytest $(ARGS)
endif

explore: $(DEV) ## look for new failures: property tests with new examples, ten times as many
	@HYPOTHESIS_PROFILE=explore OMP_NUM_THREADS=1 .venv/bin/python -m pytest -m hypothesis \
		-n auto --maxprocesses 8 --dist loadfile test $(ARGS)

check: $(DEV) ## check format, lint and types
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

bench: $(RUN) ## measure, and write docs/results.json and docs/results.md
	@.venv/bin/smwm bench $(ARGS)

docs: $(RUN) ## write the generated tables of the docs anew
	@.venv/bin/python tools/docs.py $(ARGS)

clean: ## remove .venv, caches and build folders; runs/ is kept
	rm -rf .venv .uv build install log site .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN): setup.py setup.cfg constraints.txt
	@sh tools/venv.sh sim,ros
	@touch $@

$(DEV): setup.py setup.cfg constraints.txt
	@sh tools/venv.sh sim,ros,dev
	@touch $@ $(RUN)
