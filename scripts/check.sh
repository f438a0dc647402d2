#!/usr/bin/env bash
# Style, import rules and file hygiene: what is decided by a tool is not discussed in review.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
.venv/bin/ruff check .
.venv/bin/python -m pytest -q test/test_import_rules.py test/test_hygiene.py
