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
What a checkpoint wants to be shown, read without opening it: a launch file's Python has no torch.

Whether the folder is whole, and all else in it, is for rlrc_ros.vla.checkpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import json
from pathlib import Path

CONFIG, PROVENANCE = 'config.json', 'provenance.json'
FIRST_SET = 'ind'


@dataclass(frozen=True)
class CheckpointView:
    """The world that a policy should see."""

    side_px: int
    """Height and width of the image that it reads."""
    episode_set: str
    """Family of simulated worlds that it was last trained on."""


def view_of(folder: str | Path) -> CheckpointView:
    """
    Read what a checkpoint folder's JSON files say about it, an official OpenVLA's too.

    :raises FileNotFoundError: no such folder, or no config.json in it
    :raises ValueError: it tells no image size
    """
    folder = Path(folder).expanduser()
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f'{folder} is no checkpoint folder: it has no {CONFIG}; give the '
                                'path of one, or leave checkpoint empty for the shipped one')
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
        towers, sizes = config.get('towers'), config.get('image_sizes')
        side_px = int(towers[0]['image_size'] if towers else sizes[0])
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(f'{path} tells no image size ({error!r}); rlrc doctor {folder} says what '
                         'is wrong with it') from error
    provenance = folder / PROVENANCE
    stages = json.loads(provenance.read_text(encoding='utf-8')) if provenance.is_file() else {}
    return CheckpointView(side_px, episode_set_of(stages))


def episode_set_of(provenance: Mapping) -> str:
    """Return the worlds that the last stage names which names any, or FIRST_SET."""
    named = [stage['config']['episode_set'] for stage in provenance.get('stages', [])
             if stage.get('config', {}).get('episode_set')]
    return named[-1] if named else FIRST_SET
