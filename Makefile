# Every verb does the set-up by itself; the second time that takes no time.
.DEFAULT_GOAL := help
.PHONY: help setup demo doctor test test-fast check check-install clean

help:           ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1\t/p' Makefile | expand -t 22
setup:          ## .venv with pinned versions, ROS 2, Vulkan; done once
	@bash scripts/setup.sh
demo: setup     ## five episodes in simulation over ROS 2: video, table, success
	@bash scripts/run.sh rlrc demo
doctor: setup   ## what was found on this machine, what is missing, what to type
	@bash scripts/run.sh rlrc doctor
test: setup     ## all tests
	@bash scripts/run.sh python -m pytest
test-fast: setup ## the tests that need no simulation and little time
	@bash scripts/run.sh python -m pytest -m 'not slow and not sim'
check: setup    ## style, import rules, licence headers
	@bash scripts/check.sh
check-install: setup ## pip install, pip install -e, colcon build, colcon build --symlink-install
	@bash scripts/check_install.sh
clean:          ## remove build products and caches; keeps .venv, out/ and runs/
	@bash scripts/clean.sh
