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

"""From the expert to a checkpoint in small: collect, train, interrupt, go on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
import json
import multiprocessing
import threading

import numpy as np
import pytest
from rlrc_ros.arm.limits import FINGER_OPEN_M
from rlrc_ros.types import Observation
from rlrc_ros.vla.checkpoint import inspect
from rlrc_ros.vla.policy import Policy
from rlrc_sim.rollout import WorldProcessEndedError
from rlrc_training import presets
from rlrc_training.collect import collect, CollectConfig
from rlrc_training.data import DemonstrationError, load_episodes
from rlrc_training.export_dataset import export_dataset, ExportConfig
from rlrc_training.replay import open_recording
from rlrc_training.sft import sft
from rlrc_training.sft_config import SftConfig
from rlrc_training.sft_loss import soft_targets
from rlrc_training.trainer import learning_rate
from safetensors.torch import load_file
from tiny_vla import make_tiny_oft_checkpoint
import torch

pytestmark = pytest.mark.sim


@pytest.fixture(scope='module')
def demos(tmp_path_factory):
    """Collect three demonstrations once for this file."""
    folder = tmp_path_factory.mktemp('demos')
    collect(CollectConfig(out=folder, episodes=3, image_size_px=64, processes=1))
    return folder


def _config(demos, out, **changes) -> SftConfig:
    return replace(SftConfig(
        data=(demos,), out=out, preset='tiny', steps=4, batch_size=4, warmup_steps=2,
        eval_every=4, eval_episodes=0, save_every=2, processes=1, device='cpu'), **changes)


def test_demonstrations_end_on_the_plate_and_hold_clean_actions(demos):
    """Every episode closes and opens the hand, and no step exceeds the expert's own limits."""
    episodes = list(load_episodes([demos]))
    assert len(episodes) == 3
    for episode in episodes:
        gripper = episode.actions[:, 6]
        assert gripper[0] == 1.0 and gripper.min() == 0.0 and gripper[-1] == 1.0
        assert np.linalg.norm(episode.actions[:, :3], axis=1).max() <= 0.03 + 1e-6
        apart = episode.positions_m[-1, :2] - episode.positions_m[-1, 3:5]
        assert np.linalg.norm(apart) < 0.065
        turn, apart_m, holds = episode.hand.T
        assert turn.shape == gripper.shape and abs(turn[0]) < 0.02
        assert apart_m[0] == pytest.approx(2 * FINGER_OPEN_M, abs=1e-3)
        # Closed around it and lifted, then open again.
        assert not holds[0] and holds.max() == 1 and not holds[-1]
        assert apart_m[holds == 1].max() < apart_m[0] - 0.005
    record = json.loads((demos / 'collection.json').read_text())
    assert record['tried'] == 3 + len(record['failed_seeds'])


def test_collecting_again_adds_only_what_is_missing(demos):
    """A finished folder is left alone."""
    before = {path: path.stat().st_mtime_ns for path in demos.glob('episode_*')}
    collect(CollectConfig(out=demos, episodes=3, image_size_px=64, processes=1))
    assert {path: path.stat().st_mtime_ns for path in demos.glob('episode_*')} == before


@contextmanager
def killing(times: int) -> Iterator[list[int]]:
    """Kill so many child processes of this one, each as soon as it is there; tell which."""
    killed: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while len(killed) < times and not over.wait(0.02):
            for child in multiprocessing.active_children():
                if child.pid not in killed and len(killed) < times:
                    killed.append(child.pid)
                    child.kill()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield killed
    finally:
        over.set()
        watcher.join()


@pytest.mark.parametrize('deaths', [1, 2])
def test_a_seed_whose_process_ends_is_tried_again_and_then_fails(tmp_path, caplog, deaths):
    """A crash of PhysX ends no collection: once is an accident, twice is the seed's own."""
    config = CollectConfig(out=tmp_path, episodes=1, image_size_px=64, processes=1, scatter=2,
                           episode_set='put25_choice')
    with caplog.at_level('WARNING'), killing(deaths) as killed:
        assert collect(config) == 1
    assert len(killed) == deaths
    failed = json.loads((tmp_path / 'collection.json').read_text())['failed_seeds']
    first = config.first_seed
    assert failed == [first] * (deaths - 1)
    assert [path.name for path in tmp_path.glob('episode_*')] == [
        f'episode_{first + deaths - 1:010d}.safetensors']
    assert f'tried again one by one: seeds={first}' in caplog.text


@pytest.mark.parametrize('episodes', [5, 1])
def test_a_machine_on_which_every_process_ends_is_told(tmp_path, episodes):
    """Three seeds in succession, each tried twice, one or four at once: one line says so."""
    config = CollectConfig(out=tmp_path, episodes=episodes, image_size_px=64, processes=2)
    with killing(100), pytest.raises(WorldProcessEndedError,
                                     match='3 processes ended .*at seed 1000002; run'):
        collect(config)


@pytest.fixture(scope='module')
def scattered_states(tmp_path_factory):
    """Collect two files of five scattered states."""
    folder = tmp_path_factory.mktemp('scattered')
    collect(CollectConfig(out=folder, episodes=2, image_size_px=64, processes=1, scatter=5,
                          episode_set='put25_choice'))
    return folder


def test_a_folder_that_other_options_filled_is_refused(demos):
    """Mixed demonstrations would be told as those of the last command."""
    config = json.loads((demos / 'collection.json').read_text())['config']
    options = {name: config[name] for name in ('episodes', 'image_size_px', 'processes')}
    with pytest.raises(ValueError, match=r'noise_m 0\.\d+ → 0\.02\. Choose another --out'):
        collect(CollectConfig(out=demos, noise_m=0.02, **options))
    assert collect(CollectConfig(out=demos, **{**options, 'episodes': 1})) >= 1


def test_scattered_states_train_beside_played_ones(demos, scattered_states, tmp_path):
    """They are told apart in their files and count as frames like any other."""
    episodes = list(load_episodes([scattered_states]))
    assert [len(each.actions) for each in episodes] == [5, 5]
    assert all(each.scattered for each in episodes)
    assert not any(each.scattered for each in load_episodes([demos]))
    out = tmp_path / 'run'
    sft(_config(demos, out, data=(demos, scattered_states), eval_every=4))
    line = json.loads((out / 'metrics.jsonl').read_text().splitlines()[-1])
    assert line['step'] == 4 and np.isfinite(line['loss'])


def test_scattered_states_are_refused_where_a_way_is_needed(scattered_states, tmp_path):
    """Chunks of actions, a replay and a data set of episodes want successive frames."""
    config = _config(scattered_states, tmp_path / 'run', data=(scattered_states,),
                     decoding='parallel', action_horizon=2)
    with pytest.raises(DemonstrationError, match='none follows'):
        sft(config)
    file = next(scattered_states.glob('episode_*'))
    with pytest.raises(DemonstrationError, match='not a recording'):
        open_recording(file, 64)
    with pytest.raises(DemonstrationError, match='no way that a data set'):
        export_dataset(ExportConfig(data=(scattered_states,), out=tmp_path / 'exported'))


@pytest.mark.parametrize('changes, told', [
    ({'scatter': -1}, 'got -1'),
    ({'scatter': 4, 'policy': 'somewhere'}, 'plays nothing'),
    ({'scatter': 4, 'episode_set': 'ind'}, 'put25_choice')])
def test_scatter_refuses_what_makes_no_sense(changes, told):
    """Before anything is simulated."""
    with pytest.raises(ValueError, match=told):
        CollectConfig(**changes)


def test_training_writes_a_checkpoint_that_acts(demos, tmp_path):
    """The folder opens as a policy and says where it comes from."""
    checkpoint = sft(_config(demos, tmp_path / 'run', eval_episodes=1, eval_every=4))
    summary = inspect(checkpoint)
    stage = summary.provenance['stages'][-1]
    assert stage['name'] == 'sft' and stage['config']['steps'] == 4
    assert summary.unnorm_keys == ('rlrc_put_on_plate',)
    policy = Policy.open(checkpoint, device='cpu')
    chunk = policy.act(Observation(np.zeros((64, 64, 3), np.uint8), 'put can on red plate'))
    assert np.isfinite(chunk.actions[0].to_vector()).all()


def test_an_interrupted_run_ends_as_the_uninterrupted_one(demos, tmp_path, monkeypatch):
    """
    Stopped after step 3 and started again, weights and metrics after step 4 are the same.

    The state is that of step 2, so that step 3 happens twice and is told once.
    """
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    sft(_config(demos, whole, eval_every=1))

    def stop_after_three(step, config):
        if step == 3:
            raise KeyboardInterrupt
        return learning_rate(step, config)

    monkeypatch.setattr('rlrc_training.trainer.learning_rate', stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        sft(_config(demos, parts, eval_every=1))
    monkeypatch.undo()
    sft(_config(demos, parts, eval_every=1))
    first = load_file(whole / 'state' / 'tensors.safetensors')
    second = load_file(parts / 'state' / 'tensors.safetensors')
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], atol=1e-6, rtol=1e-5, msg=name)
    lines = [json.loads(line) for line in (parts / 'metrics.jsonl').read_text().splitlines()]
    assert [each['step'] for each in lines] == [1, 2, 3, 4]


def test_a_folder_of_another_configuration_is_refused(demos, tmp_path):
    """The difference is named."""
    sft(_config(demos, tmp_path / 'run', steps=1))
    with pytest.raises(ValueError, match='batch_size 4 → 8'):
        sft(_config(demos, tmp_path / 'run', steps=1, batch_size=8))


def test_a_model_that_decodes_in_parallel_is_refused_before_anything_is_written(tmp_path):
    """Its slots would learn a causal model's task; the error names its own loss."""
    folder, out = make_tiny_oft_checkpoint(tmp_path / 'oft'), tmp_path / 'run'
    with pytest.raises(ValueError, match='rlrc_training.oft.oft_loss'):
        sft(SftConfig(init=folder, out=out))
    assert not out.exists()


def test_targets_are_softened_over_neighbouring_bins():
    """Rows sum to one, peak at their own bin, and sigma 0 is one-hot."""
    vla, _ = presets.preset('tiny')
    soft = soft_targets(vla, 3.0)
    torch.testing.assert_close(soft.sum(1), torch.ones(256))
    assert (soft.argmax(1) == torch.arange(256)).all()
    assert soft[100, 103] == pytest.approx(float(soft[100, 100]) * np.exp(-0.5), rel=1e-4)
    assert torch.equal(soft_targets(vla, 0.0), torch.eye(256))


@pytest.mark.parametrize(('change', 'words'), [
    ({'preset': 'giant'}, "'giant' is not known; there are: small, nano"),
    ({'steps': 0}, 'got 0'), ({'ema_decay': 1.0}, 'below 1')])
def test_a_wrong_sft_option_is_refused(change, words):
    """Each error names the value."""
    with pytest.raises(ValueError, match=words):
        SftConfig(**change)


@pytest.mark.parametrize(('change', 'words'), [
    ({'first_seed': 5}, 'not a training seed'), ({'episode_set': 'moon'}, "'moon'"),
    ({'episodes': 0}, 'got 0'), ({'image_size_px': 8}, 'got 8')])
def test_a_wrong_collect_option_is_refused(change, words):
    """Held-out seeds above all cannot be collected from."""
    with pytest.raises(ValueError, match=words):
        CollectConfig(**change)
