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

"""Where a result comes from: commit, package versions, machine. Written beside every output."""

import importlib.metadata
from pathlib import Path
import platform
import subprocess

PACKAGES = ('torch', 'transformers', 'tokenizers', 'safetensors', 'mani_skill', 'sapien', 'numpy')


def source_commit() -> str:
    """Return the commit of the source tree, `+` behind it if files differ, or `unknown`."""
    here = Path(__file__).resolve().parent
    try:
        commit = subprocess.run(
            ['git', 'rev-parse', '--short=12', 'HEAD'], cwd=here, capture_output=True,
            text=True, check=True).stdout.strip()
        changed = subprocess.run(
            ['git', 'status', '--porcelain', '--untracked-files=no'], cwd=here,
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


def machine() -> str:
    """Return processor and core count in words, for the line below a table."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        names = [line.split(':', 1)[1].strip() for line in cpuinfo.read_text().splitlines()
                 if line.startswith('model name')]
        if names:
            return f'{names[0]}, {len(names)} cores'
    return model
