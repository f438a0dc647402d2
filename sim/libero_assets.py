# Copyright 2026 The rlrc_ros Authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""
What LIBERO needs and where it lies: its own Python, and its assets, the originals or not.

`scripts/libero_env.sh` makes `.venv-libero`; RLRC_LIBERO_PYTHON names another interpreter. The
assets (`libero/libero/assets` of the LIBERO repository) are looked for as RLRC_LIBERO_ASSETS and
as `libero` in, or beside, what RLRC_ASSETS names. assets/libero_originals.tsv lists the 144 files
that the two suites need, with the hash that git gives the original: other pictures make other
success rates, so a run says which files differ.
"""

from functools import lru_cache
import hashlib
from importlib.resources import files
import os
from pathlib import Path
import subprocess

from rlrc_sim import assets

PYTHON_VARIABLE, ASSETS_VARIABLE = 'RLRC_LIBERO_PYTHON', 'RLRC_LIBERO_ASSETS'
VENV = '.venv-libero'
NEWEST_MUJOCO = (3, 3, 7)
"""From 3.4.0 on, things that start inside the table are thrown into the air: in three of the ten
tasks of libero_10 they have not landed when the policy begins."""
PACKAGES = ('hf-libero', 'robosuite', 'bddl', 'mujoco')
_ASK = (f'from importlib.metadata import version\nprint(*(version(n) for n in {PACKAGES}))')


def interpreter() -> Path:
    """
    Return the Python that has LIBERO.

    :raises ValueError: none was made yet
    """
    named = os.environ.get(PYTHON_VARIABLE)
    beside = Path(__file__).resolve().parents[1]
    places = [Path(named)] if named else [
        folder / VENV / 'bin' / 'python' for folder in (Path.cwd(), beside)]
    for place in places:
        if place.is_file():
            return place
    raise ValueError(
        f'LIBERO runs in an environment of its own, and there is none: looked for '
        f'{", ".join(map(str, places))}. Make it with `scripts/libero_env.sh`, or set '
        f'{PYTHON_VARIABLE}')


def packages() -> dict[str, str]:
    """
    Return the versions of what LIBERO's environment holds.

    :raises ValueError: one of them is missing, or a MuJoCo that settles differently
    """
    python = interpreter()
    asked = subprocess.run([python, '-c', _ASK], capture_output=True, text=True, check=False)
    if asked.returncode:
        raise ValueError(f'{python} lacks LIBERO ({asked.stderr.strip().splitlines()[-1]}); run '
                         '`scripts/libero_env.sh` again')
    found = dict(zip(PACKAGES, asked.stdout.split()))
    check_mujoco(found['mujoco'])
    return found


def check_mujoco(version: str) -> None:
    """Raise ValueError for a MuJoCo under which episodes begin differently."""
    if tuple(int(part) for part in version.split('.')[:3]) > NEWEST_MUJOCO:
        newest = '.'.join(map(str, NEWEST_MUJOCO))
        raise ValueError(f'mujoco {version} throws what starts inside the table; LIBERO needs '
                         f'{newest} or older: pip install mujoco=={newest} in its environment')


def folder() -> Path:
    """
    Return LIBERO's assets folder.

    :raises ValueError: it is nowhere; the message says what to fetch
    """
    named = os.environ.get(ASSETS_VARIABLE)
    places = [Path(named).expanduser()] if named else [
        each / 'libero' for each in assets.candidates()]
    for place in places:
        if (place / 'stable_scanned_objects').is_dir():
            return place
    looked = f'looked in {", ".join(map(str, places))}' if places else (
        f'neither {ASSETS_VARIABLE} nor {assets.VARIABLE} is set')
    raise ValueError(
        f"LIBERO's assets are not there; {looked}. Fetch the folder libero/libero/assets of "
        f'Lifelong-Robot-Learning/LIBERO and set {ASSETS_VARIABLE} to it')


def _originals(suite: str) -> list[tuple[str, str]]:
    """Return (path, git's hash of the original) of the files that a suite needs."""
    lines = (files('rlrc_sim') / 'assets' / 'libero_originals.tsv').read_text().splitlines()[1:]
    rows = [line.split('\t') for line in lines]
    return [(path, blob) for path, blob, suites in rows if suite in suites.split(',')]


def git_blob(content: bytes) -> str:
    """Return the hash that git gives a file's content."""
    return hashlib.sha1(b'blob %d\0' % len(content) + content).hexdigest()


@lru_cache(maxsize=4)
def differing(suite: str, root: Path) -> tuple[str, ...]:
    """
    Return those of a suite's files that are not the originals.

    :raises ValueError: files are missing
    """
    wanted = _originals(suite)
    missing = [path for path, _ in wanted if not (root / path).is_file()]
    if missing:
        raise ValueError(
            f'{root} is incomplete for {suite}: {len(missing)} of {len(wanted)} files are '
            f'missing, first {", ".join(missing[:3])}; copy libero/libero/assets of '
            'Lifelong-Robot-Learning/LIBERO again')
    return tuple(path for path, blob in wanted if git_blob((root / path).read_bytes()) != blob)
