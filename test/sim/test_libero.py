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

"""LIBERO's conventions, doors and worlds; the worlds only where its environment and assets are."""

import json
import os
from pathlib import Path
import shutil
import signal
import sys

import numpy as np
import pytest
from rlrc_ros.types import Action
from rlrc_sim import assets, libero_assets
from rlrc_sim.libero import command_of, LIBERO_PROPRIO, LIBERO_STEPS, LiberoPool, task_and_trial
from rlrc_sim.libero_worker import axis_angle, instruction_of, read_states
from rlrc_sim.rollout import play, WorldDiedError
from rlrc_training.evaluate import EvaluateConfig
from rlrc_training.evaluate_doors import check_statistics
from scipy.spatial.transform import Rotation
from tiny_vla import make_tiny_checkpoint
import torch

SHARED = Path(__file__).parents[3] / 'shared' / 'assets'
DOWN = Action(np.array([0.0, 0.0, -0.5]), np.zeros(3), 0.0)


@pytest.fixture
def beside(monkeypatch):
    """Point at LIBERO's assets beside the repository, where they are."""
    if not (SHARED / 'libero').is_dir():
        pytest.skip('no ../shared/assets/libero beside the repository')
    monkeypatch.delenv(libero_assets.ASSETS_VARIABLE, raising=False)
    monkeypatch.setenv(assets.VARIABLE, str(SHARED))


@pytest.fixture
def environment(beside):
    """Skip where LIBERO's environment was not made."""
    try:
        libero_assets.packages()
    except ValueError as error:
        pytest.skip(str(error))


def test_seeds_go_through_the_tasks_and_then_the_trials():
    """500 different episodes; the first ten are one of each task; the 501st is refused."""
    pairs = [task_and_trial(seed) for seed in range(500)]
    assert len(set(pairs)) == 500 and {task for task, _ in pairs[:10]} == set(range(10))
    assert max(trial for _, trial in pairs) == 49
    with pytest.raises(ValueError, match='0 ... 499, got 500'):
        task_and_trial(500)


@pytest.mark.parametrize(('ours', 'theirs'), [(1.0, -1.0), (0.0, 1.0), (0.9, -1.0), (0.2, 1.0)])
def test_the_gripper_turns_its_sign(ours, theirs):
    """1 opens here, -1 opens there; the six others pass."""
    command = command_of(Action(np.array([0.1, -0.2, 0.3]), np.array([0.4, 0.5, -0.6]), ours))
    np.testing.assert_allclose(command, [0.1, -0.2, 0.3, 0.4, 0.5, -0.6, theirs])


def test_a_sentence_is_read_from_a_tasks_name():
    """The scene in front of it does not belong to it."""
    assert instruction_of('pick_up_the_bowl') == 'pick up the bowl'
    for scene in ('KITCHEN_SCENE3', 'LIVING_ROOM_SCENE10'):
        assert instruction_of(f'{scene}_turn_on_the_stove') == 'turn on the stove'


def test_recorded_states_are_read_without_running_them(tmp_path):
    """What torch writes comes back number by number; another shape is refused."""
    states = np.random.default_rng(0).normal(size=(50, 31))
    torch.save(states, tmp_path / 'states')
    np.testing.assert_array_equal(read_states(tmp_path / 'states'), states)
    torch.save(states[:49].astype(np.float32), tmp_path / 'other')
    with pytest.raises(ValueError, match='no 50 states'):
        read_states(tmp_path / 'other')


def test_the_hand_turns_as_robosuite_counts():
    """Rotation vectors are those of scipy up to a half turn, and zero for no turn."""
    for rotation in Rotation.random(20, random_state=1):
        xyzw = rotation.as_quat(canonical=True)
        np.testing.assert_allclose(axis_angle(xyzw), rotation.as_rotvec(), atol=1e-7)
    np.testing.assert_array_equal(axis_angle(np.array([0, 0, 0, 1.0])), np.zeros(3))


@pytest.mark.parametrize(('version', 'fine'), [
    ('3.3.7', True), ('3.1.6', True), ('3.4.0', False), ('3.10.0', False)])
def test_a_mujoco_that_throws_things_is_refused(version, fine):
    """3.3.7 is the newest; the error says what to type."""
    if fine:
        libero_assets.check_mujoco(version)
    else:
        with pytest.raises(ValueError, match='pip install mujoco==3.3.7'):
            libero_assets.check_mujoco(version)


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    """No environment, no assets: each error says what to run or fetch."""
    monkeypatch.setenv(libero_assets.PYTHON_VARIABLE, str(tmp_path / 'python'))
    with pytest.raises(ValueError, match='scripts/libero_env.sh'):
        libero_assets.interpreter()
    for name in (libero_assets.ASSETS_VARIABLE, assets.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match='Fetch the folder libero/libero/assets'):
        libero_assets.folder()


def test_a_file_hashes_as_git_does():
    """The hash of an empty and of a known file."""
    assert libero_assets.git_blob(b'') == 'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    assert libero_assets.git_blob(b'hello\n') == 'ce013625030ba8dba906f756967f9e9ca394464a'


def test_stand_ins_are_told_from_originals(beside, tmp_path):
    """Three of libero_spatial's files differ; one that is missing is named."""
    root = libero_assets.folder()
    differing = libero_assets.differing('libero_spatial', root)
    assert len(differing) == 3 and all('stable_scanned_objects' in each for each in differing)
    copy = tmp_path / 'libero'
    shutil.copytree(root, copy, copy_function=os.symlink)
    (copy / differing[0]).unlink()
    with pytest.raises(ValueError, match=f'1 of 31 files are missing, first {differing[0]}'):
        libero_assets.differing('libero_spatial', copy)


@pytest.mark.parametrize(('change', 'words'), [
    ({'suite': 'libero_90'}, 'there are: libero_spatial, libero_10'),
    ({'suite': 'libero_10', 'episodes': 501}, '0 ... 499, got 500'),
    ({'suite': 'libero_10', 'expert': True}, 'evaluate a checkpoint')])
def test_a_wrong_option_is_refused(change, words):
    """Before anything is opened."""
    with pytest.raises(ValueError, match=words):
        EvaluateConfig(**change)


def test_statistics_beyond_the_controllers_range_are_refused(tmp_path):
    """LIBERO takes -1 ... 1, which a WidowX's statistics meet and joint angles do not."""
    checkpoint = make_tiny_checkpoint(tmp_path / 'tiny')
    check_statistics(checkpoint, None, libero=True)
    path = checkpoint / 'dataset_statistics.json'
    statistics = json.loads(path.read_text())
    for entry in statistics.values():
        entry['action']['q99'][4] = 1.2
    path.write_text(json.dumps(statistics))
    check_statistics(checkpoint, None)
    with pytest.raises(ValueError, match='delta of 1.2'):
        check_statistics(checkpoint, None, libero=True)


def test_an_environment_without_libero_says_so(beside, monkeypatch):
    """A Python that lacks it: the world's own words arrive, no process or file is left."""
    monkeypatch.setenv(libero_assets.PYTHON_VARIABLE, sys.executable)
    with pytest.raises(ValueError, match='lacks LIBERO'):
        libero_assets.packages()
    with pytest.raises(WorldDiedError, match='has no LIBERO; run scripts/libero_env.sh'):
        LiberoPool(1, 'libero_spatial')


@pytest.mark.slow
@pytest.mark.sim
@pytest.mark.parametrize('suite', list(LIBERO_STEPS))
def test_one_task_of_a_suite_is_played(environment, suite):
    """
    Four steps, twice alike, although the world is killed in the middle of the second.

    The hand comes down, the wrist camera and the arm's state arrive.
    """
    seen = []

    def down(observations: list) -> list[Action]:
        seen.extend(observations)
        if len(seen) == 6:
            os.kill(pool._workers[0].process.pid, signal.SIGKILL)
        return [DOWN] * len(observations)

    with LiberoPool(1, suite, ('image', 'wrist_left'), proprio=True) as pool:
        results = [result for _ in range(2) for result in play(
            pool, down, [(suite, 3)], max_steps=4, keep_frames=True)]
    assert results[0] == results[1] and len(seen) > 8
    for one, other in zip(results[0].frames, results[1].frames, strict=True):
        np.testing.assert_array_equal(one, other)
    first, last = seen[0], seen[3]
    assert first.image.shape == first.extra_images['wrist_left'].shape == (256, 256, 3)
    assert first.image.std() > 10 and (first.image != last.image).any()
    assert first.proprio.shape == (8,) and LIBERO_PROPRIO.startswith('xyz')
    assert last.proprio[2] < first.proprio[2] - 0.01
    assert results[0].object_name == first.instruction and not results[0].success_once
