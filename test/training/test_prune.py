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

"""`rlrc prune` in small: every method gives a checkpoint that loads, acts, trains and saves."""

from dataclasses import replace
import json
import shutil

import cv2
import numpy as np
import pytest
from rlrc_ros.types import Observation
from rlrc_ros.vla.checkpoint import CheckpointError, inspect, open_checkpoint, save_checkpoint
from rlrc_ros.vla.config import VlaConfig
from rlrc_ros.vla.policy import Policy
from rlrc_training.data import DemonstrationError, episode_paths, load_episode, save_episode
from rlrc_training.frames import load_frames
from rlrc_training.prune import main, prune
from rlrc_training.pruning.calibration import robot_weights
from rlrc_training.pruning.options import PruneConfig, PruneError
from rlrc_training.quantize import quantize, QuantizeConfig
from rlrc_training.sft import sft
from rlrc_training.sft_config import SftConfig
from safetensors.torch import save_file
from synthetic_demos import CLOSES, FRAMES, make_demonstrations, OPENS
from tiny_vla import DATASET, make_tiny_checkpoint, tiny_statistics
import torch

CHOICES = {
    'taylor': {'ratio': 0.5}, 'mix': {'importance': 'param_mix', 'reduction': 'max'},
    'l2': {'importance': 'l2', 'reduction': 'mean'}, 'robot': {'loss': 'robot'},
    'vision': {'vision_ratio': 0.5}, 'vision_l1': {'vision_ratio': 0.5, 'importance': 'l1'},
    'fewer_wider': {'keep_layers': 1}, 'magnitude': {'method': 'magnitude'},
    'magnitude_sp': {'method': 'magnitude-sp'},
    'wanda': {'method': 'wanda'}, 'wanda_2_4': {'method': 'wanda', 'pattern': '2:4'},
    'wanda_sp': {'method': 'wanda-sp'},
    'flap': {'method': 'flap', 'ratio': 0.3, 'flap_structure': 'UL-UM'}}


@pytest.fixture(scope='module')
def dense(tmp_path_factory):
    """Return a random tiny checkpoint."""
    return make_tiny_checkpoint(tmp_path_factory.mktemp('prune') / 'dense')


@pytest.fixture(scope='module')
def demos(tmp_path_factory):
    """Return two demonstrations of 20 frames."""
    return make_demonstrations(tmp_path_factory.mktemp('demos') / 'demos')


def _config(dense, demos, out, **options) -> PruneConfig:
    return replace(PruneConfig(checkpoint=dense, data=(demos,), out=out, layers=(0, 2), ratio=0.5,
                               samples=2, device='cpu'), **options)


@pytest.mark.parametrize('choice', CHOICES)
def test_every_choice_gives_a_checkpoint_like_any_other(choice, dense, demos, tmp_path):
    """It opens, acts, says what was done, and comes back the same when it is saved again."""
    out = prune(_config(dense, demos, tmp_path / 'pruned', **CHOICES[choice]))
    summary, before = inspect(out), inspect(dense)
    assert [stage['name'] for stage in summary.provenance['stages']] == ['test', 'prune']
    assert len(summary.provenance['stages'][-1]['parent_sha256']) == 64
    report = json.loads((out / 'pruning.json').read_text())
    assert report['after']['parameters'] == summary.parameters
    assert report['before']['parameters'] == before.parameters
    if choice in ('magnitude', 'wanda', 'wanda_2_4'):
        assert summary.config == before.config
        assert report['mean_share_of_zeros'] == pytest.approx(0.5, abs=0.01)
    else:
        assert summary.parameters < before.parameters
        assert report['after']['answer_gflop'] < report['before']['answer_gflop']
    assert cv2.imread(str(out / 'pruning.png')).shape[1] > 500
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    policy = Policy.open(out, device='cpu')
    action = policy.act(Observation(image, 'put can on red plate')).actions[0].to_vector()
    assert np.isfinite(action).all()
    opened = open_checkpoint(out)
    again = save_checkpoint(tmp_path / 'again', opened.model, opened.tokenizer, tiny_statistics(),
                            summary.provenance)
    assert (again / 'model.safetensors').read_bytes() == (out / 'model.safetensors').read_bytes()
    assert inspect(again).config == summary.config


@pytest.mark.parametrize('choice', ['fewer_wider', 'vision', 'flap', 'wanda'])
def test_a_pruned_checkpoint_trains_on(choice, dense, demos, tmp_path):
    """Fine-tuning changes the weights, keeps the widths, and zeros too where it is asked to."""
    pruned = prune(_config(dense, demos, tmp_path / 'pruned', **CHOICES[choice]))
    trained = sft(SftConfig(
        data=(demos,), out=tmp_path / 'run', init=pruned, steps=2, batch_size=4, warmup_steps=1,
        eval_episodes=0, keep_zeros=choice == 'wanda', device='cpu'))
    before, after = open_checkpoint(pruned), open_checkpoint(trained)
    assert after.summary.config == before.summary.config
    stages = [stage['name'] for stage in after.summary.provenance['stages']]
    assert stages == ['test', 'prune', 'sft']
    weights = after.model.state_dict()
    changed = [name for name, each in before.model.state_dict().items()
               if not torch.equal(each, weights[name])]
    assert len(changed) > 10
    if choice == 'flap':
        assert any(name.endswith('o_proj.bias') for name in changed)
    if choice == 'wanda':
        for name, each in before.model.state_dict().items():
            assert not weights[name][each == 0].any() or each.dim() < 2, name


def test_zeros_grow_back_without_keep_zeros(dense, demos, tmp_path):
    """The documented other half: plain training fills an unstructured mask again."""
    pruned = prune(_config(dense, demos, tmp_path / 'pruned', method='magnitude'))
    trained = sft(SftConfig(
        data=(demos,), out=tmp_path / 'run', init=pruned, steps=2, batch_size=4, warmup_steps=1,
        eval_episodes=0, device='cpu'))
    name = 'language_model.model.layers.0.mlp.down_proj.weight'
    before, after = (open_checkpoint(each).model.get_parameter(name) for each in (pruned, trained))
    assert (before == 0).float().mean() > 0.45
    assert (after == 0).float().mean() < 0.05


def test_cutting_whole_vision_groups_of_zero_changes_nothing(dense, demos, tmp_path):
    """Heads and channels that add nothing go first, and the features stay what they were."""
    opened = open_checkpoint(dense)
    block = opened.model.vision_backbone.featurizer.blocks[0]
    half = block.attn.head_dim
    with torch.no_grad():
        for name, count in (('attn.proj', half), ('mlp.fc2', 64)):
            block.get_submodule(name).weight[:, :count] = 0
        for rows in (slice(0, half), slice(2 * half, 3 * half), slice(4 * half, 5 * half)):
            block.attn.qkv.weight[rows] = 0
        block.mlp.fc1.weight[:64] = 0
    source = save_checkpoint(tmp_path / 'half', opened.model, opened.tokenizer, tiny_statistics(),
                             {}, torch.float32)
    pruned = open_checkpoint(prune(_config(
        source, demos, tmp_path / 'pruned', importance='l1', vision_ratio=0.5, dtype='float32')))
    tower = pruned.model.vision_backbone.featurizer
    assert pruned.summary.config.towers[0].blocks[0].num_heads == 1
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    # The file is bf16, so its weights are what is compared.
    wanted = opened.model.to(torch.bfloat16).float().vision_backbone.featurizer(pixels)
    torch.testing.assert_close(tower(pixels), wanted, atol=1e-5, rtol=1e-5)


def test_token_ids_calibrate_instead_of_demonstrations(dense, tmp_path):
    """A safetensors file of ids is enough; no demonstration is read."""
    path = tmp_path / 'ids.safetensors'
    save_file({'input_ids': torch.randint(0, 300, (12, 70))}, path)
    out = prune(_config(dense, tmp_path / 'none', tmp_path / 'pruned', token_ids=path,
                        samples=10))
    report = json.loads((out / 'pruning.json').read_text())
    assert report['calibration'] == {'token_ids': [10, 64]}
    assert report['calibration_loss'] > 0


def test_a_config_without_the_new_fields_still_opens(dense):
    """Configurations written before layers had biases and blocks widths mean what they meant."""
    document = json.loads((dense / 'config.json').read_text())
    for tower in document['towers']:
        del tower['blocks']
    for layer in document['decoder']['layers']:
        del layer['bias']
    assert VlaConfig.from_json(document) == inspect(dense).config


def test_the_robots_weights_find_toggles_and_contact(dense, demos):
    """Frames around closing, opening and touching count more, and the gripper's token most."""
    opened = open_checkpoint(dense)
    frames, _ = load_frames(SftConfig(data=(demos,)), opened.model.config, opened.tokenizer)
    weights = robot_weights(frames, 4.0)
    assert weights.shape == (2 * FRAMES, 8)
    first = weights[:FRAMES]
    heavy = np.flatnonzero(first[:, 0] == 4.0).tolist()
    assert heavy == [*range(CLOSES - 2, CLOSES + 3), *range(OPENS - 2, OPENS + 3)]
    assert first[CLOSES, 6] == 8.0 and first[0].tolist() == [1.0] * 8
    assert np.array_equal(first, weights[FRAMES:])


def test_between_scattered_states_nothing_toggles(dense, demos, tmp_path):
    """None follows from another: a hand that is open after a closed one did not let go."""
    for path in episode_paths(demos):
        episode = load_episode(path)
        save_episode(tmp_path, replace(episode, scattered=True, positions_m=np.ones_like(
            episode.positions_m) * np.arange(9)))
    opened = open_checkpoint(dense)
    frames, _ = load_frames(SftConfig(data=(tmp_path,)), opened.model.config, opened.tokenizer)
    assert len(np.unique(frames.episode)) == 2 * FRAMES
    assert (robot_weights(frames, 4.0) == 1.0).all()


# ------------------------------------------------------------------- bad input


def _refused(config: PruneConfig, words: str, error: type = PruneError) -> None:
    """Expect the error, and nothing left behind."""
    with pytest.raises(error, match=words):
        prune(config)
    assert not config.out.exists()
    assert not list(config.out.parent.glob(f'.{config.out.name}*'))


def test_a_pruned_checkpoint_is_not_pruned_again(dense, demos, tmp_path):
    """The message says what may follow what."""
    once = prune(_config(dense, demos, tmp_path / 'once', importance='l1'))
    _refused(_config(once, demos, tmp_path / 'twice'),
             'pruned already .*order is: sft, prune, sft, rl, quantize')


def test_a_quantised_checkpoint_is_not_pruned(dense, demos, tmp_path):
    """Its provenance tells, before a weight is read."""
    opened = open_checkpoint(dense)
    quantised = save_checkpoint(tmp_path / 'q', opened.model, opened.tokenizer, tiny_statistics(),
                                {'stages': [{'name': 'sft'}, {'name': 'quantize'}]})
    _refused(_config(quantised, demos, tmp_path / 'out'), 'is quantized already')


def test_what_a_folder_was_is_seen_without_its_provenance(dense, demos, tmp_path):
    """Quantised weights and FLAP's biases are refused though provenance.json says nothing."""
    quantised = quantize(QuantizeConfig(dense, tmp_path / 'int4', group_size=32))
    biased = prune(_config(dense, demos, tmp_path / 'flap', **CHOICES['flap']))
    for folder, word in ((quantised, 'quantized'), (biased, 'pruned')):
        (folder / 'provenance.json').write_text('{}')
        _refused(_config(folder, demos, tmp_path / 'out'), f'is {word} already .stages: none')


def test_flap_without_two_samples_is_refused(dense, demos, tmp_path):
    """Of one sample nothing fluctuates; WIFN needs no second one."""
    save_file({'input_ids': torch.randint(0, 300, (1, 70))}, tmp_path / 'ids.safetensors')
    options = {'method': 'flap', 'flap_structure': 'UL-UM', 'ratio': 0.3,
               'token_ids': tmp_path / 'ids.safetensors'}
    _refused(_config(dense, demos, tmp_path / 'out', **options),
             'flap WIFV .* needs 2, got 1; give more --samples')
    _refused(_config(dense, demos, tmp_path / 'out', **{**options, 'token_ids': None},
                     samples=1, sample_tokens=8), 'how frames differ: it needs 2, got 1')
    assert prune(_config(dense, demos, tmp_path / 'out', **options, flap_metric='WIFN')).exists()


def test_flap_that_empties_a_layer_is_refused(dense, demos, tmp_path):
    """One threshold for all layers can leave one with nothing; the largest ratio is named."""
    _refused(_config(dense, demos, tmp_path / 'out', method='flap', ratio=0.97),
             r'leaves layer \d without (heads|channels); the largest ratio .* is 0\.')


@pytest.mark.parametrize(('tensors', 'words'), [
    ({'tokens': torch.zeros(2, 8, dtype=torch.int64)}, 'holds tokens; the layers need token ids'),
    ({'input_ids': torch.zeros(2, 8)}, r'is torch.float32 \(2, 8\); wanted int64'),
    ({'input_ids': torch.zeros(8, dtype=torch.int64)}, r'int64 \(8,\)'),
    ({'input_ids': torch.full((2, 8), 9999)}, r'9999; the vocabulary is 0 \.\.\. 639'),
    ({'input_ids': torch.zeros(2, 300, dtype=torch.int64)}, 'the model takes 256')])
def test_calibration_without_the_layers_inputs_is_refused(tensors, words, dense, demos, tmp_path):
    """What a token file holds wrongly is named."""
    save_file(tensors, tmp_path / 'ids.safetensors')
    _refused(_config(dense, demos, tmp_path / 'out', sample_tokens=512,
                     token_ids=tmp_path / 'ids.safetensors'), words)


def test_absent_or_short_calibration_is_refused(dense, demos, tmp_path):
    """No folder, no file, and fewer frames than asked for."""
    _refused(_config(dense, tmp_path / 'none', tmp_path / 'out'), 'no demonstrations in',
             DemonstrationError)
    _refused(_config(dense, demos, tmp_path / 'out', token_ids=tmp_path / 'no.safetensors'),
             'is not a readable safetensors file')
    _refused(_config(dense, demos, tmp_path / 'out', samples=10),
             r'wants 80 frames .* hold 40; raise --episodes, or give --samples 5')


def test_several_data_sets_want_a_key(dense, demos, tmp_path):
    """Which statistics scale the demonstrations is asked, not guessed."""
    several = shutil.copytree(dense, tmp_path / 'several')
    path = several / 'dataset_statistics.json'
    statistics = json.loads(path.read_text())
    path.write_text(json.dumps({'other': statistics[DATASET], **statistics}))
    _refused(_config(several, demos, tmp_path / 'out'),
             f'None is not in .*; it has: other, {DATASET}. Give --unnorm-key other')
    out = prune(_config(several, demos, tmp_path / 'out', unnorm_key=DATASET))
    assert set(inspect(out).norm_stats) == {'other', DATASET}
    assert prune(_config(several, demos, tmp_path / 'l2', importance='l2')).exists()


def test_wrong_folders_are_refused(dense, demos, tmp_path):
    """A checkpoint that is none, a place that is taken, a device that is not there."""
    _refused(_config(tmp_path / 'none', demos, tmp_path / 'out'), 'there is no checkpoint folder',
             CheckpointError)
    if not torch.cuda.is_available():
        _refused(_config(dense, demos, tmp_path / 'out', device='cuda'), 'give --device cpu')
    (tmp_path / 'taken').mkdir()
    with pytest.raises(PruneError, match='exists; give another --out'):
        prune(_config(dense, demos, tmp_path / 'taken'))


def test_a_failure_while_writing_leaves_no_checkpoint(dense, demos, tmp_path, monkeypatch):
    """A full disk in the middle leaves nothing under the final name."""
    def fail(*_):
        raise OSError('no space left on device')

    monkeypatch.setattr('rlrc_training.prune.draw', fail)
    with pytest.raises(OSError, match='no space'):
        prune(_config(dense, demos, tmp_path / 'out', importance='l1'))
    assert not (tmp_path / 'out').exists()


def test_the_command_says_in_one_line_what_is_wrong(capsys, tmp_path):
    """A user's mistake ends in status 1 and no traceback."""
    assert main([str(tmp_path / 'none'), '--out', str(tmp_path / 'out')]) == 1
    error = capsys.readouterr().err
    assert error.startswith('rlrc prune: there is no checkpoint folder')
    assert 'Traceback' not in error
