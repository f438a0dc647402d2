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

"""Demonstrations survive the disk, and broken ones are named."""

import numpy as np
import pytest
from rlrc_training.data import (
    DemonstrationError,
    Episode,
    episode_paths,
    load_episode,
    load_episodes,
    save_episode,
)
from safetensors import safe_open
from safetensors.numpy import save_file


def _episode(seed: int = 1_000_000, frames: int = 5) -> Episode:
    rng = np.random.default_rng(seed)
    return Episode(
        seed, 'ind', 'put can on red plate',
        rng.integers(0, 255, (frames, 16, 24, 3)).astype(np.uint8),
        rng.normal(size=(frames, 7)).astype(np.float32),
        rng.normal(size=(frames, 9)).astype(np.float32))


def test_an_episode_comes_back_as_it_was(tmp_path):
    """Pictures bit for bit, numbers, words and seed."""
    written = _episode()
    read = load_episode(save_episode(tmp_path, written))
    for name in ('images', 'actions', 'positions_m'):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert (read.seed, read.instruction) == (written.seed, written.instruction)
    assert not list(tmp_path.glob('*.partial'))


def test_folders_are_read_in_the_order_of_seeds_up_to_a_limit(tmp_path):
    """Two of three episodes, the lowest seeds first."""
    for seed in (1_000_012, 1_000_003, 1_000_007):
        save_episode(tmp_path, _episode(seed))
    assert [each.seed for each in load_episodes([tmp_path], 2)] == [1_000_003, 1_000_007]


def test_an_empty_folder_says_what_to_type(tmp_path):
    """No episodes: the error holds the command that makes some."""
    with pytest.raises(DemonstrationError, match='rlrc collect'):
        episode_paths(tmp_path)


def test_a_foreign_file_is_refused(tmp_path):
    """Safetensors of another kind are no episode."""
    path = tmp_path / 'episode_0000000001.safetensors'
    save_file({'x': np.zeros(1)}, path, metadata={'format': 'pt'})
    with pytest.raises(DemonstrationError, match="format 'pt'"):
        load_episode(path)


def test_an_episode_with_a_missing_frame_is_refused(tmp_path):
    """More actions than images: the error counts both."""
    episode = _episode()
    broken = Episode(episode.seed, 'ind', episode.instruction, episode.images[:-1],
                     episode.actions, episode.positions_m)
    path = save_episode(tmp_path, broken)
    with pytest.raises(DemonstrationError, match='4 images, 5 actions'):
        load_episode(path)


def test_an_episode_whose_picture_does_not_decode_is_refused(tmp_path):
    """The frame is named by its number."""
    path = save_episode(tmp_path, _episode())
    with safe_open(path, framework='numpy') as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        metadata = file.metadata()
    ends = tensors['png_end']
    tensors['png'][ends[1]:ends[2]] = 0
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(DemonstrationError, match=r'misses frames \[2\] of 5'):
        load_episode(path)


def test_a_collection_without_a_success_is_refused(tmp_path):
    """Forty tries and nothing to imitate: the error says so, not that the folder is missing."""
    (tmp_path / 'collection.json').write_text('{"tried": 40, "failed_seeds": []}')
    with pytest.raises(DemonstrationError, match='40 tries were made and none was kept'):
        episode_paths(tmp_path)
