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

"""An evaluation counts what was played."""

from dataclasses import replace
from itertools import pairwise
import json
from types import SimpleNamespace

import numpy as np
from PIL import Image
import pytest
from rlrc_ros.types import Observation
from rlrc_ros.vla.policy import Policy
from rlrc_sim.rollout import EpisodeResult
from rlrc_training.evaluate import _alone, evaluate, EvaluateConfig, SINGLE_CALLS, summarise
from rlrc_training.evaluate_doors import check_memory, check_statistics, fingerprint
from rlrc_training.strips import PICTURES
from tiny_vla import DATASET, make_tiny_checkpoint, make_tiny_oft_checkpoint


def _result(seed: int, thing: str, once: bool, at_end: bool) -> EpisodeResult:
    return EpisodeResult(seed, 'ind', f'put {thing} on red plate', once, at_end, once, 80,
                         20 if once else None, 0.0)


def test_once_and_at_end_are_counted_apart_and_by_object():
    """Three of four at some step, two of four at the last, each object by itself."""
    summary = summarise([
        _result(0, 'can', True, True), _result(1, 'can', True, False),
        _result(2, 'golf ball', True, True), _result(3, 'golf ball', False, False)])
    assert summary['success_once']['count'] == 3 and summary['success_at_end']['count'] == 2
    assert summary['by_object']['can']['success_at_end']['rate'] == 0.5
    assert summary['by_object']['golf ball']['episodes'] == 2
    low, high = summary['success_once']['wilson_95']
    assert low < 0.75 < high


@pytest.mark.sim
def test_an_evaluation_repeats_also_when_it_was_interrupted(tmp_path, monkeypatch):
    """
    A random policy's two episodes, one of each set, come out alike in a second run.

    The first plays them side by side. The second plays one after the other, gets a Ctrl-C in its
    second episode and is taken up by the same command. A third plays nothing.
    """
    checkpoint = make_tiny_checkpoint(tmp_path / 'tiny')
    config = EvaluateConfig(checkpoint, episodes=1, episode_set='put25_object_moved,put25_ood',
                            processes=1, out=tmp_path / 'whole', device='cpu', videos=1,
                            strips=1)
    whole = evaluate(config)
    assert [each['episode_set'] for each in whole['episodes']] == list(config.sets)
    assert (tmp_path / 'whole' / 'episodes.mp4').stat().st_size > 1000
    strips = tmp_path / 'whole' / 'strips'
    names = {f'{name}_0' for name in config.sets}
    assert set(json.loads((strips / 'strips.json').read_text())) == names
    with Image.open(strips / 'put25_ood_0.jpg') as picture:
        assert picture.size == (PICTURES * 128, 128)

    act_batch, calls = Policy.act_batch, []

    def interrupted(self, *rest, **options) -> list:
        calls.append(1)
        if len(calls) == 2 + SINGLE_CALLS + 90:
            raise KeyboardInterrupt
        return act_batch(self, *rest, **options)

    again = replace(config, out=tmp_path / 'again', videos=0, strips=0, worlds=1)
    with monkeypatch.context() as patched:
        patched.setattr(Policy, 'act_batch', interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate(again)
    assert not (tmp_path / 'again' / 'results.json').exists()
    assert len((tmp_path / 'again' / 'episodes.jsonl').read_text().splitlines()) == 1
    resumed = evaluate(again)
    assert resumed['played_now'] == 1 and resumed['episodes'] == whole['episodes']
    assert evaluate(again)['played_now'] == 0
    written = json.loads((tmp_path / 'again' / 'results.json').read_text())
    assert written['summary'] == json.loads(json.dumps(whole['summary']))


@pytest.mark.sim
def test_a_chunked_policy_is_evaluated(tmp_path, monkeypatch):
    """An OpenVLA-OFT that reads the arm's state: 80 steps of an episode take 20 inferences."""
    folder = make_tiny_oft_checkpoint(tmp_path / 'oft', 4, proprio_dim=7,
                                      proprio_layout='xyz_rpy_gripper')
    seen, act_batch = [], Policy.act_batch
    monkeypatch.setattr(Policy, 'act_batch', lambda self, observations, **options: (
        seen.extend(observations), act_batch(self, observations, **options))[1])
    document = evaluate(EvaluateConfig(folder, episodes=1, processes=1, out=tmp_path / 'out',
                                       device='cpu', unnorm_key=DATASET, videos=0))
    assert document['episodes'][0]['steps'] == 80
    assert len(seen) == 20 + 2 + SINGLE_CALLS, 'two of them to warm up'
    assert all(np.isfinite(each.proprio).all() for each in seen)


@pytest.mark.parametrize(('parallel', 'words'), [
    ({'cameras': ('image', 'wrist')}, 'the simulated world has one'),
    ({'proprio_dim': 7}, 'one of: xyz_rpy_gripper, joints_gripper'),
    ({'proprio_dim': 14}, 'none has that length')])
def test_a_policy_that_reads_what_the_world_does_not_show_is_refused(tmp_path, parallel, words):
    """Before worlds are made."""
    folder = make_tiny_oft_checkpoint(tmp_path / 'oft', **parallel)
    with pytest.raises(ValueError, match=words):
        evaluate(EvaluateConfig(folder, episodes=1, out=tmp_path / 'out'))


@pytest.mark.sim
def test_the_expert_solves_held_out_seeds(tmp_path):
    """Ten of ten, and the object stays on the plate to the last of 80 steps."""
    document = evaluate(EvaluateConfig(expert=True, episodes=10, out=tmp_path, videos=0))
    assert document['summary']['success_at_end']['count'] == 10


@pytest.mark.parametrize(('change', 'words'), [
    ({'first_seed': 2_000_000}, 'not all held out'), ({'episodes': 0}, 'got 0'),
    ({'episode_set': 'moon'}, "'moon'.*put25_ood"), ({'episode_set': 'ind,moon'}, "'moon'"),
    ({'episode_set': ','}, 'names no set'), ({'runtime': 'warp'}, "'warp'.*vla-cache"),
    ({'strips': -1}, 'strips are 0 or more'),
    ({'episode_set': 'bridge_put_carrot', 'episodes': 25}, '24 different .*--episodes 24')])
def test_a_wrong_option_is_refused(change, words):
    """Training seeds above all cannot be evaluated on."""
    with pytest.raises(ValueError, match=words):
        EvaluateConfig(**change)


def test_sets_and_axes_are_counted_apart():
    """By set, by group of axes, and by the object's name even where the sentence is another."""
    results = [replace(_result(seed, 'can', seed > 0, False), episode_set=episode_set,
                       instruction='red plate is where can should go', object_name='can')
               for episode_set in ('put25_ind', 'put25_ood', 'put25_unseen_table')
               for seed in range(2)]
    summary = summarise(results)
    assert summary['by_set']['put25_ood']['success_once']['count'] == 1
    assert set(summary['by_group']) == {'IND', 'OOD', 'Vision'}
    assert set(summary['by_object']) == {'can'}


def test_more_worlds_than_memory_are_refused():
    """The error says how many fit."""
    with pytest.raises(ValueError, match='use --processes'):
        check_memory(100_000)


def test_statistics_that_are_no_deltas_are_refused(tmp_path):
    """Joint angles in the place of deltas are noticed before a world starts."""
    checkpoint = make_tiny_checkpoint(tmp_path / 'tiny')
    before = fingerprint(checkpoint)
    check_statistics(checkpoint, None)
    path = checkpoint / 'dataset_statistics.json'
    statistics = json.loads(path.read_text())
    for entry in statistics.values():
        entry['action']['q99'][1] = 1.3
    path.write_text(json.dumps(statistics))
    with pytest.raises(ValueError, match='translation of 1.3.*--unnorm-key'):
        check_statistics(checkpoint, None)
    assert fingerprint(checkpoint) != before


@pytest.mark.sim
@pytest.mark.slow
def test_a_checkpoint_is_known_by_all_of_its_files(tmp_path):
    """A decoder lies in the middle of its file; a file of gigabytes is known by its ends."""
    weights = np.zeros(3 * 2**20, np.uint8)
    (tmp_path / 'model.safetensors').write_bytes(weights.tobytes())
    before = fingerprint(tmp_path)
    weights[len(weights) // 2] = 1
    (tmp_path / 'model.safetensors').write_bytes(weights.tobytes())
    assert fingerprint(tmp_path) != before


def test_a_policy_by_itself_is_shown_pictures_that_nothing_can_be_reused_of():
    """VLA-Cache takes a patch for the one before it where the two are alike."""
    class Shown:
        weight_bytes, timing, images = 1, SimpleNamespace(inference_ms=2.0), []

        def blank_observation(self):
            return Observation(np.zeros((8, 8, 3), np.uint8), 'put can on red plate')

        def act(self, observation):
            self.images.append(observation.image.astype(float))
            return SimpleNamespace(actions=(None,))

    policy = Shown()
    assert _alone(policy)['actions_per_s'] == 500.0
    centred = [(each - each.mean()).ravel() for each in policy.images]
    assert max(a @ b / np.linalg.norm(a) / np.linalg.norm(b)
               for a, b in pairwise(centred)) < 0.5


def test_vla_cache_has_a_policy_for_each_world(tmp_path, monkeypatch):
    """What is reused belongs to one episode: two worlds change no number."""
    checkpoint = make_tiny_checkpoint(tmp_path / 'tiny')
    asked, act_batch, resets = [], Policy.act_batch, []
    monkeypatch.setattr(Policy, 'act_batch', lambda self, observations, **options: (
        asked.append((self, len(observations))), act_batch(self, observations, **options))[1])
    monkeypatch.setattr(Policy, 'reset', lambda self, reset=Policy.reset: (
        resets.append(self), reset(self))[1])
    config = EvaluateConfig(checkpoint, episodes=3, out=tmp_path / 'one', device='cpu', videos=0,
                            runtime='vla-cache')
    document = evaluate(config)
    assert len(document['episodes']) == 3 and len(resets) == 3 + 1  # and once to warm up
    assert {count for _, count in asked} == {1} and len({id(each) for each, _ in asked}) == 1
    reused = document['reused']
    assert 0.0 <= reused['mean_share'] < 1.0 and 160 < reused['steps'] <= 240
    asked.clear(), resets.clear()
    again = evaluate(replace(config, out=tmp_path / 'two', processes=2))
    assert again['episodes'] == document['episodes'] and len(resets) == 3 + 2
    assert len({id(each) for each, _ in asked}) == len({*map(id, resets)}) == 2
    assert again['reused']['mean_share'] == pytest.approx(reused['mean_share'])
    with pytest.raises(ValueError, match='another run .batches, runtime differ'):
        evaluate(replace(config, runtime='eager'))
