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

"""LeRobotDataset v3 goes out and comes back, alone and through the real lerobot package."""

import json
import os
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest
from rlrc_training.data import DemonstrationError, Episode, load_episodes, save_episode
from rlrc_training.export_dataset import export_dataset, ExportConfig, main
from rlrc_training.lerobot_dataset import CONVERT, INFO, is_lerobot
from rlrc_training.sft import sft
from rlrc_training.sft_config import SftConfig

parquet = pytest.importorskip(
    'pyarrow.parquet', reason="pyarrow is not installed; pip install 'rlrc_ros[lerobot]'")
SIDE = Path(__file__).resolve().parents[2] / 'scripts' / 'lerobot_side.py'
CAMERA = 'observation.images.primary'
SMOOTH = 12.0
"""Grey levels that H.264 and AV1 may be off on average, on pictures of a smooth ramp."""


def _episode(seed: int, frames: int) -> Episode:
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, 64)[None, :, None].repeat(64, 0).repeat(3, 2)
    images = [(ramp * rng.uniform(0.3, 1.0, 3) + rng.uniform(0, 50)).astype(np.uint8)
              for _ in range(frames)]
    actions = rng.normal(0, 0.01, (frames, 7)).astype(np.float32)
    actions[:, 6] = rng.integers(0, 2, frames)
    return Episode(seed, 'ind', f'put can on {"red" if seed % 2 else "blue"} plate',
                   np.stack(images), actions, rng.normal(size=(frames, 9)).astype(np.float32))


@pytest.fixture(scope='module')
def demos(tmp_path_factory):
    """Write three episodes of 6, 4 and 5 frames."""
    folder = tmp_path_factory.mktemp('demos')
    for number, frames in enumerate((6, 4, 5)):
        save_episode(folder, _episode(1_000_000 + number, frames))
    return folder


@pytest.fixture(scope='module')
def exported(demos, tmp_path_factory):
    """Export them twice: as video, two episodes a file, and as PNG."""
    folder = tmp_path_factory.mktemp('lerobot')
    return {kind: export_dataset(ExportConfig(
        (demos,), folder / kind, pictures=kind, episodes_a_file=2)) for kind in ('video', 'png')}


@pytest.mark.parametrize(('kind', 'tolerance'), [('png', 0.0), ('video', SMOOTH)])
def test_what_goes_out_comes_back(demos, exported, kind, tolerance):
    """Words, actions and positions to the bit; pictures to the bit as PNG, nearly as H.264."""
    assert is_lerobot(exported[kind])
    ours, theirs = (list(load_episodes([each])) for each in (demos, exported[kind]))
    assert len(theirs) == 3
    for before, after in zip(ours, theirs):
        assert after.instruction == before.instruction
        np.testing.assert_array_equal(after.actions, before.actions)
        np.testing.assert_array_equal(after.positions_m, before.positions_m)
        off = np.abs(after.images.astype(int) - before.images.astype(int)).mean((1, 2, 3))
        assert after.images.shape == before.images.shape and off.max() <= tolerance
    assert [each.seed for each in load_episodes([exported[kind]], 2)] == [0, 1]


def test_training_takes_the_folder_as_it_is(exported, tmp_path):
    """Two steps of SFT on the video and the PNG folder together."""
    checkpoint = sft(SftConfig(
        data=tuple(exported.values()), out=tmp_path / 'run', preset='tiny', steps=2,
        batch_size=4, eval_episodes=0, device='cpu'))
    assert (checkpoint / 'model.safetensors').exists()


def _changed(folder: Path, tmp_path: Path, change) -> Path:
    """Return a folder with another info.json whose data are the same."""
    other = tmp_path / 'changed'
    (other / 'meta').mkdir(parents=True)
    for each in ('data', 'videos', 'meta/episodes', 'meta/tasks.parquet'):
        (other / each).symlink_to(folder / each)
    info = json.loads((folder / INFO).read_text())
    change(info)
    (other / INFO).write_text(json.dumps(info))
    return other


def _older(info: dict) -> None:
    info['codebase_version'] = 'v2.1'


def _of_joints(info: dict) -> None:
    info['features']['action']['names'] = {'motors': ['waist', *'abcdef']}


def _two_cameras(info: dict) -> None:
    info['features']['observation.images.wrist'] = info['features'][CAMERA]


def _no_action(info: dict) -> None:
    del info['features']['action']


@pytest.mark.parametrize(('change', 'words'), [
    (_older, CONVERT), (_of_joints, 'are waist, a.*wanted end-effector deltas x, y'),
    (_two_cameras, f'it has: {CAMERA}, observation.images.wrist. Set --camera {CAMERA}'),
    (_no_action, 'no feature `action`')])
def test_a_data_set_that_means_something_else_is_refused(exported, tmp_path, change, words):
    """Another version, joints for actions, a camera that is not chosen: each says what to do."""
    folder = _changed(exported['video'], tmp_path, change)
    with pytest.raises(DemonstrationError, match=words):
        list(load_episodes([folder]))
    if change is _two_cameras:
        assert len(list(load_episodes([folder], camera=CAMERA))) == 3


def test_a_missing_row_and_a_film_that_ends_early_are_named(exported, tmp_path):
    """The episode, and which frames of it are not there."""
    def broken(name, path, content):
        folder = _changed(exported['video'], tmp_path / name, lambda info: None)
        part = folder / path.split('/')[0]
        part.unlink()
        for source in (exported['video'] / part.name).glob('**/file-*'):
            copy = folder / source.relative_to(exported['video'])
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(source)
        (folder / path).unlink()
        content(folder / path)
        return folder

    rows = 'data/chunk-000/file-000.parquet'
    table = parquet.read_table(exported['video'] / rows)
    folder = broken('row', rows, lambda path: parquet.write_table(
        table.take([row for row in range(len(table)) if row != 7]), path))
    with pytest.raises(DemonstrationError, match=r'episode 1 .* 3 rows of 4 .* frames \[1\]'):
        list(load_episodes([folder]))
    films = f'videos/{CAMERA}/chunk-000/file-'
    folder = broken('film', f'{films}000.mp4', lambda path: path.symlink_to(
        exported['video'] / f'{films}001.mp4'))
    with pytest.raises(DemonstrationError, match='episode 0 misses frames: .* ends after 5'):
        list(load_episodes([folder]))


def test_a_gripper_that_goes_below_zero_is_refused(tmp_path):
    """-1 closed ... 1 open is another convention; training on it would never close the hand."""
    episode = _episode(1_000_000, 4)
    episode.actions[:, 6] = [1, 1, -1, -1]
    (tmp_path / 'demos').mkdir()
    save_episode(tmp_path / 'demos', episode)
    folder = export_dataset(ExportConfig((tmp_path / 'demos',), tmp_path / 'out', pictures='png'))
    with pytest.raises(DemonstrationError, match='gripper in episode 0 .* goes from -1 to 1'):
        list(load_episodes([folder]))


def test_nothing_is_overwritten_and_nothing_half_written_stays(demos, exported, tmp_path, capsys):
    """A folder that is there is refused; one that fails in the middle is not there."""
    assert main([str(demos), '--out', str(exported['png'])]) == 1
    assert 'is there already' in capsys.readouterr().err
    (tmp_path / 'demos').mkdir()
    save_episode(tmp_path / 'demos', _episode(1, 3))
    small = _episode(2, 3)
    save_episode(tmp_path / 'demos', Episode(
        2, 'ind', small.instruction, small.images[:, :32], small.actions, small.positions_m))
    assert main([str(tmp_path / 'demos'), '--out', str(tmp_path / 'out')]) == 1
    assert 'images of 64 x 32 pixels' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['demos']


def _lerobot(*arguments: object) -> None:
    python = os.environ.get('RLRC_LEROBOT_PYTHON')
    if not python:
        pytest.skip('RLRC_LEROBOT_PYTHON names no python with lerobot; '
                    'scripts/check_lerobot.sh makes one and runs this')
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    done = subprocess.run(
        [python, str(SIDE), *map(str, arguments)], capture_output=True, text=True, timeout=250,
        env={**environment, 'HF_HUB_OFFLINE': '1', 'HF_DATASETS_OFFLINE': '1'})
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(('kind', 'tolerance'), [('png', 0.0), ('video', SMOOTH)])
def test_lerobot_reads_what_is_written_here(demos, exported, tmp_path, kind, tolerance):
    """Every frame, sentence, time and statistic, as the package gives them."""
    _lerobot('read', exported[kind], tmp_path / 'theirs.npz')
    theirs = np.load(tmp_path / 'theirs.npz')
    ours = list(load_episodes([demos]))
    actions, images = (np.concatenate([getattr(each, name) for each in ours])
                       for name in ('actions', 'images'))
    np.testing.assert_array_equal(theirs['action'], actions)
    np.testing.assert_array_equal(theirs['episode'], np.repeat([0, 1, 2], [6, 4, 5]))
    np.testing.assert_allclose(theirs['timestamp'], [
        frame / 5 for each in ours for frame in range(len(each.actions))], rtol=1e-6)
    assert theirs['task'].tolist() == [each.instruction for each in ours for _ in each.actions]
    off = np.abs(theirs['image'].transpose(0, 2, 3, 1) * 255 - images).mean((1, 2, 3))
    assert off.max() <= tolerance + 1e-3
    np.testing.assert_allclose(theirs['action_mean'], actions.mean(0), atol=1e-6)
    np.testing.assert_allclose(theirs['image_mean'].ravel(), images.mean((0, 1, 2)) / 255,
                               atol=5e-3)
    assert int(theirs['fps']) == 5 and int(theirs['episodes']) == 3


@pytest.mark.timeout(600)
@pytest.mark.parametrize(('kind', 'tolerance'), [('png', 0.0), ('video', SMOOTH)])
def test_what_lerobot_records_is_read_here(tmp_path, kind, tolerance):
    """Two episodes of its own, AV1 or images: actions to the bit, pictures nearly."""
    _lerobot('write', tmp_path / kind, tmp_path / 'theirs.npz')
    theirs, ours = np.load(tmp_path / 'theirs.npz'), list(load_episodes([tmp_path / kind]))
    assert [len(each.actions) for each in ours] == [7, 5]
    np.testing.assert_array_equal(np.concatenate([each.actions for each in ours]),
                                  theirs['action'])
    off = np.abs(np.concatenate([each.images for each in ours]).astype(int)
                 - theirs['image'].astype(int)).mean((1, 2, 3))
    assert off.max() <= tolerance
    assert [each.instruction for each in ours] == ['put can on blue plate', 'put can on red plate']


@pytest.mark.timeout(600)
def test_lerobots_own_tool_edits_what_is_written_here(demos, exported, tmp_path):
    """It deletes the first episode, which takes the whole of the metadata; the rest comes back."""
    _lerobot('shorten', exported['video'], tmp_path / 'short')
    left, ours = list(load_episodes([tmp_path / 'short'])), list(load_episodes([demos]))[1:]
    assert len(left) == 2
    for before, after in zip(ours, left):
        np.testing.assert_array_equal(after.actions, before.actions)
        assert np.abs(after.images.astype(int) - before.images.astype(int)).mean() < SMOOTH


def test_this_interpreter_needs_no_lerobot():
    """Reading and writing go by the published files alone."""
    assert 'lerobot' not in sys.modules
