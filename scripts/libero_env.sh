#!/usr/bin/env bash
# Makes the environment of its own in which LIBERO runs: .venv-libero, or the folder that is given.
#   scripts/libero_env.sh [FOLDER]
# `rlrc evaluate --suite libero_spatial` finds .venv-libero beside the package, or what
# RLRC_LIBERO_PYTHON names. Idempotent: a run that was interrupted is taken up where it stopped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${1:-$PWD/.venv-libero}

python=
for candidate in ${PYTHON:-} .venv/bin/python python3 python3.12 python3.11; do
    candidate=$(command -v "$candidate") || continue
    if "$candidate" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || { echo 'Python 3.11 or 3.12 is needed; name one: PYTHON=/path/to/python3.12' >&2; exit 1; }

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip install --disable-pip-version-check --no-input -q "$@"; }
pip 'setuptools<80' wheel  # bddl comes as source
pip -r requirements/libero.txt
pip --no-deps --no-build-isolation hf-libero==0.1.4 robosuite==1.4.0 bddl==1.0.1
ldconfig -p | grep -q libEGL || echo 'LIBERO renders through EGL. Type: sudo apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri libopengl0 libgl1' >&2
echo "LIBERO is ready: $venv/bin/python"
if [ "$venv" != "$PWD/.venv-libero" ]; then echo "Type: export RLRC_LIBERO_PYTHON=$venv/bin/python"; fi
