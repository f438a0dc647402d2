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

"""Replaying a recording through the policy offline."""

from pathlib import Path

import numpy as np
import pytest
from rlrc_training.data import Episode, save_episode
from rlrc_training.replay import compare, looks_exchanged, replay, ReplayConfig

make_tiny_checkpoint = pytest.importorskip('tiny_vla').make_tiny_checkpoint


def test_a_demonstration_is_compared_number_by_number(tmp_path: Path) -> None:
    """The outcome covers every step and all seven numbers, and is written as JSON."""
    random = np.random.default_rng(0)
    checkpoint = make_tiny_checkpoint(tmp_path / 'tiny')
    path = save_episode(tmp_path, Episode(
        1, 'ind', 'put carrot on red plate', random.integers(0, 255, (3, 128, 128, 3), np.uint8),
        random.normal(0, 0.01, (3, 7)), np.zeros((3, 9))))
    outcome = replay(ReplayConfig(path, checkpoint=checkpoint, out=tmp_path / 'replay.json'))
    assert outcome['steps'] == 3
    assert set(outcome['numbers']) == {'dx', 'dy', 'dz', 'droll', 'dpitch', 'dyaw', 'gripper'}
    assert (tmp_path / 'replay.json').is_file()


def test_a_checkpoint_that_reads_more_than_was_recorded_is_refused(tmp_path: Path) -> None:
    """A second camera and the arm's state are in no recording: said before weights load."""
    tiny = pytest.importorskip('tiny_vla')
    folder = tiny.make_tiny_oft_checkpoint(
        tmp_path / 'oft', 2, cameras=('image', 'wrist'), proprio_dim=7,
        proprio_layout='xyz_rpy_gripper')
    with pytest.raises(ValueError, match='reads image, wrist and the state of the arm'):
        replay(ReplayConfig(tmp_path / 'none.safetensors', checkpoint=folder))


def test_equal_series_agree_and_exchanged_axes_are_noticed() -> None:
    """Roll and yaw swapped with a sign, as SimplerEnv 78 describes it, give the warning."""
    series = np.random.default_rng(1).normal(0, 0.05, (40, 7))
    same = compare(series, series)
    assert same['numbers']['dx'] == {
        'mean_difference': 0.0, 'recorded_std': pytest.approx(series[:, 0].std()),
        'correlation': pytest.approx(1.0)}
    assert not same['roll_and_yaw_look_exchanged']
    swapped = series.copy()
    swapped[:, 3], swapped[:, 5] = -series[:, 5], series[:, 3]
    assert looks_exchanged(series, swapped)
    assert not looks_exchanged(series, series + 0.01)
