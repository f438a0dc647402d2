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
"""What a launch file reads of a checkpoint is what opening it finds."""

import json
from pathlib import Path

from official_folders import tiny_official_folder
import pytest
from rlrc_ros.checkpoint_view import view_of
from rlrc_ros.paths import shipped_checkpoint
from rlrc_ros.vla.inspection import inspect
from tiny_vla import make_tiny_checkpoint


def test_size_and_worlds_are_those_of_the_opened_checkpoint(tmp_path: Path) -> None:
    """Of the shipped one, of our own format, and of an official folder."""
    mine = make_tiny_checkpoint(tmp_path / 'mine')
    (mine / 'provenance.json').write_text(json.dumps({'stages': [
        {'name': 'sft', 'config': {'episode_set': 'put25_ind'}},
        {'name': 'rl', 'config': {'episode_set': 'put25_choice'}}, {'name': 'quantize'}]}))
    for folder in (shipped_checkpoint(), mine, tiny_official_folder(tmp_path / 'official')):
        view, summary = view_of(folder), inspect(folder)
        assert (view.side_px,) * 2 == summary.image_size_px
        assert view.episode_set == summary.episode_set
    assert view_of(mine).episode_set == 'put25_choice'


def test_what_is_no_checkpoint_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """No folder, no config.json, or one that tells no size."""
    with pytest.raises(FileNotFoundError, match='nowhere is no checkpoint folder'):
        view_of(tmp_path / 'nowhere')
    for text in ('{}', '[]', '{"towers": [{}]}', 'x'):
        (tmp_path / 'config.json').write_text(text)
        with pytest.raises(ValueError, match='tells no image size.*rlrc doctor'):
            view_of(tmp_path)
