#!/usr/bin/env bash
# Checks our LeRobotDataset v3 files against the real lerobot package, both ways, in an environment
# of its own: FOLDER (/tmp/lerobot-env by default; kept, so that a second run takes no installing).
# torch comes first and pinned; lerobot and torchvision without what they ask for beside it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
environment=${1:-/tmp/lerobot-env}
if ! "$environment/bin/python" -c 'import lerobot, av' 2> /dev/null; then
    python3 -m venv "$environment"
    pip=("$environment/bin/python" -m pip install --quiet --disable-pip-version-check)
    "${pip[@]}" -r requirements/torch.txt
    "${pip[@]}" -r requirements/torch.txt 'accelerate==1.10.0' 'av>=15,<16' 'datasets>=4,<5' \
        'deepdiff' 'draccus==0.10.0' 'einops' 'gymnasium<2' 'huggingface-hub>=0.34.2,<0.36' \
        'imageio[ffmpeg]' 'jsonlines' 'opencv-python-headless' 'packaging<26' 'pandas' 'termcolor'
    "${pip[@]}" --no-deps 'lerobot==0.4.4' 'torchvision==0.24.1'
fi
# scripts/run.sh is the Makefile's: .venv with ROS on its path.
RLRC_LEROBOT_PYTHON=$environment/bin/python bash scripts/run.sh \
    python -m pytest -q test/training/test_lerobot_dataset.py
