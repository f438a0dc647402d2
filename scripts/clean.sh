#!/usr/bin/env bash
# Removes what building and testing leave behind. To start over completely: rm -rf .venv
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rm -rf build install log .pytest_cache .ruff_cache .setup ./*.egg-info
find . -path ./.venv -prune -o -path ./.git -prune -o -type d -name __pycache__ -exec rm -rf {} +
