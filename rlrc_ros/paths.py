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
Where the files beside the code are: configuration, launch files, the shipped checkpoint.

They lie in the root of a clone (also under `pip install -e` and `colcon build --symlink-install`),
or in share/rlrc_ros of the prefix that the code was installed into. Both are found from where this
file lies, so that the files always belong to the code that asks; an ament index is asked last,
through its environment variable and without importing ament.
"""

from collections.abc import Iterator
import os
from pathlib import Path
import sys

PACKAGE_NAME = 'rlrc_ros'
SHIPPED_CHECKPOINT = 'choice-rlrc-4bit'
DENSE_CHECKPOINT = 'choice'
"""What the shipped checkpoint was compressed from, where it is shipped as well."""


def candidate_folders() -> Iterator[Path]:
    """Yield the folders that may hold the shared files, best first, whether they exist or not."""
    module_path = Path(__file__).resolve()
    yield module_path.parents[1]
    share = Path('share', PACKAGE_NAME)
    for parent in module_path.parents[2:]:
        yield parent / share
    yield sys.prefix / share
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        if prefix:
            yield prefix / share


def share_folder() -> Path:
    """
    Return the folder that holds package.xml, config/, launch/ and checkpoints/.

    Raises FileNotFoundError if this installation lacks it.
    """
    candidates = list(candidate_folders())
    for folder in candidates:
        if is_share_folder(folder):
            return folder
    raise FileNotFoundError(
        f'the shared files of {PACKAGE_NAME} are in none of '
        f'{", ".join(str(folder) for folder in candidates)}; install it again: '
        f'pip install --force-reinstall --no-deps . (in a clone), or colcon build')


def is_share_folder(folder: Path) -> bool:
    """Tell whether `folder` holds the package.xml of this package."""
    manifest = folder / 'package.xml'
    return manifest.is_file() and f'<name>{PACKAGE_NAME}</name>' in manifest.read_text('utf-8')


def config_file(name: str) -> Path:
    """
    Return the path of a shipped configuration file, such as 'vla.yaml'.

    Raises FileNotFoundError, naming the files that there are.
    """
    folder = share_folder() / 'config'
    path = folder / name
    if not path.is_file():
        known = sorted(file.name for file in folder.glob('*')) or ['none']
        raise FileNotFoundError(
            f'{name!r} is not in {folder}, which has: {", ".join(known)}; give one of these')
    return path


def shipped_checkpoint(name: str = SHIPPED_CHECKPOINT) -> Path:
    """
    Return the folder of a checkpoint that came with the package.

    Raises FileNotFoundError, naming the checkpoints that there are.
    """
    folder = share_folder() / 'checkpoints'
    checkpoint = folder / name
    if not (checkpoint / 'config.json').is_file():
        known = sorted(file.parent.name for file in folder.glob('*/config.json')) or ['none']
        raise FileNotFoundError(
            f'checkpoint {name!r} did not come with this installation ({folder} has: '
            f'{", ".join(known)}); give the folder of another checkpoint, or make one: '
            f'rlrc collect, then rlrc sft')
    return checkpoint
