#!/usr/bin/env bash
# Writes requirements/constraints.txt from .venv, after a pin was changed and the tests have passed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=.venv/bin/python
listing=$("$python" -m pip list --format=freeze --disable-pip-version-check)
{
    sed -n '/^#/p' requirements/constraints.txt
    # The wheels of ROS also list each message package under its plain name: those are no projects
    # of the index. torch, build tools and this package are pinned elsewhere.
    "$python" - "$listing" <<'PYTHON'
import re
import sys

pins = dict(line.split('==', 1) for line in sys.argv[1].splitlines() if '==' in line)
elsewhere = {'pip', 'rlrc_ros', 'setuptools', 'torch', 'triton', 'wheel'}
plain = {re.sub('[-_.]+', '_', name[4:]) for name in pins if name.startswith('ros-')}
for name, version in sorted(pins.items(), key=lambda pin: pin[0].lower()):
    if name not in elsewhere | plain and not name.startswith(('nvidia-c', 'cuda-')):
        print(f'{name}=={version}')
PYTHON
} > requirements/constraints.txt.new
mv requirements/constraints.txt.new requirements/constraints.txt
