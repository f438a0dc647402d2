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
Where a result comes from: source, package versions, machine. Written beside every output.

People are told the commit. What decides whether two results belong together is the code that can
have made them: code_hash() is the same before and after a commit of documents, tests, checkpoints
or reports, another with every edit that is not committed, and needs no git.
"""

from collections.abc import Mapping
import hashlib
import importlib.metadata
from importlib.util import find_spec
import os
from pathlib import Path
import platform
import subprocess

from rlrc_ros.vla.machine import cpu_name, cpu_speeds, CPUINFO

PACKAGES = ('torch', 'transformers', 'tokenizers', 'safetensors', 'mani_skill', 'sapien', 'numpy')
OWN_PACKAGES = ('rlrc_ros', 'rlrc_training', 'rlrc_sim')
CODE = ('.py', '.tsv', '.urdf')
"""Suffixes of what the packages compute with."""
COMPUTES_NOTHING = (
    'rlrc_ros/cli.py', 'rlrc_ros/doctor.py', 'rlrc_ros/nodes/', 'rlrc_sim/bridge_',
    'rlrc_training/demo', 'rlrc_training/model_card.py', 'rlrc_training/pipeline.py',
    'rlrc_training/publish.py', 'rlrc_training/report.py', 'rlrc_training/reporting/',
    'rlrc_training/stages/')
"""Beginnings of paths that no verb which makes a checkpoint or a measurement imports. What
rlrc_training/stages asks of a verb is recorded as that verb's options."""


def own_folders() -> dict[str, Path]:
    """Return where the own packages lie, as far as they are installed."""
    specs = {name: find_spec(name) for name in OWN_PACKAGES}
    return {name: Path(spec.submodule_search_locations[0]).resolve()
            for name, spec in specs.items() if spec is not None}


def code_hash(folders: Mapping[str, Path] | None = None) -> str:
    """
    Return twelve digits of SHA-256 over the code that can change a result, as it lies there now.

    :param folders: package → folder; by default the own ones
    """
    digest = hashlib.sha256()
    for name, folder in sorted((own_folders() if folders is None else folders).items()):
        for path in sorted(folder.rglob('*')):
            inside = f'{name}/{path.relative_to(folder).as_posix()}'
            if (path.suffix in CODE and '/.' not in inside
                    and not inside.startswith(COMPUTES_NOTHING)):
                digest.update(f'{inside}\n'.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def source_commit() -> str:
    """Return the source's commit, `+` behind it if tracked files of it differ, or `unknown`."""
    folders = [str(each) for each in own_folders().values()]
    here = Path(__file__).resolve().parent
    try:
        commit = subprocess.run(
            ['git', 'rev-parse', '--short=12', 'HEAD'], cwd=here, capture_output=True,
            text=True, check=True).stdout.strip()
        changed = subprocess.run(
            ['git', 'status', '--porcelain', '--untracked-files=no', '--', *folders], cwd=here,
            capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'
    return commit + ('+' if changed else '')


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    versions = {'python': platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = 'not installed'
    return versions


def machine(cpuinfo: Path = CPUINFO) -> str:
    """
    Return processor and core count in words, for the line below a table.

    Where it has no bf16 arithmetic that is said: processors of one name differ in it, and a step
    in bf16 takes them five times as long.
    """
    lacks = '' if cpu_speeds(cpuinfo)['bf16'] else ', no bf16 arithmetic'
    return f'{cpu_name(cpuinfo)}, {os.cpu_count()} cores{lacks}'
